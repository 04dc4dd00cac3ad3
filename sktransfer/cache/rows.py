"""Rows of a table that stay on disk until they are needed, and rows in bfloat16."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import numpy as np

from .columns import TornShardError
from .shard import BFLOAT16, Like, Shard


class Rows:
    """Rows of a table, read from disk when they are indexed; made by :meth:`Table.rows`.

    They are indexed along the first axis as an array is: by an integer, a slice, or an array of
    integers or booleans.  The result is a new array in memory, of the type that is on disk; rows in
    bfloat16 become float32.  The checksum of each row is compared whenever it is read.

    Indexing raises an OSError if a row cannot be read, or was damaged while it was in use.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        starts: Sequence[int],
        positions: np.ndarray,
        digests: np.ndarray,
        like: Like,
    ):
        self._shards = tuple(shards)
        self._starts = np.array(starts)
        self._positions = positions
        self._digests = digests  # (n, 16)
        shape, dtype = like
        self.shape = (len(positions), *shape)
        self.dtype = np.dtype("<f4") if dtype == BFLOAT16 else dtype
        self._stored = dtype

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = self.stored(index)
        return from_bfloat16(rows) if rows.dtype == BFLOAT16 else rows

    def stored(self, index: Any) -> np.ndarray:
        """Return rows as they are on disk; bfloat16 as its bits."""
        positions = np.asarray(self._positions[index])
        flat, digests = positions.reshape(-1), self._digests[index].reshape(-1, 16)
        out = np.empty((len(flat), *self.shape[1:]), self._stored)
        holders = np.searchsorted(self._starts, flat, side="right") - 1
        for holder in np.unique(holders):
            at, shard = np.flatnonzero(holders == holder), self._shards[holder]
            try:
                shard.copy(flat[at] - self._starts[holder], out, at, digests[at])
            except (OSError, TornShardError) as error:
                sentence = (
                    "rows of the cache must stay readable while they are in use; this file was "
                    "damaged. Run again: its rows are computed again"
                )
                raise OSError(errno.EIO, sentence, str(shard.path)) from error
        return out.reshape(positions.shape + self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("copy must be None or True: the rows are not one array in memory.")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"Rows(shape={self.shape}, dtype={self.dtype})"


def to_bfloat16(rows: np.ndarray) -> np.ndarray:
    """Round floats to the nearest bfloat16, ties to even, and return the bits.

    Values that are too large become the largest finite one.
    """
    largest = from_bfloat16(np.array(0x7F7F, BFLOAT16))
    bits = np.clip(rows, -largest, largest).astype("<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(rows), 0x7FC0, rounded).astype(BFLOAT16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return bfloat16 values, given as their bits, in float32."""
    return (bits.astype("<u4") << 16).view("<f4")
