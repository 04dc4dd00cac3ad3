"""Values that are packed and unpacked are equal to the original."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sktransfer import ImagePreset, Views
from sktransfer._support.plain import NotPlainError
from sktransfer.persistence.codec import pack, unpack
from sktransfer.schedules import SGDR


class OddPreset(ImagePreset):
    """A preset that only its author knows."""


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        "text",
        0.1,
        float("inf"),
        [1, [2.5, None]],
        (1, (2,)),
        {"a": {"b": (1,)}},
        {1: "a", (2, 3): "b"},
        {"!": "of ours"},
        Path("a/b"),
        torch.device("cuda:1"),
        torch.bfloat16,
        Views("standard", n=3),
        SGDR(cycle_length=2),
    ],
    ids=repr,
)
def test_a_plain_value_is_unpacked_unchanged(value):
    unpacked = unpack(json.loads(json.dumps(pack(value), allow_nan=False)))
    assert unpacked == value
    assert type(unpacked) is type(value)


def test_a_numpy_number_is_unpacked_as_a_python_number():
    assert type(unpack(pack(np.float64(0.1)))) is float


@pytest.mark.parametrize(
    "array",
    [
        np.array([], int),
        np.array([1.5, np.nan], np.float32),
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.array(["a", None, 2], object),
        np.array(["ä", "b"], ">U3"),
    ],
    ids=repr,
)
def test_an_array_is_unpacked_unchanged(array):
    unpacked = unpack(json.loads(json.dumps(pack(array), allow_nan=False)))
    np.testing.assert_array_equal(unpacked, array)
    assert unpacked.dtype == array.dtype


@pytest.mark.parametrize(
    "value", [object(), len, [print], {"a": {1}}, np.array([1j]), np.array([len]), OddPreset()]
)
def test_a_value_that_is_not_plain_is_refused(value):
    with pytest.raises(NotPlainError):
        pack(value)
