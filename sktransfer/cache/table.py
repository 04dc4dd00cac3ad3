"""Tables: the rows of one fingerprint, by digest, in the shards of one folder.

No lock is needed: shards are immutable, and a process killed at any instant does no harm.  A
damaged shard is removed, and its rows count as missing.  If two processes write the same rows, both
copies are right, and ``prune`` removes the second one.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import filterfalse, pairwise
from pathlib import Path

import numpy as np

from .._support.files import FULL, explained
from .._support.hashing import hash_parts
from .._support.warn import warn_user
from .columns import TornShardError, as_array
from .folder import CacheFolder, make_folder, write_in
from .index import Index, list_again, read_index
from .joining import join_small
from .rows import Rows, to_bfloat16
from .shard import BFLOAT16, DTYPES, BadShards, Like, Shard

# Part of the name of every folder: files in another layout go to other folders.
FORMAT = b"4"

# Approximate size of a shard.
SHARD_BYTES = 64 * 2**20

# Shape and type of one row of an empty table.
NOTHING: Like = ((0,), np.dtype("<f4"))

# The types that a table takes.
FLOATS_AND_BYTES = [text for text in DTYPES.values() if text != BFLOAT16.str]

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Table:
    """The rows of one fingerprint, by digest.

    If the disk is full, fails, or may not be written, rows stay in memory; optional rows are
    dropped.

    Parameters
    ----------
    cache : CacheFolder
    fingerprint : str
    dtype : {None, "float16", "bfloat16", "float32"}
        The same as for :class:`ActivationCache`.
    spare : bool, default=False
        If True, the rows are optional: useful to later runs, but not needed by this one.
    about : mapping of str to str or None, default=None
        A description of the rows, which is stored with them.
    """

    def __init__(
        self,
        cache: CacheFolder,
        fingerprint: str,
        dtype: str | None,
        spare: bool = False,
        about: Mapping[str, str] | None = None,
    ):
        self._cache = cache
        self._spare = spare
        self._fingerprint = fingerprint if dtype is None else f"{fingerprint}/{dtype}"
        self._about = about
        self._dtype = dtype
        name = hash_parts("table", FORMAT, str(dtype), fingerprint)
        self._folder = cache.root / name.hex()
        self._on = True
        self._warned = False
        self._index = Index()
        self._unusable: set[Path | None] = set()
        self._shards: list[Shard] = []  # those in use
        self._starts = [0]  # of each shard in use, and the end of the last
        self._start_of: dict[Path | None, int] = {}  # of each file in use
        self._positions: dict[bytes, int] = {}  # of the rows in use, by digest
        try:
            with _unless_refused():  # append() warns
                if not spare:
                    make_folder(self._folder)
            self._refresh()
            self._seen = self._index
        except OSError as error:
            sentence = "cache must be a folder that can be written"
            raise explained(error, sentence, cache.root) from error

    def missing(self, digests: Sequence[bytes]) -> list[int]:
        """Return the positions of digests without a whole row; of equal digests, the first.

        Parameters
        ----------
        digests : sequence of bytes

        Returns
        -------
        list of int, increasing
        """
        self._refresh()
        first = _first(digests)
        self._look_up(first)
        return [position for digest, position in first.items() if digest not in self._positions]

    def added(self) -> list[bytes]:
        """Return the digests in files that any process has written since the last call.

        The first call counts from the time at which this table was made.  Thus to watch for rows
        of other processes takes no longer the more rows there are.
        """
        self._refresh()
        seen, self._seen = set(self._seen.shards.values()), self._index
        found: list[bytes] = []
        for shard in self._index.shards.values():
            if shard not in seen:
                with suppress(OSError, TornShardError):  # its rows count as missing
                    found += shard.digests
        return found

    def append(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep a row for each digest; digests that have a row are skipped.

        Parameters
        ----------
        digests : sequence of n bytes
        rows : ndarray of shape (n, ...), float16, float32, float64 or uint8
            Values too large for the type on disk become its largest.

        Raises
        ------
        ValueError
            If the numbers of digests and rows differ, or the rows differ in shape or type from
            those of the table.
        """
        try:
            self.store(digests, rows)
        except OSError as error:
            self._on = False
            if self._spare:
                return
            warn_user(self._cache.describe(error))
            self.store(digests, rows)

    def rows(self, digests: Sequence[bytes]) -> Rows:
        """Return the rows of ``digests`` in their order; they stay on disk until they are needed.

        Parameters
        ----------
        digests : sequence of n bytes

        Returns
        -------
        Rows
            A sequence of n rows.  Indexing it raises an OSError if a row was damaged meanwhile.

        Raises
        ------
        KeyError
            If a digest has no whole row here.
        """
        if not all(map(self._positions.__contains__, digests)):
            self._look_up(digests)
        try:
            positions = self._positions_of(digests)
        except KeyError as error:
            raise KeyError(
                f"digests must have rows in the table; {error.args[0].hex()} has none. "
                "Append those that missing() names."
            ) from None
        like = self._like or NOTHING
        return Rows(self._shards, self._starts, positions, as_array(digests), like)

    def find(self, digests: Iterable[bytes]) -> tuple[list[bytes], np.ndarray]:
        """Return the digests that have a row in a file, each once, and these rows, read once."""
        wanted = list(dict.fromkeys(digests))
        names = as_array(wanted)
        while True:  # each turn leaves out shards for good
            bad, found = BadShards(), list[int]()
            shape, dtype = self._index.like or NOTHING
            rows = np.empty((len(wanted), *shape), dtype)
            for each, at, places in self._index.find(wanted):
                shard = each.unopened()
                with bad.noting(shard):
                    shard.copy(places, rows, at, names[at])
                    found += at.tolist()
            if not bad.torn and not bad.lost:
                return [wanted[position] for position in found], rows[found]
            self._leave_out(bad)

    def store(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep rows as :meth:`append` does, but raise the errors of the disk."""
        rows = self._as_on_disk(digests, rows)
        first = _first(digests)
        self._look_up(first)
        new = {digest: at for digest, at in first.items() if digest not in self._positions}
        if len(new) < len(rows):
            rows = rows[list(new.values())]
        names, step = list(new), max(1, self._shard_bytes() // max(1, rows[:1].nbytes))
        for start in range(0, len(names), step):
            self._store_block(names[start : start + step], rows[start : start + step])
        if self._on and names:
            self._join()
        if self._cache.max_bytes is not None and self._on and not self._spare:
            self._warn_if_too_small()

    def _shard_bytes(self) -> int:
        """Return the size of a large shard."""
        limit = self._cache.max_bytes
        return SHARD_BYTES if limit is None else min(SHARD_BYTES, limit // 8)

    def _warn_if_too_small(self) -> None:
        """Warn, once, if rows that are in use are not on disk because they do not fit."""
        if self._warned or not any(shard.is_gone() for shard in self._shards):
            return
        self._refresh()  # others may have joined their files to one
        n_lost = len(self._positions) - sum(
            len(at) for _, at, _ in self._index.find(list(self._positions))
        )
        limit, row_bytes = self._cache.max_bytes, self._shards[0].size // len(self._shards[0])
        if n_lost and limit is not None and self._cache.n_bytes + n_lost * row_bytes > limit:
            self._warned = True
            warn_user(
                f"max_bytes must be more than the rows of one run take; got {limit}. "
                "The next run computes some of them again."
            )

    def _as_on_disk(self, digests: Sequence[bytes], rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        if rows.ndim == 0 or len(rows) != len(digests) or any(len(name) != 16 for name in digests):
            raise ValueError(
                "digests must be of 16 bytes, one for each row; "
                f"got {len(digests)} digests and rows of shape {rows.shape}."
            )
        wanted = rows.dtype if self._dtype in (None, "bfloat16") else self._dtype
        stored = np.dtype(wanted).newbyteorder("<")
        if stored.str not in FLOATS_AND_BYTES:
            known = ", ".join(np.dtype(text).name for text in FLOATS_AND_BYTES)
            raise ValueError(f"rows must be of type {known}; got {rows.dtype}.")
        if self._dtype == "bfloat16":
            rows, stored = to_bfloat16(rows), BFLOAT16
        like = (rows.shape[1:], stored)
        if self._like not in (None, like):
            raise ValueError(
                f"rows must be like those of the table, {_shown(self._like)}; "
                f"got {_shown(like)}. Two prefixes have one fingerprint."
            )
        if stored.kind == "f" and stored.itemsize < rows.dtype.itemsize:
            # One infinite value would spoil everything that is computed from the row.
            rows = np.clip(rows, np.finfo(stored).min, np.finfo(stored).max)
        return np.ascontiguousarray(rows, dtype=stored)

    @property
    def _like(self) -> Like | None:
        """Shape and type of one row; None if the table is empty."""
        return self._shards[0].like if self._shards else self._index.like

    def _store_block(self, digests: list[bytes], rows: np.ndarray) -> None:
        """Keep rows in a new shard."""
        shard = Shard.of(self._folder, digests, rows)
        if self._on and self._cache.make_space(shard.size, evict=not self._spare):
            shard = self._write(shard)
        elif self._spare:
            return
        else:
            shard = shard.detached()  # the caller may write to its own rows
        self._use(shard, digests)

    def _write(self, shard: Shard) -> Shard:
        """Write a shard to disk and return it, open."""
        written = write_in(self._folder, self._fingerprint, shard.written, self._about)
        list_again(self._folder)
        return written

    def _join(self) -> None:
        """Join small shards to one if there are many."""
        self._refresh()
        with suppress(OSError):  # the rows are on the disk already
            join_small(self._folder, self._index, self._shard_bytes(), self._write_joined)

    def _write_joined(self, shard: Shard) -> bool:
        """Write a shard of rows that are on disk already, if there is space for both copies."""
        has_space = self._cache.make_space(shard.size, evict=not self._spare)
        return has_space and self._write(shard).path is not None

    def _refresh(self) -> None:
        """Take the shards into account that other tables and processes have written."""
        index = read_index(self._folder)
        if self._shards and index.like != self._shards[0].like:
            index = Index()  # two prefixes have one fingerprint; append() reports it
        self._index = index.without(self._unusable)

    def _look_up(self, digests: Collection[bytes]) -> None:
        """Find the rows of ``digests`` that are whole, and open their shards.

        They stay usable, even if their file is removed.
        """
        while True:  # each turn leaves out shards for good
            bad = BadShards()
            unknown = filterfalse(self._positions.__contains__, digests)
            self._search([name for name in unknown if len(name) == 16])
            found = list(filter(self._positions.__contains__, digests))
            for shard, rows, names in self._by_shard(found):
                with bad.noting(shard):
                    if not shard.is_whole(rows, names):
                        raise TornShardError(shard.path)
            if not bad.torn and not bad.lost:
                return
            self._leave_out(bad)

    def _search(self, digests: list[bytes]) -> None:
        """Enter the positions of those of ``digests`` that are in the index."""
        for shard, at, rows in self._index.find(digests):
            start = self._start_of.get(shard.path)
            positions = rows + (self._add(shard.unopened()) if start is None else start)
            names = map(digests.__getitem__, at.tolist())
            self._positions |= zip(names, positions.tolist(), strict=True)

    def _positions_of(self, digests: Sequence[bytes]) -> np.ndarray:
        """Return the positions of rows in use; a KeyError names a digest without one."""
        return np.fromiter(map(self._positions.__getitem__, digests), np.int64, len(digests))

    def _leave_out(self, bad: BadShards) -> None:
        """Do without some shards, but keep the whole rows of those that are damaged."""
        salvaged = [shard.salvaged() for shard in bad.torn]
        for shard in bad.torn:
            shard.remove()
        lost = {shard.path for shard in bad.torn + bad.lost}
        self._unusable |= lost
        gone = [
            (start, stop)
            for shard, (start, stop) in zip(self._shards, pairwise(self._starts), strict=True)
            if shard.path in lost
        ]
        self._positions = {
            digest: position
            for digest, position in self._positions.items()
            if not any(start <= position < stop for start, stop in gone)
        }
        for shard in filter(len, salvaged):
            self._use(self._saved(shard), shard.digests)
        list_again(self._folder)  # another process may have joined them to one
        self._refresh()

    def _saved(self, shard: Shard) -> Shard:
        """Write a shard to disk and return it; return it as it is if that fails."""
        with suppress(OSError):
            if self._on:
                return self._write(shard)
        return shard

    def _by_shard(self, digests: Sequence[bytes]) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """Yield the shards in use that have ``digests``, which of their rows, and the digests."""
        positions = self._positions_of(digests)
        order = np.argsort(positions, kind="stable")
        positions, names = positions[order], as_array(digests)[order]
        bounds = pairwise(np.searchsorted(positions, self._starts))
        for shard, start, (low, high) in zip(self._shards, self._starts, bounds, strict=False):
            if low < high:
                yield shard, positions[low:high] - start, names[low:high]

    def _use(self, shard: Shard, digests: Iterable[bytes]) -> None:
        """Use a shard of the given digests; the first row of a digest stays."""
        for position, digest in enumerate(digests, self._add(shard)):
            self._positions.setdefault(digest, position)

    def _add(self, shard: Shard) -> int:
        """Add a shard to those in use and return the position of its first row."""
        start = self._starts[-1]
        self._shards.append(shard)
        self._starts.append(start + len(shard))
        if shard.path is not None:
            self._start_of[shard.path] = start
        return start


def _first(digests: Sequence[bytes]) -> dict[bytes, int]:
    """Return the first position of each digest."""
    first = dict(zip(digests, range(len(digests)), strict=True))
    if len(first) < len(digests):  # the positions are those of the last
        first.update(zip(reversed(digests), reversed(range(len(digests))), strict=True))
    return first


@contextmanager
def _unless_refused() -> Iterator[None]:
    """Ignore the errors of a disk that is full or may not be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL + FORBIDDEN:
            raise


def _shown(like: Like) -> str:
    return f"{like[1]} of shape {like[0]}"
