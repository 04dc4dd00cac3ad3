"""The destination of activations: arrays in memory, or tables of the cache.

Processes that miss the same rows share the work without sending messages.  Each process goes
through the missing rows in a random order of its own, writes its first rows early, and then asks
the cache again which rows are missing.  As in guided self-scheduling (Polychronopoulos and Kuck,
1987), each portion of work is a fraction of what is left.  Few rows are computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..cache import SHARD_BYTES, ActivationCache, Table
from ..data import file_key, file_state
from ..exceptions import DecodeError
from .prefix import Prefix
from .ragged import RowsByLength
from .taps import Tap

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
        For each tap, one row for each item that could be decoded: an array, rows of the cache, or
        both by length.
    kept : ndarray of int
        Positions of the items that could be decoded.
    failed : dict of int to DecodeError
        The errors of the other items, by position.
    """

    rows: list[Any]
    kept: np.ndarray
    failed: dict[int, DecodeError]


# Prefixes of the rows of one length, each with the indices of its items.
Groups = Sequence[tuple[Prefix, Sequence[int]]]


class InMemory:
    """The activations of some items, in one array for each tap.

    Rows that are not pooled and have several lengths are in one array for each length.

    Parameters
    ----------
    prefix : Prefix
    items : sequence
    """

    def __init__(self, prefix: Prefix, items: Sequence[Any]):
        self.taps = prefix.taps
        self._prefix, self._items = prefix, items
        self._groups = prefix.divide(items, range(len(items)))
        # The group of each item, and its place there.
        self._group, self._place = (np.zeros(len(items), int) for _ in range(2))
        for number, (_, indices) in enumerate(self._groups):
            self._group[indices] = number
            self._place[indices] = np.arange(len(indices))
        self._rows: dict[tuple[Tap, int | None], np.ndarray] = {}

    def missing(self) -> list[int]:
        """Return the positions of the items to compute: all of them."""
        return list(range(len(self._items)))

    def divide(self, indices: Sequence[int]) -> Groups:  # noqa: ARG002 - they are those of all items
        """Divide the items into groups whose rows have one length."""
        return self._groups

    def is_missing(self, index: int) -> bool:  # noqa: ARG002 - no other process computes it
        """Return True: no other process computes the rows of an item."""
        return True

    def decode(self, index: int) -> Any:
        """Return the decoded item at ``index``, or the DecodeError that it raised."""
        return decode_or_error(self._prefix.preset, self._items[index])

    def writer(self, prefix: Prefix, cut: int) -> AbstractContextManager[InMemory]:  # noqa: ARG002 - as in Cached
        """Return a context manager whose value writes the rows of batches."""
        return nullcontext(self)

    def write(self, indices: Sequence[int], outputs: list[np.ndarray]) -> None:
        """Keep the rows of a batch, given as one block for each tap."""
        prefix, members = self._groups[self._group[indices[0]]]
        for tap, output in zip(self.taps, outputs, strict=True):
            whole = tap.reduce is None
            key = tap, prefix.length if whole else None
            if key not in self._rows:
                n = len(members) if whole else len(self._items)
                self._rows[key] = np.empty((n, *output.shape[1:]), output.dtype)
            at = np.array(indices)
            self._rows[key][self._place[at] if whole else at] = output[: len(indices)]

    def all_failed(self, failed: dict[int, DecodeError]) -> dict[int, DecodeError]:
        """Return the errors of all items that cannot be decoded, by position."""
        return failed

    def result(self, failed: dict[int, DecodeError]) -> Frozen:
        """Return the rows of all items except those that failed."""
        kept = [index for index in range(len(self._items)) if index not in failed]
        rows: list[Any] = []
        for tap in self.taps:
            if tap.reduce is None:
                rows.append(_join(self._groups, kept, partial(self._whole, tap)))
            else:
                rows.append(_those(self._rows.get((tap, None), NO_ROWS), kept))
        return Frozen(rows, np.array(kept, int), failed)

    def _whole(self, tap: Tap, prefix: Prefix, indices: Sequence[int]) -> np.ndarray:
        return _those(self._rows.get((tap, prefix.length), NO_ROWS), self._place[indices])


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
        self._spare = [
            tap for tap in spare if tap not in prefix.taps and prefix.divides_at(tap.cut)
        ]
        keys, stamps = [], []  # before the files are read
        for item in items:
            state = _state(item)
            keys.append(file_key(item, state))
            stamps.append(hash(state))
        self._stamps = np.array(stamps)
        self._digests = cache.digests(items, keys)
        self._opened: dict[tuple[Tap, int | None, bool], Table] = {}
        # The first of equal items.
        self._first = dict(zip(reversed(self._digests), reversed(range(len(items))), strict=True))
        firsts = sorted(self._first.values())
        missing = {tap: self._missing_at(tap, firsts) for tap in prefix.taps}
        self.taps = [tap for tap, indices in missing.items() if indices]
        self._positions = sorted(set().union(*missing.values()))
        self._missing = {self._digests[index] for index in self._positions}

    def missing(self) -> list[int]:
        """Return the positions of the items to compute, in an order of this process.

        Only the first of equal items is listed.
        """
        return [index for index in self._positions if self.is_missing(index)]

    def divide(self, indices: Sequence[int]) -> Groups:
        """Divide items into groups whose rows have one length."""
        return self._prefix.divide(self._items, indices)

    def is_missing(self, index: int) -> bool:
        """Return True if the rows of the item at ``index`` are still missing."""
        return self._digests[index] in self._missing

    def decode(self, index: int) -> Any:
        """Return the decoded item at ``index``, or a DecodeError.

        The result is None if another process has computed the rows meanwhile.  A file that has
        changed since its digest was computed is an error, as its rows would get a wrong name.
        """
        if not self.is_missing(index):
            return None
        item = self._items[index]
        decoded = decode_or_error(self._prefix.preset, item)
        if hash(_state(item)) != self._stamps[index]:
            return DecodeError(f"{str(item)!r} changed while it was read; run again.")
        return decoded

    def keeps_every_bit(self) -> bool:
        """Return True if cached rows have the bits that the stages computed."""
        return self._cache.keeps(self._prefix.dtype)

    def cached_at(self, prefix: Prefix, cut: int, indices: Sequence[int]) -> tuple[list[int], Any]:
        """Return which items of one length have activations cached at a cut, and these rows."""
        table = self._table(prefix, Tap(cut), spare=True)
        absent = set(table.missing(self.digests(indices)))
        cached = [index for at, index in enumerate(indices) if at not in absent]
        return cached, table.rows(self.digests(cached))

    @contextmanager
    def writer(self, prefix: Prefix, cut: int) -> Iterator[CacheWriter]:
        """Write the rows of one length that are computed by the stages after ``cut``.

        Rows are written on the way out of an error, too.
        """
        tables = {tap: self._table(prefix, tap) for tap in self.taps}
        spare = {tap: self._table(prefix, tap, True) for tap in self._spare if tap.cut > cut}
        writer = CacheWriter(self, tables | spare)
        try:
            yield writer
        finally:
            writer.flush()

    def n_missing(self) -> int:
        """Return the number of different items whose rows are missing."""
        return len(self._missing)

    def digests(self, indices: Iterable[int]) -> list[bytes]:
        """Return the digests of the items at ``indices``."""
        return [self._digests[index] for index in indices]

    def look_up_again(self, written: Sequence[int]) -> None:
        """Note which rows are no longer missing: ``written`` ones, and those of other processes.

        Only rows that are new are looked up.  All others would take longer the more there are.
        """
        new = set(self.digests(written))
        for (tap, _, spare), table in self._opened.items():
            if tap in self.taps and not spare:
                new.update(table.added())
        new &= self._missing
        indices = [self._first[digest] for digest in new]
        missing = set().union(*(self._missing_at(tap, indices) for tap in self.taps))
        self._missing -= new.difference(self.digests(missing))

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
        rows = [
            _join(self._groups(tap, kept), kept, partial(self._stored, tap))
            for tap in self._prefix.taps
        ]
        return Frozen(rows, np.array(kept, int), failed)

    def _groups(self, tap: Tap, indices: Sequence[int]) -> Groups:
        """Divide items by the tables of their rows at a tap; pooled rows are in one table."""
        return self.divide(indices) if tap.reduce is None else [(self._prefix, indices)]

    def _missing_at(self, tap: Tap, indices: Sequence[int]) -> list[int]:
        """Return those of the indices whose items have no row at a tap."""
        found = []
        for prefix, part in self._groups(tap, indices):
            table = self._table(prefix, tap)
            found += [part[at] for at in table.missing(self.digests(part))]
        return found

    def _stored(self, tap: Tap, prefix: Prefix, indices: Sequence[int]) -> Any:
        return self._table(prefix, tap).rows(self.digests(indices))

    def _table(self, prefix: Prefix, tap: Tap, spare: bool = False) -> Table:
        """Return the table of the rows at a tap; those of one length if they are not pooled."""
        key = tap, prefix.length if tap.reduce is None else None, spare
        if key not in self._opened:
            named = prefix.fingerprint(tap), spare, prefix.describe(tap)
            self._opened[key] = self._cache.table(*named)
        return self._opened[key]


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
        written, self._outputs, self._indices = self._indices, [], []
        self._sink.look_up_again(written)


