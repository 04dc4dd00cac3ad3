"""Shards: immutable files of rows.

A shard is a safetensors file of rows, with a checksum and a digest for each row.  It is written
under a temporary name and then renamed, so a process killed at any instant leaves whole shards
only.  Damage that happens all the same, for example in a power cut, is detected in three ways: the
header must name the folder of the table, so that no file of another table is taken for a shard of
this one; the length of the file must match the header; and each row must have its checksum, which
covers the header too.  The checksum is compared when a process first looks a row up, and again in
every read.  Therefore no write has to wait for the disk.
"""

from __future__ import annotations

import json
import os
import re
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import FileIO
from math import prod
from operator import index
from pathlib import Path
from typing import Any, cast
from uuid import uuid4
from zlib import crc32

import numpy as np

from .._support.files import remove_file, write_file
from .columns import (
    BLOCK_BYTES,
    KEY,
    Column,
    Columns,
    ShardFile,
    TornShardError,
    as_array,
    column_of,
)

# The types that rows may have on disk, by their names in safetensors.
DTYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "U8": "|u1"}

# NumPy has no bfloat16; its bits are the upper half of a float32.
BFLOAT16 = np.dtype("<u2")

# Maximum length of a header.
HEAD_BYTES = 4096

# Smaller files are read whole, larger ones stay open.  The number of open files is limited.
SMALL_BYTES = 2**20

SHARD_NAME = re.compile(r"[0-9a-f]{32}\.safetensors")

Like = tuple[tuple[int, ...], np.dtype]  # shape and type of one row


