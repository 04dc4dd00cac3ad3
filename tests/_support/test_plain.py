"""Plain values lose NumPy's types; others are refused."""

import numpy as np
import pytest
import torch

from sktransfer._support.plain import NotPlainError, keep_plain, to_plain


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
