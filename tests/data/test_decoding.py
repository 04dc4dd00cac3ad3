"""An item is decoded to its upright pixels, or is an error that says why not."""

import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile, ImageOps

from sktransfer import ImagePreset
from sktransfer.data.decoding import UPRIGHT
from sktransfer.exceptions import DecodeError

some = settings(max_examples=40, deadline=None, derandomize=True)

# The size of the images of these tests: whole, so that no resizing hides a wrong pixel.
WHOLE = ImagePreset(size=16, crop=1.0)


def encoded(image, filetype, **options):
    file = BytesIO()
    image.save(file, filetype, **options)
    return file.getvalue()


def floats(row):
    """A row of the preset in [0, 1], whatever its depth."""
    return row / 255 if row.dtype == torch.uint8 else row


@pytest.fixture
def photo():
    """Something like a photo, 640 x 480: soft shapes, edges and grain."""
    rng = np.random.default_rng(0)
    soft = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    edges = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    layers = [
        Image.fromarray(soft).resize((640, 480), Image.Resampling.BICUBIC),
        Image.fromarray(edges).resize((640, 480), Image.Resampling.NEAREST),
    ]
    grain = rng.normal(0, 6, (480, 640, 1))
    pixels = 0.7 * np.asarray(layers[0]) + 0.3 * np.asarray(layers[1]) + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def colours(rng):
    """An image of 16 x 16 random colours."""
    return Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))


# Orientation


def oriented(image, orientation, filetype="JPEG"):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(image, filetype, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("filetype", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_always_applied(photo, orientation, filetype):
    data = oriented(photo.resize((48, 32)), orientation, filetype)
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    preset = ImagePreset(size=16)
    assert torch.equal(preset(data), preset(np.asarray(upright)))
    assert torch.equal(preset(Image.open(BytesIO(data))), preset(data))


def test_a_draft_is_turned_upright_too(photo):
    data = oriented(photo, 6)
    drafted, whole = ImagePreset(size=64)(data), ImagePreset(size=64, draft=False)(data)
    assert (drafted.float() - whole.float()).abs().mean() < 2


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(colours, orientation):
    data = oriented(colours, orientation, "PNG")
    assert torch.equal(WHOLE(data), WHOLE(colours))


def test_broken_metadata_spoil_no_pixel(colours):
    data = encoded(colours, "PNG", exif=b"Exif\0\0nonsense")
    with pytest.raises(SyntaxError):
        Image.open(BytesIO(data)).getexif()
    assert torch.equal(WHOLE(data), WHOLE(colours))


def test_every_orientation_but_the_upright_has_its_transposition():
    assert sorted(UPRIGHT) == [2, 3, 4, 5, 6, 7, 8]


# Modes

RED = (200, 30, 60)
PALE = (244, 210, 216)  # a fifth of RED on white
HALF = 0x8001 / 65535 * 255  # eight bits would lose the last one

red = Image.new("RGB", (16, 16), RED)
faint = Image.new("RGBA", (16, 16), (*RED, 51))
grey = Image.merge("LA", (Image.new("L", (16, 16), 100), Image.new("L", (16, 16), 51)))
palette = red.convert("P", palette=Image.Palette.ADAPTIVE)


def filled(mode, dtype):
    """An image of 16 bits, of one grey."""
    return Image.frombytes(mode, (16, 16), np.full((16, 16), 0x8001, dtype).tobytes())


# an image of one colour in each mode, and the grey or colour that must come out
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
def test_every_mode_of_eight_bits_shows_its_colour(mode):
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


def test_opaque_alpha_changes_nothing(colours):
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
def test_of_an_animation_the_first_frame_is_seen(filetype):
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


def test_floats_keep_what_eight_bits_would_lose():
    row = WHOLE(np.full((16, 16, 3), 0.5001))
    torch.testing.assert_close(row, torch.full((16, 16, 3), 0.5001))


def test_floats_of_a_table_are_taken_as_they_are():
    assert (WHOLE(np.full((16, 16), -1234.5)) == -1234.5).all()


def test_integers_of_a_table_are_divided_by_255():
    assert (WHOLE(np.full((16, 16), 510)) == 2).all()


def test_grey_becomes_three_equal_channels(rng):
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


# Broken items


@pytest.mark.parametrize("filetype", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_an_error_that_names_truncation(photo, tmp_path, filetype, share):
    data = encoded(photo.resize((160, 120)), filetype)
    path = tmp_path / "torn"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DecodeError, match=r"torn' is truncated: ") as error:
        ImagePreset(size=16)(path)
    assert error.value.__cause__ is not None


@some
@given(
    filetype=st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]),
    cut=st.floats(0, 1),
    position=st.floats(0, 1),
    byte=st.integers(0, 255),
)
def test_a_damaged_file_is_decoded_or_is_a_decode_error(filetype, cut, position, byte):
    image = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    data = bytearray(encoded(image, filetype))
    data[int(position * (len(data) - 1))] = byte
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own words about damaged metadata
        try:
            row = ImagePreset(size=8)(bytes(data[: int(cut * len(data))]))
        except DecodeError:
            return
    assert row.shape == (8, 8, 3)


