"""Plain values lose NumPy's types; others are refused."""

from collections import namedtuple

import numpy as np
import pytest
import torch

from sktransfer._support.plain import (
    NotPlainError,
    from_bytes,
    keep_plain,
    pack_arrays,
    to_bytes,
    to_plain,
    unpack_arrays,
)


def test_plain_values_lose_the_types_of_numpy():
    tensor = torch.zeros(2)
    plain = to_plain({"a": [np.float64(0.5), (np.int64(1), None)], "t": tensor})
    assert plain == {"a": [0.5, (1, None)], "t": tensor}
    assert type(plain["a"][0]) is float
    assert type(plain["a"][1][0]) is int


@pytest.mark.parametrize(
    "value",
    [np.zeros(2), object(), [len], {"a": {1, 2}}],
    ids=["array", "object", "function", "set"],
)
def test_other_values_are_refused(value):
    with pytest.raises(NotPlainError, match="a value must be plain; got"):
        to_plain(value)


def test_values_that_are_not_plain_are_left_out():
    assert keep_plain({"a": np.int64(1), "b": object(), "c": [np.zeros(1)]}) == {"a": 1}


def test_bytes_give_the_plain_value_again():
    found = from_bytes(to_bytes({"rates": [np.float64(0.5), (1, None)], "t": torch.arange(3)}))
    assert torch.equal(found.pop("t"), torch.arange(3))
    assert found == {"rates": [0.5, (1, None)]}


def test_a_value_that_is_not_plain_has_no_bytes():
    with pytest.raises(NotPlainError, match="got object"):
        to_bytes({"a": object()})


def test_a_named_tuple_becomes_a_tuple():
    assert to_plain(namedtuple("Pair", "a b")(1, np.int64(2))) == (1, 2)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.zeros((0, 4), np.float32),
        np.array(0.5),
        np.array(["ant", "bee"]),
        np.array(["2026-01-01"], "datetime64[D]"),
        np.arange(6).reshape(2, 3).T,
        np.array([1 + 2j]),
    ],
    ids=lambda array: array.dtype.name,
)
def test_packed_arrays_are_plain_and_restored_with_their_dtype_and_shape(array):
    packed = pack_arrays({"a": [(array, 1)]})
    assert to_plain(packed) == packed
    ((restored, one),) = unpack_arrays(packed)["a"]
    assert one == 1
    assert restored.dtype == array.dtype
    assert restored.flags.writeable
    np.testing.assert_array_equal(restored, array, strict=True)


def test_an_array_of_objects_is_not_packed():
    array = np.array([object()])
    assert pack_arrays(array) is array
