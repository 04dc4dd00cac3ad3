"""Decode one item, given as a path, bytes, a PIL image or an array, to upright pixels.

Images of eight bits per channel stay so.  Images of more bits become floats, without a loss of
precision.  Neither settings of Pillow nor warning filters are changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

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
from .._support.memory import MemoryBudget
from ..exceptions import DecodeError
from .depths import black_and_white, n_bits, scale_clear_colour
from .naming import named, named_warnings
from .pictures import UPRIGHT, Draft, PixelArray, StoredImage

# Libraries whose version can change the pixels of a file
LOSSY = ("libjpeg_turbo", "jpg_2000", "webp", "avif")

# Switches of Pillow, for the whole process, that change the pixels of some files.  They are off by
# default.
SWITCHES = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES"),
    (TiffImagePlugin, "READ_LIBTIFF"),
    (BmpImagePlugin, "USE_RAW_ALPHA"),
)

# Formats of which the header alone has the size and the orientation.  Pillow turns TIFF files when
# it loads them, and PNG files may have their metadata after the pixels.
HEADERS = ("JPEG", "MPO", "WEBP")

# Bytes of a pixel of a converted image or float plane
PLANE_BYTES = 4

# Bytes that a pixel needs while a file is decoded and converted, at most.  They were measured for
# formats whose decoders make copies of their own.
PIXEL_BYTES, OWN_COPIES = 8, {"AVIF": 12, "WEBP": 16, "JPEG2000": 25}

# Bytes of the coefficients of each pixel, which a progressive JPEG file needs even for a draft.
COEFFICIENT_BYTES = 6

# All threads of a process share a gigabyte for the large images that they decode.
_budget = renewed_in_children(MemoryBudget(2**30, small=2**25))

# X may hold the same PIL image twice, and Pillow cannot load an image in two threads at once.
_loading = renewed_in_children(SharedLock())


@contextmanager
def decoded(
    item: Any, draft: int | None = None, *, pixels: bool = True
) -> Iterator[StoredImage | PixelArray]:
    """Return a context manager that decodes ``item`` and yields its upright pixels.

    Large images wait until other threads have left theirs.

    Parameters
    ----------
    item : str, path-like, bytes, PIL image, or ndarray of shape (h, w) or (h, w, c)
        Transparent images are placed on a white background.  Of an animation, the first frame is
        decoded.
    draft : int or None, default=None
        Minimum length of both sides in pixels, down to which a JPEG file may be decoded at 1/2,
        1/4 or 1/8 of its size, which is faster.  None decodes the full size.
    pixels : bool, default=True
        False if only the size and the place are needed, for which the header of some formats is
        enough.

    Yields
    ------
    Picture
        Its planes are one image of mode RGB or L if the item has eight bits per channel.
        Otherwise they are floats in [0, 1]; float arrays keep their values.

    Raises
    ------
    DecodeError
        If the item is not an image, is truncated, is too large, or cannot be read; also for an
        exception in the body of the ``with`` statement.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.data.decoding import decoded
    >>> with decoded(np.zeros((4, 6, 3), np.uint8)) as picture:
    ...     print(picture.size, [plane.mode for plane in picture.planes()])
    (6, 4) ['RGB']
    """
    try:
        if isinstance(item, np.ndarray):
            with _budget.spend(item.size * PLANE_BYTES):
                yield _checked(PixelArray(item))
            return
        with named_warnings(item):
            if isinstance(item, Image.Image):
                with _budget.spend(_n_needed(item)):
                    yield _checked(_loaded(item))
                return
            # Pillow maps some files that it opens by their path into memory: TIFF files that are
            # turned by 90 degrees are distorted then, and a file that shrinks ends the process.
            with _file(item) as file:
                image, n_bytes, reduced = _opened(file, draft)
                loads = pixels or image.format not in HEADERS
                # The pixels are dropped before another thread may spend their bytes.
                with _budget.spend(n_bytes * loads), closing(image):
                    # The header can be read only until load(), which drops the file.
                    depth = n_bits(image), black_and_white(image)
                    if loads:
                        image.load()
                    yield _checked(StoredImage(image, _orientation(image), *depth, reduced))
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        raise DecodeError(f"{named(item)} {_cause(item, error)}") from error


def decoders() -> str:
    """Return a text that describes all that changes the pixels of a file, besides the file."""
    versions = [f"{name} {features.version(name)}" for name in LOSSY]
    switches = [name for module, name in SWITCHES if getattr(module, name, False)]
    return " ".join((f"pillow {PIL.__version__}", *versions, *switches))


def _file(item: Any) -> BinaryIO:
    """Open a path, or the bytes of a file."""
    return BytesIO(item) if isinstance(item, bytes) else open(item, "rb")  # noqa: PTH123 - faster than pathlib


def _opened(file: BinaryIO, draft: int | None) -> tuple[Image.Image, int, Draft | None]:
    """Open an image, and return it with the bytes that decoding needs, and with its draft."""
    image = Image.open(file)
    width, height = image.size
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")
    n_bytes = COEFFICIENT_BYTES * width * height if "progressive" in image.info else 0
    reduced = None
    if draft is not None:
        # Pillow keeps both sides at least this long.  The limit is the same for both, so an EXIF
        # orientation that swaps them does not matter.
        found = image.draft(None, (draft, draft))
        if found is not None:
            reduced = Draft((width, height), found[1][2] / width)
    scale_clear_colour(image)
    return image, n_bytes + _n_needed(image), reduced


def _loaded(image: Image.Image) -> StoredImage:
    """Load a PIL image, which is not changed otherwise."""
    with _loading.alone():
        load(image)
        orientation = _orientation(image)
    return StoredImage(image, orientation, n_bits(image), black_and_white(image))


def load(image: Image.Image) -> None:
    """Load the pixels of a PIL image, which stays as it is if this fails.

    Otherwise, Pillow would return some pixels of a damaged image when it is called again.

    Raises
    ------
    DecodeError
        If the pixels cannot be loaded.  The message is that of :func:`decoded` without the name.
    """
    before = vars(image).copy()
    try:
        image.load()
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        vars(image).update(before)
        raise DecodeError(_cause(image, error)) from error


def _n_needed(image: Image.Image) -> int:
    """Return the number of bytes that decoding an image needs, at most."""
    width, height = image.size
    return width * height * OWN_COPIES.get(image.format or "", PIXEL_BYTES)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a loaded image; 1 is upright."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return int(orientation) if orientation in UPRIGHT else 1
    except Exception:  # noqa: BLE001 - broken metadata raises many errors; the pixels are fine
        return 1


def _checked(picture: StoredImage | PixelArray) -> StoredImage | PixelArray:
    """Return ``picture`` if it has pixels, and their values are in range."""
    picture.check()
    return picture


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
        if isinstance(item, bytes) and os.path.isfile(item):  # noqa: PTH113 - bytes may hold zeros
            cause += " Bytes are the content of a file; pass its path as a string."
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
