"""Items that cannot be decoded: broken files, wrong pixels, decompression bombs."""

import os
import pickle
import warnings
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from helpers.image_files import encoded, textured_photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import BmpImagePlugin, Image, ImageFile, TiffImagePlugin
from sklearn.base import clone

from sktransfer import ImagePreset, PretrainedFeatureExtractor, check_images
from sktransfer.data.digests import digest
from sktransfer.exceptions import DecodeError

some = settings(max_examples=40, deadline=None, derandomize=True)

WHOLE = ImagePreset(size=16, crop=1.0)  # for images of 16 x 16 pixels: nothing is resized


@pytest.fixture
def photo():
    return textured_photo()


@pytest.fixture
def colours(rng):
    """An image of 16 x 16 random colours."""
    return Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))


@pytest.mark.parametrize("filetype", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_an_error_that_names_the_cause(photo, tmp_path, filetype, share):
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
def test_a_damaged_file_is_decoded_or_raises_a_decode_error(filetype, cut, position, byte):
    image = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    data = bytearray(encoded(image, filetype))
    data[int(position * (len(data) - 1))] = byte
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about damaged metadata
        try:
            row = ImagePreset(size=8)(bytes(data[: int(cut * len(data))]))
        except DecodeError:
            return
    assert row.shape == (8, 8, 3)


def test_a_file_that_is_not_an_image_is_named(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no image")
    with pytest.raises(
        DecodeError, match=r"Pillow can read\. Bytes are the content of a file; pass"
    ):
        WHOLE(os.fsencode(path))
    with pytest.raises(DecodeError, match=r"notes\.txt' is not an image that Pillow can read"):
        WHOLE(path)
    with pytest.raises(
        DecodeError, match=r"an image of 8 bytes is not an image that Pillow can read"
    ):
        WHOLE(b"no image")


def test_an_empty_file_is_an_error_that_names_the_cause(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(DecodeError, match=r"empty\.jpg' is empty"):
        WHOLE(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DecodeError, match=r"gone\.jpg' cannot be opened: No such file"):
        WHOLE(tmp_path / "gone.jpg")


def test_an_image_whose_file_is_closed_is_an_error(colours, tmp_path):
    colours.save(tmp_path / "closed.png")
    with Image.open(tmp_path / "closed.png") as image:
        pass
    with pytest.raises(DecodeError, match=r"PIL image of mode RGB .*its file is closed"):
        WHOLE(image)


def damaged(filetype, **options):
    """Return bytes that Pillow opens as an image, fails to load, and loads the second time."""
    data = encoded(textured_photo().resize((16, 16)), filetype, **options)
    for position in range(len(data) // 3, len(data), 1 + len(data) // 2000):
        bad = data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :]
        with suppress(Exception), Image.open(BytesIO(bad)) as image:
            try:
                image.load()
            except OSError:
                image.load()
                return bad
    raise AssertionError(filetype)


@pytest.mark.parametrize(
    ("filetype", "options"),
    [
        ("GIF", {}),
        ("ICNS", {}),
        ("JPEG", {}),
        ("JPEG2000", {}),
        ("PNG", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
@pytest.mark.parametrize("form", ["path", "bytes"])
def test_a_damaged_pil_image_is_an_error_each_time(tmp_path, filetype, options, form):
    data = damaged(filetype, **options)
    (tmp_path / "damaged").write_bytes(data)
    with Image.open(tmp_path / "damaged" if form == "path" else BytesIO(data)) as image:
        for job in (digest, WHOLE, WHOLE, digest):
            with pytest.raises(DecodeError):
                job(image)
        assert list(check_images([image, image])["problem"]) == ["unreadable", "unreadable"]


def test_a_damaged_pil_image_is_left_out_of_a_cache(tmp_path, colours):
    with Image.open(BytesIO(damaged("PNG"))) as image:
        model = PretrainedFeatureExtractor(cache=tmp_path, decode_error="ignore", verbose=0)
        for _ in range(2):
            rows = model.fit_transform([colours, image])
            assert [bool(np.isnan(row).any()) for row in rows] == [False, True]


def test_an_image_without_pixels_is_an_error():
    with pytest.raises(DecodeError, match="mode RGB has no pixels: it is 0 x 4"):
        WHOLE(Image.new("RGB", (0, 4)))


@pytest.mark.parametrize("value", [-0.5, 1.5, np.nan, np.inf])
def test_float_pixels_of_a_file_must_lie_between_0_and_1(value):
    image = Image.fromarray(np.full((16, 16), value, np.float32))
    with pytest.raises(DecodeError, match="pixels from 0 to 1, because its mode is F; got"):
        WHOLE(encoded(image, "TIFF"))


@pytest.mark.parametrize("value", [-1, 65536])
def test_integer_pixels_of_a_file_must_fit_into_sixteen_bits(value):
    image = Image.fromarray(np.full((16, 16), value, np.int32))
    with pytest.raises(DecodeError, match="pixels from 0 to 65535, because its mode is I; got"):
        WHOLE(encoded(image, "TIFF"))


@pytest.mark.parametrize("limit", [1000, 6000])  # a warning of Pillow's, and an error
def test_a_decompression_bomb_is_an_error_that_names_the_limit(monkeypatch, limit):
    data = encoded(Image.new("L", (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DecodeError, match=rf"decompression bomb.*MAX_IMAGE_PIXELS, {limit}"):
        WHOLE(data)


def test_a_decompression_bomb_is_an_error_if_pillow_only_warns(monkeypatch):
    data = encoded(Image.new("L", (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    with pytest.raises(DecodeError, match=r"100 x 100 pixels; the limit"):
        WHOLE(data)


def test_a_large_image_is_decoded_if_pillow_has_no_limit(monkeypatch):
    data = encoded(Image.new("L", (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert WHOLE(data).shape == (16, 16, 3)


def test_decoding_changes_neither_settings_of_pillow_nor_warning_filters(colours):
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    WHOLE(encoded(colours, "JPEG"))
    with pytest.raises(DecodeError):
        WHOLE(b"no image")
    after = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    assert after == before


def test_a_decode_error_survives_pickling():
    with pytest.raises(DecodeError) as raised:
        WHOLE(b"no image")
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_a_row_decoded_from_a_truncated_file_is_not_served_after_the_switch_is_off(
    photo, tmp_path, monkeypatch
):
    path = tmp_path / "torn.jpg"
    data = encoded(photo.resize((160, 120)), "JPEG")
    path.write_bytes(data[: len(data) // 2])
    model = PretrainedFeatureExtractor(image_size=32, cache=tmp_path / "cache")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    row = model.fit([path]).transform([path])
    assert np.isfinite(row).all()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    for fitted in (model, clone(model).fit([path])):
        with pytest.raises(DecodeError, match="is truncated"):
            fitted.transform([path])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path.unlink()
    path.write_bytes(data[: len(data) // 2])
    assert np.array_equal(model.transform([path]), row)


@pytest.mark.parametrize(
    ("module", "switch"),
    [
        (ImageFile, "LOAD_TRUNCATED_IMAGES"),
        (TiffImagePlugin, "READ_LIBTIFF"),
        (BmpImagePlugin, "USE_RAW_ALPHA"),
    ],
)
def test_a_switch_of_pillow_that_changes_pixels_changes_the_fingerprint(
    monkeypatch, module, switch
):
    before = WHOLE.fingerprint()
    monkeypatch.setattr(module, switch, True)
    assert WHOLE.fingerprint() != before
