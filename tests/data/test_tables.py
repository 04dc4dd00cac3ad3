"""Rows of a table become images."""

import numpy as np
import pytest
from helpers.pixels import Pixels
from hypothesis import given, settings
from hypothesis import strategies as st

from sktransfer import ImagePreset

some = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture
def pixels():
    return Pixels()


# Flattened rows


@some
@given(width=st.integers(1, 400))
def test_every_width_of_a_table_is_an_image(width):
    table = np.arange(2 * width, dtype=float).reshape(2, width)
    items = ImagePreset().check(table)
    sides = items.values.shape[1:]
    assert sides[0] == sides[1]
    assert len(sides) == 2 or (sides[2] == 3 and 3 * sides[0] ** 2 == width)
    flat = items.values.reshape(2, -1)
    assert np.array_equal(flat[:, :width], table)
    assert not flat[:, width:].any()
    assert (sides[0] - 1) ** 2 < width


@pytest.mark.parametrize(
    ("width", "shape"), [(1, (1, 1)), (3, (1, 1, 3)), (5, (3, 3)), (12, (2, 2, 3)), (64, (8, 8))]
)
def test_the_width_of_a_table_decides_the_shape_of_its_images(width, shape):
    items = ImagePreset().check(np.zeros((2, width)))
    assert items.values.shape == (2, *shape)


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 3), (3, 4, 2)])
def test_image_shape_is_the_shape_of_each_row(shape):
    table = np.arange(48).reshape(2, 24)
    items = ImagePreset(image_shape=shape).check(table)
    expected = table.reshape(2, *shape)
    if shape == (3, 4, 2):  # two channels last win over three first
        assert items.values.shape == (2, 3, 4, 2)
    assert np.array_equal(items.values, expected)


def test_image_shape_may_put_channels_first():
    table = np.arange(150).reshape(2, 75)
    items = ImagePreset(image_shape=(3, 5, 5)).check(table)
    assert np.array_equal(items.values, np.moveaxis(table.reshape(2, 3, 5, 5), 1, -1))


def test_a_table_that_does_not_fit_image_shape_is_an_error():
    with pytest.raises(
        ValueError, match=r"X must have 192 columns for image_shape=\(8, 8, 3\); got 64"
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
