"""Decoding: orientation, the modes of Pillow, arrays, threads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
from helpers.image_files import encoded, textured_photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from sktransfer import ImagePreset
from sktransfer.data.pictures import UPRIGHT

some = settings(max_examples=40, deadline=None, derandomize=True)

# For images of 16 x 16 pixels: nothing is resized, which could hide a wrong pixel.
WHOLE = ImagePreset(size=16, crop=1.0)


def floats(row):
    """Return a row of the preset as floats in [0, 1]."""
    return row / 255 if row.dtype == torch.uint8 else row


@pytest.fixture
def photo():
    return textured_photo()


@pytest.fixture
def colours(rng):
    """An image of 16 x 16 random colours."""
    return Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))


# Orientation


def oriented(image, orientation, filetype="JPEG"):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(image, filetype, exif=exif)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_a_tiff_file_that_is_not_compressed_is_turned_upright(colours, tmp_path, mode):
    # Pillow distorts it if it opens the path.
    image = colours.convert("L").convert(mode) if mode == "I;16" else colours.convert(mode)
    image.info.clear()
    data = oriented(image.resize((50, 37)), 6, "TIFF")
    (tmp_path / "turned.tif").write_bytes(data)
    upright = np.rot90(np.asarray(image.resize((50, 37))), -1)
    assert torch.equal(WHOLE(tmp_path / "turned.tif"), WHOLE(data))
    if mode in ("L", "RGBA"):
        assert torch.equal(WHOLE(data), WHOLE(upright))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("filetype", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_always_applied(photo, orientation, filetype):
    data = oriented(photo.resize((48, 32)), orientation, filetype)
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    preset = ImagePreset(size=16)
    assert torch.equal(preset(data), preset(np.asarray(upright)))
    assert torch.equal(preset(Image.open(BytesIO(data))), preset(data))


def test_a_draft_is_turned_upright(photo):
    data = oriented(photo, 6)
    drafted, whole = ImagePreset(size=64)(data), ImagePreset(size=64, draft=False)(data)
    assert (drafted.float() - whole.float()).abs().mean() < 2


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_is_ignored(colours, orientation):
    data = oriented(colours, orientation, "PNG")
    assert torch.equal(WHOLE(data), WHOLE(colours))


def test_broken_metadata_are_ignored(colours):
    data = encoded(colours, "PNG", exif=b"Exif\0\0nonsense")
    with pytest.raises(SyntaxError):
        Image.open(BytesIO(data)).getexif()
    assert torch.equal(WHOLE(data), WHOLE(colours))


def test_every_orientation_but_the_upright_one_has_an_operation():
    assert sorted(UPRIGHT) == [2, 3, 4, 5, 6, 7, 8]


# Modes

RED = (200, 30, 60)
PALE = (244, 210, 216)  # a fifth of RED on white
HALF = 0x8001 / 65535 * 255  # eight bits would lose the last bit

red = Image.new("RGB", (16, 16), RED)
faint = Image.new("RGBA", (16, 16), (*RED, 51))
grey = Image.merge("LA", (Image.new("L", (16, 16), 100), Image.new("L", (16, 16), 51)))
palette = red.convert("P", palette=Image.Palette.ADAPTIVE)


def filled(mode, dtype):
    """Return an image of 16 bits of a single grey."""
    return Image.frombytes(mode, (16, 16), np.full((16, 16), 0x8001, dtype).tobytes())


# mode -> an image of a single colour, and that colour or grey
SHALLOW = {
    "1": (Image.new("1", (16, 16), 1), 255),
    "L": (grey.getchannel("L"), 100),
    "LA": (grey, 224),
    "La": (grey.convert("La"), 224),
    "P": (palette, RED),
    "PA": (palette.convert("PA"), RED),
    "RGB": (red, RED),
    "RGBX": (red.convert("RGBX"), RED),
    "RGBA": (faint, PALE),
    "RGBa": (faint.convert("RGBa"), PALE),
    "CMYK": (red.convert("CMYK"), RED),
    "YCbCr": (red.convert("YCbCr"), RED),
    "HSV": (red.convert("HSV"), RED),
    "LAB": (red.convert("LAB"), RED),
}
DEEP = {
    "I;16": (filled("I;16", "<u2"), HALF),
    "I;16L": (filled("I;16L", "<u2"), HALF),
    "I;16B": (filled("I;16B", ">u2"), HALF),
    "I;16N": (filled("I;16N", "=u2"), HALF),
    "I": (filled("I", "=i4"), HALF),
    "F": (Image.fromarray(np.full((16, 16), 0.3, np.float32)), 76.5),
}


def test_every_mode_of_pillow_is_in_the_tables():
    assert set(Image.MODES) <= {*SHALLOW, *DEEP}


@pytest.mark.parametrize("mode", SHALLOW)
def test_every_mode_of_eight_bits_is_decoded_to_its_colour(mode):
    image, colour = SHALLOW[mode]
    row = WHOLE(image)
    assert image.mode == mode
    assert row.dtype == torch.uint8
    assert row.is_contiguous()
    assert row.shape == (16, 16, 3)
    assert (row.float() - torch.tensor(colour)).abs().max() <= 3  # CMYK, HSV and LAB round


@pytest.mark.parametrize("mode", DEEP)
def test_every_deeper_mode_keeps_its_depth(mode):
    image, value = DEEP[mode]
    row = WHOLE(image)
    assert image.mode == mode
    assert row.is_contiguous()
    torch.testing.assert_close(row, torch.full((16, 16, 3), value / 255))


@pytest.mark.parametrize("filetype", ["PNG", "TIFF"])
def test_sixteen_bits_are_not_clipped(rng, filetype):
    deep = rng.integers(0, 65536, (16, 16), dtype=np.uint16)
    row = WHOLE(encoded(Image.fromarray(deep), filetype))
    assert torch.equal(row[:, :, 0], torch.from_numpy(deep.astype(np.float32) / np.float32(65535)))


def test_transparent_pixels_are_white():
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    for item in (image, encoded(image, "PNG"), encoded(image, "WEBP", lossless=True)):
        assert (WHOLE(item) == 255).all()


def test_an_opaque_alpha_channel_changes_nothing(colours):
    opaque = colours.convert("RGBA")
    assert torch.equal(WHOLE(opaque), WHOLE(colours))
    assert torch.equal(WHOLE(np.asarray(opaque)), WHOLE(colours))


@pytest.mark.parametrize("filetype", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_is_white(filetype):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, *RED])
    image.paste(0, (0, 0, 16, 8))
    row = WHOLE(encoded(image, filetype, transparency=0))
    assert (row[:8] == 255).all()
    assert (row[8:] == torch.tensor(RED)).all()


@pytest.mark.parametrize(("mode", "colour"), [("RGB", RED), ("L", 100), ("1", 0)])
def test_the_transparent_colour_of_a_file_is_white(mode, colour):
    data = encoded(Image.new(mode, (16, 16), colour), "PNG", transparency=colour)
    assert (WHOLE(data) == 255).all()


@pytest.mark.parametrize("filetype", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_decoded_to_its_first_frame(filetype):
    frames = [Image.new("RGB", (16, 16), grey) for grey in ("white", "black")]
    data = encoded(frames[0], filetype, save_all=True, append_images=frames[1:])
    assert Image.open(BytesIO(data)).n_frames == 2
    assert (WHOLE(data) == 255).all()


def test_an_inverted_cmyk_jpeg_shows_its_colour():
    data = encoded(Image.new("RGB", (16, 16), RED).convert("CMYK"), "JPEG")
    torch.testing.assert_close(
        WHOLE(data).float(), torch.tensor(RED).expand(16, 16, 3).float(), atol=6, rtol=0
    )


# Arrays


@some
@given(
    dtype=st.sampled_from(["uint8", "uint16", ">u2", "bool", "float16", "float32", "float64"]),
    channels=st.sampled_from([None, 1, 2, 3, 4]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_arrays_of_every_depth_show_the_same_image(dtype, channels, height, width, seed):
    shape = (height, width) if channels is None else (height, width, channels)
    eight = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    if dtype == "bool":
        eight = eight // 128 * 255
    unit = eight / 255
    scale = {"uint8": 255, "uint16": 65535, ">u2": 65535}.get(dtype, 1)
    preset = ImagePreset(size=12)
    row = preset((unit * scale).round(0 if scale > 1 else 12).astype(dtype))
    assert row.shape == (12, 12, 3)
    assert row.is_contiguous()
    assert row.dtype == (torch.uint8 if dtype in ("uint8", "bool") else torch.float32)
    # three roundings to eight bits: alpha, rows, columns
    torch.testing.assert_close(floats(row), floats(preset(eight)), atol=3 / 255, rtol=0)


def test_floats_keep_more_than_eight_bits():
    row = WHOLE(np.full((16, 16, 3), 0.5001))
    torch.testing.assert_close(row, torch.full((16, 16, 3), 0.5001))


def test_floats_of_tabular_input_keep_their_values():
    assert (WHOLE(np.full((16, 16), -1234.5)) == -1234.5).all()


def test_integers_of_tabular_input_are_divided_by_255():
    assert (WHOLE(np.full((16, 16), 510)) == 2).all()


def test_a_grey_image_becomes_three_equal_channels(rng):
    for pixels in (rng.integers(0, 256, (20, 30), dtype=np.uint8), rng.random((20, 30))):
        row = ImagePreset(size=8)(pixels)
        assert torch.equal(row[:, :, 0], row[:, :, 1])
        assert torch.equal(row[:, :, 0], row[:, :, 2])


def test_an_array_need_not_be_contiguous(rng):
    pixels = rng.integers(0, 256, (3, 20, 30), dtype=np.uint8)
    moved = np.moveaxis(pixels, 0, -1)[::-1]
    assert torch.equal(WHOLE(moved), WHOLE(np.ascontiguousarray(moved)))


def test_the_row_does_not_share_the_memory_of_the_item(rng):
    for pixels in (rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), rng.random((16, 16, 3))):
        before = pixels.copy()
        WHOLE(pixels).zero_()
        assert np.array_equal(pixels, before)


# Threads


def test_one_image_may_be_decoded_in_several_threads(photo):
    data = encoded(photo, "JPEG")
    expected = ImagePreset(size=16)(Image.open(BytesIO(data)))
    start = threading.Barrier(4)

    def decoded(image):
        start.wait()
        return ImagePreset(size=16)(image)

    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(decoded, [Image.open(BytesIO(data))] * 4))
    assert all(torch.equal(row, expected) for row in rows)
