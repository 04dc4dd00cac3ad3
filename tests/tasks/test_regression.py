"""Numbers as targets: their checks, their units, their loss and their exact head."""

import re
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import HuberRegressor, PoissonRegressor, Ridge, RidgeCV
from sklearn.metrics import r2_score

from sktransfer.tasks import LOSSES, Regression, find_regression, make_targets


def find(y, loss="squared_error"):
    return find_regression(y, len(y), "FineTuneRegressor", loss)


def encoded(y, weight=None, loss="squared_error"):
    """The task and the targets of y, scaled by all items."""
    task = find(y, loss)
    targets = make_targets(task.encode(y, len(y)), weight)
    return task.scaled(targets, np.arange(len(y)))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.integers(0, 9))
def test_numbers_are_scaled_by_their_weighted_moments(numbers, seed):
    y = np.round(numbers, 3)
    weight = np.random.default_rng(seed).uniform(0.1, 2, len(y))
    task, targets = encoded(y, weight)
    assert_allclose(np.average(targets.values[:, 0], weights=weight), 0, atol=1e-8)
    deviation = np.sqrt(np.average(targets.values[:, 0] ** 2, weights=weight))
    assert_allclose(deviation, 1 if len(set(y)) > 1 else 0, atol=1e-8)
    assert_allclose(task.decide(targets.values), y, atol=1e-8 * max(1, np.abs(y).max()))
    assert_allclose(task.encode(y, len(y)), targets.values, atol=1e-8)


def test_only_training_items_have_a_say_in_the_moments():
    task = find([1.0, 3.0, 1000.0])
    targets = make_targets(task.encode([1.0, 3.0, 1000.0], 3), None)
    task, targets = task.scaled(targets, np.array([0, 1]))
    assert (task.mean, task.scale) == (2.0, 1.0)
    assert_array_equal(targets.values[:, 0], [-1, 1, 998])


def test_equal_numbers_keep_their_units():
    task, targets = encoded([0.1] * 7)
    assert_array_equal(task.scale, [1])
    assert_allclose(targets.values, 0, atol=1e-15)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3)])
def test_predictions_have_the_shape_of_y(shape):
    y = np.arange(np.prod(shape)).reshape(shape)
    task, targets = encoded(y)
    assert task.decide(targets.values).shape == shape
    assert_allclose(task.decode(targets.values), y)
    assert targets.values.shape == (4, task.n_outputs)


@pytest.mark.parametrize(
    "y",
    [[True, False], [1, 2], np.array([1, 2], np.uint8), pd.Series([1.5, 2], dtype="Float64")],
    ids=["bool", "int", "uint8", "pandas"],
)
def test_numbers_of_any_type_are_floats_inside(y):
    assert find(y).encode(y, 2).dtype == np.float64


