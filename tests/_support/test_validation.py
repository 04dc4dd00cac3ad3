"""Each sentence about a wrong argument, whole."""

import re

import numpy as np
import pytest

from sktransfer._support.validation import check_choice, check_int, first_ten, require


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("avgg", "pooling must be one of 'avg', 'max'; got 'avgg'. Did you mean 'avg'?"),
        (3, "pooling must be one of 'avg', 'max'; got 3."),
        (["avg"], "pooling must be one of 'avg', 'max'; got ['avg']. Did you mean 'avg'?"),
    ],
)
def test_a_wrong_choice_is_answered_with_all_and_the_nearest(value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_choice("pooling", value, ("avg", "max"))


def test_a_string_of_numpy_is_a_string():
    assert check_choice("pooling", np.array(["avg"])[0], ("avg", "max")) == "avg"


def test_true_is_not_the_number_one():
    with pytest.raises(ValueError, match=r"must be one of 1, 2; got True"):
        check_choice("n", True, (1, 2))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "batch_size must be an integer of at least 1, or 'auto'; got 0."),
        (2.0, "batch_size must be an integer of at least 1, or 'auto'; got 2.0."),
        (True, "batch_size must be an integer of at least 1, or 'auto'; got True."),
        ("all", "batch_size must be an integer of at least 1, or 'auto'; got 'all'."),
    ],
)
def test_a_wrong_integer_is_told_its_range(value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_int("batch_size", value, 1, also=("auto",))


@pytest.mark.parametrize("value", [1, 7, "auto"])
def test_a_right_integer_comes_back(value):
    assert check_int("batch_size", value, 1, also=("auto",)) == value


def test_of_many_lines_ten_are_shown():
    assert first_ten(["a", "b"]) == "  a\n  b"
    assert first_ten([str(i) for i in range(12)]).endswith("\n  9\n  ... and 2 more")


def test_a_missing_package_is_answered_with_its_extra():
    message = (
        "no_such_package is not installed; it comes with the extra 'timm': "
        "pip install 'sktransfer[timm]'."
    )
    with pytest.raises(ModuleNotFoundError, match=f"^{re.escape(message)}$"):
        require("no_such_package", "timm")
