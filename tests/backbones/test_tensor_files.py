"""Files are read as tensors or refused with the reason; code in them never runs."""

import io
import os
import pickle
import re
import tarfile
import zipfile
from argparse import Namespace
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import nn

from sktransfer.backbones import tensor_files
from sktransfer.backbones.weights import read_weights


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


# --- reading ---------------------------------------------------------------------------------


def write(path, content, **options):
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, **options)
    return path


class Malicious:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def torch_bytes(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


MALICIOUS = {
    "zip": torch_bytes,
    "wrapped": lambda evil: torch_bytes({"state_dict": {"weight": evil}}),
    "legacy": lambda evil: torch_bytes(evil, _use_new_zipfile_serialization=False),
    "pickle 0": lambda evil: pickle.dumps(evil, 0),
    "pickle 2": lambda evil: pickle.dumps(evil, 2),
    "pickle 4": lambda evil: pickle.dumps(evil, 4),
    "named safetensors": torch_bytes,
}


@pytest.mark.parametrize("form", MALICIOUS)
def test_a_malicious_file_is_refused_and_runs_no_code(form, tmp_path, monkeypatch):
    # this makes torch.load unpickle any object by default
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    made = tmp_path / "made"
    content = MALICIOUS[form](Malicious(made))
    path = tmp_path / ("net.safetensors" if "named" in form else "net.pth")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights must .*net\."):
        read_weights(path)
    assert not made.exists()


def test_an_archive_that_begins_like_a_file_of_torch_is_refused(tmp_path):
    # before torch 2.6 its content was unpickled even with weights_only=True
    form = tarfile.USTAR_FORMAT
    with tarfile.open(tmp_path / "net.pth", "w", format=form, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo(tensor_files._LEGACY.decode("latin-1")))
    assert (tmp_path / "net.pth").read_bytes().startswith(tensor_files._LEGACY)
    with pytest.raises(ValueError, match=r"net\.pth' is not: it begins with"):
        read_weights(tmp_path / "net.pth")


def test_the_malicious_object_is_malicious(tmp_path):
    pickle.loads(pickle.dumps(Malicious(tmp_path / "made")))
    assert (tmp_path / "made").exists()


UNSAFE = {
    "Namespace": lambda net: torch_bytes({"model": net.state_dict(), "args": Namespace(lr=1)}),
    "test_tensor_files.Net": torch_bytes,
    "data that torch.save does not write": lambda net: torch_bytes(
        net, pickle_protocol=4, _use_new_zipfile_serialization=True
    ),
    "a pickle that torch.save did not write": lambda net: pickle.dumps(dict(net.state_dict())),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("named", UNSAFE)
def test_a_file_with_more_than_tensors_is_refused_with_advice(net, named, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(UNSAFE[named](net))
    message = rf"weights must be tensors only; '.*net\.pth' contains .*{named}.*convert it to safe"
    with pytest.raises(ValueError, match=message):
        read_weights(path)


@pytest.mark.filterwarnings(
    "ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning"
)
def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(1, 1), torch.zeros(1, 1)), tmp_path / "net.pt")
    with pytest.raises(
        ValueError, match=r"net\.pt' contains a TorchScript program\. .* convert it"
    ):
        read_weights(tmp_path / "net.pt")


SMALL = {"weight": torch.arange(40.0), "bias": torch.arange(7)}
WHOLE = {
    "safetensors": (".safetensors", save(SMALL)),
    "torch": (".pth", torch_bytes(SMALL)),
    "legacy": (".pth", torch_bytes(SMALL, _use_new_zipfile_serialization=False)),
}


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("kept", [0, 1, 7, 20, 100, 300, -1, -20])
def test_a_truncated_file_is_refused_by_name(form, kept, tmp_path):
    suffix, content = WHOLE[form]
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content[:kept])
    with pytest.raises(ValueError, match=rf"{re.escape(repr(str(path)))}"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>" * 50, b"\xff" * 500, b"PK\x03\x04" * 9]
)
def test_another_kind_of_file_is_refused_by_name(suffix, content, tmp_path):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    kind = "safetensors" if suffix == ".safetensors" else "torch"
    message = rf"weights must be a complete {kind} file; '.*net\{suffix}' is not: .* interrupted"
    with pytest.raises(ValueError, match=message):
        read_weights(path)


@pytest.mark.parametrize("form", WHOLE)
@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_damaged_file_is_a_value_error(form, data, tmp_path):
    suffix, content = WHOLE[form]
    damaged = bytearray(content)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"net{suffix}"
    path.write_bytes(damaged)
    with suppress(ValueError):  # and no other error
        assert all(isinstance(t, torch.Tensor) for t in read_weights(path).state.values())


def test_a_zip_bomb_is_refused(net, tmp_path):
    path = write(tmp_path / "net.pth", {"weight": torch.zeros(10_000)})
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for entry in archive.infolist():
            small.writestr(entry.filename, archive.read(entry))
    with pytest.raises(ValueError, match=r"small\.pth' is not: it would unpack to \d+ bytes"):
        read_weights(tmp_path / "small.pth")


@pytest.mark.parametrize("form", WHOLE)
def test_tensors_stay_if_their_file_is_cut_short_later(form, tmp_path):
    serialization = pytest.importorskip("torch.utils.serialization")
    suffix, content = WHOLE[form]
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with serialization.config.patch("load.mmap", True):
        state = read_weights(path).state
    os.truncate(path, 0)
    assert all(torch.equal(state[name], SMALL[name]) for name in SMALL)