WRONG = {
    "strings": (["a", "2"], "y must be numbers; 2 values are not:\n  y[0]: 'a'\n  y[1]: '2'\nTo"),
    "some strings": (
        pd.DataFrame({"age": [1, 2], "name": ["x", 3]}),
        "y must be numbers; 1 values are not:\n  y[0, 'name']: 'x'\nTo predict labels, use Fine",
    ),
    "texts of numbers": (
        ["1.5", "2"],
        (
            "y must be numbers; 2 values are not:\n  y[0]: '1.5'\n  y[1]: '2'\n"
            "Convert texts to numbers: pandas.to_numeric(y)."
        ),
    ),
    "dates": (
        pd.to_datetime(pd.Series(["2026-01-02"])),
        (
            "y must be numbers; 1 values are not:\n  y[0]: Timestamp('2026-01-02 00:00:00')\n"
            "Convert dates to numbers, such as days: (y - y.min()) / pandas.Timedelta(days=1)."
        ),
    ),
    "decimals": (
        [Decimal("1.5")],
        (
            "y must be numbers; 1 values are not:\n  y[0]: Decimal('1.5')\n"
            "Convert decimals to floats: numpy.asarray(y, dtype=float)."
        ),
    ),
    "times": (np.array([0, 1], "M8[s]"), "y must be numbers; 2 values are not:\n  y[0]: datetime"),
    "infinite": (
        np.array([[1, 2], [3, np.inf]]),
        "y must be finite numbers; 1 values are not:\n  y[1, 1]: inf",
    ),
    "missing": (
        pd.DataFrame({"age": [1, None]}),
        "y must have a number for each item; 1 of 2 have none:\n  y[1, 'age']: nan\nGive these",
    ),
    "ragged": ([[1], [2, 3]], "y must have as many numbers for each item; got lists of several"),
    "three axes": (
        np.zeros((2, 2, 2)),
        "y must be of shape (2,) or (2, n_outputs); got (2, 2, 2). For points, pass points=True.",
    ),
    "no columns": (np.zeros((2, 0)), "y must be of shape (2,) or (2, n_outputs); got (2, 0)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_a_number_is_listed_with_its_column(name):
    y, message = WRONG[name]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        find(y)


def test_sparse_numbers_are_an_error():
    with pytest.raises(TypeError, match=r"y must be a dense array; got a sparse one.*\.toarray"):
        find_regression(csr_matrix(np.eye(3)), 3, "FineTuneRegressor", "huber")


def test_ten_of_many_wrong_values_are_listed():
    with pytest.raises(ValueError, match=r"y\[9\]: 'a'\n  \.\.\. and 2 more"):
        find(["a"] * 12)


def test_a_row_for_each_item_and_the_columns_of_y_are_needed():
    with pytest.raises(ValueError, match="y must have a row for each of 3 items; got 2"):
        find_regression([1, 2], 3, "FineTuneRegressor", "huber")
    with pytest.raises(ValueError, match="y_val must have 1 numbers for each item, as y has; got"):
        find([1, 2]).encode([[1, 2], [3, 4]], 2, "y_val")
    with pytest.raises(ValueError, match="FineTuneRegressor requires y to be passed, but the"):
        find_regression(None, 3, "FineTuneRegressor", "huber")


@pytest.mark.parametrize("loss", LOSSES)
def test_the_initial_bias_has_the_lowest_loss(loss, rng):
    y, weight = rng.exponential(size=31), rng.uniform(0.1, 2, 31)
    task, targets = encoded(y, weight, loss)
    target = torch.from_numpy(targets.values)

    def mean_loss(constant):
        losses = task.loss(torch.full_like(target, float(constant)), target)
        return np.average(losses.numpy(), weights=weight)

    lowest = minimize_scalar(mean_loss, bounds=(-3, 3), method="bounded").fun
    assert mean_loss(task.initial_bias(targets)[0]) == pytest.approx(lowest, rel=1e-6)


def test_the_losses_differ_for_distant_numbers_only():
    target, near, far = torch.zeros(1, 2), torch.full((1, 2), 0.5), torch.full((1, 2), 3.0)
    losses = {
        loss: [float(find([[1, 2]] * 3, loss).loss(outputs, target)) for outputs in (near, far)]
        for loss in LOSSES
    }
    assert losses == {"squared_error": [0.25, 9], "absolute_error": [0.5, 3], "huber": [0.125, 2.5]}


def test_the_validation_score_is_r2_in_the_units_of_the_training_items(rng):
    y, noise = rng.normal(5, 3, (40, 2)), rng.normal(size=(40, 2))
    task, targets = encoded(y)
    target = torch.from_numpy(targets.values)
    outputs = target + torch.from_numpy(noise)
    score = float(task.correct(outputs, target).mean())
    assert score == pytest.approx(r2_score(y, task.decide(outputs.numpy())))


def test_targets_are_neither_smoothed_nor_weighted_by_class():
    task, targets = encoded([1.0, 2.0, 4.0])
    target = torch.from_numpy(targets.values)
    assert torch.equal(task.smooth(target, 0.5), target)
    assert task.weigh(targets, "balanced") is targets
    assert task.narrow(targets) == (task, targets)


@pytest.mark.parametrize("model", [None, RidgeCV(), HuberRegressor(alpha=1)], ids=str)
@pytest.mark.parametrize("shape", [(30,), (30, 2)])
def test_the_exact_head_predicts_like_the_model(model, shape, rng):
    features = rng.normal(size=(30, 4))
    y = np.reshape(features[:, :2] @ [[1, 0], [3, 2]], (30, 2))
    y = y[:, 0] if len(shape) == 1 else y
    task, targets = encoded(y)
    model = task.exact_model(False) if model is None else model
    weight, bias = task.exact_head(model, features, targets)
    assert weight.shape == (task.n_outputs, 4)
    columns = [model.fit(features, column).predict(features) for column in targets.values.T]
    if isinstance(model, RidgeCV) and task.n_outputs > 1:  # one penalty for both columns
        columns = model.fit(features, targets.values).predict(features).T
    assert_allclose(features @ weight.T + bias, np.transpose(columns), atol=1e-6)


def test_the_default_model_is_a_strong_ridge_regression():
    model = find([1.0, 2.0]).exact_model(False)
    assert (type(model), model.alpha) == (Ridge, 1000)


@pytest.mark.parametrize("model", [PoissonRegressor(), DummyRegressor()])
def test_a_model_that_is_not_linear_is_an_error(model, rng):
    task = find(np.arange(1, 21))
    targets = make_targets(task.encode(np.arange(1, 21), 20), None)
    with pytest.raises(ValueError, match="head_init must be a linear regressor of scikit-learn"):
        task.exact_head(model, rng.normal(size=(20, 3)), targets)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 12))
