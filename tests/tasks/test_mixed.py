"""Columns of several kinds are encoded, with NaN for missing labels, and checked."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sktransfer.tasks import Classification, Regression, find_mixed, make_targets

AGES = [20.5, None, 40.5, 30.5]
SEXES = ["f", "m", None, "m"]
TAGS = [{"old"}, set(), ["new", "old"], None]
ROWS = np.arange(4)


def find(y, tasks=None, task_weights=None, loss="squared_error", n=4):
    return find_mixed(y, n, tasks=tasks, task_weights=task_weights, loss=loss)


@pytest.fixture
def y():
    return {"age": AGES, "sex": SEXES, "tags": TAGS}


@pytest.fixture
def fitted(y):
    """The scaled task and its targets."""
    task = find(y)
    return task.scaled(make_targets(task.encode(y, 4), None), ROWS)


def test_the_kind_of_a_column_is_that_of_its_values(y):
    task = find(y | {"flag": [True, False, None, True]})
    kinds = [type(each).__name__ for each in task.tasks]
    assert kinds == ["Regression", "Classification", "LabelSets", "Classification"]
    assert task.n_outputs == 1 + 2 + 2 + 2


@pytest.mark.parametrize("form", [dict, pd.DataFrame])
def test_missing_labels_are_nan_in_all_values_of_their_column(y, form):
    found = find(form(y)).encode(form(y), 4)
    nan = np.nan
    expected = [
        [20.5, 1, 0, 0, 1],
        [nan, 0, 1, 0, 0],
        [40.5, nan, nan, 1, 1],
        [30.5, 0, 1, nan, nan],
    ]
    assert np.array_equal(found, expected, equal_nan=True)


def test_labels_of_pandas_may_be_missing_as_na():
    y = pd.DataFrame(
        {
            "n": pd.array([1.5, None, 2.5], "Float64"),
            "c": pd.array(["a", "b", None], "string"),
            "k": pd.Categorical(["x", None, "y"]),
        }
    )
    found = find(y, n=3).encode(y, 3)
    assert np.isnan(found).sum() == 1 + 2 + 2


def test_decoded_targets_are_the_labels_again(y):
    task = find(y)
    found = task.decode(task.encode(y, 4))
    assert found[:, 0].tolist() == AGES
    assert found[:, 1].tolist() == SEXES
    assert found[:, 2].tolist() == [("old",), (), ("new", "old"), None]


def test_a_column_may_be_a_tensor_of_torch():
    task = find({"age": torch.tensor([20.5, np.nan, 40.5, 30.5]), "red": torch.tensor([True] * 4)})
    assert isinstance(task.tasks[0], Regression)
    assert task.tasks[1].classes.tolist() == [True]


def test_numbers_are_scaled_by_the_labelled_training_items(y):
    task = find(y)
    scaled, targets = task.scaled(make_targets(task.encode(y, 4), None), np.array([0, 1, 2]))
    assert scaled.tasks[0].mean == [30.5]
    assert scaled.tasks[0].scale == [10]
    assert np.array_equal(targets.values[:, 0], [-1, np.nan, 1, 0], equal_nan=True)


def test_the_loss_of_the_best_constants_is_one(fitted):
    task, targets = fitted
    bias = torch.from_numpy(task.initial_bias(targets))
    target = torch.from_numpy(targets.values)
    outputs = bias.expand(4, -1)
    parts = task._each_known("loss", outputs, target)
    for (loss, known), level in zip(parts, task.levels, strict=True):
        assert loss.sum() / known.sum() == pytest.approx(level)


def test_a_missing_label_has_no_loss_and_no_gradient(fitted):
    task, targets = fitted
    outputs = torch.zeros(4, task.n_outputs, dtype=torch.float64, requires_grad=True)
    task.loss(outputs, torch.from_numpy(targets.values)).sum().backward()
    assert torch.isfinite(outputs.grad).all()
    missing = torch.from_numpy(np.isnan(targets.values))
    assert (outputs.grad[missing] == 0).all()
    assert (outputs.grad[~missing] != 0).any()


def test_a_weight_of_zero_takes_a_column_out_of_the_loss(y):
    task = find(y, task_weights={"age": 0.0, "tags": 0})
    task, targets = task.scaled(make_targets(task.encode(y, 4), None), ROWS)
    outputs = torch.zeros(4, task.n_outputs, dtype=torch.float64, requires_grad=True)
    task.loss(outputs, torch.from_numpy(targets.values)).sum().backward()
    assert outputs.grad.abs().sum(0).gt(0).tolist() == [False, True, True, False, False]


def test_the_exact_head_of_a_column_is_that_of_its_labelled_items(y, rng):
    features = rng.normal(size=(4, 3))
    task = find(y)
    task, targets = task.scaled(make_targets(task.encode(y, 4), None), ROWS)
    weight, bias = task.exact_head(task.exact_model(False), features, targets)
    rows = np.array([0, 2, 3])
    alone = task.tasks[0]
    part = make_targets(targets.values[rows, :1], None)
    own_weight, own_bias = alone.exact_head(alone.exact_model(False), features[rows], part)
    np.testing.assert_allclose(weight[:1], own_weight)
    np.testing.assert_allclose(bias[:1], own_bias)


def test_classes_of_items_without_weight_are_removed(y):
    task = find(y)
    weights = [1.0, 0.0, 1.0, 0.0]
    y["sex"] = ["f", "m", "d", "m"]
    task = find(y)
    narrowed, targets = task.narrow(make_targets(task.encode(y, 4), weights))
    assert narrowed.tasks[1].classes.tolist() == ["d", "f"]
    assert targets.values.shape == (4, narrowed.n_outputs)


def test_scores_count_the_labelled_items_only(y):
    task = find(y)
    predicted = np.empty((4, 3), dtype=object)
    predicted[:, 0] = [20.5, 0.0, 40.5, 30.5]
    predicted[:, 1] = ["f", "f", "f", "m"]
    predicted[:, 2] = [("old",), ("new",), ("old", "new"), ()]
    assert task.score_columns(predicted, y).tolist() == [1.0, pytest.approx(2 / 3), 2 / 3]
    assert task.score(predicted, y) == pytest.approx(7 / 9)


def test_strata_have_a_stratum_for_missing_labels():
    y = {"c": ["a", "b", None] * 4, "n": [1.0, 2.0] * 6}
    task = find(y, n=12)
    strata = task.strata(make_targets(task.encode(y, 12), None), 3)
    assert np.bincount(strata).tolist() == [4, 4, 4]


def test_whole_floats_can_be_classes():
    task = find_mixed(
        {"k": [1.0, 2.0, np.nan], "n": [0.5] * 3},
        3,
        tasks={"k": "class"},
        task_weights=None,
        loss="squared_error",
    )
    assert isinstance(task.tasks[0], Classification)
    assert task.tasks[0].classes.tolist() == [1, 2]
    numbers = find({"k": [1.0, 2.0, np.nan], "n": [0.5] * 3}, tasks={"k": "number"}, n=3)
    assert isinstance(numbers.tasks[0], Regression)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y must be a DataFrame or a dict with a column for each task; got None"),
        ([1, 2, 3, 4], "y must be a DataFrame or a dict .* got list"),
        ({}, "y must have a column for each task; it has none"),
        ({"a": [1.5]}, "column 'a' of y must have a row for each of 4 items; got 1"),
        ({"a": [1.5, None, None, 2.5]}, r"(?s)at least one column; 2 of 4 .*\n  y\[1\]\n  y\[2\]"),
        ({"a": [1, 2, 1, 2]}, "tasks must state the kind of column 'a', because its integers"),
        (
            {"a": [1.0, 2.0, None, 1.0], "b": AGES},
            "column 'a', because its whole numbers, floats beside missing labels, may be",
        ),
        (
            {"a": [1.5, "x", 2.5, "y"]},
            r"column 'a' of y must have values of one kind; got\n.*y\[1\]: 'x'\n.*y\[0\]: 1.5",
        ),
        ({"a": np.ones((4, 3))}, r"column 'a' of y must have one value for each .* \(4, 3\)"),
        ({"a": torch.ones(4, 3, 8, 8)}, r"column 'a' of y must have one value .* \(4, 3, 8, 8\)"),
        (
            {"a": [Image.new("L", (5, 4))] * 4},
            (
                r"column 'a' of y must have a number, a text, or .*; 4 of 4 items have something "
                r"else:\n  column 'a' of y\[0\]: image of 5 x 4\n"
            ),
        ),
        ({"a": [np.ones((8, 8, 3)), None, 1.5, 2.5]}, r"\[0\]: ndarray of shape \(8, 8, 3\)\nConv"),
        ({"a": pd.date_range("2026", periods=4)}, r"'a' of y\[0\]: Timestamp.*(?s:.)*Convert them"),
        ({"a": [{"x": 1}] * 4}, r"'a' of y\[3\]: \{'x': 1\}\nConvert them to numbers or to texts"),
        ({"a": [1 + 2j] * 4}, r"'a' of y\[0\]: \(1\+2j\)\n"),
        ({"a": 5}, "column 'a' of y must have one value for each of 4 items; got 5"),
        ({1: AGES, "1": SEXES}, r"(?s)y must have columns of different names; .*'1'"),
        (
            pd.DataFrame([[1.5, 2.5]] * 4, columns=["a", "a"]),
            r"(?s)y must have columns of different names; .*'a'",
        ),
        (
            {"a": [(0.5, 1.5), None, (), ()], "b": SEXES},
            r"column 'a' of y must have texts or integers as labels; 1 .*\n.*\[0\]: \(0.5, 1.5\)",
        ),
        ({"a": [("x", None)] * 4}, r"must have texts or integers as labels; 4 items have others"),
        ({"a": [("x", 1)] * 4}, "must have labels of one kind; got texts and integers"),
        ({"a": [None, 1.5, np.inf, 2.5], "b": SEXES}, r"(?s)'a' of y must be finite .*\[2\]: inf"),
        ({"a": AGES, "b": [None] * 4}, "(at least one column|column 'b' of y must have labels)"),
        ({"a": [1.5, np.inf, 2.5, 3.5]}, r"column 'a' of y must be finite .*\n.*\[1\]: inf"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(y, message):
    with pytest.raises((TypeError, ValueError), match=message):
        find(y).encode(y, 4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tasks": {"aeg": "number"}}, "tasks must have columns of y as keys; got 'aeg', .*'age'"),
        ({"tasks": {"age": "int"}}, r"tasks\['age'\] must be one of 'number', 'class', 'labels'"),
        (
            {"tasks": {"age": "class"}},
            r"tasks\['age'\] must be 'number' for a column with numbers .* 20.5; got 'class'",
        ),
        (
            {"tasks": {"sex": "number"}},
            r"tasks\['sex'\] must be 'class' for a column with texts, such as 'f'; got 'number'",
        ),
        ({"tasks": "number"}, "tasks must be a dict by the columns of y, or None; got 'number'"),
        ({"tasks": {"sex": "labels"}}, r"(?s)'sex' of y must have a list or a set .*\[0\]: 'f'"),
        ({"task_weights": {"age": -1}}, r"task_weights\['age'\] must be a number in \[0, inf\)"),
        (
            {"task_weights": dict.fromkeys(("age", "sex", "tags"), 0)},
            "task_weights must have a weight above 0",
        ),
    ],
)
def test_parameters_that_do_not_suit_the_table_are_refused(y, parameters, message):
    with pytest.raises((TypeError, ValueError), match=message):
        find(y, **parameters)


def test_another_table_must_have_the_same_columns(y):
    task = find(y)
    with pytest.raises(ValueError, match="y_val must have the columns 'age', 'sex', 'tags'; got"):
        task.encode({"age": AGES}, 4, "y_val")


def test_unknown_labels_are_named_with_their_column(y):
    task = find(y)
    y["tags"] = [{"older"}, set(), set(), set()]
    message = "column 'tags' of y_val must contain only labels that the classifier knows; got 'old"
    with pytest.raises(ValueError, match=re.escape(message)):
        task.encode(y, 4, "y_val")


def test_a_column_with_a_single_labelled_item_is_refused():
    y = {"a": [1.5, None, None], "c": ["x", "y", "x"]}
    task = find(y, n=3)
    message = "column 'a' of y must have at least 2 labelled items .* got 1"
    with pytest.raises(ValueError, match=message):
        task.narrow(make_targets(task.encode(y, 3), None))


def test_what_cannot_be_scored_is_named_with_its_column_and_row(y):
    task = find(y)
    predicted = np.array([[20.5, "f", ("old",)]] * 4, dtype=object)
    with pytest.raises(ValueError, match=r"(?s)column 'age' of y must be numbers.*\[2\]: 'x'"):
        task.score_columns(predicted, y | {"age": [1.5, None, "x", 2.5]})
    with pytest.raises(ValueError, match=r"(?s)column 'tags' of y must have a list.*\[3\]: 'ab'"):
        task.score_columns(predicted, y | {"tags": [{"old"}, None, (), "ab"]})
    predicted[2] = None  # an item that cannot be decoded
    with pytest.raises(ValueError, match=r"(?s)X must have items that can be decoded.*X\[2\]\n"):
        task.score_columns(predicted, y)
    assert task.score_columns(predicted, y | {"age": [20.5, None, None, 20.5]})[2] == 1 / 3


def test_weights_of_a_score_must_fit_the_items(y):
    task = find(y)
    predicted = np.array([[20.5, "f", ("old",)]] * 4, dtype=object)
    for weight in ([1, 2, 3], [1, 2, 3, np.nan], [0] * 4, [-1, 1, 1, 1]):
        with pytest.raises(ValueError, match=r"(?i)sample.weight"):
            task.score_columns(predicted, y, weight)
    assert task.score_columns(predicted, y, [0, 1, 0, 1])[1] == 0


def test_predictions_are_a_table_for_scores(y):
    task = find(y)
    labels = task.decode(task.encode(y, 4))
    assert task.score_columns(labels, labels).tolist() == task.score_columns(labels, y).tolist()
