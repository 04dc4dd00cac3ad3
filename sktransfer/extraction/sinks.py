"""The destination of activations: arrays in memory, or tables of the cache.

Processes that miss the same rows share the work without sending messages.  Each process goes
through the missing rows in a random order of its own, writes its first rows early, and then asks
the cache again which rows are missing.  As in guided self-scheduling (Polychronopoulos and Kuck,
1987), each portion of work is a fraction of what is left.  Few rows are computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import SHARD_BYTES, ActivationCache, Table
from ..exceptions import DecodeError
from .prefix import Prefix, Tap

# Rows are written once they are this part of the missing rows, or this many, or take this many
# bytes at all taps.  The bytes are fewer than in a full shard because rows are in memory twice
# while they are written.
SHARD_PART, SHARD_ROWS, PENDING_BYTES = 1 / 8, 1024, SHARD_BYTES // 2


@dataclass(frozen=True)
class Frozen:
    """The output of frozen stages.

    Parameters
    ----------
    rows : list of sequences
        For each tap, one row for each item that could be decoded: an array, or rows of the cache.
    kept : ndarray of int
        Positions of the items that could be decoded.
    failed : dict of int to DecodeError
        The errors of the other items, by position.
    """

    rows: list[Any]
    kept: np.ndarray
    failed: dict[int, DecodeError]


class InMemory:
    """The activations of some items, in one array for each tap.

    Parameters
    ----------
    prefix : Prefix
    items : sequence
    """

    def __init__(self, prefix: Prefix, items: Sequence[Any]):
        self.taps = prefix.taps
        self._preset, self._items = prefix.preset, items
        self._rows: list[np.ndarray] = []
        self._kept: list[int] = []

    def missing(self) -> list[int]:
        """Return the positions of the items to compute: all of them."""
        return list(range(len(self._items)))

    def is_missing(self, index: int) -> bool:  # noqa: ARG002 - no other process computes it
        """Return True: no other process computes the rows of an item."""
        return True

    def decode(self, index: int) -> Any:
        """Return the decoded item at ``index``, or the DecodeError that it raised."""
        return _decode(self._preset, self._items[index])

    def writer(self, cut: int) -> AbstractContextManager[InMemory]:  # noqa: ARG002 - as in Cached
        """Return a context manager whose value writes the rows of batches."""
        return nullcontext(self)

    def write(self, indices: Sequence[int], outputs: list[np.ndarray]) -> None:
        """Keep the rows of a batch, given as one block for each tap."""
        if not self._rows:
            self._rows = [np.empty((len(self._items), *o.shape[1:]), o.dtype) for o in outputs]
        start = len(self._kept)
        for rows, output in zip(self._rows, outputs, strict=True):
            rows[start : start + len(indices)] = output[: len(indices)]
        self._kept += indices

    def all_failed(self, failed: dict[int, DecodeError]) -> dict[int, DecodeError]:
        """Return the errors of all items that cannot be decoded, by position."""
        return failed

    def result(self, failed: dict[int, DecodeError]) -> Frozen:
        """Return the rows of all items except those that failed."""
        rows = self._rows or [np.empty((0, 0), np.float32)] * len(self.taps)
        return Frozen([r[: len(self._kept)] for r in rows], np.array(self._kept, int), failed)


class Cached:
    """The activations of some items, in one table of the cache for each tap.

    Parameters
    ----------
    prefix : Prefix
    items : sequence
    cache : ActivationCache
    spare : sequence of Tap
        Opportunistic taps: their rows are written too when they are computed on the way.

    Attributes
    ----------
    taps : list of Tap
        The taps of the prefix at which rows are missing.
    """

    def __init__(
        self, prefix: Prefix, items: Sequence[Any], cache: ActivationCache, spare: Sequence[Tap]
    ):
        self._prefix, self._items, self._cache = prefix, items, cache
        self._spare = [tap for tap in spare if tap not in prefix.taps]
        self._stamps = [_stamp(item) for item in items]  # before the files are read
        self._digests = cache.digests(items)
        self._tables = {tap: self._table(tap) for tap in prefix.taps}
        positions = {tap: table.missing(self._digests) for tap, table in self._tables.items()}
        self.taps = [tap for tap, missing in positions.items() if missing]
        self._positions = sorted(set().union(*positions.values()))
        self._missing = {self._digests[index] for index in self._positions}

    def missing(self) -> list[int]:
        """Return the positions of the items to compute, in an order of this process.

        Only the first of equal items is listed.
        """
        return [index for index in self._positions if self.is_missing(index)]

    def is_missing(self, index: int) -> bool:
        """Return whether the rows of the item at ``index`` are still missing."""
        return self._digests[index] in self._missing

    def decode(self, index: int) -> Any:
        """Return the decoded item at ``index``, or a DecodeError.

        The result is None if another process has computed the rows meanwhile.  A file that has
        changed since its digest was computed is an error, as its rows would get a wrong name.
        """
        if not self.is_missing(index):
            return None
        item = self._items[index]
        decoded = _decode(self._prefix.preset, item)
        if _stamp(item) != self._stamps[index]:
            return DecodeError(f"{str(item)!r} changed while it was read; run again.")
        return decoded

    def keeps_every_bit(self) -> bool:
        """Return whether cached rows have the bits that the stages computed."""
        return self._cache.keeps(self._prefix.dtype)

    def cached_at(self, cut: int, indices: Sequence[int]) -> tuple[list[int], Any]:
        """Return which of the items have activations cached at an earlier cut, and these rows."""
        table = self._table(Tap(cut), spare=True)
        absent = set(table.missing(self.digests(indices)))
        cached = [index for at, index in enumerate(indices) if at not in absent]
        return cached, table.rows(self.digests(cached))

    @contextmanager
    def writer(self, cut: int) -> Iterator[CacheWriter]:
        """Write the rows that are computed by the stages after ``cut``.

        Rows are written on the way out of an error, too.
        """
        spare = {tap: self._table(tap, spare=True) for tap in self._spare if tap.cut > cut}
        writer = CacheWriter(self, {tap: self._tables[tap] for tap in self.taps} | spare)
        try:
            yield writer
        finally:
            writer.flush()

    def n_missing(self) -> int:
        """Return the number of different items whose rows are missing."""
        return len(self._missing)

    def digests(self, indices: Sequence[int]) -> list[bytes]:
        """Return the digests of the items at ``indices``."""
        return [self._digests[index] for index in indices]

    def look_up_again(self) -> None:
        """Ask the tables which rows are still missing; other processes may have written some."""
        digests = list(self._missing)
        missing = [self._tables[tap].missing(digests) for tap in self.taps]
        self._missing = {digests[at] for at in set().union(*missing)}

    def all_failed(self, failed: dict[int, DecodeError]) -> dict[int, DecodeError]:
        """Return the errors of all items that cannot be decoded, by position.

        Only one of equal items was decoded, so the errors of the others are added.
        """
        error_of = {self._digests[index]: error for index, error in failed.items()}
        errors = {}
        for index, digest in enumerate(self._digests):
            if digest in error_of:
                own = failed.get(index) or self.decode(index)  # names the item's own path
                errors[index] = own if isinstance(own, DecodeError) else error_of[digest]
        return errors

    def result(self, failed: dict[int, DecodeError]) -> Frozen:
        """Return the rows of all items except those that failed."""
        kept = [index for index in range(len(self._digests)) if index not in failed]
        rows = [self._tables[tap].rows(self.digests(kept)) for tap in self._prefix.taps]
        return Frozen(rows, np.array(kept, int), failed)

    def _table(self, tap: Tap, spare: bool = False) -> Table:
        prefix = self._prefix
        return self._cache.table(prefix.fingerprint(tap), spare, prefix.describe(tap))


class CacheWriter:
    """Collect the rows of batches, and write them to the tables a shard at a time.

    Parameters
    ----------
    sink : Cached
        The sink that the rows belong to.
    tables : dict of Tap to Table
        The table of each tap.

    Attributes
    ----------
    taps : list of Tap
        The taps of the outputs that :meth:`write` takes, in their order.
    """

    def __init__(self, sink: Cached, tables: dict[Tap, Table]):
        self.taps = list(tables)
        self._sink = sink
        self._tables = list(tables.values())
        self._outputs: list[list[np.ndarray]] = []
        self._indices: list[int] = []

    def write(self, indices: Sequence[int], outputs: list[np.ndarray]) -> None:
        """Take the rows of a batch, given as one block for each tap."""
        self._outputs.append([output[: len(indices)] for output in outputs])
        self._indices += indices
        n_bytes = len(self._outputs) * sum(output.nbytes for output in outputs)
        n_rows = min(SHARD_ROWS, SHARD_PART * self._sink.n_missing())
        if n_bytes >= PENDING_BYTES or len(self._indices) >= n_rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows that were collected, and look up which rows are still missing."""
        if not self._indices:
            return
        digests = self._sink.digests(self._indices)
        for table, blocks in zip(self._tables, zip(*self._outputs, strict=True), strict=True):
            table.append(digests, np.concatenate(blocks))
        self._outputs, self._indices = [], []
        self._sink.look_up_again()


def _decode(preset: Any, item: Any) -> Any:
    """Return the decoded item, or the DecodeError that it raised."""
    try:
        return preset(item)
    except DecodeError as error:
        # the message alone: the frames of the traceback hold a half decoded image
        return DecodeError(str(error))


def _stamp(item: Any) -> tuple[int, ...] | None:
    """Return size, times and number of a file, which change with its content; else None."""
    item = getattr(item, "item", item) if isinstance(getattr(item, "digest", None), bytes) else item
    if not isinstance(item, (str, PathLike)):
        return None
    try:
        stat = Path(item).stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
