"""A fetched file contains weights and preprocessing for a machine that is offline."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.disk import refuse_files
from helpers.hub import keep_squeezenet
from helpers.tiny import tiny_backbone
from helpers.tokens import dead_token, temporary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torchvision.models import squeezenet1_1

from sktransfer import ImagePreset, PretrainedFeatureExtractor, get_backbone, register_provider
from sktransfer.backbones import registry
from sktransfer.backbones.export import fetch
from sktransfer.backbones.filling import fill
from sktransfer.backbones.weights import is_path, read_weights, weights_info


class Acme:
    """A provider of one network, whose default weights are a file of torch."""

    def __init__(self, folder):
        self.file = folder / "acme.pth"
        self.preset = ImagePreset(size=48, resize=56, mean=(0.1, 0.2, 0.3), interpolation="bicubic")
        self.uses_metadata = True
        self.n_reads = 1
        self.trained = tiny_backbone()
        self.save()

    def save(self):
        torch.save({"state_dict": self.trained.state_dict()}, self.file)

    def names(self):
        return ["net"]

    def load(self, name, weights):
        backbone = tiny_backbone()
        backbone.preset = ImagePreset() if is_path(weights) else self.preset
        if weights is None:
            return backbone
        for _ in range(self.n_reads):
            file = read_weights(weights if is_path(weights) else self.file)
        if self.uses_metadata:
            backbone.preset = backbone.preset.with_metadata(file.metadata)
        if fill(backbone, file.state, "acme", optional=("classifier.",)):
            backbone.classifier = None
        tag = None if is_path(weights) else "v1/b"
        backbone.weights_info = weights_info(tag, "acme.pth", file.sha256, None, backbone.preset)
        return backbone


@pytest.fixture
def acme(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    provider = Acme(tmp_path)
    register_provider("acme", provider)
    return provider


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torchvision's cache with one file of random weights."""
    torch.manual_seed(1)
    return keep_squeezenet(monkeypatch, tmp_path / "hub", squeezenet1_1())


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def test_a_fetched_file_gives_the_same_features_offline(hub, tmp_path, rng):
    path = fetch("torchvision/squeezenet1_1", tmp_path / "to")
    images = rng.integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    near = PretrainedFeatureExtractor("torchvision/squeezenet1_1").fit_transform(images)
    hub.unlink()
    far = PretrainedFeatureExtractor("torchvision/squeezenet1_1", weights=path)
    assert np.array_equal(far.fit_transform(images), near)
    assert path.name == "torchvision_squeezenet1_1_IMAGENET1K_V1.safetensors"


def test_a_fetched_file_describes_itself_in_its_metadata(acme, tmp_path):
    path = fetch("acme/net", tmp_path / "to")
    assert list(path.parent.iterdir()) == [path]
    assert path.name == "acme_net_v1_b.safetensors"
    stated = metadata(path)
    assert len(stated.pop("sktransfer_digest")) == 64
    assert stated == {
        "address": "acme/net",
        "tag": "v1/b",
        "source": "acme.pth",
        "sha256": read_weights(acme.file).sha256,
        "input_size": "48",
        "resize": "56",
        "crop": "0.875",
        "mean": "0.1,0.2,0.3",
        "std": "0.229,0.224,0.225",
        "interpolation": "bicubic",
    }
    # under the network's own names, without the checkpoint around them
    assert read_weights(path).state.keys() == acme.trained.state_dict().keys()


NUMBERS = st.tuples(*3 * [st.floats(0.001, 255)])


