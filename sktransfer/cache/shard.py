"""Shards: immutable files of rows.

A shard is a safetensors file of rows, with a checksum and a digest for each row.  It is written
under a temporary name and then renamed, so a process killed at any instant leaves whole shards
only.  Damage that happens all the same, for example in a power cut, is detected in two ways: the
length of the file does not match its header, or, when a process first reads a row, the checksum of
the row is wrong.  Therefore no write has to wait for the disk.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import struct
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property, lru_cache
from math import prod
from operator import index
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast
from uuid import uuid4
from zlib import crc32

import numpy as np

from .._support.files import remove_file, write_file

# The types that rows may have on disk, by their names in safetensors.
DTYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "U8": "|u1"}

# NumPy has no bfloat16; its bits are the upper half of a float32.
BFLOAT16 = np.dtype("<u2")

# Maximum length of a header.
HEAD_BYTES = 4096

# Smaller files are read whole, larger ones are mapped.  A map keeps a file open, and the number of
# open files is limited.
SMALL_BYTES = 2**20

SHARD_NAME = re.compile(r"[0-9a-f]{32}\.safetensors")

Like = tuple[tuple[int, ...], np.dtype]  # shape and type of one row

# The rows of each file that this process has found whole, and the time stamp of the file then.
_checked: dict[Path, tuple[int, np.ndarray]] = {}


class TornShardError(Exception):
    """A file is not a whole shard."""


class Columns(NamedTuple):
    """The content of a shard of n rows.

    ``order`` lists the rows by increasing digest, so that one digest is found in log(n) steps.
    """

    rows: np.ndarray  # (n, ...)
    checksums: np.ndarray  # (n,) of 4 bytes
    order: np.ndarray  # (n,) of 4 bytes
    digests: np.ndarray  # (n, 16) bytes


# Bytes of a row in the columns behind the rows.
TAIL_BYTES = 4 + 4 + 16


class Shard:
    """Rows and their digests, first in memory and then in one immutable file.

    Parameters
    ----------
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
        The rows that are known to be whole.
    """

    def __init__(self, n: int, like: Like):
        self.like = like
        self.path: Path | None = None
        self.used = 0
        self.checked = np.zeros(n, dtype=bool)
        self._n = n
        self._head = _head(like, n)
        self.size = len(self._head) + n * (_row_bytes(like) + TAIL_BYTES)

    def __len__(self) -> int:
        return self._n

    @classmethod
    def of(cls, digests: list[bytes], rows: np.ndarray) -> Shard:
        """Return a shard in memory."""
        shard = cls(len(digests), (rows.shape[1:], rows.dtype))
        shard.checked[:] = True
        joined = np.frombuffer(b"".join(digests), "u1").reshape(-1, 16)
        order = np.argsort(joined.view("S16").reshape(-1), kind="stable").astype("<u4")
        shard.columns = Columns(rows, np.zeros(len(digests), "<u4"), order, joined)
        return shard

    @classmethod
    def read(cls, path: Path) -> Shard:
        """Return the shard in the file ``path``; its content stays there until it is needed."""
        stat = path.stat()
        like, n = _read_head(path, stat.st_size, stat.st_mtime_ns)
        shard = cls(n, like)
        shard.path, shard.used = path, stat.st_mtime_ns
        return shard

    def written(self, folder: Path) -> Shard:
        """Write the shard to a file in ``folder`` and return it without the rows in memory."""
        path = folder / f"{uuid4().hex}.safetensors"
        rows, _, order, digests = self.columns
        checksums = np.fromiter(self._sums(np.arange(len(self))), "<u4")
        write_file(path, self._head, rows.data, checksums.data, order.data, digests.data)
        shard = Shard.read(path).opened()
        shard.checked = np.ones(len(self), dtype=bool)
        return shard

    @cached_property
    def columns(self) -> Columns:
        """The content, read-only; large files are mapped, so that processes share the memory."""
        with self._file() as file:
            self.checked = _mark_used(file, cast(Path, self.path), len(self))
            return self._columns_in(file.read() if self.size < SMALL_BYTES else _mapped(file))

    @property
    def rows(self) -> np.ndarray:
        """All rows, of shape (n, ...)."""
        return self.columns.rows

    @cached_property
    def digests(self) -> list[bytes]:
        """The digest of each row."""
        if self.is_open():
            joined = self.columns.digests.tobytes()
        else:
            with self._file() as file:
                file.seek(-16 * len(self), os.SEEK_END)
                joined = file.read()
        digests: list[bytes] = np.frombuffer(joined, "V16").tolist()
        return digests

    def find(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        """Return the row of each of the ``digests`` that is here, by binary search.

        Raises
        ------
        FileNotFoundError, TornShardError
            If the file has vanished or is damaged.
        """
        if self.is_open():
            return _search(self.columns.order, self.columns.digests, digests)
        with self._file() as file:  # mapped for the search only, and not marked as used
            return _search(*self._keys_in(_mapped(file)), digests)

    def opened(self) -> Shard:
        """Open the file and return the shard: the rows stay readable if the file is removed."""
        self.columns  # noqa: B018 - computed once and kept
        return self

    def is_open(self) -> bool:
        """Return whether the content is in memory or mapped."""
        return "columns" in vars(self)

    def is_gone(self) -> bool:
        """Return whether the rows are in use here although others find no file."""
        return self.is_open() and not (self.path and self.path.exists())

    def is_readable(self) -> bool:
        """Return whether the content is open, or in a readable file of the right size."""
        if self.is_open():
            return True
        path = cast(Path, self.path)
        try:
            return path.stat().st_size == self.size and os.access(path, os.R_OK)
        except OSError:
            return False

    def is_whole(self, rows: np.ndarray) -> bool:
        """Return whether each of ``rows`` is as it was written.

        A process reads every row once for this.
        """
        try:
            new = rows[~self.opened().checked[rows]]
        except (FileNotFoundError, TornShardError):
            return False
        if len(new):
            self.checked[new] = np.fromiter(self._sums(new), "<u4") == self.columns.checksums[new]
            self._release_pages()
        return bool(self.checked[rows].all())

    def salvaged(self) -> Shard:
        """Return the rows that are whole as a shard in memory."""
        self.is_whole(np.arange(len(self)))
        rows = np.flatnonzero(self.checked)
        if not len(rows):
            return Shard.of([], np.empty((0, *self.like[0]), self.like[1]))
        return Shard.of([self.digests[row] for row in rows], self.rows[rows])

    def copy(self, rows: np.ndarray, out: np.ndarray, at: np.ndarray) -> None:
        """Copy ``rows`` to the increasing positions ``at`` of ``out``."""
        if len(at) == at[-1] - at[0] + 1:  # adjacent positions: one copy without a check of each
            np.take(self.rows, rows, axis=0, out=out[at[0] : at[-1] + 1], mode="clip")
        else:
            out[at] = self.rows[rows]
        self._release_pages()

    def remove(self) -> int:
        """Remove the file and return the bytes freed."""
        return remove_file(self.path) if self.path else 0

    def _release_pages(self) -> None:
        """Give mapped pages back: the system caches them, and this process does not grow."""
        buffer: object = self.rows.base
        if isinstance(buffer, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            buffer.madvise(mmap.MADV_DONTNEED)

    def _file(self) -> BinaryIO:
        """Open the file, which must have the right size."""
        path = cast(Path, self.path)  # a shard without a file has its columns in memory
        file = path.open("rb")
        if os.fstat(file.fileno()).st_size != self.size:
            file.close()
            raise TornShardError(path)
        return file

    def _columns_in(self, buffer: bytes | mmap.mmap) -> Columns:
        shape, dtype = self.like
        n = len(self)
        rows = np.ndarray((n, *shape), dtype, buffer, len(self._head))
        checksums = np.ndarray(n, "<u4", buffer, self.size - TAIL_BYTES * n)
        return Columns(rows, checksums, *self._keys_in(buffer))

    def _keys_in(self, buffer: bytes | mmap.mmap) -> tuple[np.ndarray, np.ndarray]:
        n = len(self)
        order = np.ndarray(n, "<u4", buffer, self.size - 20 * n)
        return order, np.ndarray((n, 16), "u1", buffer, self.size - 16 * n)

    def _sums(self, rows: np.ndarray) -> Iterator[int]:
        """Yield the checksum of each of ``rows``.

        It covers the header and the digest too, so that no row is read as another row or in
        another shape, and one entry of the order, so that all entries are covered.
        """
        seed = crc32(self._head)
        values = self.rows.reshape(len(self), -1).view("u1")  # (n, bytes of a row)
        order = self.columns.order[rows, None].view("u1")  # (len(rows), 4)
        marks = np.hstack([order, self.columns.digests[rows]])  # (len(rows), 20)
        for row, mark in zip(rows.tolist(), marks, strict=True):
            yield crc32(values[row], crc32(mark, seed))


def _search(order: np.ndarray, held: np.ndarray, digests: Iterable[bytes]) -> dict[bytes, int]:
    """Return the row of each of the ``digests`` that is among those ``held``."""
    found = {}
    with suppress(IndexError):  # a damaged order finds nothing, or finds rows that have the digest
        for digest in digests:
            at = bisect_left(order, digest, key=lambda row: held[row].tobytes())
            if at < len(order) and held[order[at]].tobytes() == digest:
                found[digest] = int(order[at])
    return found


def _mark_used(file: BinaryIO, path: Path, n: int) -> np.ndarray:
    """Renew the file's time stamp and return which of its ``n`` rows are known to be whole."""
    stamp, whole = _checked.get(path, (None, np.zeros(n, dtype=bool)))
    # Another stamp means that other processes have used the file, or that it has changed.
    if stamp != os.fstat(file.fileno()).st_mtime_ns:
        whole = np.zeros(n, dtype=bool)
    # Finer than the stamps that the system gives, so that no later change has the same stamp.
    now = time.time_ns()
    with suppress(OSError):  # a read-only folder works too
        os.utime(file.fileno() if os.utime in os.supports_fd else path, ns=(now, now))
    _checked[path] = os.fstat(file.fileno()).st_mtime_ns, whole
    return whole


