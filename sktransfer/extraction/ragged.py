"""Rows of several lengths as one sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


class RowsByLength:
    """Rows of several lengths, each length in an array or table of its own.

    Rows that are read together are filled up with zeros to the longest of them.  In the layout
    "NLM", a position of zeros is one without a token.

    Parameters
    ----------
    parts : sequence of (int, ndarray of int, sequence of rows)
        For each length: the positions of its rows in the sequence, in which each position occurs
        once, and the rows.

    Attributes
    ----------
    lengths : ndarray of int of shape (n,)
        The length of each row.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.extraction.ragged import RowsByLength
    >>> short, long = np.ones((2, 1, 1)), np.full((1, 2, 1), 5)
    >>> rows = RowsByLength([(1, np.array([0, 2]), short), (2, np.array([1]), long)])
    >>> rows[np.array([2, 1])].squeeze(2).tolist(), rows.lengths.tolist()
    ([[1.0, 0.0], [5.0, 5.0]], [1, 2, 1])
    """

    def __init__(self, parts: Sequence[tuple[int | None, np.ndarray, Any]]):
        self._parts = list(parts)
        n = sum(len(positions) for _, positions, _ in parts)
        self.lengths, self._part, self._at = (np.zeros(n, int) for _ in range(3))
        for number, (length, positions, _) in enumerate(parts):
            self.lengths[positions] = length
            self._part[positions] = number
            self._at[positions] = np.arange(len(positions))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        part, at = self._part[positions], self._at[positions]
        found = [(part == number, number) for number in np.unique(part)]
        blocks = [(here, self._parts[number][2][at[here]]) for here, number in found]
        shape = np.max([block.shape[1:] for _, block in blocks], axis=0)
        rows = np.zeros((len(at), *shape), np.result_type(*(block.dtype for _, block in blocks)))
        for here, block in blocks:
            if block.ndim == 2:  # vectors, which have one shape
                rows[here] = block
            else:
                rows[here, : block.shape[1]] = block
        return rows

    def parts(self) -> Iterator[tuple[int | None, np.ndarray, Any]]:
        """Yield each length with the positions of its rows, and these rows."""
        yield from self._parts


def parts_of(rows: Any) -> Iterator[tuple[int | None, np.ndarray, Any]]:
    """Yield the lengths of rows, their positions and the rows; None for rows of one shape."""
    if isinstance(rows, RowsByLength):
        yield from rows.parts()
    else:
        yield None, np.arange(len(rows)), rows
