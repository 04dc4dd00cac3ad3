"""Validation, and the complete text of each error message."""

import re

import numpy as np
import pytest

from sktransfer._support.validation import (
    check_choice,
    check_int,
    check_range,
    find_nearest,
    first_ten,
    require,
)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("avgg", "pooling must be one of 'avg', 'max'; got 'avgg'. Did you mean 'avg'?"),
        (3, "pooling must be one of 'avg', 'max'; got 3."),
        (["avg"], "pooling must be one of 'avg', 'max'; got ['avg']. Did you mean 'avg'?"),
    ],
)
def test_a_wrong_choice_is_an_error_that_lists_all_and_suggests_the_nearest(value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_choice("pooling", value, ("avg", "max"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flat", "flatten"),  # "last" is more similar
        ("FLAT", "flatten"),
        ("avg", "avg"),  # of two choices that begin so, the more similar one
        ("avgmx", "avgmax"),
        ("lsat", "last"),
        ("xyz", None),
        ("", None),
    ],
)
def test_the_nearest_choice_begins_with_the_text_or_is_the_most_similar(text, expected):
    assert find_nearest(text, ["avg", "avgmax", "flatten", "last"]) == expected


def test_a_string_of_numpy_is_accepted():
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
def test_a_wrong_integer_is_an_error_that_states_the_minimum(value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_int("batch_size", value, 1, also=("auto",))


@pytest.mark.parametrize("value", [1, 7, "auto"])
def test_a_valid_integer_is_returned(value):
    assert check_int("batch_size", value, 1, also=("auto",)) == value


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", (0, 0.5, np.float32(0.25)), (-0.1, 1, 1.0, 2)),
        ("(0, 1]", (1, 0.5), (0, 0.0, 1.1)),
        ("(0, inf)", (1e9, 1e-9), (0, float("inf"), -1)),
        ("[1, inf)", (1,), (0.5, float("nan"), "1", True, None, 1j)),
    ],
)
def test_numbers_in_the_interval_are_returned_and_others_are_refused(interval, inside, outside):
    for value in inside:
        assert check_range("lr", value, interval) is value
    for value in outside:
        message = f"lr must be a number in {interval}; got {value!r}."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_range("lr", value, interval)


def test_a_value_outside_the_interval_is_accepted_if_it_is_listed():
    assert check_range("lr", "auto", "(0, inf)", also=("auto",)) == "auto"
    message = "lr must be a number in (0, inf), or 'auto'; got 'fast'."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_range("lr", "fast", "(0, inf)", also=("auto",))


def test_first_ten_shows_ten_of_many_lines():
    assert first_ten(["a", "b"]) == "  a\n  b"
    assert first_ten([str(i) for i in range(12)]).endswith("\n  9\n  ... and 2 more")


def test_the_error_for_a_missing_package_names_the_extra():
    message = (
        "no_such_package is not installed; it comes with the extra 'timm': "
        "pip install 'sktransfer[timm]'."
    )
    with pytest.raises(ModuleNotFoundError, match=f"^{re.escape(message)}$"):
        require("no_such_package", "timm")


def test_a_list_in_a_message_has_one_line_for_each_entry():
    assert first_ten(["a\nb", "caf\udce9"]) == "  a\\nb\n  caf\\udce9"
