"""Targets keep their values and weights."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sktransfer.tasks import make_targets


def test_targets_without_weights_have_weight_one():
    targets = make_targets(np.eye(3), None)
    assert_array_equal(targets.weight, [1, 1, 1])
    assert_array_equal(targets[np.array([2, 0])].values, np.eye(3)[[2, 0]])


def test_further_targets_have_weight_one():
    targets = make_targets(np.eye(2), [2.0, 3.0]).followed_by(np.eye(2)[:1])
    assert_array_equal(targets.weight, [2, 3, 1])
    assert len(targets) == 3


@pytest.mark.parametrize("weight", [[1, -1], [1, np.nan], [0, 0]])
def test_a_negative_or_missing_weight_is_an_error(weight):
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        make_targets(np.eye(2), weight)


def test_weights_that_are_no_numbers_are_an_error_that_names_them():
    message = "sample_weight must be a number of at least 0 for each item; got 'balanced': .* class"
    with pytest.raises(ValueError, match=message):
        make_targets(np.eye(2), "balanced")


def test_weights_of_another_length_are_an_error_with_both():
    with pytest.raises(ValueError, match="sample_weight must have a number for each of 2 items; g"):
        make_targets(np.eye(2), [1, 2, 3])