NO_ROWS = np.empty((0, 0), np.float32)


def _those(rows: np.ndarray, places: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the rows at increasing places; all of them without a copy."""
    if len(places) == len(rows):
        return rows
    for new, old in enumerate(places):  # in place, because the rows may fill the memory
        rows[new] = rows[old]
    return rows[: len(places)]


def _join(groups: Groups, kept: Sequence[int], rows_of: Callable[[Prefix, list[int]], Any]) -> Any:
    """Return the rows of the items ``kept``: of all groups as one sequence.

    ``rows_of`` returns the rows of some items of a group.
    """
    if len(groups) == 1 and groups[0][0].length is None:
        return rows_of(groups[0][0], list(kept))
    position = dict(zip(kept, range(len(kept)), strict=True))
    parts = []
    for prefix, indices in groups:
        here = [index for index in indices if index in position]
        at = np.array([position[index] for index in here], int)
        parts.append((prefix.length, at, rows_of(prefix, here)))
    return RowsByLength([part for part in parts if len(part[1])])


def decode_or_error(preset: Any, item: Any) -> Any:
    """Return the decoded item, or the DecodeError that it raised."""
    try:
        return preset(item)
    except DecodeError as error:
        # the message alone: the frames of the traceback hold a half decoded image
        return DecodeError(str(error))


def decoder(preset: Any, items: Sequence[Any]) -> Callable[[int], tuple[int, Any]]:
    """Return a function that returns a position, and the decoded item there or its error."""
    return lambda at: (at, decode_or_error(preset, items[at]))


def _state(item: Any) -> tuple[int, ...] | None:
    """Return the state of the file of an item, which may be a view of it.

    Its hash is kept: eight bytes for each item are a tenth of the numbers themselves.
    """
    is_named = isinstance(getattr(item, "digest", None), bytes)
    return file_state(getattr(item, "item", item) if is_named else item)
