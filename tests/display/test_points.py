"""PointsDisplay: upright images with their points."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from sktransfer import FineTuneRegressor
from sktransfer.display import PointsDisplay

ORIENTATION = 0x0112  # the EXIF tag


def test_points_are_drawn_where_they_are_in_the_upright_image():
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[5, 30] = 255
    image, file = Image.fromarray(picture), BytesIO()
    exif = image.getexif()
    exif[ORIENTATION] = 6
    image.save(file, "PNG", exif=exif)
    display = PointsDisplay.from_predictions([[[30, 5]]], None, [file.getvalue()])
    x, y = display.true[0][0]
    photo = display.photos[0]
    assert photo.shape[0] > photo.shape[1]
    brightest = np.unravel_index(photo.sum(2).argmax(), photo.shape[:2])
    assert abs(brightest[1] - x) < 9
    assert abs(brightest[0] - y) < 9
    assert display.predicted is None


def test_a_model_shows_its_points_beside_the_true_ones(rng):
    X = rng.integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)
    y = rng.uniform(0, 23, (5, 3, 2))
    model = FineTuneRegressor(points=True, image_size=32, max_epochs=0, verbose=0).fit(X, y)
    display = PointsDisplay.from_estimator(model, X, y, k=3)
    assert len(display.axes_) == len(display.true) == len(display.predicted) == 3
    scale = (320 - 1) / 2 - 23 / 2 * 320 / 24
    np.testing.assert_allclose(display.true[0], y[0] * 320 / 24 + scale)
    assert len(PointsDisplay.from_estimator(model, X).photos) == 5


def test_a_table_of_points_is_accepted(rng):
    X = rng.integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    y = rng.uniform(0, 23, (2, 3, 2))
    arrays = PointsDisplay.from_predictions(y, y, X)
    tables = PointsDisplay.from_predictions(y.reshape(2, 6), y.reshape(2, 6), X)
    np.testing.assert_array_equal(arrays.true, tables.true)


def test_points_of_another_shape_are_an_error():
    X = np.zeros((2, 24, 24, 3), np.uint8)
    with pytest.raises(ValueError, match=r"y_pred must be of shape \(n_items, n_points, 2\)"):
        PointsDisplay.from_predictions(None, np.zeros((2, 3)), X)
    with pytest.raises(ValueError, match=r"y_true must be of shape .* got \(1, 3, 2\)"):
        PointsDisplay.from_predictions(np.zeros((1, 3, 2)), None, X)
