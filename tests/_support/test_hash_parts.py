"""Hashes of parts: each part counts, with its type, length, dtype and shape."""

import numpy as np
import pytest
import torch
from helpers.fresh import run_fresh

from sktransfer._support.hashing import hash_int, hash_parts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("ab",), ("ab", "")),
        ((), ("",)),
        (("a",), (b"a",)),
        (("1", "2"), ("2", "1")),
        ((np.zeros(2),), (np.zeros(2, np.float32),)),
        ((np.zeros((2, 3)),), (np.zeros((3, 2)),)),
        ((np.zeros((0, 2)),), (np.zeros((0, 3)),)),
        ((np.zeros(2),), (np.zeros(2).tobytes(),)),
        ((np.arange(3),), (np.arange(3)[::-1],)),
        ((torch.zeros(2),), (torch.zeros(2, dtype=torch.bfloat16),)),
        ((torch.zeros(2, 3),), (torch.zeros(3, 2),)),
    ],
)
def test_different_parts_have_different_hashes(one, other):
    assert hash_parts("kind", *one) != hash_parts("kind", *other)


@pytest.mark.parametrize("part", ["a", b"a", np.arange(3), torch.arange(3)], ids=type)
def test_equal_parts_of_different_kinds_have_different_hashes(part):
    assert hash_parts("kind", part) == hash_parts("kind", part) != hash_parts("other", part)


def test_the_memory_layout_of_an_array_does_not_count():
    table = np.arange(6).reshape(2, 3)
    strided = torch.arange(6).reshape(3, 2).T
    assert hash_parts("kind", np.asfortranarray(table)) == hash_parts("kind", table)
    assert hash_parts("kind", strided) == hash_parts("kind", strided.contiguous())


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_like_parts_have_the_hash_of_their_bytes(kind):
    assert hash_parts("kind", kind(b"abc")) == hash_parts("kind", b"abc")


@pytest.mark.parametrize(
    "array", [np.zeros(()), np.zeros((0, 3)), torch.tensor(1.0), torch.zeros(0)]
)
def test_scalars_and_empty_arrays_have_a_hash(array):
    assert len(hash_parts("kind", array)) == 16


@pytest.mark.parametrize("part", [np.array([None]), 1, None, ["a"]])
def test_a_part_without_bytes_raises(part):
    with pytest.raises(TypeError):
        hash_parts("kind", part)


def test_hashes_are_the_same_in_every_process():
    code = (
        "from sktransfer._support.hashing import hash_int, hash_parts;"
        "print(hash_parts('kind', 'a', b'b').hex(), hash_int('a'))"
    )
    assert run_fresh(code).split() == [hash_parts("kind", "a", b"b").hex(), str(hash_int("a"))]


def test_an_integer_hash_has_64_bits():
    hashes = [hash_int(str(number)) for number in range(200)]
    assert len(set(hashes)) == 200
    assert max(map(int.bit_length, hashes)) == 64
