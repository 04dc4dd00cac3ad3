"""Shards: immutable files of rows, each there whole or not at all.

A shard is a safetensors file of rows, with a checksum and a digest of each.  It is written aside,
then renamed, so a process killed at any instant leaves whole shards only.  What is damaged all the
same, by a power cut for instance, shows in the length of the file against its header, and, when a
process first reads a row, in the row's checksum.  So nothing has to wait for the disk.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4
from zlib import crc32

import numpy as np

from .._support.files import remove_file, write_file

# The types that rows may have on disk, by their names in safetensors.
DTYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "U8": "|u1"}

# NumPy knows no bfloat16: the upper half of a float32, of which it holds the bits.
BFLOAT16 = np.dtype("<u2")

# A longer header is none of ours.  Behind the rows come a checksum and a digest of each.
HEAD_BYTES, TAIL_BYTES = 4096, 4 + 16

# Smaller files are read, larger ones mapped: a map keeps a file open, and these are limited.
SMALL_BYTES = 2**20

FINISHED = re.compile(r"[0-9a-f]{32}\.safetensors")

Like = tuple[tuple[int, ...], np.dtype]  # shape and type of one row

# What this process has found out: of each file, as of a time stamp, the rows that are whole.
_checked: dict[Path, tuple[int, np.ndarray]] = {}


class TornShardError(Exception):
    """A file that is not a whole shard."""


class Shard:
    """Rows, their digests and checksums: in memory, and then in one immutable file.

    Parameters
    ----------
    names : list of bytes
        The digest of each row.
    like : tuple
        Shape and type of one row.

    Attributes
    ----------
    rows : ndarray of shape (n, ...)
    path : Path or None
        The file.
    size : int
        Bytes of the file, or of the one it would become.
    used : int
        When it was last used before it was read, in nanoseconds since 1970.
    checked : ndarray of bool
        The rows that are known to be whole.
    """

    def __init__(self, names: list[bytes], like: Like):
        self.names = names
        self.like = like
        self.path: Path | None = None
        self.used = 0
        self.checked = np.ones(len(names), dtype=bool)
        self._head = _head(like, len(names))
        self.size = len(self._head) + len(names) * (_row_bytes(like) + TAIL_BYTES)
        self._checksums = np.zeros(len(names), "<u4")

    @classmethod
    def of(cls, names: list[bytes], rows: np.ndarray) -> Shard:
        """A shard in memory."""
        shard = cls(names, (rows.shape[1:], rows.dtype))
        shard.rows = rows
        return shard

    @classmethod
    def read(cls, path: Path) -> Shard:
        """The shard in the file ``path``, where its rows stay until they are asked for."""
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            like, n = _read_head(file)
            file.seek(-n * TAIL_BYTES, os.SEEK_END)
            checksums, digests = np.fromfile(file, "<u4", n), file.read()
        shard = cls(np.frombuffer(digests, "V16").tolist(), like)
        shard.path, shard.used = path, stat.st_mtime_ns
        shard.checked, shard._checksums = np.zeros(n, dtype=bool), checksums
        return shard

    def written(self, folder: Path) -> Shard:
        """The same shard in a file of ``folder``, no longer in memory."""
        path = folder / f"{uuid4().hex}.safetensors"
        checksums = np.fromiter(self._sums(np.arange(len(self.names))), "<u4")
        write_file(path, self._head, self.rows.data, checksums.data, b"".join(self.names))
        shard = Shard.read(path).opened()
        shard.checked = np.ones(len(self.names), dtype=bool)
        return shard

    @cached_property
    def rows(self) -> np.ndarray:
        """All rows, read-only; those of a large file are mapped, and shared by processes."""
        self.path = cast(Path, self.path)  # a shard without a file has its rows
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != self.size:
                raise TornShardError(self.path)
            self.checked = _mark_used(file, self.path, len(self.names))
            buffer = file.read() if self.size < SMALL_BYTES else _mapped(file)
        shape, dtype = self.like
        return np.ndarray((len(self.names), *shape), dtype, buffer, len(self._head))

    def opened(self) -> Shard:
        """The shard itself, its file open: from here on, its rows outlive the file's name."""
        self.rows  # noqa: B018 - what is computed once, and kept
        return self

    def is_gone(self) -> bool:
        """Whether its rows are in use here, and in no file that others find."""
        return "rows" in vars(self) and not (self.path and self.path.exists())

    def is_whole(self, rows: np.ndarray) -> bool:
        """Whether each of ``rows`` is as it was written; a process reads it once to find out."""
        try:
            new = rows[~self.opened().checked[rows]]
        except (FileNotFoundError, TornShardError):
            return False
        whole = np.fromiter(self._sums(new), "<u4") == self._checksums[new]
        self.checked[new] = whole
        self._let_go()
        return bool(whole.all())

    def salvaged(self) -> Shard:
        """The rows that are whole, in memory."""
        self.is_whole(np.arange(len(self.names)))
        rows = np.flatnonzero(self.checked)
        values = self.rows[rows] if len(rows) else np.empty((0, *self.like[0]), self.like[1])
        return Shard.of([self.names[row] for row in rows], values)

    def copy(self, rows: np.ndarray, out: np.ndarray, at: np.ndarray) -> None:
        """Copy ``rows`` to the positions ``at`` of ``out``, which increase."""
        if len(at) == at[-1] - at[0] + 1:  # side by side: copied once, without a check of each
            np.take(self.rows, rows, axis=0, out=out[at[0] : at[-1] + 1], mode="clip")
        else:
            out[at] = self.rows[rows]
        self._let_go()

    def _let_go(self) -> None:
        """Give mapped pages back: the system keeps them, this process does not grow."""
        buffer: object = self.rows.base
        if isinstance(buffer, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            buffer.madvise(mmap.MADV_DONTNEED)

    def remove(self) -> int:
        """Remove the file; returns the bytes freed."""
        return remove_file(self.path) if self.path else 0

    def _sums(self, rows: np.ndarray) -> Iterator[int]:
        """Checksums of ``rows``, over what says which row it is and how to read it, too."""
        seed = crc32(self._head)
        values = self.rows.reshape(len(self.names), -1).view("u1")  # (n, bytes)
        for row in rows.tolist():
            yield crc32(values[row], crc32(self.names[row], seed))


class Rows:
    """Rows of a table, left on disk until asked for; a table's ``rows`` makes it.

    Indexed along its first axis as an array is: by an integer, a slice, or an array of integers or
    booleans.  What comes back is a new array in memory, of the type that is on disk; of bfloat16,
    float32.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, shards: Sequence[Shard], starts: Sequence[int], positions: np.ndarray):
        self._shards = tuple(shards)
        self._starts = np.array(starts)
        self._positions = positions
        shape, dtype = self._shards[0].like if self._shards else ((0,), np.dtype("<f4"))
        self.shape = (len(positions), *shape)
        self.dtype = np.dtype("<f4") if dtype == BFLOAT16 else dtype
        self._stored = dtype

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = self.stored(index)
        return from_bfloat16(rows) if rows.dtype == BFLOAT16 else rows

    def stored(self, index: Any) -> np.ndarray:
        """Rows as they are on disk."""
        positions = np.asarray(self._positions[index])
        flat = positions.reshape(-1)
        out = np.empty((len(flat), *self.shape[1:]), self._stored)
        holders = np.searchsorted(self._starts, flat, side="right") - 1
        for holder in np.unique(holders):
            at = np.flatnonzero(holders == holder)
            self._shards[holder].copy(flat[at] - self._starts[holder], out, at)
        return out.reshape(positions.shape + self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("copy must be None or True: the rows are not one array in memory.")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"Rows(shape={self.shape}, dtype={self.dtype})"


def to_bfloat16(rows: np.ndarray) -> np.ndarray:
    """Floats rounded to the nearest bfloat16, ties to even; too large ones become the largest."""
    largest = from_bfloat16(np.array(0x7F7F, BFLOAT16))
    bits = np.clip(rows, -largest, largest).astype("<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(rows), 0x7FC0, rounded).astype(BFLOAT16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 of each bfloat16."""
    return (bits.astype("<u4") << 16).view("<f4")


def _mark_used(file: BinaryIO, path: Path, n: int) -> np.ndarray:
    """Renew the file's time stamp; returns which of its ``n`` rows this process has found whole."""
    stamp, whole = _checked.get(path, (None, np.zeros(n, dtype=bool)))
    if stamp != os.fstat(file.fileno()).st_mtime_ns:  # new here, used by others, or changed
        whole = np.zeros(n, dtype=bool)
    now = time.time_ns()  # finer than the system's own stamps, so that no later change has it too
    with suppress(OSError):  # a folder that can only be read serves as well
        os.utime(file.fileno() if os.utime in os.supports_fd else path, ns=(now, now))
    _checked[path] = os.fstat(file.fileno()).st_mtime_ns, whole
    return whole


def _mapped(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _head(like: Like, n: int) -> bytes:
    """The start of a shard of ``n`` rows, up to the first of them, which is aligned to 64 bytes."""
    shape, dtype = like
    of_rows = next(kind for kind, text in DTYPES.items() if text == dtype.str)
    table, end = {}, 0
    for column, kind, full, size in (
        ("rows", of_rows, (n, *shape), _row_bytes(like)),
        ("checksums", "U32", (n,), 4),
        ("digests", "U8", (n, 16), 16),
    ):
        table[column] = {"dtype": kind, "shape": full, "data_offsets": (end, end + n * size)}
        end += n * size
    text = json.dumps(table).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text


def _read_head(file: BinaryIO) -> tuple[Like, int]:
    """Shape and type of a row, and the number of rows, of a file that is as long as that takes."""
    start = file.read(8)
    try:
        (length,) = struct.unpack("<Q", start)
        text = file.read(length) if length <= HEAD_BYTES else b""
        told = json.loads(text)["rows"]
        n, *shape = told["shape"]
        like = tuple(shape), np.dtype(DTYPES[told["dtype"]])
        head = _head(like, n)
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise TornShardError(file.name) from error
    length = len(head) + n * (_row_bytes(like) + TAIL_BYTES)
    if n < 1 or head != start + text or os.fstat(file.fileno()).st_size != length:
        raise TornShardError(file.name)
    return like, n


def _row_bytes(like: Like) -> int:
    return prod(like[0]) * like[1].itemsize


def whole_shards(paths: Iterable[Path]) -> Iterator[Shard]:
    """The shards in the files ``paths``; those that are damaged, or gone, are passed over."""
    for path in paths:
        with suppress(FileNotFoundError, TornShardError):
            yield Shard.read(path)
