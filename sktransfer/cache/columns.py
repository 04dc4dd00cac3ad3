"""Columns of a shard, in memory or in a file.

A file is read, not mapped to memory: access to the map of a file that was cut short kills the
process, while a read that is too short is an error.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from math import prod
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

# Items that are closer are read together: reading this many bytes takes as long as another call.
GAP_BYTES = 2**14

# Maximum number of bytes that are read at once, unless an item is larger.
BLOCK_BYTES = 2**20

# The key of a row, in the second column.  The second fields of all keys list the rows by
# increasing digest, so that one digest is found in log(n) steps.
KEY = np.dtype([("checksum", "<u4"), ("order", "<u4"), ("digest", "u1", 16)])

# To search the keys in a file for one digest takes as long as to read this many bytes.
SEARCH_BYTES = 2**19

# Windows cannot read at a position without moving there, and threads share the position of a file.
HAS_PREAD = hasattr(os, "pread")
_moving = Lock()


class TornShardError(Exception):
    """A file is not a whole shard."""


class FileColumn:
    """A column in a file, whose items become a new array when they are indexed.

    Parameters
    ----------
    shape : tuple of int
        The first is the number of items.
    dtype : dtype
    file : FileIO
    start : int
        Position of the first item in the file.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, file: FileIO, start: int):
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._file = file
        self._start = start
        self._item_bytes = prod(shape[1:]) * self._dtype.itemsize

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Return the items at an integer, a slice or an array of integers.

        No position may be negative, and a slice has no step.  The name of a field returns this
        field of all items, which is indexed by an integer.

        Raises
        ------
        TornShardError
            If the file is too short by now.
        OSError
            If the file cannot be read.
        """
        if isinstance(index, (int, np.integer)):
            return self._items(self._read(int(index), int(index) + 1), 1)[0]
        if isinstance(index, str):
            return FileField(self, index)
        if isinstance(index, slice):
            first, end, _ = index.indices(len(self))
            return self._items(self._read(first, end), end - first)
        if len(index) and (np.diff(index) == 1).all():
            return self._items(self._read(int(index[0]), int(index[-1]) + 1), len(index))
        wanted, inverse = np.unique(index, return_inverse=True)
        return self._items(self._read_all(wanted), len(wanted))[inverse]

    def _items(self, content: bytes | bytearray, n: int) -> np.ndarray:
        """Return ``n`` items, given as the bytes of the file."""
        return np.ndarray((n, *self._shape[1:]), self._dtype, content)

    def _read_all(self, wanted: np.ndarray) -> bytearray:
        """Return the bytes of the items at increasing positions."""
        size = self._item_bytes
        content = bytearray(len(wanted) * size)
        if not content:
            return content
        is_far = np.diff(wanted) > 1 + GAP_BYTES // size
        is_next_block = np.diff(wanted // max(1, BLOCK_BYTES // size)) > 0
        starts = np.flatnonzero(np.concatenate([[True], is_far | is_next_block]))
        stops = np.append(starts[1:], len(wanted))
        runs = (starts, stops, wanted[starts], wanted[stops - 1] + 1)
        for start, stop, first, end in zip(*(bounds.tolist() for bounds in runs), strict=True):
            block = self._read(first, end)
            if end - first > stop - start:  # without the items between
                items = np.frombuffer(block, f"V{size}")
                block = items[wanted[start:stop] - first].tobytes()
            content[start * size : stop * size] = block
        return content

    def _read(self, first: int, end: int) -> bytes:
        """Return the bytes of adjacent items."""
        if end > self._shape[0]:
            raise IndexError(end)
        size = (end - first) * self._item_bytes
        content = _read_at(self._file, size, self._start + first * self._item_bytes)
        if len(content) < size:
            raise TornShardError
        return content


@dataclass(frozen=True)
class FileField:
    """A field of the items of a column in a file."""

    column: FileColumn
    name: str

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: int) -> Any:
        return self.column[index][self.name]


Column = np.ndarray | FileColumn


class Columns(NamedTuple):
    """The content of a shard of n rows."""

    rows: Column  # (n, ...)
    keys: Column  # (n,) of KEY


def column_of(content: bytes | FileIO, shape: tuple[int, ...], dtype: Any, start: int) -> Column:
    """Return the column that begins at ``start`` in the content of a file, or in an open file."""
    if isinstance(content, bytes):
        return np.ndarray(shape, dtype, content, start)
    return FileColumn(shape, dtype, content, start)


def search_keys(keys: Column, digests: list[bytes]) -> dict[bytes, int]:
    """Return the row of each of the ``digests`` that the ``keys`` have."""
    if KEY.itemsize * len(keys) < SEARCH_BYTES * len(digests):
        keys = keys[:]
    order, held = keys["order"], keys["digest"]
    found = {}
    with suppress(IndexError):  # a damaged order finds nothing, or finds rows that have the digest
        for digest in digests:
            at = bisect_left(order, digest, key=lambda row: held[row].tobytes())
            if at < len(order) and held[order[at]].tobytes() == digest:
                found[digest] = int(order[at])
    return found


def _read_at(file: FileIO, size: int, start: int) -> bytes:
    """Return ``size`` bytes of a file, or fewer at its end."""
    if HAS_PREAD:
        return os.pread(file.fileno(), size, start)
    with _moving:
        file.seek(start)
        return file.read(size)
