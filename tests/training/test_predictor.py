"""A prediction can average random views of an item."""

from io import BytesIO

import numpy as np
import pytest
from helpers.fine_tuning import classifier
from numpy.testing import assert_array_equal
from PIL import Image


def test_a_prediction_averages_views_if_tta_asks_for_them(photos):
    X, y = photos
    model = classifier().fit(X, y)
    plain = model.decision_function(X)
    many = model.set_params(tta=8).decision_function(X)
    assert_array_equal(many, model.decision_function(X))
    assert 0 < np.abs(many - plain).max() < 2
    assert (many.argmax(1) == plain.argmax(1)).mean() > 0.9


def test_views_of_a_broken_photo_do_not_warn_again(photos):
    file = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    images = [Image.fromarray(photo) for photo in photos[0]]
    images[3] = Image.open(BytesIO(file.getvalue()[:-3000]))
    model = classifier(decode_error="ignore", tta=2).fit(images, photos[1])
    with pytest.warns(UserWarning, match=r"X\[3\]") as warned:
        labels = model.set_params(decode_error="warn").predict(images)
    assert len(warned) == 1
    assert np.isnan(labels[3])
