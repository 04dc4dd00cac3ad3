"""Items to rows: the only place where frozen stages run, and where their rows are cached.

Processes that lack the same rows share the work, without a word between them: each goes through
what is missing in an order of its own, writes its first rows early, and then asks again what is
missing still.  As in guided self-scheduling (Polychronopoulos and Kuck, 1987), what is taken at a
time is a part of what is left, so little is computed twice.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs

from ._check import check_choice, first_ten
from .cache import ActivationCache
from .prefix import Prefix, Tap
from .presets import DecodeError
from .tables import SHARD_BYTES

# Rows are kept back until they are such a part of those that were missing, or so many, or so many
# bytes at all taps: less than a shard may have, for they are in memory twice when they are written.
SHARD_PART, SHARD_ROWS, PENDING_BYTES = 1 / 8, 1024, SHARD_BYTES // 2

DECODE_ERRORS = ("raise", "warn", "ignore")

# What a message says last, where an item that cannot be decoded raises, and where it warns.
ROWS_NAN = ("decode_error='warn' makes their rows NaN.", "Their rows are NaN.")
LEFT_OUT = ("decode_error='warn' leaves them out.", "They are left out.")


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


def run_frozen(
    prefix: Prefix,
    items: Sequence[Any],
    *,
    cache: ActivationCache | None = None,
    spare: Sequence[Tap] = (),
    n_jobs: int | None = None,
    decode_error: str = "raise",
    progress: Callable[[int], object] = int,
    name: Callable[[int], str] = "X[{}]".format,
    advice: tuple[str, str] = ROWS_NAN,
) -> Frozen:
    """The rows of ``items`` at each tap of ``prefix``; only those not cached are computed.

    An item whose rows at an earlier cut are cached is not decoded: what is missing is computed from
    the nearest of them.

    Parameters
    ----------
    prefix : Prefix
    items : sequence
        As the preset's ``check`` returns them.
    cache : ActivationCache or None, default=None
        Where rows are looked up and kept.
    spare : sequence of Tap, default=()
        Where rows are kept too, for others: as they come by, and where the cache has room.
    n_jobs : int or None, default=None
        Threads that decode while the stages compute; None is as many as torch computes with, and
        -1 is one for each processor.
    decode_error : {"raise", "warn", "ignore"}, default="raise"
        What an item that cannot be decoded does.
    progress : callable, default=int
        Called with the number of items just done.
    name : callable, default="X[{}]".format
        What messages call the item at a position.
    advice : (str, str), default=ROWS_NAN
        What messages say last: of an error, and of a warning.

    Raises
    ------
    DecodeError
        With ``decode_error="raise"``: names the first ten items that could not be decoded.
    """
    check_choice("decode_error", decode_error, DECODE_ERRORS)
    store = _Memory(prefix, items) if cache is None else _Cached(prefix, items, cache, spare)
    progress(len(items) - len(store.todo))
    failed: dict[int, DecodeError] = {}
    preset, size = prefix.preset, prefix.batch_size
    store.resume(progress)
    with closing(_decoded(store.attempt, store.todo, n_jobs, 2 * size)) as decoded, store:
        lacking = _lacking(store, decoded, progress)
        while block := list(islice(lacking, size)):
            good = [(index, row) for index, row in block if not isinstance(row, DecodeError)]
            failed |= {index: row for index, row in block if isinstance(row, DecodeError)}
            if failed and decode_error == "raise":
                decoded.close()
                failed = store.spread(_first_failed(store, failed, n_jobs))
                raise DecodeError(_sentence(failed, advice[0], name)) from failed[min(failed)]
            if good:
                indices, rows = zip(*good, strict=True)
                store.add(indices, prefix(preset.collate(rows, size), store.taps))
            progress(len(block))
    failed = store.spread(failed)
    if failed and decode_error == "warn":
        warnings.warn(_sentence(failed, advice[1], name), UserWarning, stacklevel=2)
    return store.frozen(failed)


def run_rows(prefix: Prefix, rows: Any) -> list[np.ndarray]:
    """The rows at each tap of rows that enter at the prefix's start, in batches of its size."""
    found = []
    for start in range(0, len(rows), prefix.batch_size):
        part = np.asarray(rows[start : start + prefix.batch_size])
        found.append([output[: len(part)] for output in prefix(prefix.batch(part))])
    return [np.concatenate(blocks) for blocks in zip(*found, strict=True)]


class _Memory:
    """Rows in one array for each tap."""

    def __init__(self, prefix: Prefix, items: Sequence[Any]):
        self.todo = list(range(len(items)))
        self._rows: list[np.ndarray] = []
        self._kept: list[int] = []
        self.taps = prefix.taps
        self._preset, self._items = prefix.preset, items

    def resume(self, progress: Callable[[int], object]) -> None:
        """Nothing was computed before."""

    def __enter__(self) -> _Memory:
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
        rows = self._rows or [np.empty((0, 0), np.float32)] * len(self.taps)
        return Frozen([r[: len(self._kept)] for r in rows], np.array(self._kept, int), failed)


class _Cached:
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

    def __enter__(self) -> _Cached:
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


def _lacking(
    store: _Memory | _Cached,
    decoded: Iterator[tuple[int, Any]],
    progress: Callable[[int], object],
) -> Iterator[tuple[int, Any]]:
    """What is still to be computed of ``decoded``; the rest is done."""
    for index, row in decoded:
        if store.lacks(index):
            yield index, row
        else:
            progress(1)


def _decoded(
    attempt: Callable[[int], Any], todo: Sequence[int], n_jobs: int | None, ahead: int
) -> Generator[tuple[int, Any], None, None]:
    """Each position of ``todo`` with its decoded item or DecodeError, at most ``ahead`` early."""
    n_threads = torch.get_num_threads() if n_jobs is None else effective_n_jobs(n_jobs)
    if len(todo) == 1:  # one item at a time is a way to work too: no thread for it
        yield todo[0], attempt(todo[0])
        return
    waiting: deque[tuple[int, Future[Any]]] = deque()
    pool = ThreadPoolExecutor(max(1, n_threads))
    try:
        for upcoming in todo:
            waiting.append((upcoming, pool.submit(attempt, upcoming)))
            if len(waiting) > ahead:
                index, decoded = waiting.popleft()
                yield index, decoded.result()
        for index, decoded in waiting:
            yield index, decoded.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _first_failed(
    store: _Memory | _Cached, failed: dict[int, DecodeError], n_jobs: int | None
) -> dict[int, DecodeError]:
    """Of ``failed`` and all else that cannot be decoded, the first ten by position."""
    with closing(_decoded(store.attempt, sorted(store.todo), n_jobs, 20)) as decoded:
        failures = ((index, row) for index, row in decoded if isinstance(row, DecodeError))
        found = failed | dict(islice(failures, 10))
    return dict(sorted(found.items())[:10])


def _sentence(failed: dict[int, DecodeError], advice: str, name: Callable[[int], str]) -> str:
    listed = first_ten([f"{name(index)}: {error}" for index, error in failed.items()])
    return f"X must hold images that can be decoded; these could not:\n{listed}\n{advice}"
