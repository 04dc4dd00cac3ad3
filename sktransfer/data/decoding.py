"""Decode one item, given as a path, bytes, a PIL image or an array, to upright pixels.

Images of eight bits per channel stay so.  Images of more bits become floats, without a loss of
precision.  Neither settings of Pillow nor warning filters are changed.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import (
    BmpImagePlugin,
    ExifTags,
    Image,
    ImageFile,
    TiffImagePlugin,
    UnidentifiedImageError,
    features,
)

from .._support.forks import renewed_in_children
from .._support.locks import SharedLock
from ..exceptions import DecodeError
from .depths import black_and_white
from .naming import named, named_warnings

# EXIF orientation -> the operation that turns the image upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow converts a mode with premultiplied alpha only to the same mode with plain alpha.
PLAIN_ALPHA = {"La": "LA", "RGBa": "RGBA"}

DEPTH_16 = np.float32(65535)
DEPTH_8 = np.float32(255)

# A pair of pixel values: black and white
EIGHT_BITS = (0, 255)

# Floats may leave [0, 1] by this much, from rounding.
TOLERANCE = 1e-6

# Libraries whose version can change the pixels of a file
LOSSY = ("libjpeg_turbo", "jpg_2000", "webp", "avif")

# Switches of Pillow, for the whole process, that change the pixels of some files.  They are off by
# default.
SWITCHES = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES"),
    (TiffImagePlugin, "READ_LIBTIFF"),
    (BmpImagePlugin, "USE_RAW_ALPHA"),
)

# X may hold the same PIL image twice, and Pillow cannot load an image in two threads at once.
_loading = renewed_in_children(SharedLock())


def decode(item: Any, draft: int | None = None) -> list[Image.Image]:
    """Decode ``item`` to one RGB or L image, or to float planes, and turn it upright.

    Parameters
    ----------
    item : str, path-like, bytes, PIL image, or ndarray of shape (h, w) or (h, w, c)
        Transparent images are placed on a white background.  Of an animation, the first frame is
        decoded.
    draft : int or None, default=None
        Minimum length of both sides in pixels, down to which a JPEG file may be decoded at 1/2,
        1/4 or 1/8 of its size, which is faster.  None decodes the full size.

    Returns
    -------
    list of PIL images
        One image of mode RGB or L if the item has eight bits per channel.  Otherwise images of
        mode F, one for grey and three for colour, with values in [0, 1]; float arrays keep
        their values.

    Raises
    ------
    DecodeError
        If the item is not an image, is truncated, is too large, or cannot be read correctly.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.data.decoding import decode
    >>> [plane.mode for plane in decode(np.zeros((4, 6, 3), np.uint8))]
    ['RGB']
    >>> [plane.size for plane in decode(np.zeros((4, 6), np.uint16))]
    [(6, 4)]
    """
    try:
        if isinstance(item, np.ndarray):
            return _array_planes(item)
        with named_warnings(item):
            return _pil_planes(item) if isinstance(item, Image.Image) else _file_planes(item, draft)
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        raise DecodeError(f"{named(item)} {_cause(item, error)}") from error


def decoders() -> str:
    """Return a text that describes all that changes the pixels of a file, besides the file."""
    versions = [f"{name} {features.version(name)}" for name in LOSSY]
    switches = [name for module, name in SWITCHES if getattr(module, name, False)]
    return " ".join((f"pillow {PIL.__version__}", *versions, *switches))


def _pil_planes(image: Image.Image) -> list[Image.Image]:
    """Convert a PIL image, which is loaded but not changed otherwise."""
    with _loading.alone():
        image.load()
        upright = _upright(image)
    return _planes(upright, black_and_white(image))


def _file_planes(item: Any, draft: int | None) -> list[Image.Image]:
    """Decode a path or the bytes of a file."""
    with Image.open(BytesIO(item) if isinstance(item, bytes) else item) as image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
        if draft is not None:
            # Pillow keeps both sides at least this long.  The limit is the same for both, so an
            # EXIF orientation that swaps them does not matter.
            image.draft(None, (draft, draft))
        span = black_and_white(image)  # before load(), which closes the file
        image.load()
        return _planes(_upright(image), span)


def _upright(image: Image.Image) -> Image.Image:
    """Rotate and flip ``image`` as its EXIF orientation requires."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - broken metadata raises many errors; the pixels are fine
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _planes(image: Image.Image, span: tuple[int, int] = EIGHT_BITS) -> list[Image.Image]:
    """Convert ``image`` to mode RGB or L, or to float planes if it has more than eight bits.

    ``span`` holds the pixel values of black and white.
    """
    if 0 in image.size:
        raise DecodeError(f"has no pixels: it is {image.width} x {image.height}.")
    if image.mode.startswith("I") or image.mode == "F":
        return _array_planes(_deep(image, *span))
    if span != EIGHT_BITS:
        image = image.point(lambda value: min(255, round(value * 255 / span[1])))
    if image.has_transparency_data:
        image = image.convert(PLAIN_ALPHA.get(image.mode, image.mode)).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return [Image.alpha_composite(white, image).convert("RGB")]
    if image.mode == "1":
        return [image.convert("L")]
    return [image if image.mode in ("RGB", "L") else image.convert("RGB")]


