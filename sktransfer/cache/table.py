"""Tables: the rows of one fingerprint, by digest, in the shards of one folder.

No lock is needed: shards are immutable, and a process killed at any instant does no harm.  A
damaged shard is removed, and its rows count as missing.  If two processes write the same rows, both
copies are right, and ``prune`` removes the second one.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from .._support.files import FULL, explained, find_files, remove_file, remove_stale
from .._support.hashing import hash_parts
from .._support.warn import warn_user
from .columns import TornShardError
from .folder import CacheFolder, make_folder, write_in
from .rows import Rows, to_bfloat16
from .shard import BFLOAT16, DTYPES, SHARD_NAME, SMALL_BYTES, BadShards, Like, Shard

# Part of the name of every folder: files in another layout go to other folders.
FORMAT = b"3"

# Approximate size of a shard, and the number of small shards that are joined to one.
SHARD_BYTES, MANY = 64 * 2**20, 16

# To search a shard for one digest takes as long as to enter this many digests into an index.
SEARCH_COST = 30

# The types that a table takes.
FLOATS_AND_BYTES = [text for text in DTYPES.values() if text != BFLOAT16.str]

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Table:
    """The rows of one fingerprint, by digest.

    If the disk is full, fails, or may not be written, rows stay in memory; opportunistic rows are
    dropped.

    Parameters
    ----------
    cache : CacheFolder
    fingerprint : str
    dtype : {None, "float16", "bfloat16", "float32"}
        The same as for :class:`ActivationCache`.
    spare : bool, default=False
        Whether the rows are opportunistic: useful to later runs, but not needed by this one.
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
        self._seen: set[Path | None] = set()
        self._is_complete = False
        self._keep([])
        try:
            with _unless_refused():  # append() warns
                if not spare:
                    make_folder(self._folder)
                remove_stale(self._folder)
            self._refresh()
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
        found = self._found(first)
        return [position for digest, position in first.items() if digest not in found]

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
        found = self._found(digests)
        try:
            positions = np.array([found[digest] for digest in digests], dtype=np.int64)
        except KeyError as error:
            raise KeyError(
                f"digests must have rows in the table; {error.args[0].hex()} has none. "
                "Append those that missing() names."
            ) from None
        return Rows(self._shards, self._starts, positions)

    def find(self, digests: Iterable[bytes]) -> tuple[list[bytes], np.ndarray]:
        """Return the digests that have a row, each once, and these rows as they are on disk."""
        wanted = list(dict.fromkeys(digests))
        for _ in range(3):  # again if a row was damaged after it was found
            found = list(self._found(wanted))
            with suppress(OSError):
                return found, self.rows(found).stored(slice(None))
        return [], self.rows([]).stored(slice(None))

    def store(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep rows as :meth:`append` does, but raise the errors of the disk."""
        rows = self._as_on_disk(digests, rows)
        found = self._found(digests)
        first = {digest: at for digest, at in _first(digests).items() if digest not in found}
        if len(first) < len(rows):
            rows = rows[list(first.values())]
        limit = self._cache.max_bytes
        shard_bytes = SHARD_BYTES if limit is None else min(SHARD_BYTES, limit // 8)
        names, step = list(first), max(1, shard_bytes // max(1, rows[:1].nbytes))
        for start in range(0, len(names), step):
            self._store_block(names[start : start + step], rows[start : start + step])
        if limit is not None and self._on and not self._spare:
            self._warn_if_too_small()

    def _warn_if_too_small(self) -> None:
        """Warn, once, if rows that are in use had to be removed or could not be kept."""
        if not self._warned and any(shard.is_gone() for shard in self._shards):
            self._warned = True
            warn_user(
                f"max_bytes must be more than the rows of one run take; got "
                f"{self._cache.max_bytes}. The next run computes some of them again."
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
        if self._shards and self._shards[0].like != like:
            raise ValueError(
                f"rows must be like those of the table, {_shown(self._shards[0].like)}; "
                f"got {_shown(like)}. Two prefixes have one fingerprint."
            )
        if stored.kind == "f" and stored.itemsize < rows.dtype.itemsize:
            # One infinite value would spoil everything that is computed from the row.
            rows = np.clip(rows, np.finfo(stored).min, np.finfo(stored).max)
        return np.ascontiguousarray(rows, dtype=stored)

    def _store_block(self, digests: list[bytes], rows: np.ndarray) -> None:
        """Keep rows in a new shard, together with the rows of small shards if there are many."""
        small = [shard for shard in self._shards if shard.path and shard.size < SMALL_BYTES]
        most = SHARD_BYTES if self._cache.max_bytes is None else self._cache.max_bytes // 2
        n_bytes = rows.nbytes + sum(shard.size for shard in small)
        if not (self._on and len(small) >= MANY and rows.nbytes < SMALL_BYTES and n_bytes < most):
            small = []
        if small:
            found, before = self.find(_digests_in(small))
            if found:
                digests, rows = [*found, *digests], np.concatenate([before, rows])
            else:
                small = []
        shard = Shard.of(self._folder, digests, rows)
        if self._on and self._cache.make_space(shard.size, evict=not self._spare):
            shard = write_in(self._folder, self._fingerprint, shard.written, self._about)
        elif self._spare:
            return
        else:
            shard = shard.detached()  # the caller may write to its own rows
        if small:
            self._keep([kept for kept in self._shards if kept not in small])
        self._add(shard)
        for joined in small:
            joined.remove()

    def _refresh(self) -> None:
        """Add the shards that other tables and processes have written."""
        for _ in range(3):  # again if a shard has vanished: its rows may have joined another
            vanished = False
            for path in self._paths():
                if path in self._seen:
                    continue
                try:
                    self._add(Shard.read(path))
                except FileNotFoundError:
                    vanished = True
                except OSError:  # it belongs to another user, or the disk fails
                    self._seen.add(path)
                except TornShardError:
                    remove_file(path)
            if not vanished:
                return

    def _paths(self) -> list[Path]:
        """Return the files of the shards; none if the folder may not be read."""
        with suppress(PermissionError):
            return find_files(self._folder, SHARD_NAME)
        return []

    def _found(self, digests: Collection[bytes]) -> dict[bytes, int]:
        """Return the position of each of the ``digests`` that has a whole row, and open its shard.

        Rows that were found whole once stay, even if their file is removed.
        """
        while True:  # each turn removes shards for good
            bad = BadShards()
            positions = self._looked_up(digests, bad)
            for shard, at in self._by_shard(positions.values()):
                with bad.noting(shard):
                    if not shard.is_whole(at):
                        raise TornShardError(shard.path)
            if not bad.torn and not bad.lost:
                return positions
            for shard in bad.torn:
                shard.remove()
            usable = [shard for shard in self._shards if shard not in bad.lost]
            shards = [self._saved(s.salvaged()) if s in bad.torn else s for s in usable]
            self._keep([shard for shard in shards if len(shard)])
            self._refresh()  # another process may have joined them to one

    def _looked_up(self, digests: Collection[bytes], bad: BadShards) -> dict[bytes, int]:
        """Search the shards, or enter all digests into the index if there are many to look up.

        Only the index takes longer the more rows there are.
        """
        new = [name for name in digests if name not in self._index]
        if new and not self._is_complete:
            n_searches = len(self._shards) * (len(new) + 2)  # opening a shard counts as two
            complete = n_searches * SEARCH_COST > self._starts[-1]
            for shard, start in zip(self._shards, self._starts, strict=False):
                with bad.noting(shard):
                    if complete:
                        _enter(self._index, shard, start)
                    else:
                        rows = shard.find(name for name in new if name not in self._index)
                        self._index |= {name: start + row for name, row in rows.items()}
            self._is_complete = complete
        return {name: self._index[name] for name in digests if name in self._index}

    def _saved(self, shard: Shard) -> Shard:
        """Write a shard to disk and return it; return it as it is if that fails."""
        with suppress(OSError):
            if self._on and len(shard):
                return write_in(self._folder, self._fingerprint, shard.written, self._about)
        return shard

    def _by_shard(self, positions: Iterable[int]) -> Iterator[tuple[Shard, np.ndarray]]:
        """Yield the shards that hold rows at ``positions``, and which of their rows these are."""
        ordered = np.array(sorted(set(positions)), dtype=np.int64)
        bounds = pairwise(np.searchsorted(ordered, self._starts))
        for shard, start, (low, high) in zip(self._shards, self._starts, bounds, strict=False):
            if low < high:
                yield shard, ordered[low:high] - start

    def _keep(self, shards: list[Shard]) -> None:
        self._shards: list[Shard] = []
        self._starts = [0]  # of each shard, and the end of the last
        self._index: dict[bytes, int] = {}  # digest -> position; not of all unless complete
        self._is_complete = False
        for shard in shards:
            self._add(shard)

    def _add(self, shard: Shard) -> None:
        if self._shards and shard.like != self._shards[0].like:
            self._seen.add(shard.path)
            return  # two prefixes have one fingerprint; append() reports it
        if self._is_complete:
            _enter(self._index, shard, self._starts[-1])
        self._seen.add(shard.path)
        self._starts.append(self._starts[-1] + len(shard))
        self._shards.append(shard)


def _enter(index: dict[bytes, int], shard: Shard, start: int) -> None:
    """Enter the positions of a shard's digests; the first row of a digest stays."""
    for position, digest in enumerate(shard.digests, start):
        index.setdefault(digest, position)


def _digests_in(shards: Iterable[Shard]) -> list[bytes]:
    """Return the digests of the shards that other processes have not removed meanwhile."""
    digests: list[bytes] = []
    for shard in shards:
        with suppress(OSError, TornShardError):
            digests += shard.digests
    return digests


def _first(digests: Sequence[bytes]) -> dict[bytes, int]:
    """Return the first position of each digest."""
    first: dict[bytes, int] = {}
    for position, name in enumerate(digests):
        first.setdefault(name, position)
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