class Shard:
    """Rows and their digests, first in memory and then in one immutable file.

    Parameters
    ----------
    folder : Path
        The folder of the table that the rows belong to.
    n : int
        Number of rows.
    like : tuple
        Shape and type of one row.

    Attributes
    ----------
    path : Path or None
        The file; None for rows in memory.
    size : int
        Bytes of the file, or of the file that would be written.
    used : int
        Time of the last use before the file was read, in nanoseconds since 1970.
    checked : ndarray of bool
        The rows that were whole when they were last read.
    """

    def __init__(self, folder: Path, n: int, like: Like):
        self.like = like
        self.path: Path | None = None
        self.used = 0
        self.checked = np.zeros(n, dtype=bool)
        self._folder = folder
        self._n = n
        self._head = _head(like, n, folder.name)
        self.size = len(self._head) + n * (_row_bytes(like) + KEY.itemsize)

    def __len__(self) -> int:
        return self._n

    @classmethod
    def of(cls, folder: Path, digests: list[bytes], rows: np.ndarray) -> Shard:
        """Return a shard in memory."""
        shard = cls(folder, len(digests), (rows.shape[1:], rows.dtype))
        shard.checked[:] = True
        keys = np.empty(len(digests), KEY)
        keys["digest"] = as_array(digests)
        # Now, because a folder that is made for the file may be removed before the file is in it.
        keys["checksum"] = shard._sums(keys, rows)
        shard.columns = Columns(rows, keys)
        return shard

    @classmethod
    def read(cls, path: Path) -> Shard:
        """Return the shard in the file ``path``; its content stays there until it is needed."""
        stat = path.stat()
        like, n = _read_head(path, stat.st_size)
        shard = cls(path.parent, n, like)
        shard.path, shard.used = path, stat.st_mtime_ns
        return shard

    def written(self) -> Shard:
        """Write the shard to a file of its folder and return it without the rows in memory.

        If another process removes the file at once, the rows stay in memory.
        """
        path = self._folder / f"{uuid4().hex}.safetensors"
        write_file(path, self._head, *(column[:].data for column in self.columns))
        try:
            shard = Shard.read(path).opened()
        except FileNotFoundError:
            return self.detached()
        shard.checked = np.ones(len(self), dtype=bool)
        return shard

    def detached(self) -> Shard:
        """Return a copy in memory, which does not change if the given rows change."""
        return Shard.of(self._folder, self.digests, self.columns.rows[:].copy())

    @cached_property
    def columns(self) -> Columns:
        """The content; that of a large file stays there until it is indexed."""
        file = self._file()
        opened = file.open()
        self.checked = _mark_used(opened, cast(Path, self.path), len(self))
        if self.size >= SMALL_BYTES:
            file.keep(opened)
            return self._columns_in(file)
        with opened:
            content = opened.read()
        if len(content) != self.size:
            raise TornShardError(self.path)
        return self._columns_in(content)

    @property
    def digests(self) -> list[bytes]:
        """The digest of each row."""
        digests: list[bytes] = self.sortable_digests().view("V16").tolist()
        return digests

    def sortable_digests(self) -> np.ndarray:
        """Return the digests as an array of type S16; the file is not marked as used."""
        column = self.columns.keys if self.is_open() else self._keys_in(self._file())
        return column[:]["digest"].copy().view("S16").reshape(-1)

    def unopened(self) -> Shard:
        """Return the shard in the same file, which is not open yet."""
        path = cast(Path, self.path)
        shard = Shard(path.parent, len(self), self.like)
        shard.path, shard.used = path, self.used
        return shard

    def opened(self) -> Shard:
        """Open the file and return the shard: the rows stay readable if the file is removed."""
        self.columns  # noqa: B018 - computed once and kept
        return self

    def is_open(self) -> bool:
        """Return True if the content is in memory, or the file is open."""
        return "columns" in vars(self)

    def is_gone(self) -> bool:
        """Return True if the rows are in use here although others find no file."""
        return self.is_open() and not (self.path and self.path.exists())

    def is_whole(self, rows: np.ndarray, digests: np.ndarray | None = None) -> bool:
        """Return True if each of ``rows`` is as it was written, and has the given digest.

        A process reads every row once for this.  Other threads may change ``checked`` meanwhile,
        so the result depends on the comparisons made here.

        Parameters
        ----------
        rows : ndarray of int
        digests : ndarray of shape (len(rows), 16), uint8, or None
            None stands for the digests in the file.

        Raises
        ------
        OSError, TornShardError
            If the file has vanished, cannot be read, or has become too short.
        """
        (unread,) = np.nonzero(~self.opened().checked[rows])
        are_whole = [
            self._compare(rows[part], self.columns.rows[rows[part]], _at(digests, part))
            for part in self._blocks(unread)
        ]
        return all(are_whole)

    def salvaged(self) -> Shard:
        """Return the rows that are whole as a shard in memory."""
        shape, dtype = self.like
        self.checked = np.zeros(len(self), dtype=bool)  # not shared with other threads
        try:
            self.is_whole(np.arange(len(self)))
            rows = np.flatnonzero(self.checked)
            values = np.empty((len(rows), *shape), dtype)
            self.copy(rows, values, np.arange(len(rows)))
            return Shard.of(self._folder, [self.digests[row] for row in rows], values)
        except (OSError, TornShardError):  # nothing can be read
            return Shard.of(self._folder, [], np.empty((0, *shape), dtype))

    def copy(
        self, rows: np.ndarray, out: np.ndarray, at: np.ndarray, digests: np.ndarray | None = None
    ) -> None:
        """Copy ``rows`` to the positions ``at`` of ``out``.

        Raises
        ------
        OSError, TornShardError
            If a row cannot be read, or is no longer the row of its digest as it was written.
        """
        for part in self._blocks(np.arange(len(rows))):
            if self.path is None:
                out[at[part]] = self.columns.rows[rows[part]]
                continue
            self.checked[rows[part]] = False  # also if they cannot be read
            values = self.columns.rows[rows[part]]
            if not self._compare(rows[part], values, _at(digests, part)):
                raise TornShardError(self.path)
            out[at[part]] = values

    def remove(self) -> int:
        """Remove the file and return the bytes freed."""
        return remove_file(self.path) if self.path else 0

    def _file(self) -> ShardFile:
        return ShardFile(cast(Path, self.path), self.size)  # a shard in memory needs no file

    def _columns_in(self, content: bytes | ShardFile) -> Columns:
        shape, dtype = self.like
        rows = column_of(content, (len(self), *shape), dtype, len(self._head))
        return Columns(rows, self._keys_in(content))

    def _keys_in(self, content: bytes | ShardFile) -> Column:
        return column_of(content, (len(self),), KEY, self.size - KEY.itemsize * len(self))

    def _blocks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Divide ``rows``, or their positions, into parts that are read at once."""
        step = max(1, BLOCK_BYTES // max(1, _row_bytes(self.like)))
        return (rows[start : start + step] for start in range(0, len(rows), step))

    def _compare(self, rows: np.ndarray, values: np.ndarray, digests: np.ndarray | None) -> bool:
        """Note which of ``rows`` have values with their checksum; return True if all have."""
        keys = self.columns.keys[rows]
        are_equal = keys["checksum"] == self._sums(keys, values)
        if digests is not None:  # the index may be that of a file that was here before
            are_equal &= (keys["digest"] == digests).all(axis=1)
        self.checked[rows] = are_equal
        return bool(are_equal.all())

    def _sums(self, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the checksums of some rows, of which the keys and values are given.

        They cover the header and the digest too, so that no row is read as another row, in another
        shape or in another table.
        """
        seed = crc32(self._head)
        marks = keys["digest"].copy().view("V16").reshape(-1).tolist()  # bytes are read faster
        values = values.reshape(len(keys), prod(self.like[0])).view("u1")  # (n, bytes of a row)
        sums = [crc32(v.data, crc32(m, seed)) for v, m in zip(values, marks, strict=True)]
        return np.array(sums, "<u4")


