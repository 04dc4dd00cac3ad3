"""Lengths of rows: rows of one length are computed together by frozen stages.

Their results must not depend on the other rows of a batch, down to the last bit.  In training, a
batch has rows of several lengths, and is cut after the last token of its longest text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


def has_lengths(preset: Any) -> bool:
    """Return True if the rows of a preset have several lengths."""
    return hasattr(preset, "length_of")


def lengths_of(preset: Any, items: Iterable[Any]) -> np.ndarray | None:
    """Return the length of the row of each item, or None if all rows have the same shape.

    A preset whose rows have several lengths has a method ``length_of(item)``, which returns the
    length of ``preset(item)``: a function of the item and the preset that has few different values.

    Parameters
    ----------
    preset : Preset
    items : iterable of n items

    Returns
    -------
    ndarray of int of shape (n,), or None
    """
    return np.fromiter(map(preset.length_of, items), int) if has_lengths(preset) else None


def count_tokens(preset: Any, items: Iterable[Any]) -> np.ndarray | None:
    """Return the number of tokens of each item, or None if all rows have the same shape.

    A preset may have a method ``n_tokens(item)``: only as many positions of a row hold a token, and
    the others are at its end.  Without this method, all positions count.

    Parameters
    ----------
    preset : Preset
    items : iterable of n items

    Returns
    -------
    ndarray of int of shape (n,), or None
    """
    if not hasattr(preset, "n_tokens"):
        return lengths_of(preset, items)
    return np.fromiter(map(preset.n_tokens, items), int)


def by_length(lengths: np.ndarray | None, n: int) -> Iterator[tuple[int | None, np.ndarray]]:
    """Yield each length with the positions of its rows, the longest first.

    Parameters
    ----------
    lengths : ndarray of int of shape (n,), or None
        As :func:`lengths_of` returns them.  With None, all positions are yielded at once.
    n : int
        The number of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.data.lengths import by_length
    >>> [(length, rows.tolist()) for length, rows in by_length(np.array([8, 16, 8]), 3)]
    [(16, [1]), (8, [0, 2])]
    """
    if lengths is None:
        yield None, np.arange(n)
        return
    for length in np.unique(lengths)[::-1].tolist():
        yield length, np.flatnonzero(lengths == length)
