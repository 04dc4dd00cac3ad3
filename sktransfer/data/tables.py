"""Turn the rows of a table into images."""

from __future__ import annotations

from math import isqrt, prod

import numpy as np

from .decoding import channels_last


def unflattened(table: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """Reshape the rows of a table to images, (n, h, w) or (n, h, w, c).

    Parameters
    ----------
    table : ndarray of shape (n, width)
    shape : tuple of int or None
        Shape of each image.  None derives one from the width.
    """
    n, width = table.shape
    if table.dtype.kind == "f" and np.abs(table).max() > np.finfo(np.float32).max:
        raise ValueError("Input X contains a value too large for dtype('float32').")
    if shape is None:
        return _squared(table)
    if width != prod(shape):
        raise ValueError(f"X must have {prod(shape)} columns for image_shape={shape}; got {width}.")
    return channels_last(table.reshape(n, *shape), shape)  # (n, h, w) or (n, h, w, c)


def _squared(table: np.ndarray) -> np.ndarray:
    """Reshape rows to square images: of three channels, or padded with zeros and grey."""
    n, width = table.shape
    side = isqrt(width // 3)
    if 3 * side * side == width:
        return table.reshape(n, side, side, 3)
    side = isqrt(width - 1) + 1
    if side * side > width:
        table = np.pad(table, ((0, 0), (0, side * side - width)))
    return table.reshape(n, side, side)
