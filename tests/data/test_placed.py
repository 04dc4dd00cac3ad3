"""A point of an item is found again in its row, by the map that the preset returns."""

from io import BytesIO

import numpy as np
import pytest
import torch
from helpers.augmented import PRESET, soft_photo
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from sktransfer._support.geometry import mirrored, move, scaled, shifted, swapped
from sktransfer.data import ImagePreset, Views, resolve_augment
from sktransfer.data.variants import NAMED
from sktransfer.exceptions import DecodeError

ORIENTATION = 0x0112  # the EXIF tag


def spot(height, width, x, y, radius):
    """Return a black picture with a soft white disc around (x, y)."""
    down, right = np.mgrid[:height, :width]
    distance = np.hypot(right - x, down - y)
    return (255 * np.clip(radius + 0.5 - distance, 0, 1)).astype(np.uint8)[..., None].repeat(3, 2)


def centroid(pixels):
    """Return the centre (x, y) of the pixels that differ from the background."""
    grey = np.asarray(pixels, float).mean(2)
    background = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
    mass = np.abs(grey - background)
    mass[mass < 0.2 * mass.max()] = 0  # the noise of JPEG files
    down, right = np.mgrid[: mass.shape[0], : mass.shape[1]]
    return np.array([(mass * right).sum(), (mass * down).sum()]) / mass.sum()


def touches_edge(pixels):
    """Return True if a pixel at the edge differs from the others there."""
    grey = np.asarray(pixels, float).mean(2)
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return bool(np.abs(edge - np.median(edge)).max() > 0.1 * np.ptp(grey))


def as_file(picture, file_format, orientation):
    image, file = Image.fromarray(picture), BytesIO()
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    image.save(file, file_format, exif=exif, **({"quality": 95} if file_format == "JPEG" else {}))
    return file.getvalue()


def is_inside(place, centre, radius, size):
    """Return True if a square around the point lies inside the row."""
    corners = centre + radius * np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
    moved = move(place.matrix, corners)
    return bool((moved > 0.5).all() and (moved < size - 1.5).all())


