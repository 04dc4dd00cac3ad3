"""Weights are read without running code, and are copied into a network completely or not."""

import hashlib
import re
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from sktransfer import ImagePreset
from sktransfer.backbones import weights
from sktransfer.backbones.filling import fill
from sktransfer.backbones.weights import is_path, read_weights, recorded, weights_info


class Net(nn.Module):
    """A convolution, its batch norm, and a classifier."""

    def __init__(self, n_classes=2):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, n_classes)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def before(net):
    """A copy of the network's tensors for comparison."""
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def other_state(n_classes=2):
    """The state of another network of the same kind, with other values."""
    torch.manual_seed(1)
    return {name: tensor + 1 for name, tensor in Net(n_classes).state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("net.safetensors", True),
        ("a/b.pth", True),
        ("b.PT", True),
        (Path("anything"), True),
        ("default", False),
        ("IMAGENET1K_V1", False),
        ("resnet18.a1_in1k", False),
        (None, False),
        (1, False),
    ],
)
def test_a_path_is_recognised(value, expected):
    assert is_path(value) is expected


# --- reading ---------------------------------------------------------------------------------


def write(path, content, **options):
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, **options)
    return path


@pytest.fixture
def hashed(monkeypatch):
    """The files whose bytes are hashed, of which none counts as just written."""
    files = []
    digest = hashlib.file_digest

    def record(file, name):
        files.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", record)
    monkeypatch.setattr(weights, "RACY_SECONDS", -60)
    return files


def test_a_file_that_has_not_changed_is_hashed_once(tmp_path, hashed):
    path = write(tmp_path / "net.safetensors", {"weight": torch.zeros(2)})
    digests = {read_weights(path).sha256 for _ in range(3)}
    assert digests == {sha256(path.read_bytes()).hexdigest()}
    assert len(hashed) == 1
    write(path, {"weight": torch.zeros(3)})
    assert read_weights(path).sha256 == sha256(path.read_bytes()).hexdigest()


def test_a_hash_that_is_compared_is_always_computed(tmp_path, hashed):
    path = write(tmp_path / "net.safetensors", {"weight": torch.zeros(2)})
    prefix = read_weights(path).sha256[:8]
    read_weights(path, prefix), read_weights(path, prefix)
    assert len(hashed) == 3


def test_a_file_that_has_just_been_written_is_hashed_again(tmp_path, hashed, monkeypatch):
    monkeypatch.setattr(weights, "RACY_SECONDS", 3600)
    path = write(tmp_path / "net.safetensors", {"weight": torch.zeros(2)})
    read_weights(path), read_weights(path)
    assert len(hashed) == 2


WRAPPED = {
    "alone": lambda state: state,
    "parameters": lambda state: {
        k: nn.Parameter(t, t.is_floating_point()) for k, t in state.items()
    },
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "arch": "net"},
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}, "model_ema": None},
    "averaged": lambda state: {"model": {"x": torch.zeros(1)}, "model_ema": state},
    "parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "compiled": lambda state: {f"module._orig_mod.{name}": t for name, t in state.items()},
    "inner": lambda state: {"state_dict": {f"backbone.{name}": t for name, t in state.items()}},
    "counted": lambda state: {
        "n_averaged": torch.tensor(3),
        **{f"module.{k}": state[k] for k in state},
    },
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".ckpt"])
def test_every_kind_of_file_gives_the_same_tensors(net, suffix, tmp_path):
    path = write(tmp_path / f"net{suffix}", net.state_dict())
    file = read_weights(path)
    assert same(file.state, net.state_dict())
    assert file.sha256 == sha256(path.read_bytes()).hexdigest()
    assert file.path == path
    assert file.metadata == {}


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_is_unwrapped(net, wrapped, zipped, tmp_path):
    content = WRAPPED[wrapped](net.state_dict())
    path = write(tmp_path / "net.pth", content, _use_new_zipfile_serialization=zipped)
    state = read_weights(path).state
    assert same(state, net.state_dict())
    assert not any(tensor.requires_grad for tensor in state.values())


def test_an_average_of_torch_is_read_as_the_network(net, tmp_path):
    path = write(tmp_path / "net.pth", {"model_ema": AveragedModel(net).state_dict()})
    assert same(read_weights(path).state, net.state_dict())


def test_a_prefix_of_some_names_only_is_kept(tmp_path):
    state = {"module.weight": torch.ones(1), "bias": torch.ones(1)}
    assert same(read_weights(write(tmp_path / "net.pth", state)).state, state)


