"""Values that are packed and unpacked are equal to the original."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktransfer import ImagePreset, Views
from sktransfer._support.plain import NotPlainError
from sktransfer.persistence.codec import FORMS, pack, unpack
from sktransfer.persistence.file_format import UNEXPECTED
from sktransfer.schedules import SGDR


def nested(depth):
    return [nested(depth - 1)] if depth else []


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
        {1: "a", None: "b", "c": 2},
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
        np.arange(6, dtype=np.uint8),
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
    "value",
    [
        object(),
        len,
        [print],
        {"a": {1}},
        {(2, 3): "b"},
        np.array([1j]),
        np.array([len]),
        np.array([(1, 2), None], object),
        np.zeros((2, 3)),
        np.array(["2026-01-01"], "M8[D]"),
        OddPreset(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_not_plain_is_refused(value):
    with pytest.raises(NotPlainError):
        pack(value)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        ({"!": "array", "of": ["<U9999999", ["a"]]}, "arrays must have at most 33554432 bytes"),
        ([{"!": "array", "of": ["<U99999", ["a"] * 9]}] * 10, "arrays must have at most 33554432"),
        ({"!": "array", "of": ["O,O", ["a"]]}, "the dtype of an array must match"),
        ({"!": "array", "of": ["|O", [[1]]]}, "an array must contain a list of numbers"),
        ({"!": "dict", "of": [[{"!": "tuple", "of": [1]}, 2]]}, "keys of a dict must be numbers"),
        ({"!": "tuple", "of": "abc"}, "parts of an object must be a list; got str"),
        ({"!": "float", "of": "7"}, "7"),
        ({"!": "os.system", "of": "true"}, r"os\.system"),
        ({"!": "tuple", "of": [], "more": 1}, "an object must have the keys '!' and 'of'"),
        ({"!": "device", "of": "meta"}, r"a device must match auto\|\(cpu\|cuda\|mps\)"),
        ({"!": "ImagePreset", "of": {"size": 10**9}}, "short_side of a ImagePreset must be an in"),
        ({"!": "ImageSizes", "of": {"multiple": 0}}, "multiple of a ImageSizes must be an integer"),
        ({"!": "Tap", "of": {"cut": 1, "reduce": "sum"}}, "pooling must be one of 'avg'"),
        ({"!": "MultiLabel", "of": {"n_outputs": -1}}, "n_outputs of a MultiLabel must be an int"),
        (
            {"!": "MLPHead", "of": {"hidden_sizes": [1] * 101, "dropout": 0.5}},
            "hidden_sizes of a MLPHead must have at most 100 entries; got 101",
        ),
        (2**64, "integers must have at most 64 bits"),
        (
            [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],
            "nested",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_values_that_pack_never_returns_are_refused(packed, message):
    with pytest.raises((ValueError, TypeError, LookupError), match=message):
        unpack(packed)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float16", "float32"), ("float32", "float64"), ("float64", "float32")]
)
def test_types_with_which_no_fit_computes_are_refused(precision, dtype):
    types = {"precision": {"!": "dtype", "of": precision}, "dtype": {"!": "dtype", "of": dtype}}
    packed = {"!": "Numerics", "of": {"device": {"!": "device", "of": "cpu"}, **types}}
    with pytest.raises((ValueError, LookupError), match=r"the types of a Numerics|float16"):
        unpack(packed)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers(0, 9) | st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(plain)
def test_any_plain_value_is_unpacked_unchanged(value):
    unpacked = unpack(json.loads(json.dumps(pack(value), allow_nan=False)))
    assert repr(unpacked) == repr(value)


tags = st.sampled_from([*FORMS, "os.system"])
packed = st.recursive(
    plain.map(pack) | st.just("<U3"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.just("size"), inner, max_size=3)
        | st.fixed_dictionaries({"!": tags, "of": inner})
    ),
    max_leaves=10,
)


@given(packed)
def test_any_json_is_unpacked_or_refused(value):
    with suppress(*UNEXPECTED):
        unpack(value)
