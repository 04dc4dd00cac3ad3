"""Columns of a shard, in memory or in a file.

A file is read, not mapped to memory: access to the map of a file that was cut short kills the
process, while a read that is too short is an error.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection
from io import FileIO
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np

# Items that are closer are read together: reading this many bytes takes as long as another call.
GAP_BYTES = 2**14

# Maximum number of bytes that are read at once, unless an item is larger.
BLOCK_BYTES = 2**20

# The key of a row, in the second column.
KEY = np.dtype([("checksum", "<u4"), ("digest", "u1", 16)])

# Windows cannot read at a position without moving there, and threads share the position of a file.
HAS_PREAD = hasattr(os, "pread")
_moving = Lock()

# The maximum number of open files on systems that do not report one.
N_FILES = 8192

# The files that stay open.
_open_files: WeakSet[ShardFile] = WeakSet()


class TornShardError(Exception):
    """A file is not a whole shard."""


class ShardFile:
    """A file that threads read at positions.

    Parameters
    ----------
    path : Path
    size : int
        The number of bytes that it must have.
    """

    def __init__(self, path: Path, size: int):
        self._path = path
        self._size = size
        self._file: FileIO | None = None

    def open(self) -> FileIO:
        """Open the file.

        Raises
        ------
        TornShardError
            If it has not the right size.
        OSError
            If it cannot be opened.
        """
        file = self._path.open("rb", buffering=0)
        if os.fstat(file.fileno()).st_size != self._size:
            file.close()
            raise TornShardError(self._path)
        return file

    def keep(self, file: FileIO) -> None:
        """Keep ``file``, which :meth:`open` returned, so that it can be read if it is removed.

        If the process keeps many files open, it is closed instead, and opened again in each read.
        """
        if len(_open_files) >= _n_files() // 2:
            file.close()
            return
        self._file = file
        _open_files.add(self)
        weakref.finalize(self, file.close)

    def read(self, size: int, start: int) -> bytes:
        """Return ``size`` bytes, or fewer if the file has become shorter."""
        if self._file is not None:
            return _read_at(self._file, size, start)
        with self.open() as file:
            return _read_at(file, size, start)


class FileColumn:
    """A column in a file, whose items become a new array when they are indexed.

    Parameters
    ----------
    shape : tuple of int
        The first is the number of items.
    dtype : dtype
    file : ShardFile
    start : int
        Position of the first item in the file.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, file: ShardFile, start: int):
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._file = file
        self._start = start
        self._item_bytes = prod(shape[1:]) * self._dtype.itemsize

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Return the items at a slice or an array of integers.

        No position may be negative, and a slice has no step.

        Raises
        ------
        TornShardError
            If the file is too short by now.
        OSError
            If the file cannot be read.
        """
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
        content = self._file.read(size, self._start + first * self._item_bytes)
        if len(content) < size:
            raise TornShardError
        return content


Column = np.ndarray | FileColumn


class Columns(NamedTuple):
    """The content of a shard of n rows."""

    rows: Column  # (n, ...)
    keys: Column  # (n,) of KEY


def column_of(content: bytes | ShardFile, shape: tuple[int, ...], dtype: Any, start: int) -> Column:
    """Return the column that begins at ``start`` in the content of a file, or in a file."""
    if isinstance(content, bytes):
        return np.ndarray(shape, dtype, content, start)
    return FileColumn(shape, dtype, content, start)


def as_array(digests: Collection[bytes]) -> np.ndarray:
    """Return digests as an array of shape (n, 16) and type uint8."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


def _n_files() -> int:
    """Return the number of files that this process may open."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
    except ImportError:  # Windows
        return N_FILES
    limit = getrlimit(RLIMIT_NOFILE)[0]
    return N_FILES if limit == RLIM_INFINITY else limit


def _read_at(file: FileIO, size: int, start: int) -> bytes:
    """Return ``size`` bytes of a file, or fewer at its end."""
    if HAS_PREAD:
        return os.pread(file.fileno(), size, start)
    with _moving:
        file.seek(start)
        return file.read(size)
