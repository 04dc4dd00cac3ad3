"""Rows of a table become images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sktransfer import ImagePreset

some = settings(max_examples=40, deadline=None, derandomize=True)


class Pixels(TransformerMixin, BaseEstimator):
    """The pixels that a preset sees, as the smallest estimator that uses one."""

    def __init__(self, size=4, image_shape=None):
        self.size = size
        self.image_shape = image_shape

    def fit(self, X, y=None):
        ImagePreset(image_shape=self.image_shape).check(self, X, reset=True)
        self.fitted_ = True
        return self

    def transform(self, X):
        check_is_fitted(self)
        preset = ImagePreset(size=self.size, crop=1.0, image_shape=self.image_shape)
        items = preset.check(self, X)
        batch = preset.collate([preset(item) for item in items], len(items))
        return batch.flatten(1).numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


@pytest.fixture
def pixels():
    return Pixels()


# Flattened rows


@some
@given(width=st.integers(1, 400))
def test_every_width_of_a_table_is_an_image(width):
    table = np.arange(2 * width, dtype=float).reshape(2, width)
    items = ImagePreset().check(Pixels(), table, reset=True)
    sides = items.shape[1:]
    assert sides[0] == sides[1]
    assert len(sides) == 2 or (sides[2] == 3 and 3 * sides[0] ** 2 == width)
    flat = items.reshape(2, -1)
    assert np.array_equal(flat[:, :width], table)
    assert not flat[:, width:].any()
    assert (sides[0] - 1) ** 2 < width


@pytest.mark.parametrize(
    ("width", "shape"), [(1, (1, 1)), (3, (1, 1, 3)), (5, (3, 3)), (12, (2, 2, 3)), (64, (8, 8))]
)
def test_a_table_has_the_shape_that_its_width_says(width, shape):
    items = ImagePreset().check(Pixels(), np.zeros((2, width)), reset=True)
    assert items.shape == (2, *shape)


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 3), (3, 4, 2)])
def test_image_shape_says_what_a_row_is(shape):
    table = np.arange(48).reshape(2, 24)
    items = ImagePreset(image_shape=shape).check(Pixels(), table, reset=True)
    expected = table.reshape(2, *shape)
    if shape == (3, 4, 2):  # two channels last win over three first
        assert items.shape == (2, 3, 4, 2)
    assert np.array_equal(items, expected)


def test_image_shape_may_have_its_channels_first():
    table = np.arange(150).reshape(2, 75)
    items = ImagePreset(image_shape=(3, 5, 5)).check(Pixels(), table, reset=True)
    assert np.array_equal(items, np.moveaxis(table.reshape(2, 3, 5, 5), 1, -1))


def test_a_table_that_does_not_fit_image_shape_is_an_error():
    with pytest.raises(
        ValueError, match=r"X must have 192 columns, as image_shape=\(8, 8, 3\) says; got 64"
    ):
        Pixels(image_shape=(8, 8, 3)).fit(np.zeros((2, 64)))


def test_a_table_is_scaled_by_its_dtype_and_never_by_its_content(pixels, rng):
    table = rng.integers(0, 2, (3, 16))
    eight = pixels.fit_transform(table.astype(np.uint8))
    assert np.allclose(eight, pixels.fit_transform(table.astype(float) / 255), atol=1e-6)
    assert not np.allclose(eight, pixels.fit_transform(table.astype(float)), atol=1e-6)


def test_a_value_of_a_table_that_float32_cannot_hold_is_an_error(pixels):
    with pytest.raises(ValueError, match="too large for dtype"):
        pixels.fit(np.full((2, 4), 1e300))
