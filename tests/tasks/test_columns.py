"""Several columns of labels: each with its own classes, all in one task."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from sktransfer.tasks import Classification, Columns, MultiLabel, find_classification, make_targets

ANIMALS = np.array([["ant", "red"], ["bee", "red"], ["ant", "blue"], ["wasp", "red"]] * 5)


def find(y):
    return find_classification(y, len(y), "FineTuneClassifier")


def encoded(y, weight=None):
    task = find(y)
    return task.narrow(make_targets(task.encode(y, len(y)), weight))


@pytest.fixture
def outputs():
    return torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        ([[0, 1], [1, 1]], MultiLabel),
        (np.eye(2, dtype=bool), MultiLabel),
        ([[0.0, 1.0], [1.0, 0.0]], MultiLabel),
        (pd.DataFrame({"a": [True, False], "b": [0, 1]}), MultiLabel),
        ([[1, 2], [2, 1]], Columns),
        ([[0, 1], [1, 2]], Columns),
        ([["a", "x"], ["b", "y"]], Columns),
        ([["a", 0], ["b", 1]], Columns),
        (np.array([["0", "1"], ["1", "0"]]), Columns),
        (pd.DataFrame({"a": ["x", "y"], "b": [0, 1]}), Columns),
        ([["a"], ["b"]], Classification),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_columns_of_only_0_and_1_are_indicators_and_others_are_columns_of_labels(y, kind):
    assert type(find(y)) is kind


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(-1, 3), st.sampled_from(["x", "y"])),
        min_size=12,
        max_size=30,
    )
)
@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_decoded_columns_are_the_columns_that_were_encoded(rows):
    task = find(rows)
    values = task.encode(rows, len(rows))
    assert values.shape == (len(rows), task.n_outputs)
    assert_array_equal(values.sum(axis=1), 3)
    assert task.decode(values).tolist() == [list(row) for row in rows]
    assert [classes.tolist() for classes in task.classes] == [
        sorted(set(column)) for column in zip(*rows, strict=True)
    ]


def test_columns_of_one_kind_keep_it_and_mixed_ones_are_objects():
    assert find(ANIMALS).decide(np.zeros((2, 5))).dtype.kind == "U"
    assert find([[1, 2], [2, 3]] * 5).decide(np.zeros((2, 4))).dtype.kind == "i"
    mixed = find(pd.DataFrame({"kind": ["a", "b"] * 5, "number": [3, 5] * 5}))
    assert mixed.decide(np.zeros((1, 4))).tolist() == [["a", 3]]


def test_the_loss_is_the_mean_over_the_columns(outputs):
    task, targets = encoded(ANIMALS)
    target = torch.from_numpy(targets.values)
    one, other = task.tasks
    parts = [
        one.loss(outputs[:, :3], one.smooth(target[:, :3], 0.1)),
        other.loss(outputs[:, 3:], other.smooth(target[:, 3:], 0.1)),
    ]
    torch.testing.assert_close(task.loss(outputs, task.smooth(target, 0.1)), sum(parts) / 2)


def test_an_item_is_correct_if_all_its_columns_are(outputs):
    task, targets = encoded(ANIMALS)
    right = task.correct(outputs, torch.from_numpy(targets.values)).numpy()
    predicted = task.decide(outputs.numpy())
    assert_array_equal(right, (predicted == ANIMALS).all(axis=1))
    assert task.score(predicted, ANIMALS) == pytest.approx(right.mean())
    weight = np.arange(20)
    assert_allclose(
        task.score_columns(predicted, ANIMALS, weight),
        np.average(predicted == ANIMALS, axis=0, weights=weight),
    )


def test_probabilities_and_scores_are_lists_as_forests_give_them(outputs):
    task = find(ANIMALS)
    probabilities = task.probabilities(outputs.numpy())
    assert [each.shape for each in probabilities] == [(20, 3), (20, 2)]
    assert all(np.allclose(each.sum(axis=1), 1) for each in probabilities)
    assert [each.shape for each in task.decision(outputs.numpy())] == [(20, 3), (20,)]
    side_by_side = np.concatenate(probabilities, axis=1)
    assert_array_equal(task.decide_probabilities(side_by_side), task.decide(outputs.numpy()))


def test_the_exact_head_is_that_of_each_column(rng):
    features = rng.normal(size=(20, 4))
    task, targets = encoded(ANIMALS)
    weight, bias = task.exact_head(task.exact_model(False), features, targets)
    found = task.probabilities(features @ weight.T + bias)
    for column, probabilities in zip(ANIMALS.T, found, strict=True):
        expected = LogisticRegression(C=0.01, tol=1e-6).fit(features, column)
        assert_allclose(probabilities, expected.predict_proba(features), atol=1e-5)
    assert_allclose(task.initial_bias(targets)[3:], np.log([5.5 / 21, 15.5 / 21]))


@pytest.mark.parametrize("n_present", [2, 3])
def test_a_class_without_training_items_gets_its_prior(rng, n_present):
    y = np.arange(40) % 4
    task = find_classification(y, 40, "FineTuneClassifier")
    targets = make_targets(task.encode(y, 40), None)[np.flatnonzero(y < n_present)]
    features = rng.normal(size=(len(targets), 3))
    weight, bias = task.exact_head(task.exact_model(False), features, targets)
    assert_array_equal(weight[n_present:], 0)
    probabilities = task.probabilities(features @ weight.T + bias)
    assert probabilities[:, n_present:].max() < 0.05
    alone = LogisticRegression(C=0.01, tol=1e-6).fit(features, y[y < n_present])
    shares = probabilities[:, :n_present] / probabilities[:, :n_present].sum(1, keepdims=True)
    assert_allclose(shares, alone.predict_proba(features), atol=1e-5)


def test_classes_without_weight_are_dropped_from_their_column():
    weight = np.where(ANIMALS[:, 0] == "wasp", 0, 1)
    task, targets = encoded(ANIMALS, weight)
    assert [classes.tolist() for classes in task.classes] == [["ant", "bee"], ["blue", "red"]]
    assert targets.values.shape == (20, 4)


@pytest.mark.parametrize(
    ("n_most", "n_strata"), [(10, 4), (4, 4), (3, 3), (2, 2), (1, None)], ids=str
)
def test_strata_are_combinations_if_there_are_few_or_else_the_labels_of_a_column(n_most, n_strata):
    task, targets = encoded(ANIMALS)
    strata = task.strata(targets, n_most)
    assert (None if strata is None else len(np.unique(strata))) == n_strata


def test_rare_combinations_are_no_strata():
    task, targets = encoded(np.concatenate([ANIMALS, [["bee", "blue"]]]))
    assert len(np.unique(task.strata(targets, 10))) == 3


WRONG = {
    "one class": (
        pd.DataFrame({"kind": ["a", "b"] * 3, "sex": ["f"] * 6}),
        "column 'sex' of y must have at least 2 classes; got only one class: 'f'",
    ),
    "missing": (
        pd.DataFrame({"kind": ["a", "b"], "size": [1, None]}),
        "y must have a label for each item; 1 of 2 have none:\n  y[1, 'size']: nan\n",
    ),
    "numbers": (
        np.array([[1, 0.5], [2, 1.5], [3, 2.0]]),
        "2 values of column 1 of y are no labels:\n  column 1 of y[0]: 0.5\n",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_errors_name_the_column(name):
    y, message = WRONG[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        encoded(y)


def test_labels_of_three_axes_are_an_error():
    with pytest.raises(
        ValueError,
        match=r"\(2,\) or \(2, n_columns\); got \(2, 2, 2\)\. For masks, use Fine",
    ):
        find(np.zeros((2, 2, 2), int))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ([["ant", "red", "x"]], r"y_val must be of shape \(1, 2\), as y has; got \(1, 3\)"),
        (["ant"], r"y_val must be of shape \(1, 2\), as y has; got \(1,\)"),
        ([["ant", "rde"]], "column 1 of y_val must contain only labels .*got 'rde'.*mean 'red'"),
    ],
)
def test_validation_labels_of_another_kind_are_an_error(other, message):
    with pytest.raises(ValueError, match=message):
        find(ANIMALS).encode(other, 1, "y_val")


def test_scored_labels_must_fit_the_predictions():
    task = find(ANIMALS)
    with pytest.raises(ValueError, match=r"y must have a row for each of 3 items; got 20"):
        task.score(ANIMALS[:3], ANIMALS)
    with pytest.raises(ValueError, match=r"column 1 of y must contain only labels .*got 'x'"):
        task.score(ANIMALS[:2], [["ant", "x"], ["bee", "x"]])
    with pytest.warns(UserWarning, match="column 1 of y contains labels that the classifier does"):
        assert task.score(ANIMALS[:2], [["ant", "red"], ["bee", "x"]]) == 0.5


def test_class_weights_of_several_columns_are_an_error():
    task, targets = encoded(ANIMALS)
    assert task.weigh(targets, None) is targets
    with pytest.raises(ValueError, match="class_weight must be None if y has several columns"):
        task.weigh(targets, "balanced")


def test_a_name_is_needed_for_each_task():
    with pytest.raises(ValueError, match="names must be as many as tasks, 2; got 1"):
        Columns(find(ANIMALS).tasks, ("a",))


def test_lists_with_a_name_in_two_columns_are_a_warning_that_names_the_binarizer():
    lists = [["cat", "dog"], ["dog", "fish"]]
    with pytest.warns(UserWarning, match=r"y has 'dog' in several columns.*MultiLabelBinarizer"):
        task = find(lists)
    assert isinstance(task, Columns)
    find(np.array(lists))  # an array has columns, without a warning


def test_columns_are_found_by_name():
    y = pd.DataFrame({"u": ["a", "b", "c"], "v": ["x", "y", "x"]})
    task = find_classification(y, 3, "Estimator")
    predicted = task.decode(task.encode(y, 3))
    assert task.score(predicted, y[["v", "u"]]) == 1
    assert np.array_equal(task.encode(y[["v", "u"]], 3), task.encode(y, 3))
    with pytest.raises(ValueError, match="y must have the columns 'u', 'v'; got 'u', 'w'"):
        task.score(predicted, y.rename(columns={"v": "w"}))
    with pytest.raises(ValueError, match=r"(?s)y must have columns of different names; .*'u'"):
        find_classification(y.rename(columns={"v": "u"}), 3, "Estimator")


def test_weights_of_a_score_must_fit_the_items():
    y = np.array([["a", "x"], ["b", "y"], ["c", "x"]])
    task = find_classification(y, 3, "Estimator")
    for weight in ([1, 2], [1, 2, np.nan]):
        with pytest.raises(ValueError, match=r"(?i)sample.weight"):
            task.score(y, y, weight)
        with pytest.raises(ValueError, match=r"(?i)sample.weight"):
            task.score_columns(y, y, weight)


def test_the_columns_of_indicators_are_known_by_their_names():
    table = pd.DataFrame({"red": [0, 1, 1], "round": [1, 1, 0]})
    task = find_classification(table, 3, "Estimator")
    assert task.names == ("red", "round")
    assert find_classification(table.to_numpy(), 3, "Estimator").names == ()
    swapped = table[["round", "red"]]
    np.testing.assert_array_equal(task.encode(swapped, 3), table)
    assert task.score(table.to_numpy(), swapped) == 1
    with pytest.raises(ValueError, match="y must have the columns 'red', 'round'; got 'a', 'red'"):
        task.score(table.to_numpy(), swapped.rename(columns={"round": "a"}))
    with pytest.raises(ValueError, match="names must be as many as labels, 3; got 1"):
        MultiLabel(3, names=("a",))
