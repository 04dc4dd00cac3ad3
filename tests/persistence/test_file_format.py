"""A file that is damaged, or that save did not write, is refused."""

import pickle
import struct

import pytest
import torch
from helpers.saved import parts, write
from safetensors.torch import save as to_bytes

from sktransfer.persistence import load


def test_a_missing_file_raises_an_error(path):
    with pytest.raises(
        FileNotFoundError, match=r"written by save; '.*model\.safetensors' does not exist"
    ):
        load(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"must be a complete file written by sktransfer\.save: "):
        load(saved)


def test_a_pickle_is_refused_with_a_hint_at_joblib(path, make):
    path.write_bytes(pickle.dumps(make(unfreeze=0)))
    with pytest.raises(ValueError, match=r"a safetensors file\..*joblib\.load for files"):
        load(path)


def test_a_header_that_is_too_long_is_refused(path):
    path.write_bytes(struct.pack("<Q", 2**26) + b"{" * 100)
    with pytest.raises(ValueError, match="does not begin like a safetensors file"):
        load(path)


def test_a_file_of_weights_alone_is_refused(path):
    path.write_bytes(to_bytes({"weight": torch.zeros(2)}))
    with pytest.raises(
        ValueError, match="it contains tensors but no estimator; pass it as weights= of"
    ):
        load(path)


def test_a_changed_tensor_is_named(saved):
    whole = bytearray(saved.read_bytes())
    whole[-1] ^= 1
    saved.write_bytes(whole)
    with pytest.raises(ValueError, match=r"1 have changed:\n  [a-z_.0-9]+\nUse another copy"):
        load(saved)


@pytest.mark.parametrize("change", ["lost", "added"])
def test_a_tensor_that_was_lost_or_added_is_named(saved, change):
    description, tensors = parts(saved)
    tensors.pop("head.bias")
    if change == "added":
        tensors |= {"head.bias": torch.zeros(3), "more": torch.zeros(1)}
    write(saved, description, tensors)
    with pytest.raises(ValueError, match=r"have changed:\n  head\.bias"):
        load(saved)


def test_a_changed_text_is_refused(saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole.replace(b"tiny/net", b"tiny/nut", 1))
    with pytest.raises(ValueError, match="its text has changed"):
        load(saved)


def test_a_newer_format_is_refused_and_both_versions_are_named(saved):
    description, tensors = parts(saved)
    description |= {"format": 2}
    description["versions"]["sktransfer"] = "9.9"
    write(saved, description, tensors)
    with pytest.raises(
        ValueError, match=r"format 1 or lower; got format 2, .*sktransfer 9\.9.*pip install -U"
    ):
        load(saved)