@given(
    size=st.integers(32, 600),
    margin=st.none() | st.integers(0, 99),
    crop=st.floats(0.1, 1),
    mean=NUMBERS,
    std=NUMBERS,
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_preset_is_restored_from_the_metadata(
    acme, tmp_path, size, margin, crop, mean, std, interpolation
):
    resize = None if margin is None else size + margin
    acme.preset = ImagePreset(size, resize, crop, mean, std, interpolation)
    path = fetch("acme/net", tmp_path / "to")
    assert get_backbone("acme/net", path).preset == acme.preset


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_fetched_file_has_the_permissions_of_other_files(acme, tmp_path):
    path = fetch("acme/net", tmp_path / "to")
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_fetching_again_replaces_the_file(acme, tmp_path):
    first = fetch("acme/net", tmp_path / "to")
    acme.preset = replace(acme.preset, size=40)
    assert fetch("acme/net", tmp_path / "to") == first
    assert metadata(first)["input_size"] == "40"
    assert list(first.parent.iterdir()) == [first]


def test_a_users_own_file_is_converted(acme, tmp_path):
    path = fetch("acme/net", tmp_path / "to", weights=acme.file)
    assert path.name == "acme_net.safetensors"
    assert "tag" not in metadata(path)
    assert (
        get_backbone("acme/net", path).fingerprint()
        == get_backbone("acme/net", acme.file).fingerprint()
    )


def test_a_classifier_of_nan_is_left_out(acme, tmp_path):
    torch.nn.init.constant_(acme.trained.classifier[2].weight, float("nan"))
    torch.nn.init.constant_(acme.trained.classifier[2].bias, float("nan"))
    acme.save()
    load = acme.load

    def without_classifier(name, weights):
        backbone = load(name, weights)
        backbone.classifier = None
        return backbone

    acme.load = without_classifier
    path = fetch("acme/net", tmp_path / "to")
    state = read_weights(path).state
    assert not [name for name in state if name.startswith("classifier.")]
    assert [name for name in state if name.startswith("stages.")]


@pytest.mark.parametrize("n_reads", [0, 2])
def test_weights_that_are_not_one_file_are_refused(acme, tmp_path, n_reads):
    acme.n_reads = n_reads
    acme.load = (lambda name, weights: tiny_backbone()) if n_reads == 0 else acme.load
    message = f"whose weights are one file; 'acme/net' with weights='default' read {n_reads} files"
    with pytest.raises(ValueError, match=message):
        fetch("acme/net", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_provider_that_ignores_the_metadata_is_an_error_and_leaves_no_file(acme, tmp_path):
    acme.uses_metadata = False
    with pytest.raises(ValueError, match="that can be loaded from a file; 'acme/net' with"):
        fetch("acme/net", tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_random_weights_cannot_be_fetched(tmp_path):
    with pytest.raises(
        ValueError, match="whose weights are one file; 'builtin/mini' with weights=None"
    ):
        fetch("builtin/mini", tmp_path / "to", weights=None)
    assert not (tmp_path / "to").exists()


# The disk


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space, or choose a folder on another disk"),
        (errno.EACCES, "change the permissions, or choose another folder"),
    ],
)
@pytest.mark.parametrize("method", ["mkdir", "open", "replace"])
def test_a_folder_that_cannot_be_written_is_an_error_with_the_remedy(
    acme, tmp_path, monkeypatch, number, remedy, method
):
    fetch("acme/net", tmp_path / "to")
    before = metadata(tmp_path / "to" / "acme_net_v1_b.safetensors")
    refuse_files(monkeypatch, method, number)
    message = rf"to must be a folder that can be written; .* \({remedy}\): '.*/acme_net_v1_b"
    with pytest.raises(OSError, match=message) as caught:
        fetch("acme/net", tmp_path / "to")
    monkeypatch.undo()
    assert caught.value.errno == number
    (path,) = (tmp_path / "to").iterdir()
    assert metadata(path) == before


def test_what_a_killed_process_left_is_removed(acme, tmp_path):
    dead = tmp_path / "to" / temporary(dead_token(), "")
    dead.mkdir(parents=True)
    (dead / "acme_net.safetensors").write_bytes(b"half a file")
    path = fetch("acme/net", tmp_path / "to")
    assert list(path.parent.iterdir()) == [path]


def test_weights_whose_name_is_not_utf8_are_fetched(hub, tmp_path):
    state = read_weights(fetch("torchvision/squeezenet1_1", tmp_path)).state
    path = tmp_path / os.fsdecode(b"caf\xe9.pth")
    with path.open("wb") as file:
        torch.save(state, file)
    fetched = fetch("torchvision/squeezenet1_1", tmp_path / "to", weights=path)
    assert metadata(fetched)["source"] == r"caf\udce9.pth"
    assert (
        get_backbone("torchvision/squeezenet1_1", fetched).weights_info["source"]
        == r"caf\udce9.pth"
    )


def test_a_file_is_not_accepted_as_the_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="to must be the path of a folder, which need not"):
        fetch("builtin/mini", tmp_path / "file")
