"""The data of a fit is the same with and without a cache, and without broken photos."""

import numpy as np
import pytest
from helpers.fine_tuning import classifier, equal, weights
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.base import clone

from sktransfer import ActivationCache, Views


def test_cached_rows_give_the_bits_of_uncached_ones(photos, tmp_path):
    X, y = photos
    for augment in (None, Views("light", n=2)):
        plain = classifier(unfreeze=1, augment=augment).fit(X, y)
        cached = classifier(unfreeze=1, augment=augment, cache=ActivationCache(tmp_path))
        for model in (
            cached.fit(X, y),
            clone(cached).fit(X, y),
        ):  # with an empty cache, then a full one
            assert equal(weights(plain), weights(model))
        np.testing.assert_allclose(
            cached.predict_proba(X), plain.predict_proba(X), rtol=1e-5, atol=1e-6
        )


# Broken photos


@pytest.fixture
def broken(tmp_path, photos):
    paths = []
    for index, photo in enumerate(photos[0]):
        paths.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(photo).save(paths[-1])
    (tmp_path / "3.png").write_bytes(b"no image")
    return np.array(paths)


def test_a_broken_photo_is_an_error_that_names_it(broken, photos):
    with pytest.raises(ValueError, match=r"X\[3\]: '.*3.png' is not an image"):
        classifier().fit(broken, photos[1])


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, {"unfreeze": 1}])
def test_a_broken_photo_is_left_out_if_decode_error_is_warn(broken, photos, parameters):
    y = photos[1]
    model = classifier(decode_error="warn", **parameters)
    with pytest.warns(UserWarning, match=r"X\[3\]: '.*3.png'"):
        model.fit(broken, y)
    assert_array_equal(model.skipped_, [3])
    with pytest.warns(UserWarning, match=r"X\[3\]"):
        labels = model.predict(broken)
    assert np.isnan(labels[3])
    assert (labels == y).sum() > 30
    assert np.isnan(model.set_params(decode_error="ignore").predict_proba(broken)[3]).all()
    with pytest.raises(ValueError, match=r"X\[3\]"):
        model.set_params(decode_error="raise").predict(broken)


def test_a_class_without_a_photo_that_can_be_decoded_is_an_error(broken, photos):
    y = photos[1].copy()
    y[3] = "pink"
    with pytest.raises(ValueError, match=r"too few are left without these:\n  X\[3\]"):
        classifier(decode_error="ignore").fit(broken, y)
