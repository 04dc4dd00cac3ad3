"""Pictures: tiles show the same pixels as the whole image."""

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from sktransfer import ImagePreset, check_images
from sktransfer.data import pictures
from sktransfer.exceptions import DecodeError

ROWS, COLUMNS = 90, 130

# Pixels of a tile: fewer than those of a row, and those of a few rows
TILES = [100, 1000]

rng = np.random.default_rng(0)
rgba = Image.fromarray(rng.integers(0, 256, (ROWS, COLUMNS, 4), dtype=np.uint8))
rgb = rgba.convert("RGB")
deep = rng.integers(0, 65536, (ROWS, COLUMNS))
palette = rgb.quantize(16)


def with_clear_colour(image, colour):
    """Return a copy of ``image`` in which one colour is transparent."""
    image = image.copy()
    image.info["transparency"] = colour
    return image


IMAGES = {
    **{mode: rgb.convert(mode) for mode in ("1", "L", "RGB", "CMYK", "YCbCr", "HSV", "LAB")},
    "RGBA": rgba,
    "LA": rgba.convert("LA"),
    "La": rgba.convert("LA").convert("La"),
    "RGBa": rgba.convert("RGBa"),
    "P": palette,
    "PA": palette.convert("PA"),
    "P with a clear colour": with_clear_colour(palette, 3),
    "P with alpha": with_clear_colour(palette, bytes(range(0, 256, 16))),
    "L with a clear colour": with_clear_colour(rgb.convert("L"), 100),
    "RGB with a clear colour": with_clear_colour(rgb, rgb.getpixel((7, 7))),
    "I;16": Image.fromarray(deep.astype("<u2")),
    "I;16B": Image.frombytes("I;16B", (COLUMNS, ROWS), deep.astype(">u2").tobytes()),
    "I": Image.fromarray(deep.astype(np.int32)),
    "F": Image.fromarray(rng.random((ROWS, COLUMNS), dtype=np.float32)),
}


def oriented(image, orientation):
    image = image.copy()
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return image


def whole(item):
    """Return all pixels of an item, and those after it is resized."""
    every = ImagePreset(size=min(ROWS, COLUMNS), crop=1.0).whole(item)
    return torch.cat([every.flatten(), ImagePreset(size=16).whole(item).flatten()])


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("name", IMAGES)
def test_tiles_of_every_mode_show_the_pixels_of_the_image(monkeypatch, name, orientation):
    image = oriented(IMAGES[name], orientation)
    expected = whole(image)
    monkeypatch.setattr(pictures, "TILE", 2000)
    assert torch.equal(whole(image), expected)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiles_are_turned_upright(monkeypatch, orientation, tile):
    image = oriented(rgba, orientation)
    expected = whole(image)
    monkeypatch.setattr(pictures, "TILE", tile)
    assert torch.equal(whole(image), expected)


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "bool", "float32", "float64"])
def test_tiles_of_an_array_show_its_pixels(monkeypatch, rng, dtype, channels):
    shape = (ROWS, COLUMNS) if channels is None else (ROWS, COLUMNS, channels)
    pixels = rng.random(shape) if "float" in dtype else rng.integers(0, 256, shape)
    pixels = pixels > 100 if dtype == "bool" else pixels.astype(dtype)
    expected = whole(pixels)
    monkeypatch.setattr(pictures, "TILE", 1000)
    assert torch.equal(whole(pixels), expected)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(900, 5), (5, 900)])
def test_tiles_of_a_long_strip_show_its_middle(monkeypatch, size, orientation):
    strip = oriented(rgba.resize(size), orientation)
    preset = ImagePreset(size=4)
    expected = preset.whole(strip)
    monkeypatch.setattr(pictures, "TILE", 64)
    assert torch.equal(preset.whole(strip), expected)


def test_check_images_finds_the_same_in_tiles(monkeypatch):
    images = [oriented(image, 1 + i % 8) for i, image in enumerate(IMAGES.values())]
    expected = check_images(images)
    monkeypatch.setattr(pictures, "TILE", 2000)
    assert check_images(images).equals(expected)
    assert not expected["problem"].isin(["unreadable", "truncated"]).any()


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_check_images_finds_premultiplied_transparency(mode):
    table = check_images([rgb, IMAGES[mode], rgb.rotate(90, expand=True)])
    assert (1, "transparent") in set(zip(table["index"], table["problem"], strict=True))


def test_the_range_in_an_error_is_that_of_the_whole_image(monkeypatch):
    pixels = np.full((ROWS, COLUMNS), 0.5, np.float32)
    pixels[0, 0], pixels[-1, -1] = -2, 3
    monkeypatch.setattr(pictures, "TILE", 100)
    with pytest.raises(DecodeError, match=r"must have pixels from 0 to 1, .*got -2 to 3"):
        whole(Image.fromarray(pixels))


def test_a_pixel_out_of_range_outside_the_middle_of_a_strip_is_an_error():
    pixels = np.full((900, 5), 0.5, np.float32)
    assert ImagePreset(size=4).whole(Image.fromarray(pixels)).min() == 0.5
    pixels[0, 0] = 3
    with pytest.raises(DecodeError, match=r"got 0\.5 to 3"):
        ImagePreset(size=4).whole(Image.fromarray(pixels))
    assert list(check_images([Image.fromarray(pixels)])["problem"]) == ["unreadable"]
