"""Plain values come back as they were."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sktransfer import (
    ImagePreset,
    Views,
)
from sktransfer.persistence.codec import NotPlainError, pack, unpack
from sktransfer.schedules import SGDR


class OddPreset(ImagePreset):
    """A preset that only its author knows."""


# Plain values


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
def test_a_plain_value_comes_back_as_it_was(value):
    again = unpack(json.loads(json.dumps(pack(value), allow_nan=False)))
    assert again == value
    assert type(again) is type(value)


def test_a_number_of_numpy_comes_back_as_a_number():
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
def test_an_array_comes_back(array):
    again = unpack(json.loads(json.dumps(pack(array), allow_nan=False)))
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype


@pytest.mark.parametrize(
    "value", [object(), len, [print], {"a": {1}}, np.array([1j]), np.array([len]), OddPreset()]
)
def test_a_value_that_is_not_plain_is_refused(value):
    with pytest.raises(NotPlainError):
        pack(value)