@given(
    augment=st.sampled_from([None, *NAMED]),
    file_format=st.sampled_from(["array", "JPEG", "PNG", "TIFF"]),
    orientation=st.integers(1, 8),
    height=st.integers(24, 400),
    width=st.integers(24, 400),
    across=st.floats(0.2, 0.8),
    down=st.floats(0.2, 0.8),
    size=st.integers(24, 64),
    crop=st.sampled_from([None, 0.7, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_a_point_drawn_into_a_picture_is_found_again_within_a_pixel(
    augment, file_format, orientation, height, width, across, down, size, crop, seed
):
    radius = min(height, width) / 8
    picture = spot(height, width, across * width, down * height, radius)
    item = picture if file_format == "array" else as_file(picture, file_format, orientation)
    # The pixels of an item are those that Pillow shows, which turns TIFF files upright itself.
    pixels = picture if file_format == "array" else np.asarray(Image.open(BytesIO(item)))
    centre = centroid(pixels)
    preset = ImagePreset(size=size, crop=crop)
    if augment is None:
        placed = preset.placed(item)
    else:
        placed = resolve_augment(augment, preset).placed(item, seed)
    assert placed.place.item_size == (pixels.shape[1], pixels.shape[0])
    assume(is_inside(placed.place, centre, radius + 2, size))
    assume(placed.pixels.float().std() > 0)  # solarize may make the picture uniform
    assume(not touches_edge(placed.pixels))  # a variant repeats the edge of a window that cuts it
    found = centroid(placed.pixels)
    assert np.abs(found - move(placed.place.matrix, centre[None])[0]).max() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("crop", [None, 0.5, 1.0])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_place_is_that_of_the_row(crop, orientation, file_format, rng):
    preset = ImagePreset(size=20, crop=crop)
    item = as_file(soft_photo(rng), file_format, orientation)
    located, placed = preset.locate(item), preset.placed(item).place
    assert np.array_equal(located.matrix, placed.matrix)
    assert located.item_size == placed.item_size
    assert sorted(located.item_size) == [48, 64]


@pytest.mark.parametrize("size", [8, 20])
def test_the_place_of_a_jpeg_file_needs_only_its_header(size, rng):
    preset = ImagePreset(size=size, crop=None)
    item = as_file(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8), "JPEG", 6)
    placed = preset.placed(item).place
    located = preset.locate(item[: len(item) // 2])
    assert np.array_equal(located.matrix, placed.matrix)
    assert located.item_size == placed.item_size
    with pytest.raises(DecodeError):
        preset.locate(item[:20])


def test_placed_pixels_are_those_of_the_row(rng):
    photo = soft_photo(rng)
    assert torch.equal(PRESET.placed(photo).pixels, PRESET(photo))
    for name in NAMED:
        augmentation = resolve_augment(name, PRESET)
        for seed in range(20):
            assert torch.equal(augmentation.placed(photo, seed).pixels, augmentation(photo, seed))


def test_an_exif_orientation_is_no_flip_of_augmentation(rng):
    item = as_file(soft_photo(rng), "PNG", 2)
    assert np.linalg.det(PRESET.placed(item).place.matrix) < 0
    assert not PRESET.placed(item).place.is_mirrored
    light = resolve_augment("light", PRESET)
    places = [light.placed(item, seed).place for seed in range(20)]
    signs = {(place.is_mirrored, bool(np.linalg.det(place.matrix) < 0)) for place in places}
    assert signs == {(False, True), (True, False)}


def test_a_transform_of_the_user_has_no_known_map(rng):
    photo = soft_photo(rng)
    assert resolve_augment(lambda image: image.flip(-1), PRESET).placed(photo, 0).place is None


def test_a_view_has_the_map_of_its_variant(rng):
    photo = soft_photo(rng)
    views = Views("light", 3)
    items, preset = views.items([photo], [bytes(16)]), views.preset(PRESET)
    for view in items:
        placed = preset.placed(view)
        assert torch.equal(placed.pixels, preset(view))
        assert np.array_equal(preset.locate(view).matrix, placed.place.matrix)


def test_without_a_crop_the_whole_image_is_resized_to_the_square():
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, :30] = 255
    preset = ImagePreset(size=10, crop=None)
    assert preset.short_side == 10
    row = preset(picture)
    assert row.shape == (10, 10, 3)
    assert (row[:, :4] == 255).all()
    assert (row[:, 6:] == 0).all()
    corners = np.array([(-0.5, -0.5), (59.5, 19.5)])
    expected = [(-0.5, -0.5), (9.5, 9.5)]
    np.testing.assert_allclose(move(preset.locate(picture).matrix, corners), expected)


def test_a_transform_of_another_size_is_resized_to_the_square_without_a_crop():
    preset = ImagePreset(size=10, crop=None)
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 30:] = 255
    row = resolve_augment(lambda image: image[:, :4], preset)(picture, 0)
    assert row.shape == (10, 10, 3)
    assert (row[:, :4] < 10).all()
    assert (row[:, 6:] > 245).all()


def test_resize_must_be_none_without_a_crop():
    with pytest.raises(ValueError, match="resize must be None if crop is None; got 40"):
        ImagePreset(size=32, resize=40, crop=None)


def test_presets_with_and_without_a_crop_have_different_fingerprints():
    assert (
        ImagePreset(size=32, crop=None).fingerprint()
        != ImagePreset(size=32, crop=1.0).fingerprint()
    )


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (shifted(3, -1), (5, 6)),
        (scaled(2, 3), (4.5, 22)),
        (mirrored(10), (7, 7)),
        (swapped(), (7, 2)),
    ],
)
def test_a_map_moves_a_point(matrix, expected):
    np.testing.assert_allclose(move(matrix, np.array([[2.0, 7.0]])), [expected])
