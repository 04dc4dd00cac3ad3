"""Digests: short names of items, computed from their content."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .._support.files import RACY_SECONDS
from .._support.hashing import hash_parts
from .decoding import load
from .depths import black_and_white
from .naming import named_warnings

ORIENTATION = 0x0112  # the EXIF tag

# Errors that files and Pillow raise for an item that cannot be read.
UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, struct.error)


def digest(item: Any) -> bytes:
    """Return the digest of an item: 16 bytes that are equal for equal content.

    The digest is the name of the item in the cache.

    Parameters
    ----------
    item : str, path-like, bytes, PIL image or array
        The digest of a path is that of the bytes of its file.  For an array it is computed from
        dtype, shape and values; for a PIL image from mode, pixels, depth, palette,
        transparency and orientation.  If an item has an attribute ``digest`` of type bytes, that
        is returned.

    Returns
    -------
    bytes

    Raises
    ------
    TypeError
        If the item is anything else.
    OSError
        If a file cannot be read.
    DecodeError
        If a PIL image cannot be loaded.

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
        with named_warnings(item):
            load(item)  # has to be first, because it loads the attributes read below
            pixels = item.tobytes()
            turned, clear = item.getexif().get(ORIENTATION), item.info.get("transparency")
        span = black_and_white(item)
        look = repr((item.mode, item.size, span, turned, clear, item.getpalette(None)))
        return hash_parts("image", look, pixels)
    array = np.asarray(item)
    if array.dtype.hasobject:
        raise TypeError(
            "item must be a path, bytes, a PIL image or an array of numbers; "
            f"got {type(item).__name__}."
        )
    return hash_parts("array", array)


def digest_or_none(item: Any) -> bytes | None:
    """Return the digest of an item, or None if it cannot be read."""
    try:
        return digest(item)
    except UNREADABLE:
        return None


def file_state(item: Any) -> tuple[int, ...] | None:
    """Return size, times and number of a file, which change with its content.

    Return None if the item is not the path of a file.
    """
    if not isinstance(item, (str, os.PathLike)):
        return None
    try:
        stat = os.stat(item)  # noqa: PTH116 - making a Path takes longer than the call
    except (OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def file_key(item: Any, state: tuple[int, ...] | None) -> bytes | None:
    """Return a key of a file's path and of the state that it has now.

    Return None if the item is not the path of a file, or if the file changed a moment ago.
    """
    if state is None or not isinstance(item, (str, os.PathLike)):
        return None
    size, modified, changed, _ = state
    if abs(time.time_ns() - modified) < RACY_SECONDS * 10**9:
        return None
    path = os.fsencode(os.path.abspath(item))  # noqa: PTH100 - resolve() would read the disk again
    return hash_parts("file", b"%d %d %d %b" % (size, modified, changed, path))
