"""A file of tensors is read without a map, and is checked before memory is reserved."""

import json
import os
import struct

import pytest
import torch
from safetensors.torch import save

from sktransfer._support.tensors import TensorFile

MOST = 2 * 10**6
SMALL = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.arange(7), "empty": torch.empty(0, 9)}


def read(path):
    with path.open("rb") as file:
        opened = TensorFile(file, MOST)
        return opened.metadata, opened.read()


def written(path, header, n_bytes=0):
    """Write a file with a header, a dict or bytes, and return its path."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(n_bytes))
    return path


def entry(start, stop, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.fixture
def path(tmp_path):
    """A path whose name is not UTF-8."""
    return tmp_path / os.fsdecode(b"caf\xe9.safetensors")


def test_tensors_and_metadata_are_those_that_were_saved(path):
    path.write_bytes(save(SMALL, {"licence": "MIT"}))
    metadata, tensors = read(path)
    assert metadata == {"licence": "MIT"}
    assert tensors.keys() == SMALL.keys()
    assert all(torch.equal(tensors[name], SMALL[name]) for name in SMALL)
    path.write_bytes(save({}))
    assert read(path) == ({}, {})


@pytest.mark.parametrize("name", ["bool", "uint8", "int64", "float16", "bfloat16", "float64"])
def test_a_tensor_of_each_type_is_read(path, name):
    dtype = getattr(torch, name)
    tensor = torch.arange(24, dtype=torch.uint8).view(torch.bool if name == "bool" else dtype)
    path.write_bytes(save({"x": tensor}))
    found = read(path)[1]["x"]
    assert found.dtype == dtype
    assert found.view(torch.uint8).tolist() == tensor.view(torch.uint8).tolist()


def test_a_file_that_is_cut_short_while_it_is_open_is_an_error(path):
    path.write_bytes(save({"x": torch.zeros(10**5), "y": torch.zeros(10)}))
    with path.open("rb") as file:
        opened = TensorFile(file, MOST)
        os.truncate(path, 10**4)
        with pytest.raises(ValueError, match="it is damaged or incomplete: "):
            opened.read()


def test_tensors_stay_if_the_file_is_cut_short_later(path):
    path.write_bytes(save({"x": torch.ones(10**5)}))
    tensors = read(path)[1]
    os.truncate(path, 0)
    assert tensors["x"].sum() == 10**5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", MOST + 1) + b"{" + b" " * MOST,
        struct.pack("<Q", 2) + b"{",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 10**5) + b"[" * 10**5,
        struct.pack("<Q", 20) + b'{"__metadata__": [1]}'[:20],
        struct.pack("<Q", 26) + b'{"__metadata__": {"a": 1}}',
    ],
    ids=["empty", "short", "huge", "too long", "cut", "list", "nested", "no dict", "number"],
)
def test_a_file_that_does_not_begin_like_one_of_tensors_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="it does not begin like a safetensors file"):
        read(path)


@pytest.mark.parametrize(
    ("header", "n_bytes"),
    [
        ({"a": entry(0, 8)}, 7),
        ({"a": entry(0, 8)}, 9),
        ({"a": entry(0, 8), "b": entry(4, 12)}, 12),
        ({"a": entry(0, 8), "b": entry(12, 20)}, 20),
        ({"a": entry(8, 0)}, 8),
        ({"a": entry(0, 8, (2**40, 2**40))}, 8),
        ({"a": entry(0, 8, (-1, -2))}, 8),
        ({"a": entry(0, 8, (2.0,))}, 8),
        ({"a": entry(0, 8, dtype="F4")}, 8),
        ({"a": entry(0, 0, (0, 2**62, 2**62))}, 0),
        ({"a": entry(0, 0, (0, 2**80))}, 0),
        ({"a": {"shape": [1]}}, 0),
        ({"a": 1}, 0),
        ({f"a{n}": entry(0, 0, (0,)) for n in range(10_000)}, 64),
    ],
)
def test_a_header_that_does_not_fit_the_file_is_refused(path, header, n_bytes):
    with pytest.raises(ValueError, match="it is damaged or incomplete: "):
        read(written(path, header, n_bytes))