def test_strata_are_quantiles_of_equal_size(numbers, n_most):
    task = find(numbers)
    targets = make_targets(task.encode(numbers, len(numbers)), None)
    strata = task.strata(targets, n_most)
    if strata is None:
        assert min(n_most, len(numbers) // 2) < 2
        return
    counts = np.unique(strata, return_counts=True)[1]
    assert len(counts) == min(10, n_most, len(numbers) // 2)
    assert counts.min() >= 2
    assert counts.max() - counts.min() <= 1
    parts = [np.asarray(numbers)[strata == stratum] for stratum in range(len(counts))]
    assert all(low.max() <= high.min() for low, high in pairwise(parts))


def test_several_columns_have_no_strata():
    y = np.arange(40).reshape(20, 2)
    assert find(y).strata(make_targets(find(y).encode(y, 20), None), 5) is None


def test_the_score_is_r2_and_the_mean_over_columns(rng):
    y = rng.normal(size=(20, 2))
    predicted, weight = y + rng.normal(size=(20, 2)) * [0.1, 0.5], rng.uniform(size=20)
    task = find(y)
    each = r2_score(y, predicted, sample_weight=weight, multioutput="raw_values")
    assert_allclose(task.score_columns(predicted, y, weight), each)
    assert task.score(predicted, y, weight) == pytest.approx(each.mean())
    with pytest.raises(ValueError, match=r"y must be of shape \(20, 2\); got \(20,\)"):
        task.score(predicted, y[:, 0])


def test_missing_predictions_cannot_be_scored():
    message = r"X must have items that can be decoded.*2 of 3 have none:\n  X\[0\]\n  X\[2\]\n"
    with pytest.raises(ValueError, match=message):
        find([1, 2, 3]).score(np.array([np.nan, 2, np.nan]), [1, 2, 3])


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"criterion": "hinge"}, ValueError, "criterion must be one of 'squared_error'"),
        ({"mean": [0.0]}, TypeError, "mean must be an array of one axis"),
        ({"scale": np.ones((1, 1))}, TypeError, "scale must be an array of one axis"),
        ({"names": ("a", "b")}, ValueError, "names must be as many as outputs, 1; got 2"),
    ],
)
def test_a_wrong_field_of_a_task_is_an_error(fields, error, message):
    right = {"criterion": "huber", "mean": np.zeros(1), "scale": np.ones(1), "is_flat": True}
    with pytest.raises(error, match=message):
        Regression(**right | fields)


class NamedArray(np.ndarray):
    """An array with a name, which is not that of a column."""

    name = "array-1f"


def test_the_columns_of_a_table_are_known_by_their_names():
    table = pd.DataFrame({"age": [1.0, 2, 4], "price": [10.0, 20, 50]})
    task = find_regression(table, 3, "Estimator", "squared_error")
    assert task.names == ("age", "price")
    assert find_regression(table["age"], 3, "Estimator", "huber").names == ("age",)
    assert find_regression(table.to_numpy(), 3, "Estimator", "huber").names == ()
    assert find_regression(table["age"].rename(""), 3, "Estimator", "huber").names == ()
    named = table.to_numpy().view(NamedArray)
    assert find_regression(named, 3, "Estimator", "huber").names == ()
    assert find_regression(named[:, 0], 3, "Estimator", "huber").names == ()
    swapped = table[["price", "age"]]
    np.testing.assert_array_equal(task.encode(swapped, 3), table)
    np.testing.assert_array_equal(task.encode(table.to_numpy(), 3), table)
    assert task.score(table.to_numpy(), swapped) == 1
    with pytest.raises(
        ValueError, match="y_val must have the columns 'age', 'price'; got 'cost', 'age'"
    ):
        task.encode(swapped.rename(columns={"price": "cost"}), 3, "y_val")


@pytest.mark.parametrize("scale", [1e160, 1e-170])
def test_the_size_of_numbers_does_not_matter(scale):
    numbers = np.array([1.0, 2.0, 4.0, 9.0])
    task = find_regression(scale * numbers, 4, "Estimator", "squared_error")
    units, targets = task.scaled(make_targets(task.encode(scale * numbers, 4), None), np.arange(4))
    np.testing.assert_allclose(targets.values.std(), 1)
    np.testing.assert_allclose(units.decide(targets.values), scale * numbers)


def test_only_the_text_among_numbers_is_listed():
    with pytest.raises(
        ValueError, match=r"y must be numbers; 1 values are not:\n  y\[1\]: 'abc'\n"
    ):
        find_regression([1.0, "abc", 2.0], 3, "Estimator", "squared_error")


def test_the_score_of_one_item_is_not_defined():
    task = find_regression([1.0, 2.0], 2, "Estimator", "squared_error")
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(task.score(np.array([1.0]), [1.0]))
