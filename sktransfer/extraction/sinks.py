"""Where the rows of frozen stages go: one array in memory, or tables of the cache.

Processes that lack the same rows share the work, without a word between them: each goes through
what is missing in an order of its own, writes its first rows early, and then asks again what is
missing still.  As in guided self-scheduling (Polychronopoulos and Kuck, 1987), what is taken at a
time is a part of what is left, so little is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import SHARD_BYTES, ActivationCache
from ..exceptions import DecodeError
from .prefix import Prefix, Tap

# Rows are kept back until they are such a part of those that were missing, or so many, or so many
# bytes at all taps: less than a shard may have, for they are in memory twice when they are written.
SHARD_PART, SHARD_ROWS, PENDING_BYTES = 1 / 8, 1024, SHARD_BYTES // 2


@dataclass(frozen=True)
class Frozen:
    """What came out of the frozen stages.

    Parameters
    ----------
    rows : list of sequences
        For each tap, one row for each item that could be decoded: an array, or memory-mapped rows
        of the cache.
    kept : ndarray of int
        Positions of those items.
    failed : dict of int to DecodeError
        The others, by position.
    """

    rows: list[Any]
    kept: np.ndarray
    failed: dict[int, DecodeError]


class InMemory:
    """Rows in one array for each tap."""

    def __init__(self, prefix: Prefix, items: Sequence[Any]):
        self.todo = list(range(len(items)))
        self._rows: list[np.ndarray] = []
        self._kept: list[int] = []
        self.taps = prefix.taps
        self._preset, self._items = prefix.preset, items

    def resume(self, progress: Callable[[int], object]) -> None:
        """Nothing was computed before."""

    def __enter__(self) -> InMemory:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def lacks(self, index: int) -> bool:  # noqa: ARG002 - nobody else computes for it
        """Whether the rows of the item at ``index`` are still to be computed."""
        return True

    def attempt(self, index: int) -> Any:
        """The decoded item at ``index``, or the DecodeError that it raised."""
        return _attempt(self._preset, self._items[index])

    def add(self, indices: Sequence[int], outputs: list[np.ndarray]) -> None:
        """Take the rows of a batch, a block for each tap."""
        if not self._rows:
            self._rows = [np.empty((len(self.todo), *o.shape[1:]), o.dtype) for o in outputs]
        start = len(self._kept)
        for rows, output in zip(self._rows, outputs, strict=True):
            rows[start : start + len(indices)] = output[: len(indices)]
        self._kept += indices

    def spread(self, failed: dict[int, DecodeError]) -> dict[int, DecodeError]:
        """Every item that failed, by position."""
        return failed

    def frozen(self, failed: dict[int, DecodeError]) -> Frozen:
        """What came out, without the items that failed."""
        rows = self._rows or [np.empty((0, 0), np.float32)] * len(self.taps)
        return Frozen([r[: len(self._kept)] for r in rows], np.array(self._kept, int), failed)


class Cached:
    """Rows in a table of the cache for each tap, written a shard at a time."""

    def __init__(
        self, prefix: Prefix, items: Sequence[Any], cache: ActivationCache, spare: Sequence[Tap]
    ):
        self._prefix, self._preset, self._items = prefix, prefix.preset, items
        self._cache = cache
        self._spare = [tap for tap in spare if tap not in prefix.taps]
        self._stamps = [_stamp(item) for item in items]
        self._digests = cache.digests(items)
        self._tables = {tap: self._table(tap) for tap in prefix.taps}
        lacking = [table.missing(self._digests) for table in self._tables.values()]
        self.todo = _shuffled(sorted(set().union(*lacking)), prefix.batch_size)
        self._absent = set(self._named(self.todo))
        self._lacking = [tap for tap, some in zip(prefix.taps, lacking, strict=True) if some]
        self._filled: dict[Tap, Any] = {}
        self._pending: list[list[np.ndarray]] = []
        self._indices: list[int] = []

    def resume(self, progress: Callable[[int], object]) -> None:
        """Compute what can be computed from rows at an earlier cut, the nearest first."""
        prefix, size = self._prefix, self._prefix.batch_size
        cut = min((tap.stop for tap in self._lacking), default=0)
        while self.todo and cut > 1 and self._cache.keeps(prefix.dtype):
            cut -= 1
            stored = self._table(Tap(cut), spare=True)
            absent = set(stored.missing([self._digests[index] for index in self.todo]))
            here = [index for at, index in enumerate(self.todo) if at not in absent]
            if here:
                self._fill(cut)
                later, rows = prefix.after(cut, self.taps), stored.rows(self._named(here))
                with self:
                    for start in range(0, len(here), size):
                        part = here[start : start + size]
                        if any(map(self.lacks, part)):
                            self.add(part, later(later.batch(rows[start : start + size])))
                        progress(len(part))
                self.todo = [index for at, index in enumerate(self.todo) if at in absent]
        if self.todo:
            self._fill(0)

    def _fill(self, cut: int) -> None:
        """From here on, rows come in that were computed from those at ``cut``."""
        spare = {tap: self._table(tap, spare=True) for tap in self._spare if tap.stop > cut}
        self._filled = {tap: self._tables[tap] for tap in self._lacking} | spare

    @property
    def taps(self) -> list[Tap]:
        """Where rows leave the chain, in the order in which they come in."""
        return list(self._filled)

    def _table(self, tap: Tap, spare: bool = False) -> Any:
        return self._cache.table(self._prefix.fingerprint(tap), spare)

    def _named(self, indices: Sequence[int]) -> list[bytes]:
        return [self._digests[index] for index in indices]

    def __enter__(self) -> Cached:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()  # also on the way out of an error: what was computed is kept

    def lacks(self, index: int) -> bool:
        """Whether the rows of the item at ``index`` are still to be computed."""
        return self._digests[index] in self._absent

    def attempt(self, index: int) -> Any:
        """The decoded item at ``index``, or a DecodeError; it is still what its digest names.

        None where another process has computed its rows meanwhile.
        """
        if not self.lacks(index):
            return None
        item = self._items[index]
        row = _attempt(self._preset, item)
        if _stamp(item) != self._stamps[index]:
            return DecodeError(f"{str(item)!r} changed while it was read; run again.")
        return row

    def add(self, indices: Sequence[int], outputs: list[np.ndarray]) -> None:
        """Take the rows of a batch, a block for each tap."""
        self._pending.append([output[: len(indices)] for output in outputs])
        self._indices += indices
        n_bytes = len(self._pending) * sum(output.nbytes for output in outputs)
        n_rows = min(SHARD_ROWS, SHARD_PART * len(self._absent))
        if n_bytes >= PENDING_BYTES or len(self._indices) >= n_rows:
            self._flush()

    def _flush(self) -> None:
        if not self._indices:
            return
        digests = self._named(self._indices)
        for table, blocks in zip(
            self._filled.values(), zip(*self._pending, strict=True), strict=True
        ):
            table.append(digests, np.concatenate(blocks))
        self._pending, self._indices = [], []
        names = list(self._absent)
        lacking = [self._tables[tap].missing(names) for tap in self._lacking]
        self._absent = {names[at] for at in set().union(*lacking)}

    def spread(self, failed: dict[int, DecodeError]) -> dict[int, DecodeError]:
        """Every item that failed, by position: those, too, that equal one that was tried."""
        bad = {self._digests[index]: error for index, error in failed.items()}
        told = {}
        for index, digest in enumerate(self._digests):
            if digest in bad:
                again = failed.get(index) or self.attempt(index)  # in its own words
                told[index] = again if isinstance(again, DecodeError) else bad[digest]
        return told

    def frozen(self, failed: dict[int, DecodeError]) -> Frozen:
        """What came out, without the items that failed."""
        kept = [index for index in range(len(self._digests)) if index not in failed]
        digests = self._named(kept)
        return Frozen(
            [self._tables[tap].rows(digests) for tap in self._prefix.taps],
            np.array(kept, int),
            failed,
        )


def _attempt(preset: Any, item: Any) -> Any:
    """The decoded item, or the DecodeError that it raised."""
    try:
        return preset(item)
    except DecodeError as error:
        return error


def _stamp(item: Any) -> tuple[int, ...] | None:
    """What changes with the content of a file; None of what is no file."""
    item = getattr(item, "item", item) if isinstance(getattr(item, "digest", None), bytes) else item
    if not isinstance(item, (str, PathLike)):
        return None
    try:
        stat = Path(item).stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _shuffled(todo: list[int], size: int) -> list[int]:
    """The same, by blocks of ``size`` neighbours, in an order that no other process has."""
    starts = np.random.default_rng().permutation(range(0, len(todo), size))
    return [index for start in starts for index in todo[start : start + size]]
