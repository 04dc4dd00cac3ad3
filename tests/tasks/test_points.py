"""Points: their checks, their places in rows, and the points that are not visible."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from sktransfer._support.geometry import Place, mirrored, scaled, shifted
from sktransfer.tasks import Placing, Points, find_points, make_targets

NAN = np.nan


def task_of(n_points=2, pairs=((0, 1),), is_flat=False, loss="squared_error"):
    return Points(loss, np.zeros(2 * n_points), np.ones(2 * n_points), is_flat, pairs)


def test_points_are_a_task_with_places():
    assert isinstance(task_of(), Placing)


def test_points_and_tables_are_encoded_alike():
    points = np.arange(8.0).reshape(2, 2, 2)
    for y in (points, points.tolist(), points.reshape(2, 4)):
        task = find_points(y, 2, "Estimator", "huber", None)
        assert task.is_flat == (np.ndim(y) == 2)
        assert not task.flips
        np.testing.assert_array_equal(task.encode(y, 2), points)


def test_a_point_with_one_missing_number_is_not_visible():
    encoded = task_of().encode([[[1, NAN], [3, 4]]], 1)
    np.testing.assert_array_equal(encoded, [[[NAN, NAN], [3, 4]]])


def test_the_points_that_were_passed_are_not_changed():
    points = np.array([[[1, NAN], [3, 4]], [[5, 6], [7, 8]]])
    before = points.copy()
    find_points(points, 2, "Estimator", "huber", None)
    np.testing.assert_array_equal(points, before)
    points.flags.writeable = False  # as the columns of a DataFrame are
    find_points(points, 2, "Estimator", "huber", None)


def test_a_point_follows_the_map_of_its_place():
    place = Place(shifted(1, 2) @ scaled(2, 2), (10, 10))
    placed = task_of().place(np.array([[[0.0, 0.0], [NAN, NAN]]]), [place])
    np.testing.assert_allclose(placed, [[1.5, 2.5, NAN, NAN]])


def test_a_flip_exchanges_the_points_of_a_pair():
    places = [Place(mirrored(10), (10, 10), is_mirrored) for is_mirrored in (True, False)]
    values = np.array([[[1.0, 0.0], [3.0, 0.0], [4.0, 5.0]]] * 2)
    flipped, orientation = task_of(3).place(values, places)
    np.testing.assert_array_equal(flipped, [6, 0, 8, 0, 5, 5])
    np.testing.assert_array_equal(orientation, [8, 0, 6, 0, 5, 5])


def test_predictions_return_to_the_pixels_of_the_items():
    rng = np.random.default_rng(0)
    matrix = np.eye(3)
    matrix[:2] = rng.normal(size=(2, 3))
    values, place = rng.normal(size=(1, 2, 2)), Place(matrix, (10, 10))
    task = Points("huber", rng.normal(size=4), np.full(4, 3.0), False, None)
    found = task.find_in_items(task.place(values, [place]), [place])
    np.testing.assert_allclose(found, values)
    flat = Points("huber", task.mean, task.scale, True, None)
    assert flat.find_in_items(np.zeros((2, 4)), [place, None]).shape == (2, 4)
    assert np.isnan(flat.find_in_items(np.zeros((2, 4)), [place, None])[1]).all()


def test_moments_count_the_visible_points_only():
    values = np.array([[0.0, 2.0], [4.0, 6.0], [NAN, NAN], [100.0, 100.0]])
    task, targets = task_of(1).scaled(make_targets(values, None), np.array([0, 1, 2]))
    np.testing.assert_allclose(task.mean, [2, 4])
    np.testing.assert_allclose(task.scale, [2, 2])
    np.testing.assert_allclose(targets.values[:3], [[-1, -1], [1, 1], [NAN, NAN]])


def test_a_point_that_is_never_visible_is_an_error():
    values = np.array([[0.0, 2.0, NAN, NAN], [4.0, 6.0, NAN, NAN]])
    with pytest.raises(ValueError, match=r"these are never visible:\n  point 1"):
        task_of().scaled(make_targets(values, None), np.arange(2))


def test_the_exact_head_of_each_point_ignores_items_without_it():
    rng = np.random.default_rng(0)
    features, values = rng.normal(size=(20, 3)), rng.normal(size=(20, 4))
    hidden = values.copy()
    hidden[:5, 2:] = NAN
    coef, bias = task_of().exact_head(Ridge(1.0), features, make_targets(hidden, None))
    first = Ridge(1.0).fit(features, values[:, :2])
    second = Ridge(1.0).fit(features[5:], values[5:, 2:])
    np.testing.assert_allclose(coef, np.concatenate([first.coef_, second.coef_]))
    np.testing.assert_allclose(bias, np.concatenate([first.intercept_, second.intercept_]))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_a_point_that_is_not_visible_has_no_loss_and_no_gradient(loss):
    task = task_of(loss=loss)
    outputs = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]], requires_grad=True)
    target = torch.tensor([[0.0, 0.0, NAN, NAN], [NAN, NAN, NAN, NAN]])
    losses = task.loss(outputs, target)
    losses.sum().backward()
    expected = task_of(1, loss=loss).loss(outputs[:1, :2], target[:1, :2])
    torch.testing.assert_close(losses, torch.cat([expected, torch.zeros(1)]))
    assert (outputs.grad[0, 2:] == 0).all()
    assert (outputs.grad[1] == 0).all()
    assert torch.isfinite(task.correct(outputs, target)).all()


def test_the_initial_bias_is_the_mean_of_the_visible_points():
    targets = make_targets(np.array([[1.0, 2.0], [3.0, 6.0], [NAN, NAN]]), [1, 3, 1])
    np.testing.assert_allclose(task_of(1).initial_bias(targets), [2.5, 5])


def test_the_score_is_r2_of_the_visible_points():
    true = np.array([[[0.0, 0.0]], [[2.0, 4.0]], [[NAN, NAN]]])
    found = np.array([[[0.0, 2.0]], [[2.0, 2.0]], [[9.0, 9.0]]])
    task = task_of(1)
    np.testing.assert_allclose(task.score_columns(found, true), [1, 0])
    assert task.score(found, true) == 0.5


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((3, 5)), r"^y must have two columns for each point, x and y; got 5\.$"),
        (
            pd.DataFrame(np.zeros((3, 3)), columns=["left x", "left y", 7]),
            "two columns for each point, x and y; got 3: 'left x', 'left y', '7'.",
        ),
        (np.zeros(3), r"y must be of shape \(3, n_points, 2\) or .* got \(3,\)"),
        (np.zeros((3, 2, 3)), r"y must be of shape .* got \(3, 2, 3\)"),
        (np.zeros((2, 2, 2)), "y must have a row for each of 3 items; got 2"),
        (np.full((3, 1, 2), np.inf), r"infinite ones:\n  y\[0, 0, 0\]: inf"),
        ([["a", "b"]] * 3, r"y must be numbers of shape \(3, n_points, 2\)"),
        (None, "Estimator requires y to be passed"),
    ],
)
def test_a_wrong_y_is_an_error(y, message):
    with pytest.raises(ValueError, match=message):
        find_points(y, 3, "Estimator", "huber", None)


@pytest.mark.parametrize(
    "pairs", [[(0, 2)], [(0, 0)], [(0, 1), (1, 0)], [(0,)], [0, 1], "ab", [(0, 1), 2]]
)
def test_wrong_pairs_are_an_error(pairs):
    with pytest.raises(
        ValueError, match=r"flip_pairs must be pairs of different numbers of points"
    ):
        find_points(np.zeros((3, 2, 2)), 3, "Estimator", "huber", pairs)


def test_no_pairs_allow_flips():
    assert find_points(np.zeros((3, 2, 2)), 3, "Estimator", "huber", []).flips


def test_another_number_of_points_is_an_error():
    with pytest.raises(ValueError, match="y_val must have 2 points for each item, as y has; got 1"):
        task_of().encode(np.zeros((3, 1, 2)), 3, "y_val")


def test_points_outside_of_their_images_are_listed():
    values = np.array([[[1.0, 2.0], [NAN, NAN]], [[25.0, 2.0], [1.0, 1.0]]])
    with pytest.raises(
        ValueError, match=r"  y\[1\]: point 0 at \(25\.0, 2\.0\), for an image of 20"
    ):
        task_of().check_sizes(values, [(20, 10)] * 2, "y[{}]".format)
    task_of().check_sizes(values, [(24, 10)] * 2, "y[{}]".format)  # just outside


def test_points_of_a_table_are_known_by_the_names_of_their_columns():
    table = pd.DataFrame({"eye_x": [1.0, 2], "eye_y": [3.0, 4], "tip_x": [NAN] * 2, "tip_y": 1.0})
    task = find_points(table, 2, "Estimator", "huber", None)
    assert task.names == tuple(table)
    np.testing.assert_array_equal(task.encode(table[table.columns[::-1]], 2), task.encode(table, 2))
    assert task.score(table.fillna(5).to_numpy(), table[table.columns[::-1]]) == 1
    targets = make_targets(task.encode(table, 2).reshape(2, -1), None)
    with pytest.raises(ValueError, match=r"never visible:\n  point \(tip_x, tip_y\)"):
        task.scaled(targets, np.arange(2))
    with pytest.raises(
        ValueError, match=r"y_val must have the columns 'eye_x', .* got 'eye_x', 'a'"
    ):
        task.encode(table.set_axis(["eye_x", "a", "b", "c"], axis=1), 2, "y_val")


@pytest.mark.parametrize(("value", "shown"), [(np.inf, "inf"), ("left", "'left'")])
def test_a_wrong_position_in_a_table_is_named_by_its_column(value, shown):
    table = pd.DataFrame({"x": [1.0, 2], "y": [3, value]})
    with pytest.raises(ValueError, match=rf"\n  y\[1, 'y'\]: {shown}"):
        find_points(table, 2, "Estimator", "huber", None)