def _at(digests: np.ndarray | None, positions: np.ndarray) -> np.ndarray | None:
    return None if digests is None else digests[positions]


class BadShards:
    """The shards that a lookup could not use.

    Attributes
    ----------
    torn : list of Shard
        Those whose file is damaged.
    lost : list of Shard
        Those whose file has vanished, or cannot be read.
    """

    def __init__(self) -> None:
        self.torn: list[Shard] = []
        self.lost: list[Shard] = []

    @contextmanager
    def noting(self, shard: Shard) -> Iterator[None]:
        """Note an error of ``shard`` instead of raising it."""
        try:
            yield
        except TornShardError:
            self.torn.append(shard)
        except OSError:
            self.lost.append(shard)


@dataclass
class _Checked:
    """The rows of a file that this process has found whole, and its time stamps then."""

    rows: np.ndarray
    stamp: tuple[int, ...] | None = None


@lru_cache(maxsize=4096)
def _checked(path: Path, n: int) -> _Checked:  # noqa: ARG001 - a key
    """Return the record of a file of ``n`` rows; those of files last used long ago are dropped."""
    return _Checked(np.zeros(n, dtype=bool))


def _mark_used(file: FileIO, path: Path, n: int) -> np.ndarray:
    """Renew the file's time stamp and return which of its ``n`` rows are known to be whole."""
    known = _checked(path, n)
    # Another stamp means that other processes have used the file, or that it has changed.
    if known.stamp != _stamp(file):
        known.rows = np.zeros(n, dtype=bool)
    # Finer than the stamps that the system gives, so that no later change has the same stamp.
    now = time.time_ns()
    with suppress(OSError):  # a read-only folder works too
        os.utime(file.fileno() if os.utime in os.supports_fd else path, ns=(now, now))
    known.stamp = _stamp(file)
    return known.rows


def _stamp(file: FileIO) -> tuple[int, ...]:
    """Return the time stamps of a file; who changes it can keep the first one, not the second."""
    stat = os.fstat(file.fileno())
    return stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=256)
def _head(like: Like, n: int, table: str) -> bytes:
    """Return the header of a shard; the rows after it are aligned to 64 bytes."""
    shape, dtype = like
    of_rows = next(kind for kind, text in DTYPES.items() if text == dtype.str)
    head: dict[str, Any] = {"__metadata__": {"table": table}}
    end = 0
    for column, kind, full, size in (
        ("rows", of_rows, (n, *shape), _row_bytes(like)),
        ("keys", "U8", (n, KEY.itemsize), KEY.itemsize),
    ):
        head[column] = {"dtype": kind, "shape": full, "data_offsets": (end, end + n * size)}
        end += n * size
    text = json.dumps(head).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text


def _read_head(path: Path, size: int) -> tuple[Like, int]:
    """Return what one row is like, and the number of rows.

    Raises
    ------
    TornShardError
        If the header is not that of a shard in this folder, or the file is not as long as the
        header demands.
    """
    with path.open("rb") as file:
        start = file.read(8 + HEAD_BYTES)
    try:
        (length,) = struct.unpack_from("<Q", start)
        described = json.loads(start[8 : 8 + length])["rows"]
        n, *shape = map(index, described["shape"])
        like = tuple(shape), np.dtype(DTYPES[described["dtype"]])
        np.empty((0, *shape), like[1])  # an error if no array has this shape
        head = _head(like, n, path.parent.name)
    except (struct.error, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise TornShardError(path) from error
    expected_size = len(head) + n * (_row_bytes(like) + KEY.itemsize)
    if n < 1 or start[: 8 + length] != head or size != expected_size:
        raise TornShardError(path)
    return like, n


def _row_bytes(like: Like) -> int:
    return prod(like[0]) * like[1].itemsize
