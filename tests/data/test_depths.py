"""Depths: files of other than 8 and 16 bits, and the values of black and white."""

import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from helpers.deep_files import grey_tiff, jpeg2000
from helpers.image_files import encoded, planes_of
from PIL import Image

from sktransfer import ImagePreset, check_images
from sktransfer.data.digests import digest
from sktransfer.exceptions import DecodeError

WHOLE = ImagePreset(size=16, crop=1.0)  # for images of 16 x 16 pixels: nothing is resized

# JPEG 2000 files of a depth that is decoded
DEPTHS = [(1, 1), (4, 3), (10, 1), (12, 1)]


def greys(top):
    """Return 16 x 16 pixels with values from 0 to ``top``."""
    return np.linspace(0, top, 256).round().astype(np.uint16).reshape(16, 16)


def netpbm(magic, values, top):
    """Return a netpbm file, plain or binary, of 16 x 16 pixels."""
    header = f"{magic}\n16 16\n{top}\n".encode()
    if magic in ("P2", "P3"):
        return header + " ".join(map(str, values.ravel())).encode()
    return header + values.astype(">u2" if top > 255 else "u1").tobytes()


def decoded(item):
    """Return the first plane of an item as floats in [0, 1], (16, 16)."""
    plane = np.asarray(planes_of(item)[0], np.float32)
    return plane if plane.max() <= 1 else plane / 255


@pytest.mark.parametrize("form", [bytes, lambda data: Image.open(BytesIO(data))])
def test_a_tiff_of_12_bits_is_scaled_by_them(form):
    pixels = greys(4095)
    row = WHOLE(form(grey_tiff(pixels, 12)))
    expected = torch.from_numpy(pixels.astype(np.float32) / np.float32(4095))
    assert torch.equal(row[:, :, 0], expected)


def test_a_loaded_tiff_of_12_bits_keeps_its_depth():
    image = Image.open(BytesIO(grey_tiff(greys(4095), 12)))
    image.load()
    assert WHOLE(image).max() == 1


def test_a_tiff_of_16_bits_in_which_white_is_zero_is_inverted():
    pixels = greys(65535)
    plain, inverted = (grey_tiff(pixels, 16, white_is_zero=white) for white in (False, True))
    torch.testing.assert_close(WHOLE(inverted), 1 - WHOLE(plain), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("bits", "channels"), DEPTHS)
def test_a_jpeg2000_file_of_any_depth_is_scaled_by_its_bits(bits, channels):
    row = WHOLE(jpeg2000(bits, channels)).float()
    row = row / 255 if bits <= 8 else row
    corners = [row[0, 0], row[0, -1], row[-1, 0], row[-1, -1]]
    expected = torch.tensor([0.0, 0.0, 0.0, 1.0] if bits == 1 else [0, 1 / 3, 2 / 3, 1])
    assert torch.allclose(torch.stack(corners), expected[:, None].expand(4, 3), atol=2**-bits)
    assert row.max() == 1


@pytest.mark.parametrize(("bits", "channels", "mode"), [(12, 3, "RGB"), (9, 1, "L")])
def test_a_jpeg2000_file_whose_whites_pillow_decodes_as_black_is_an_error(bits, channels, mode):
    data = jpeg2000(bits, channels)
    assert np.asarray(Image.open(BytesIO(data)))[-1, -1].max() == 0  # the fault of Pillow
    with pytest.raises(DecodeError, match=rf"of {bits} bits and mode {mode}, whose whites .*PNG"):
        WHOLE(data)


def test_a_jpeg2000_file_without_a_readable_header_counts_as_pillow_decodes_it():
    image = Image.open(BytesIO(jpeg2000(12, 1)))
    image.load()  # closes the file
    assert 0.999 < WHOLE(image).max() < 1


@pytest.mark.parametrize("top", [1, 100, 255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("magic", ["P2", "P5", "P3", "P6"])
def test_a_netpbm_file_is_scaled_by_its_maximum(magic, top):
    values = greys(top)
    data = netpbm(magic, values if magic in ("P2", "P5") else values.repeat(3), top)
    np.testing.assert_allclose(
        decoded(data)[..., 0] if magic in ("P3", "P6") else decoded(data),
        values / top,
        atol=0.51 / 255 if magic in ("P3", "P6") or top <= 255 else 1e-5,
    )


def test_the_significant_bits_of_a_png_do_not_change_its_scale():
    data = encoded(Image.fromarray(greys(65535)), "PNG")
    start = data.index(b"IDAT") - 4
    chunk = b"\0\0\0\x01sBIT\x0c"
    chunk += zlib.crc32(chunk[4:]).to_bytes(4)
    assert torch.equal(WHOLE(data[:start] + chunk + data[start:]), WHOLE(data))


def test_pil_images_of_equal_pixels_and_different_depths_have_different_digests():
    pixels = greys(4095)
    opened = [Image.open(BytesIO(grey_tiff(pixels, bits))) for bits in (12, 16)]
    assert np.array_equal(*map(np.asarray, opened))
    assert digest(opened[0]) != digest(opened[1])


def test_check_images_reports_the_bits_of_the_file():
    deep = [greys(65535) // step for step in (1, 2, 3)]
    files = [grey_tiff(pixels, 16) for pixels in deep]
    report = check_images([*files, grey_tiff(greys(4095).T, 12), jpeg2000(10, 1)], min_side=1)
    odd = report[~report["problem"].str.startswith("duplicate")]
    assert list(zip(odd["index"], odd["problem"], strict=True)) == [(3, "12-bit"), (4, "10-bit")]
    assert odd["detail"].str.startswith("I;16; 60.0% are 16-bit").all()
