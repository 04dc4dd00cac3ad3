"""A file that is damaged, or none of ours, is refused."""

import json
import pickle
import struct

import numpy as np
import pytest
import torch
from helpers.provider import TinyProvider
from safetensors import safe_open
from safetensors.torch import save as to_bytes

from sktransfer import (
    FineTuneClassifier,
)
from sktransfer.backbones import registry
from sktransfer.persistence import file_format, load, save


@pytest.fixture(autouse=True)
def tiny_provider(monkeypatch):
    monkeypatch.setitem(registry._registered, "tiny", TinyProvider())


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (12, 16, 16, 3), np.uint8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def make(images):
    """A function that fits a small classifier."""

    def made(y=tuple("abc" * 4), X=images, **parameters):
        parameters = {"backbone": "tiny/net", "max_epochs": 1, "random_state": 0} | parameters
        return FineTuneClassifier(**parameters).fit(X, np.asarray(y))

    return made


@pytest.fixture
def saved(make, path):
    """The path of a small model."""
    save(make(unfreeze=0), path)
    return path


def parts(path):
    """The text, as a dict, and the tensors of a file."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no dict
        return json.loads(file.metadata()["sktransfer"]), tensors


def write(path, told, tensors):
    """A file whose text has its digest."""
    text = told if isinstance(told, str) else json.dumps(told)
    path.write_bytes(
        to_bytes(tensors, {"sktransfer": text, "digest": file_format._digest_of_text(text)})
    )


# What cannot be loaded


def test_a_file_that_is_not_there_is_answered(path):
    with pytest.raises(FileNotFoundError, match=r"there is none at '.*model\.safetensors'"):
        load(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"must be a whole file of sktransfer\.save: "):
        load(saved)


def test_a_pickle_is_refused_and_the_way_is_named(path, make):
    path.write_bytes(pickle.dumps(make(unfreeze=0)))
    with pytest.raises(ValueError, match=r"safetensors do.*joblib\.load reads"):
        load(path)


def test_a_header_without_end_is_refused(path):
    path.write_bytes(struct.pack("<Q", 2**26) + b"{" * 100)
    with pytest.raises(ValueError, match="does not begin as safetensors do"):
        load(path)


def test_a_file_of_weights_alone_is_refused(path):
    path.write_bytes(to_bytes({"weight": torch.zeros(2)}))
    with pytest.raises(ValueError, match="it holds tensors and no estimator; weights= of"):
        load(path)


def test_a_tensor_that_was_changed_is_named(saved):
    whole = bytearray(saved.read_bytes())
    whole[-1] ^= 1
    saved.write_bytes(whole)
    with pytest.raises(ValueError, match=r"1 were changed:\n  [a-z_.0-9]+\nTake another copy"):
        load(saved)


@pytest.mark.parametrize("change", ["lost", "added"])
def test_a_tensor_that_is_not_as_told_is_named(saved, change):
    told, tensors = parts(saved)
    tensors.pop("head.bias")
    if change == "added":
        tensors |= {"head.bias": told and torch.zeros(3), "more": torch.zeros(1)}
    write(saved, told, tensors)
    with pytest.raises(ValueError, match=r"were changed:\n  head\.bias"):
        load(saved)


def test_a_text_that_was_changed_is_refused(saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole.replace(b"tiny/net", b"tiny/nut", 1))
    with pytest.raises(ValueError, match="its text was changed"):
        load(saved)


def test_a_newer_format_is_refused_and_both_versions_are_named(saved):
    told, tensors = parts(saved)
    told |= {"format": 2}
    told["versions"]["sktransfer"] = "9.9"
    write(saved, told, tensors)
    with pytest.raises(ValueError, match=r"format 1 at most.*sktransfer 9\.9.*pip install -U"):
        load(saved)
