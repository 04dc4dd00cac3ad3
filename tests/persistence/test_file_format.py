"""A file that is damaged, or that save did not write, is refused."""

import errno
import os
import pickle
import random
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.saved import parts, replaced, write
from helpers.tokens import dead_token, temporary
from safetensors.torch import save as to_bytes

from sktransfer.persistence import file_format, load, save
from sktransfer.persistence.file_format import FORMAT


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
    with pytest.raises(ValueError, match=r"1 of its tensors have changed:\n  [a-z_.0-9]+\nUse"):
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
    description |= {"format": FORMAT + 1}
    description["versions"]["sktransfer"] = "9.9"
    write(saved, description, tensors)
    with pytest.raises(
        ValueError,
        match=rf"must have format {FORMAT}, .*got format {FORMAT + 1}, .*r 9\.9.*pip install -U",
    ):
        load(saved)


def test_an_older_format_is_refused_with_what_to_do(saved):
    description, tensors = parts(saved)
    write(saved, {"format": 1, "versions": description["versions"]}, tensors)
    with pytest.raises(ValueError, match=r"got format 1.*fit the model again"):
        load(saved)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist or is no file"):
        load(tmp_path)


def test_each_flipped_bit_is_found(saved):
    whole, draw = saved.read_bytes(), random.Random(0)
    header = struct.unpack("<Q", whole[:8])[0] + 8
    places = [*range(8), *draw.choices(range(8, header), k=300)]
    places += draw.choices(range(header, len(whole)), k=100)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        saved.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(repr(str(saved)))):
            file_format.read(saved)


def test_a_message_cannot_control_a_terminal(saved):
    description, tensors = parts(saved)
    tensors["\x1b[31mred"] = torch.zeros(1)
    write(saved, description, tensors)
    with pytest.raises(ValueError, match=r"\\x1b\[31mred"):
        load(saved)


def test_a_message_is_short(saved):
    description, tensors = parts(saved)
    write(saved, replaced(description, ("parts", "phase"), "x" * 10**6), tensors)
    with pytest.raises(ValueError, match=r"parts\.phase must be one of") as caught:
        load(saved)
    assert len(str(caught.value)) < 3000


def test_a_file_reaches_the_disk_before_it_gets_its_name(make, path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append(path.exists()))
    save(make(unfreeze=0), path)
    assert calls[:1] == [False]


def test_a_full_disk_is_named_with_a_remedy(make, path, monkeypatch):
    def replace(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match=r"No space left on device \(free some space.*model\.saf"):
        save(make(unfreeze=0), path)
    assert not list(path.parent.iterdir())


def test_saving_removes_what_a_killed_save_left(make, path):
    left = path.with_name(temporary(dead_token()))
    left.write_bytes(b"half")
    save(make(unfreeze=0), path)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_cut_short_while_it_is_loaded_is_refused(saved, monkeypatch):
    parse = file_format.parse

    def cut(text):
        os.truncate(saved, saved.stat().st_size - 5000)
        return parse(text)

    monkeypatch.setattr(file_format, "parse", cut)
    with pytest.raises(ValueError, match=r"must be a complete file .* SafetensorError"):
        load(saved)


def test_a_model_stays_if_its_file_is_cut_short_later(saved, images):
    model = load(saved)
    expected = model.predict_proba(images)
    os.truncate(saved, 100)
    np.testing.assert_array_equal(model.predict_proba(images), expected)


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff.safetensors"])
def test_the_name_of_a_file_need_not_be_utf8(make, images, tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    model = make(unfreeze=0)
    save(model, path)
    np.testing.assert_array_equal(load(path).predict_proba(images), model.predict_proba(images))
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match="must be a complete file written by") as caught:
        load(path)
    assert f"{str(path)!r} must be" in str(caught.value)
    assert str(caught.value).isprintable()