def _mapped(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@lru_cache(maxsize=256)
def _head(like: Like, n: int) -> bytes:
    """Return the header of a shard; the rows after it are aligned to 64 bytes."""
    shape, dtype = like
    of_rows = next(kind for kind, text in DTYPES.items() if text == dtype.str)
    table, end = {}, 0
    for column, kind, full, size in (
        ("rows", of_rows, (n, *shape), _row_bytes(like)),
        ("checksums", "U32", (n,), 4),
        ("order", "U32", (n,), 4),
        ("digests", "U8", (n, 16), 16),
    ):
        table[column] = {"dtype": kind, "shape": full, "data_offsets": (end, end + n * size)}
        end += n * size
    text = json.dumps(table).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text


@lru_cache(maxsize=4096)
def _read_head(path: Path, size: int, stamp: int) -> tuple[Like, int]:  # noqa: ARG001 - a key
    """Return what one row is like, and the number of rows.

    A file that has not changed since, according to its time stamp, is not read again.

    Raises
    ------
    TornShardError
        If the header is not that of a shard, or the file is not as long as the header demands.
    """
    with path.open("rb") as file:
        start = file.read(8 + HEAD_BYTES)
    try:
        (length,) = struct.unpack_from("<Q", start)
        described = json.loads(start[8 : 8 + length])["rows"]
        n, *shape = map(index, described["shape"])
        like = tuple(shape), np.dtype(DTYPES[described["dtype"]])
        head = _head(like, n)
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise TornShardError(path) from error
    expected_size = len(head) + n * (_row_bytes(like) + TAIL_BYTES)
    if n < 1 or start[: 8 + length] != head or size != expected_size:
        raise TornShardError(path)
    return like, n


def _row_bytes(like: Like) -> int:
    return prod(like[0]) * like[1].itemsize


def whole_shards(paths: Iterable[Path]) -> Iterator[Shard]:
    """Yield the shards in the files ``paths`` that exist and are as long as they must be."""
    for path in paths:
        with suppress(FileNotFoundError, TornShardError):
            yield Shard.read(path)
