"""Digests: the names of items, by their content."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .._support.hashing import hash_parts

# A file changed so short a time ago may change again under the same time stamp.
RACY_SECONDS = 2

ORIENTATION = 0x0112  # the EXIF tag

# What files and Pillow raise for an item that is not whole.
UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, struct.error)


def digest(item: Any) -> bytes:
    """The item's name in the cache, 16 bytes: equal where the content is equal.

    Parameters
    ----------
    item : str, path-like, bytes, PIL image or array
        A path stands for the bytes of its file.  Of an array, type, shape and values count; of a
        PIL image, what it looks like: mode, pixels, palette, transparency and orientation.  What
        has an attribute ``digest`` of 16 bytes names itself.

    Returns
    -------
    bytes

    Raises
    ------
    TypeError
        If the item is none of these.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> from sktransfer.data.digests import digest
    >>> digest(b"the bytes of a photo").hex()
    'c0af559c188f0e4504d32cee10a5b84c'
    """
    named = getattr(item, "digest", None)
    if isinstance(named, bytes):
        return named
    if isinstance(item, (str, os.PathLike)):
        return hash_parts("bytes", Path(item).read_bytes())
    if isinstance(item, (bytes, bytearray, memoryview)):
        return hash_parts("bytes", item)
    if isinstance(item, Image.Image):
        pixels = item.tobytes()  # first of all: it loads what the attributes below tell
        turned, clear = item.getexif().get(ORIENTATION), item.info.get("transparency")
        look = repr((item.mode, item.size, turned, clear, item.getpalette(None)))
        return hash_parts("image", look, pixels)
    array = np.asarray(item)
    if array.dtype.hasobject:
        raise TypeError(
            "item must be a path, bytes, a PIL image or an array of numbers; "
            f"got {type(item).__name__}."
        )
    return hash_parts("array", array)


def digest_or_none(item: Any) -> bytes | None:
    """The digest of an item; None of one that cannot be read."""
    try:
        return digest(item)
    except UNREADABLE:
        return None


def file_key(item: Any) -> bytes | None:
    """The name of a file as it is now; None of what is no file, or may still be changing."""
    if not isinstance(item, (str, os.PathLike)):
        return None
    try:
        stat = os.stat(item)  # noqa: PTH116 - to make a Path takes longer than the answer
    except (OSError, ValueError):
        return None
    if abs(time.time() - stat.st_mtime) < RACY_SECONDS:
        return None
    path = os.fsencode(os.path.abspath(item))  # noqa: PTH100 - resolve() would ask the disk again
    return hash_parts("file", path, repr((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)))
