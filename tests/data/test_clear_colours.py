"""The transparent colour of a file is white, whatever the depth of its pixels."""

from io import BytesIO

import numpy as np
import pytest
import torch
from helpers.deep_files import png
from helpers.image_files import encoded
from PIL import Image

from sktransfer import ImagePreset, check_images
from sktransfer.data import pictures
from sktransfer.exceptions import DecodeError

WHOLE = ImagePreset(size=8, crop=1.0, draft=False).whole
GREYS = np.arange(64).reshape(8, 8)


def expected(values, clear, top):
    """Return grey pixels in [0, 1], (8, 8, 3), in which one value is white."""
    scaled = np.where(values == clear, top, values) / top
    return torch.from_numpy(np.repeat(scaled[:, :, None], 3, axis=2)).float()


def scaled(row):
    return row.float() / 255 if row.dtype == torch.uint8 else row


@pytest.mark.parametrize(("bits", "clear"), [(1, 0), (2, 1), (4, 5), (8, 40), (16, 7 * 1000)])
@pytest.mark.parametrize("tile", [2**19, 20])
def test_the_clear_grey_of_a_png_of_any_depth_is_white(monkeypatch, bits, clear, tile):
    monkeypatch.setattr(pictures, "TILE", tile)
    top = 2**bits - 1
    values = GREYS * 1000 if bits == 16 else GREYS % (top + 1)
    row = scaled(WHOLE(png(values, bits, clear)))
    torch.testing.assert_close(row, expected(values, clear, top))


def test_a_pil_image_of_sixteen_bits_has_the_pixels_of_its_file():
    data = png(GREYS * 1000, 16, 7 * 1000)
    assert torch.equal(WHOLE(Image.open(BytesIO(data))), WHOLE(data))


@pytest.mark.parametrize("bits", [8, 16])
def test_the_clear_colour_of_a_png_of_any_depth_is_white(bits):
    step = 257 if bits == 16 else 1
    values = np.stack([GREYS, GREYS + 100, GREYS + 150], axis=2) * step
    row = WHOLE(png(values, bits, values[2, 3]))
    values[2, 3] = 255 * step
    assert torch.equal(row, torch.from_numpy((values // step).astype(np.uint8)))


@pytest.mark.parametrize(("clear", "kind"), [(7 * 1000, "transparent"), (1, "16-bit")])
def test_check_images_finds_the_transparency_of_sixteen_bits(rng, clear, kind):
    photos = [rng.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(2)]
    table = check_images(
        [
            *(encoded(Image.fromarray(p), "PNG") for p in photos),
            png(np.tile(GREYS * 1000, (5, 5)), 16, clear),
        ]
    )
    assert list(table["problem"]) == [kind]


@pytest.mark.parametrize("tile", [2**19, 1000])
def test_an_icon_of_a_palette_has_its_colours(monkeypatch, rng, tile):
    monkeypatch.setattr(pictures, "TILE", tile)
    # Pillow reads these files without the palette object of the image.
    image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).quantize(8)
    row = ImagePreset(size=1024, crop=1.0).whole(encoded(image, "ICNS"))
    pixels = image.convert("RGB").resize((1024, 1024), Image.Resampling.NEAREST)
    torch.testing.assert_close(row, torch.from_numpy(np.array(pixels)))


def test_a_png_without_pixels_is_an_error_that_pillow_describes():
    data = png(GREYS % 4, 2, 1)
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    with pytest.raises(DecodeError, match="cannot be decoded: OSError: cannot load this image"):
        WHOLE(data[:start] + data[end:])
