"""Labels are encoded and decoded, and classes are weighted, as scikit-learn does it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sktransfer.tasks import Classification, MultiLabel, find_classification, make_targets

LABELS = st.lists(st.sampled_from(["ant", "bee", "wasp"]), min_size=1, max_size=30)


def find(y, n_items=None):
    return find_classification(y, len(y) if n_items is None else n_items, "Model")


def encoded(y, sample_weight=None, class_weight=None):
    """Return the task of y, and its targets."""
    task = find(y)
    return task, task.weigh(make_targets(task.encode(y, len(y)), sample_weight), class_weight)


@given(LABELS)
def test_decoded_labels_are_the_labels_that_were_encoded(labels):
    task, targets = encoded(labels)
    assert isinstance(task, Classification)
    assert_array_equal(task.decide(targets.values), labels)
    assert_array_equal(targets.values.sum(axis=1), 1)
    assert sorted(set(labels)) == task.classes.tolist()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20))
def test_decoded_indicators_are_the_indicators_that_were_encoded(rows):
    task, targets = encoded(np.array(rows))
    assert isinstance(task, MultiLabel)
    assert_array_equal(task.decide(targets.values - 0.5), rows)


@given(LABELS, st.integers(0, 2**31 - 1))
def test_class_weights_are_those_of_scikit_learn_and_only_their_ratios_matter(labels, seed):
    given_weight = np.random.default_rng(seed).uniform(0.1, 2, len(labels))
    classes = {label: index + 1 for index, label in enumerate(sorted(set(labels)))}
    _, targets = encoded(labels, given_weight, classes)
    expected = given_weight * compute_sample_weight(classes, labels)
    expected *= given_weight.sum() / expected.sum()
    np.testing.assert_allclose(targets.weight, expected)
    assert_array_equal(targets.sample_weight, given_weight)
    tenfold = {label: 10 * factor for label, factor in classes.items()}
    _, again = encoded(labels, given_weight, tenfold)
    np.testing.assert_allclose(again.weight, targets.weight)


def test_balanced_classes_have_the_same_total_weight():
    _, targets = encoded(list("aaab"), [1, 2, 3, 5], "balanced")
    totals = targets.weight @ targets.values
    assert totals[0] == pytest.approx(totals[1])


def test_the_initial_bias_is_the_logarithm_of_the_class_priors():
    task, targets = encoded(["a"] * 30 + ["b"] * 10, np.repeat([1, 6], [30, 10]))
    priors = np.exp(task.initial_bias(targets))
    np.testing.assert_allclose(priors, [30 / 90, 60 / 90], atol=0.01)
    assert priors.sum() == pytest.approx(1)


def test_a_class_without_weight_is_dropped():
    task, targets = encoded(list("abc"), [1, 0, 1])
    narrowed, left = task.narrow(targets)
    assert_array_equal(narrowed.classes, ["a", "c"])
    assert_array_equal(left.values, [[1, 0], [0, 0], [0, 1]])


def test_one_class_alone_is_an_error():
    task, targets = encoded(list("ab"), [1, 0])
    with pytest.raises(ValueError, match="y must have at least 2 classes; got only one class"):
        task.narrow(targets)


def test_class_weights_of_multi_label_targets_are_an_error():
    with pytest.raises(ValueError, match="class_weight must be None if y is multi-label"):
        encoded(np.eye(3, 2, dtype=int), None, "balanced")


def test_indicators_must_have_a_row_for_each_item():
    with pytest.raises(ValueError, match=r"y must be of shape \(5, 2\); got \(3, 2\)"):
        find(np.eye(3, 2, dtype=int), 5).encode(np.eye(3, 2, dtype=int), 5)


@pytest.mark.parametrize(
    ("y", "other", "message"),
    [
        (list("ab"), np.eye(2, dtype=int), "y_val must have one label for each item, as y has"),
        (np.eye(2, dtype=int), list("ab"), "y_val must have columns of 0 and 1 for each item"),
        (
            list("ab"),
            list("ac"),
            "y_val must contain only labels that the classifier knows; got 'c'",
        ),
    ],
)
def test_validation_labels_of_another_kind_are_an_error(y, other, message):
    with pytest.raises(ValueError, match=message):
        find(y).encode(other, 2, "y_val")


def test_the_loss_is_the_cross_entropy_of_torch():
    task, targets = encoded(list("abca"))
    outputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    target = torch.from_numpy(targets.values).float()
    expected = cross_entropy(outputs, torch.tensor([0, 1, 2, 0]), reduction="none")
    torch.testing.assert_close(task.loss(outputs, target), expected)
    smoothed = cross_entropy(outputs, torch.tensor([0, 1, 2, 0]), label_smoothing=0.1)
    torch.testing.assert_close(task.loss(outputs, task.smooth(target, 0.1)).mean(), smoothed)


def test_the_loss_of_multi_label_targets_is_the_mean_binary_cross_entropy():
    task, targets = encoded(np.array([[0, 1, 1], [1, 0, 0]]))
    outputs = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    target = torch.from_numpy(targets.values).float()
    expected = binary_cross_entropy_with_logits(outputs, target, reduction="none").mean(1)
    torch.testing.assert_close(task.loss(outputs, target), expected)


@pytest.mark.parametrize("classes", ["ab", "abc"])
def test_the_exact_head_gives_the_probabilities_of_scikit_learn(classes):
    rng = np.random.default_rng(0)
    y = list(classes * 10)
    features = rng.normal(size=(len(y), 5))
    task, targets = encoded(y)
    weight, bias = task.exact_head(LogisticRegression(), features, targets)
    expected = LogisticRegression().fit(features, y).predict_proba(features)
    np.testing.assert_allclose(task.probabilities(features @ weight.T + bias), expected, rtol=1e-6)


def test_the_exact_head_of_multi_label_targets_has_a_row_for_a_label_that_no_item_has():
    rng = np.random.default_rng(0)
    y = np.c_[np.arange(20) % 2, np.zeros(20, int), np.ones(20, int)]
    task, targets = encoded(y)
    weight, bias = task.exact_head(LogisticRegression(), rng.normal(size=(20, 4)), targets)
    assert weight.shape == (3, 4)
    assert bias[1] < 0 < bias[2]


def test_the_score_is_the_accuracy():
    task = find(list("ab"))
    assert task.score(np.array(list("abab")), list("abbb")) == 0.75
    labels = find(np.eye(2, dtype=int))
    assert labels.score(np.array([[0, 1], [1, 1]]), [[0, 1], [1, 0]]) == 0.5
