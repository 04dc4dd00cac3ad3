"""Labels become numbers and come back; weights and held-out parts are what they should be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.utils.class_weight import compute_sample_weight

from sktransfer.tasks.targets import encode, find_counted, hold_out, weigh

LABELS = st.lists(st.sampled_from(["ant", "bee", "wasp"]), min_size=1, max_size=30)


@given(LABELS)
def test_labels_come_back(labels):
    targets = encode(labels, len(labels))
    assert_array_equal(targets.labels, labels)
    assert_array_equal(targets.table.sum(axis=1), 1)
    assert sorted(set(labels)) == targets.classes.tolist()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20))
def test_indicators_come_back(rows):
    targets = encode(np.array(rows), len(rows))
    assert targets.multilabel
    assert_array_equal(targets.labels, rows)


@given(LABELS, st.integers(0, 2**31 - 1))
def test_class_weights_are_those_of_scikit_learn_in_any_unit(labels, seed):
    given_weight = np.random.default_rng(seed).uniform(0.1, 2, len(labels))
    classes = {label: index + 1 for index, label in enumerate(sorted(set(labels)))}
    targets = weigh(encode(labels, len(labels)), given_weight, classes)
    expected = given_weight * compute_sample_weight(classes, labels)
    expected *= given_weight.sum() / expected.sum()
    np.testing.assert_allclose(targets.weight, expected)
    assert_array_equal(targets.sample_weight, given_weight)
    tenfold = {label: 10 * factor for label, factor in classes.items()}
    again = weigh(encode(labels, len(labels)), given_weight, tenfold)
    np.testing.assert_allclose(again.weight, targets.weight)


def test_balanced_classes_count_the_same_whatever_their_items_weigh():
    targets = weigh(encode(list("aaab"), 4), [1, 2, 3, 5], "balanced")
    totals = targets.weight @ targets.table
    assert totals[0] == pytest.approx(totals[1])


def test_the_prior_is_the_weighted_share_of_each_class():
    targets = weigh(encode(["a"] * 30 + ["b"] * 10, 40), np.repeat([1, 6], [30, 10]), None)
    np.testing.assert_allclose(targets.prior, [30 / 90, 60 / 90], atol=0.01)
    assert targets.prior.sum() == pytest.approx(1)


def test_a_class_without_weight_is_no_class():
    targets = weigh(encode(list("abc"), 3), [1, 0, 1], None)
    counted, left = find_counted(targets)
    assert_array_equal(counted, [0, 2])
    assert_array_equal(left.classes, ["a", "c"])


@given(st.integers(4, 40), st.sampled_from([0.1, 0.25, 0.5]), st.integers(0, 100))
def test_what_is_held_out_is_stratified(n_each, fraction, seed):
    targets = encode(np.repeat(["a", "b"], n_each), 2 * n_each)
    train, held = hold_out(targets, fraction, None, seed)
    assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(2 * n_each))
    counts = targets[held].table.sum(axis=0)
    assert abs(counts[0] - counts[1]) <= 1
    assert len(held) == max(round(fraction * 2 * n_each), 2)


@given(st.integers(0, 100))
def test_groups_stay_whole(seed):
    groups = np.arange(40) // 4
    targets = encode(np.tile(["a", "b"], 20), 40)
    train, held = hold_out(targets, 0.2, groups, seed)
    assert not set(groups[train]) & set(groups[held])
    assert 4 <= len(held) <= 12


@given(st.integers(0, 100))
def test_of_unequal_groups_those_nearest_to_the_asked_share_are_held_out(seed):
    groups = np.repeat(np.arange(6), [30, 4, 4, 4, 4, 4])
    _, held = hold_out(encode(np.tile(["a", "b"], 25), 50), 0.2, groups, seed)
    assert len(held) in (4, 8)


@given(st.integers(0, 100))
def test_a_group_that_holds_all_of_a_class_is_trained_on(seed):
    labels, groups = np.array(["c"] * 4 + ["a", "b"] * 8), np.arange(20) // 4
    train, held = hold_out(encode(labels, 20), 0.4, groups, seed)
    assert set(labels[train]) == {"a", "b", "c"}
    assert set(labels[held]) == {"a", "b"}


@given(st.integers(0, 100))
def test_every_class_is_held_out_where_groups_allow_it(seed):
    labels = np.array(["a"] * 24 + ["b"] * 4)
    groups = np.r_[np.arange(24) // 4, 6, 6, 7, 7]
    train, held = hold_out(encode(labels, 28), 0.2, groups, seed)
    assert set(labels[train]) == set(labels[held]) == {"a", "b"}


def test_a_share_that_leaves_a_class_nothing_to_train_on_is_an_error():
    targets = encode(["a"] * 50 + ["b"] * 2, 52)
    with pytest.raises(ValueError, match=r"validation_fraction must leave .*0\.9 leaves too few"):
        hold_out(targets, 0.9, None, 0)


def test_groups_that_each_hold_all_of_a_class_cannot_be_held_out():
    targets = encode(["a"] * 4 + ["b"] * 4, 8)
    with pytest.raises(ValueError, match="groups must leave every class in the training part"):
        hold_out(targets, 0.5, [0, 0, 0, 0, 1, 1, 1, 1], 0)


def test_class_weights_need_one_label_an_item():
    targets = encode(np.eye(3, 2, dtype=int), 3)
    with pytest.raises(ValueError, match="class_weight must be None where y is multi-label"):
        weigh(targets, None, "balanced")


def test_indicators_must_fit_the_items():
    with pytest.raises(ValueError, match=r"y must be of shape \(5, 2\); got \(3, 2\)"):
        encode(np.eye(3, 2, dtype=int), 5)


def test_few_groups_can_be_held_out():
    y = np.arange(36) % 3
    for n_groups in (2, 3, 5):
        groups = np.arange(36) // 3 % n_groups
        train, held = hold_out(encode(y, 36), 0.1, groups, 0)
        assert len(train)
        assert len(held)
        assert not set(groups[train]) & set(groups[held])
    with pytest.raises(ValueError, match="groups must be at least 2, one of them to hold out"):
        hold_out(encode(y, 36), 0.1, np.zeros(36), 0)


def test_as_many_are_held_out_whatever_the_number_of_labels():
    y = np.random.default_rng(0).integers(0, 2, (40, 60))
    train, held = hold_out(encode(y, 40), 0.1, None, 0)
    assert (len(train), len(held)) == (36, 4)


@pytest.mark.parametrize("fraction", [0.99, 0.999])
def test_a_fraction_that_leaves_nothing_to_train_on_is_named(fraction):
    with pytest.raises(ValueError, match=f"validation_fraction must leave .* {fraction} leaves"):
        hold_out(encode(list("ab" * 26), 52), fraction, None, 0)
