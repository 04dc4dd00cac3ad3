"""Pillow's own conversion of a file to pixels, to compare the pixels of the package with."""

import warnings
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from sktransfer.data.resizing import LONGEST

# Pillow's conversions copy the whole image: more pixels exceed the memory of the process.
MOST_PIXELS = 40_000_000
TOO_LARGE = "too large to compare"

BITS, MEANING, WHITE_IS_ZERO = 258, 262, 0  # tags of a TIFF file


@dataclass
class Expected:
    """The pixels of a file, or the error of Pillow.

    Parameters
    ----------
    pixels : ndarray of shape (h, w, 1) or (h, w, 3), or None
        uint8, or float32 in [0, 1].
    error : str
    is_defined : bool, default=True
        False if Pillow decodes the file differently each time, as it does some damaged ones, or
        if the image has too many pixels.
    """

    pixels: np.ndarray | None
    error: str = ""
    is_defined: bool = True


def expected(data: bytes) -> Expected:
    """Decode the bytes of a file twice."""
    first, second = _decoded(data), _decoded(data)
    if first.pixels is not None and second.pixels is not None:
        same = _equal(first.pixels, second.pixels)
    else:
        same = first.pixels is second.pixels
    return replace(first, is_defined=same and first.is_defined)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare pixels row by row, because large images leave little memory."""
    rows = zip(one, other, strict=False)
    nan = one.dtype.kind == "f"
    return one.shape == other.shape and all(np.array_equal(*r, equal_nan=nan) for r in rows)


def _decoded(data: bytes) -> Expected:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                return Expected(None, TOO_LARGE, is_defined=False)
            image.load()
            return Expected(_middle(_pixels(_upright(image))))
    except MemoryError as error:  # Pillow's conversions copy the whole image
        return Expected(None, repr(error), is_defined=False)
    except Exception as error:  # noqa: BLE001 - a damaged file makes Pillow raise nearly anything
        return Expected(None, repr(error))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - damaged metadata does not matter to the pixels
        return image


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        return np.asarray(image)[:, :, None]
    if image.mode.startswith("I"):
        return _deep(image)
    # Some files in Apple's format of icons have no palette, and make has_transparency_data fail.
    if (image.mode != "P" or image.palette) and image.has_transparency_data:
        image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _deep(image: Image.Image) -> np.ndarray:
    """Scale integers by the number of bits that a TIFF file names."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    white = 65535 if image.mode == "I" else 2 ** tags.get(BITS, (16,))[0] - 1
    grey = (values / white).astype(np.float32)
    if image.mode != "I" and tags.get(MEANING) == WHITE_IS_ZERO:
        grey = 1 - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 1
    return grey[:, :, None]


def _middle(pixels: np.ndarray) -> np.ndarray:
    """Cut a long strip to its middle, as presets do."""
    height, width = pixels.shape[:2]
    longest = LONGEST * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return pixels[top : height - top, left : width - left]
