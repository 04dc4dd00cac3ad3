"""The held-out part is stratified, and groups stay together."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sktransfer.training.validation_split import hold_out


@given(st.integers(4, 40), st.sampled_from([0.1, 0.25, 0.5]), st.integers(0, 100))
def test_the_held_out_part_is_stratified(n_each, fraction, seed):
    labels = np.repeat(["a", "b"], n_each)
    train, held = hold_out(2 * n_each, labels, fraction, None, seed)
    assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(2 * n_each))
    counts = Counter(labels[held].tolist())
    assert abs(counts["a"] - counts["b"]) <= 1
    assert len(held) == max(round(fraction * 2 * n_each), 2)


@given(st.integers(0, 100))
def test_items_of_a_group_stay_together(seed):
    groups = np.arange(40) // 4
    train, held = hold_out(40, np.tile(["a", "b"], 20), 0.2, groups, seed)
    assert not set(groups[train]) & set(groups[held])
    assert 4 <= len(held) <= 12


@given(st.integers(0, 100))
def test_the_groups_closest_to_the_fraction_are_held_out(seed):
    groups = np.repeat(np.arange(6), [30, 4, 4, 4, 4, 4])
    _, held = hold_out(50, np.tile(["a", "b"], 25), 0.2, groups, seed)
    assert len(held) in (4, 8)


@given(st.integers(0, 100))
def test_a_group_with_all_items_of_a_class_is_trained_on(seed):
    labels, groups = np.array(["c"] * 4 + ["a", "b"] * 8), np.arange(20) // 4
    train, held = hold_out(20, labels, 0.4, groups, seed)
    assert set(labels[train]) == {"a", "b", "c"}
    assert set(labels[held]) == {"a", "b"}


@given(st.integers(0, 100))
def test_every_class_is_held_out_if_groups_allow_it(seed):
    labels = np.array(["a"] * 24 + ["b"] * 4)
    groups = np.r_[np.arange(24) // 4, 6, 6, 7, 7]
    train, held = hold_out(28, labels, 0.2, groups, seed)
    assert set(labels[train]) == set(labels[held]) == {"a", "b"}


def test_a_fraction_that_leaves_a_class_nothing_to_train_on_is_an_error():
    labels = np.array(["a"] * 50 + ["b"] * 2)
    with pytest.raises(
        ValueError, match=r"validation_fraction must leave .*got 0\.9, which leaves too few"
    ):
        hold_out(52, labels, 0.9, None, 0)


def test_groups_that_each_have_all_items_of_a_class_cannot_be_held_out():
    labels = np.array(["a"] * 4 + ["b"] * 4)
    with pytest.raises(ValueError, match="groups must leave every class in the training part"):
        hold_out(8, labels, 0.5, [0, 0, 0, 0, 1, 1, 1, 1], 0)


def test_few_groups_can_be_held_out():
    y = np.arange(36) % 3
    for n_groups in (2, 3, 5):
        groups = np.arange(36) // 3 % n_groups
        train, held = hold_out(36, y, 0.1, groups, 0)
        assert len(train)
        assert len(held)
        assert not set(groups[train]) & set(groups[held])
    with pytest.raises(
        ValueError, match="groups must have at least 2 groups, because early_stopping holds out one"
    ):
        hold_out(36, y, 0.1, np.zeros(36), 0)


def test_the_held_out_part_without_strata_has_the_size_of_the_fraction():
    train, held = hold_out(40, None, 0.1, None, 0)
    assert (len(train), len(held)) == (36, 4)


@pytest.mark.parametrize("fraction", [0.99, 0.999])
def test_a_fraction_that_leaves_nothing_to_train_on_is_named(fraction):
    with pytest.raises(
        ValueError, match=f"validation_fraction must leave .* {fraction}, which leaves"
    ):
        hold_out(52, np.array(list("ab" * 26)), fraction, None, 0)