def test_a_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no image")
    with pytest.raises(DecodeError, match=r"notes\.txt' is not an image that Pillow reads"):
        WHOLE(path)
    with pytest.raises(DecodeError, match=r"an image of 8 bytes is not an image that Pillow reads"):
        WHOLE(b"no image")


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(DecodeError, match=r"empty\.jpg' is empty"):
        WHOLE(path)


def test_a_file_that_went_away_is_named(tmp_path):
    with pytest.raises(DecodeError, match=r"gone\.jpg' cannot be opened: No such file"):
        WHOLE(tmp_path / "gone.jpg")


def test_an_image_whose_file_was_closed_says_so(colours, tmp_path):
    colours.save(tmp_path / "closed.png")
    with Image.open(tmp_path / "closed.png") as image:
        pass
    with pytest.raises(DecodeError, match=r"PIL image of mode RGB .*its file was closed"):
        WHOLE(image)


def test_an_image_without_pixels_says_so():
    with pytest.raises(DecodeError, match="mode RGB has no pixels: it is 0 x 4"):
        WHOLE(Image.new("RGB", (0, 4)))


@pytest.mark.parametrize("value", [-0.5, 1.5, np.nan, np.inf])
def test_float_pixels_of_a_file_lie_in_zero_to_one(value):
    image = Image.fromarray(np.full((16, 16), value, np.float32))
    with pytest.raises(DecodeError, match="pixels of 0 to 1, as mode F says; got"):
        WHOLE(encoded(image, "TIFF"))


@pytest.mark.parametrize("value", [-1, 65536])
def test_integer_pixels_of_a_file_have_sixteen_bits(value):
    image = Image.fromarray(np.full((16, 16), value, np.int32))
    with pytest.raises(DecodeError, match="pixels of 0 to 65535, as mode I says; got"):
        WHOLE(encoded(image, "TIFF"))


@pytest.mark.parametrize("limit", [1000, 6000])  # a warning of Pillow's, and an error
def test_a_decompression_bomb_is_an_error_that_names_the_limit(monkeypatch, limit):
    data = encoded(Image.new("L", (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DecodeError, match=rf"decompression bomb.*MAX_IMAGE_PIXELS, {limit}"):
        WHOLE(data)


def test_a_bomb_is_an_error_where_warnings_are_none(monkeypatch):
    data = encoded(Image.new("L", (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(DecodeError, match=r"100 x 100 pixels; the limit"),
    ):
        WHOLE(data)


def test_no_limit_is_no_limit(monkeypatch):
    data = encoded(Image.new("L", (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert WHOLE(data).shape == (16, 16, 3)


def test_pillows_settings_and_the_filters_of_warnings_are_left_alone(colours):
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    WHOLE(encoded(colours, "JPEG"))
    with pytest.raises(DecodeError):
        WHOLE(b"no image")
    after = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    assert after == before


def test_a_decode_error_survives_the_way_between_processes():
    with pytest.raises(DecodeError) as raised:
        WHOLE(b"no image")
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


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


# Batches


@pytest.fixture
def preset():
    return ImagePreset(size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