def _deep(image: Image.Image, black: int, white: int) -> np.ndarray:
    """Return the pixels of an image of mode I;16, I or F as uint16 or as floats in [0, 1]."""
    pixels = np.asarray(image)
    top, slack = (1, TOLERANCE) if image.mode == "F" else (max(black, white), 0)
    if not (pixels.min() >= -slack and pixels.max() <= top + slack):
        raise DecodeError(
            f"must have pixels from 0 to {top}, because its mode is {image.mode}; got "
            f"{pixels.min():g} to {pixels.max():g}. Rescale them."
        )
    if image.mode == "F":
        return pixels
    if (black, white) == (0, 65535):
        return pixels.astype(np.uint16)
    return (pixels.astype(np.float32) - np.float32(black)) / np.float32(white - black)


def _array_planes(pixels: np.ndarray) -> list[Image.Image]:
    """Convert an array (h, w) or (h, w, c) to an RGB or L image, or to float planes."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]  # (h, w)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8:
        return _planes(Image.fromarray(np.ascontiguousarray(pixels)))
    floats = _floats(pixels)
    if floats.ndim == 2:
        return [Image.fromarray(np.ascontiguousarray(floats))]
    if floats.shape[2] in (2, 4):
        colours, alpha = floats[:, :, :-1], floats[:, :, -1:]
        floats = colours * alpha + (1 - alpha)  # on a white background
    bands = np.ascontiguousarray(np.moveaxis(floats, 2, 0))  # (c, h, w)
    return [Image.fromarray(band) for band in bands]


def is_uint16(pixels: np.ndarray) -> bool:
    """Return True if the pixels are unsigned integers of 16 bits, in either byte order."""
    return pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2


def _floats(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels to float32.  The scale depends on their dtype, never on their values."""
    floats = pixels.astype(np.float32)
    if pixels.dtype.kind == "f":
        return floats
    return floats / (DEPTH_16 if is_uint16(pixels) else DEPTH_8)


def _cause(item: Any, error: Exception) -> str:
    """Describe why an item could not be decoded, for the rest of the error message."""
    cause = f"cannot be decoded: {type(error).__name__}: {error}"
    if isinstance(error, DecodeError):
        cause = str(error)
    elif isinstance(error, Image.DecompressionBombError):
        cause = (
            f"is too large, perhaps a decompression bomb: {error}; the limit is "
            f"PIL.Image.MAX_IMAGE_PIXELS, {Image.MAX_IMAGE_PIXELS}."
        )
    elif isinstance(error, UnidentifiedImageError):
        cause = "is empty." if _n_bytes(item) == 0 else "is not an image that Pillow can read."
    elif isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError)):
        cause = f"cannot be opened: {error.strerror}."
    elif isinstance(error, EOFError) or "truncated" in str(error).lower():
        cause = f"is truncated: {error}."
    elif isinstance(item, ImageFile.ImageFile) and item.fp is None:
        cause = "cannot be loaded: its file is closed. Call its load() before closing the file."
    return cause


def _n_bytes(item: Any) -> int:
    """Return the number of bytes of a file, given as a path or as its content."""
    return len(item) if isinstance(item, bytes) else Path(item).stat().st_size


CHANNELS = (1, 2, 3, 4)  # grey, grey and alpha, RGB, RGBA


def channels_last(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Move the channels of one or more images to the last axis.

    ``shape`` is that of one image: (h, w), (h, w, c) or (c, h, w).
    """
    first = len(shape) == 3 and shape[-1] not in CHANNELS
    return np.moveaxis(pixels, -3, -1) if first else pixels
