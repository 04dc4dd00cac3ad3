"""MasksDisplay: masks over images."""

import numpy as np
import pytest
from helpers.masks import masked_images
from helpers.tiny import tiny_backbone

from sktransfer import FineTuneSegmenter
from sktransfer.display import MasksDisplay


def test_each_image_has_a_row_with_its_masks():
    X, y = masked_images(5)
    model = FineTuneSegmenter(tiny_backbone, image_size=32, max_epochs=1, verbose=0).fit(X, y)
    display = MasksDisplay.from_estimator(model, X, y, names=["grey", "bright"], k=2)
    assert display.axes_.shape == (2, 3)
    assert [axes.get_title() for axes in display.axes_[0]] == ["image", "true", "predicted"]
    assert np.array_equal(display.true[1], y[1])
    assert display.photos[1].shape == X[1].shape
    assert MasksDisplay.from_estimator(model, X, k=1).axes_.shape == (1, 2)


def test_pixels_without_a_class_show_the_image():
    display = MasksDisplay(
        [np.zeros((2, 2, 3), np.uint8)], [np.array([[0, 9], [1, 9]])], None, [0, 1]
    )
    colours = display._colour(display.true[0])
    assert (colours[:, 1] == 0).all()
    assert (colours[:, 0, 3] > 0).all()
    assert not np.array_equal(colours[0, 0], colours[1, 0])


def test_a_large_image_and_its_mask_are_reduced_alike():
    X, y = np.zeros((1, 1300, 700, 3), np.uint8), np.zeros((1, 1300, 700), np.uint8)
    X[:, 600:], y[:, 600:] = 255, 1
    display = MasksDisplay.from_predictions(y, None, X, classes=[0, 1])
    assert display.photos[0].shape[:2] == display.true[0].shape == (434, 234)
    bright = display.photos[0].mean(2) > 128
    assert (bright == display.true[0]).mean() > 0.99


def test_wrong_sizes_and_names_are_errors():
    X, y = masked_images(1)
    with pytest.raises(ValueError, match=r"y_true\[0\] is of shape \(5, 5\)"):
        MasksDisplay.from_predictions([np.zeros((5, 5), int)], None, X, classes=[0, 1])
    with pytest.raises(ValueError, match="y_pred must have a mask for each of the 2 images; got 1"):
        MasksDisplay.from_predictions(None, y, [*X, *X], classes=[0, 1])
    with pytest.raises(ValueError, match=r"y_true\[0\] holds float64, not integers"):
        MasksDisplay.from_predictions([y[0] / 2], None, X, classes=[0, 1])
    with pytest.raises(ValueError, match="names must have a name for each of 2 classes; got 1"):
        MasksDisplay.from_predictions(y, None, X, classes=[0, 1], names=["a"])