def test_metadata_is_read(net, tmp_path):
    said = {"mean": "0.5,0.5,0.5", "licence": "MIT", "tag": "v2", "source": "https://a.b/c.pth"}
    path = tmp_path / "net.safetensors"
    save_file(net.state_dict(), path, said)
    file = read_weights(str(path))
    assert file.metadata == said
    preset = ImagePreset(size=64)
    assert file.info(preset) == {
        "tag": "v2",
        "source": "https://a.b/c.pth",
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "licence": "MIT",
        "input_size": 64,
        "mean": preset.mean,
        "std": preset.std,
    }


def test_the_source_of_a_file_without_metadata_is_its_name(net, tmp_path):
    info = read_weights(write(tmp_path / "net.pth", net.state_dict())).info(ImagePreset())
    assert (info["tag"], info["source"], info["licence"]) == (None, "net.pth", "not stated")


def test_the_home_folder_may_be_abbreviated(net, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path / "net.pth", net.state_dict())
    assert read_weights("~/net.pth").path == tmp_path / "net.pth"


def test_recorded_lists_the_files_that_are_read(net, tmp_path):
    path = write(tmp_path / "net.pth", net.state_dict())
    read_weights(path)
    with recorded() as files:
        file = read_weights(path)
    read_weights(path)
    assert files == [file]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_that_is_too_large_is_refused(net, suffix, tmp_path, monkeypatch):
    path = write(tmp_path / f"net{suffix}", net.state_dict())
    monkeypatch.setattr(weights, "LARGEST", 10)
    size = path.stat().st_size
    message = rf"weights must be a file of at most 10 bytes; '.*net\{suffix}' has {size}"
    with pytest.raises(ValueError, match=message):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], r"weights must be tensors by name; '.*net\.pth' contains a list\."),
        (torch.zeros(1), r"contains a Tensor\."),
        ({}, r"weights must be tensors by name; '.*net\.pth' contains no tensor\."),
        ({"state_dict": {}}, r"contains no tensor\."),
        (
            {"epoch": 3},
            r"at the top level or under one of 'model_ema', .*also contains\n  'epoch': int$",
        ),
        ({"weight": torch.zeros(1).to_sparse()}, r"'weight': torch.float32, torch.sparse_coo"),
        ({"weight": torch.zeros(1, device="meta")}, r"'weight': .*on meta$"),
        ({1: torch.zeros(1)}, r"also contains\n  1: torch.float32"),
        ({str(i): i for i in range(12)}, r"'9': int\n  \.\.\. and 2 more$"),
    ],
)
def test_a_file_without_a_state_dict_is_described(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_weights(write(tmp_path / "net.pth", content))


def test_the_error_for_a_missing_file_names_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = rf"'none\.pth' does not exist\. Relative paths start from {str(tmp_path)!r}\."
    with pytest.raises(FileNotFoundError, match=message):
        read_weights("none.pth")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"weights must be a file; '.*' is not one\."):
        read_weights(tmp_path)


# --- filling ---------------------------------------------------------------------------------


def test_a_state_that_fits_is_copied(net):
    state = other_state()
    assert fill(net, state, "net.pth") == []
    assert same(net.state_dict(), state)


def test_a_network_keeps_its_own_memory_and_types(net):
    state = {k: t.double() if t.is_floating_point() else t for k, t in other_state().items()}
    weight = net.fc.weight
    fill(net, state, "net.pth")
    assert net.fc.weight is weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight.double(), state["fc.weight"])


def test_a_filled_network_does_not_share_the_tensors_of_the_file(net):
    state = other_state()
    fill(net, state, "net.pth")
    state["fc.bias"].zero_()
    assert net.fc.bias.all()


def test_a_wrapped_network_takes_the_same_file(net):
    state = other_state()
    fill(nn.ModuleDict({"backbone": net}), state, "net.pth")
    assert same(net.state_dict(), state)


def test_missing_counters_of_batches_become_zero(net):
    net.features[1].num_batches_tracked.fill_(7)
    state = {k: t for k, t in other_state().items() if "num_batches" not in k}
    fill(net, state, "net.pth")
    assert net.features[1].num_batches_tracked == 0
    assert torch.equal(net.fc.weight, state["fc.weight"])


def test_a_state_that_does_not_fit_is_described_and_changes_nothing(net, before):
    state = other_state()
    del state["features.1.bias"]
    state["features.0.weight"] = torch.zeros(4, 3, 5, 5)
    state["features.1.weight"] = torch.zeros(4, dtype=torch.int8)
    state["features.2.weight"] = torch.zeros(1)
    message = (
        "weights 'net.pth' do not fit Net; 4 tensors differ:\n"
        "  features.0.weight: (4, 3, 5, 5) in the file, (4, 3, 3, 3) in the network\n"
        "  missing: features.1.bias (4,)\n"
        "  unexpected: features.2.weight (1,)\n"
        "  features.1.weight: (4,) integer in the file, (4,) in the network\n"
        "Use weights of this network, or the network that the weights were made for."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fill(net, state, "net.pth")
    assert same(net.state_dict(), before)


def test_the_error_names_ten_of_many_differing_tensors(net):
    state = {f"layer.{index}": torch.zeros(1) for index in range(20)}
    with pytest.raises(ValueError, match="28 tensors differ") as caught:
        fill(net, state, "net.pth")
    lines = str(caught.value).splitlines()
    assert len(lines) == 13
    assert lines[1:3] == ["  missing: features.0.weight (4, 3, 3, 3)", "  unexpected: layer.0 (1,)"]
    assert lines[-2] == "  ... and 18 more"


def without_classifier(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


OTHER_CLASSIFIERS = {
    "other classes": (
        lambda: other_state(5),
        "fc.weight: (5, 4) in the file, (2, 4) in the network",
    ),
    "none": (lambda: without_classifier(other_state()), "missing: fc.weight (2, 4)"),
    "a part": (
        lambda: {k: t for k, t in other_state().items() if k != "fc.bias"},
        "missing: fc.bias (2,)",
    ),
    "two layers": (
        lambda: without_classifier(other_state()) | {"fc.0.weight": torch.ones(3, 4)},
        "missing: fc.weight (2, 4)",
    ),
}


@pytest.mark.parametrize("case", OTHER_CLASSIFIERS)
def test_stages_take_a_file_with_another_classifier(net, before, case):
    make, first = OTHER_CLASSIFIERS[case]
    state = make()
    left_out = fill(net, state, "net.pth", optional=("fc.",))
    assert left_out[0] == first
    assert same(without_classifier(net.state_dict()), without_classifier(state))
    assert torch.equal(net.fc.weight, before["fc.weight"])
    info = weights_info("tag", "net.pth", "0" * 64, "MIT", ImagePreset(), left_out)
    assert info["classifier"] == f"left out; {first}"


@pytest.mark.parametrize("case", OTHER_CLASSIFIERS)
def test_a_classifier_that_is_not_optional_must_fit(net, before, case):
    make, first = OTHER_CLASSIFIERS[case]
    with pytest.raises(ValueError, match=re.escape(first)):
        fill(net, make(), "net.pth")
    assert same(net.state_dict(), before)


def test_stages_must_fit_even_if_the_classifier_is_optional(net, before):
    state = other_state(5)
    state["features.0.bias"] = torch.zeros(9)
    with pytest.raises(ValueError, match="1 tensors differ") as caught:
        fill(net, state, "net.pth", optional=("fc.",))
    assert "fc." not in str(caught.value)
    assert same(net.state_dict(), before)


def test_an_optional_classifier_that_fits_is_copied(net):
    assert fill(net, other_state(), "net.pth", optional=("fc.",)) == []
    assert same(net.state_dict(), other_state())


def test_weights_of_another_kind_of_preset_have_no_size():
    info = weights_info(None, "random", None, None, object())
    assert info == dict.fromkeys(info) | {"source": "random"}
    assert "classifier" not in info


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_hash_is_that_of_the_tensors_if_the_file_is_replaced_meanwhile(
    tmp_path, monkeypatch, suffix
):
    path, other = tmp_path / f"net{suffix}", tmp_path / f"other{suffix}"
    write = torch.save if suffix == ".pth" else save_file
    write({"w": torch.zeros(3)}, path)
    write({"w": torch.ones(3)}, other)
    expected, real = sha256(path.read_bytes()).hexdigest(), hashlib.file_digest

    def replaced(file, name):
        digest = real(file, name)
        other.replace(path)
        return digest

    monkeypatch.setattr(hashlib, "file_digest", replaced)
    file = read_weights(path)
    assert file.sha256 == expected
    assert file.state["w"].tolist() == [0, 0, 0]
