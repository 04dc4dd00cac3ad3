"""Tables: the rows of one fingerprint, by digest, in the shards of one folder.

No lock is needed: shards are immutable, and a process killed at any instant harms nothing.  A
damaged shard is removed, and its rows count as missing.  Two processes may write the same rows:
both are right, and ``prune`` drops the second copy.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from .._support.files import find_files, remove_file, remove_stale
from .._support.hashing import hash_parts
from .folder import Store, describe, explained
from .shard import (
    BFLOAT16,
    DTYPES,
    FINISHED,
    SMALL_BYTES,
    Like,
    Rows,
    Shard,
    TornShardError,
    to_bfloat16,
)

# Part of the name of every folder: another layout of the files means other folders.
FORMAT = b"1"

# Rows go to disk in shards of about so many bytes, and so many small shards are joined to one.
SHARD_BYTES, MANY = 64 * 2**20, 16

# The types that a table takes.
FLOATS_AND_BYTES = [text for text in DTYPES.values() if text != BFLOAT16.str]

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Table:
    """The rows of one fingerprint, by digest.

    What a disk that is full, failing or forbidden does not take is kept in memory, or dropped where
    it is spare.

    Parameters
    ----------
    store : Store
    fingerprint : str
    dtype : {None, "float16", "bfloat16", "float32"}
        As :class:`ActivationCache` takes it.
    spare : bool, default=False
        Whether nobody waits for these rows.
    """

    def __init__(self, store: Store, fingerprint: str, dtype: str | None, spare: bool = False):
        self._store = store
        self._spare = spare
        self._fingerprint = fingerprint if dtype is None else f"{fingerprint}/{dtype}"
        self._dtype = dtype
        name = hash_parts("table", FORMAT, str(dtype), fingerprint)
        self._folder = store.root / name.hex()
        self._on = True
        self._told = False
        self._seen: set[Path | None] = set()
        self._keep([])
        try:
            with _unless_refused():  # append() will tell
                if not spare:
                    self._folder.mkdir(parents=True, exist_ok=True)
                remove_stale(self._folder)
            self._refresh()
        except OSError as error:
            sentence = "cache must be a folder that can be written"
            raise explained(error, sentence, store.root) from error

    def missing(self, digests: Sequence[bytes]) -> list[int]:
        """Positions of the digests that have no whole row here; of equal ones, the first.

        Parameters
        ----------
        digests : sequence of bytes

        Returns
        -------
        list of int, increasing
        """
        self._refresh()
        first = _first(digests)
        self._check(first)
        return [position for name, position in first.items() if name not in self._index]

    def append(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep a row for each digest; those that have one are passed over.

        Parameters
        ----------
        digests : sequence of n bytes
        rows : ndarray of shape (n, ...), float16, float32, float64 or uint8
            Values too large for the type on disk become its largest.

        Raises
        ------
        ValueError
            If there is not one digest for each row, or rows differ in shape or type from those
            of the table.
        """
        try:
            self.store(digests, rows)
        except OSError as error:
            self._on = False
            if self._spare:
                return
            advice = "The folder must stay where it is, and be writable."
            if error.errno in FULL:
                advice = (
                    "Free some space, or set a limit: cache=ActivationCache(dir, max_bytes=...)."
                )
            warnings.warn(
                f"cache is off for these rows, which stay in memory: {error.strerror} in "
                f"{self._store.root}. {advice}",
                UserWarning,
                stacklevel=2,
            )
            self.store(digests, rows)

    def rows(self, digests: Sequence[bytes]) -> Rows:
        """The rows of ``digests``, in their order, left on disk until asked for.

        Parameters
        ----------
        digests : sequence of n bytes

        Returns
        -------
        Rows
            A sequence of n rows.

        Raises
        ------
        KeyError
            If a digest has no whole row here.
        """
        self._check(digests)
        try:
            positions = np.array([self._index[name] for name in digests], dtype=np.int64)
        except KeyError as error:
            raise KeyError(
                f"digests must have rows in the table; {error.args[0].hex()} has none. "
                "Append those that missing() names."
            ) from None
        return Rows(self._shards, self._starts, positions)

    def find(self, digests: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """The rows that are here, by digest."""
        here = self._here(digests)
        return dict(zip(here, self.rows(here)[:], strict=True))

    def _here(self, digests: Iterable[bytes]) -> list[bytes]:
        """Those that have rows here, each once."""
        names = list(dict.fromkeys(digests))
        self._check(names)
        return [name for name in names if name in self._index]

    def store(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep rows as :meth:`append` does; where the disk fails, so does this."""
        rows = self._as_on_disk(digests, rows)
        self._check(digests)
        first = {name: at for name, at in _first(digests).items() if name not in self._index}
        if len(first) < len(rows):
            rows = rows[list(first.values())]
        limit = self._store.max_bytes
        shard_bytes = SHARD_BYTES if limit is None else min(SHARD_BYTES, limit // 8)
        names, step = list(first), max(1, shard_bytes // max(1, rows[:1].nbytes))
        for start in range(0, len(names), step):
            self._store_block(names[start : start + step], rows[start : start + step])
        if limit is not None and self._on and not self._spare:
            self._tell_if_too_small()

    def _tell_if_too_small(self) -> None:
        """Warn, once, where rows that this table has in use had to go, or could not come."""
        if not self._told and any(shard.is_gone() for shard in self._shards):
            self._told = True
            warnings.warn(
                f"max_bytes must be more than the rows of one run take; got "
                f"{self._store.max_bytes}. The next run will compute some of them again.",
                UserWarning,
                stacklevel=4,
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
                f"rows must be like those of the table, {_told(self._shards[0].like)}; "
                f"got {_told(like)}. Two prefixes have one fingerprint."
            )
        if stored.kind == "f" and stored.itemsize < rows.dtype.itemsize:
            # saturate: one infinite value would spoil all that is computed from the row
            rows = np.clip(rows, np.finfo(stored).min, np.finfo(stored).max)
        return np.ascontiguousarray(rows, dtype=stored)

    def _store_block(self, names: list[bytes], rows: np.ndarray) -> None:
        """Keep rows in one new shard; small ones join it when they have become many."""
        small = [shard for shard in self._shards if shard.path and shard.size < SMALL_BYTES]
        most = SHARD_BYTES if self._store.max_bytes is None else self._store.max_bytes // 2
        n_bytes = rows.nbytes + sum(shard.size for shard in small)
        if not (self._on and len(small) >= MANY and rows.nbytes < SMALL_BYTES and n_bytes < most):
            small = []
        if found := self._here(name for shard in small for name in shard.names):
            names = [*found, *names]
            rows = np.concatenate([self.rows(found).stored(slice(None)), rows])
        shard = Shard.of(names, rows)
        if self._on and self._store.make_room(shard.size, evict=not self._spare):
            describe(self._folder, self._fingerprint)
            shard = shard.written(self._folder)
        elif self._spare:
            return
        else:
            shard.rows = rows.copy()  # the caller may write to its own
        if small:
            self._keep([kept for kept in self._shards if kept not in small])
        self._add(shard)
        for joined in small:
            joined.remove()

    def _refresh(self) -> None:
        """Take notice of the shards that came since."""
        for _ in range(3):  # again when one has vanished: its rows may have joined another
            vanished = False
            for path in self._paths():
                if path in self._seen:
                    continue
                try:
                    self._add(Shard.read(path))
                except FileNotFoundError:
                    vanished = True
                except PermissionError:  # somebody else's
                    self._seen.add(path)
                except TornShardError:
                    remove_file(path)
            if not vanished:
                return

    def _paths(self) -> list[Path]:
        """The files of the shards; none where the folder is somebody else's."""
        with suppress(PermissionError):
            return find_files(self._folder, FINISHED)
        return []

    def _check(self, names: Collection[bytes]) -> None:
        """Open the shards of ``names``, and forget which of these rows are not whole.

        Rows that were found whole once stay, whatever becomes of their shard.
        """
        while torn := [shard for shard, rows in self._by_shard(names) if not shard.is_whole(rows)]:
            for shard in torn:
                shard.remove()
            self._keep([self._saved(s.salvaged()) if s in torn else s for s in self._shards])
            self._refresh()  # another process may have joined them to one

    def _saved(self, shard: Shard) -> Shard:
        """A shard on disk, or where that fails, as it is."""
        with suppress(OSError):
            return shard.written(self._folder) if shard.names and self._on else shard
        return shard

    def _by_shard(self, names: Collection[bytes]) -> Iterator[tuple[Shard, np.ndarray]]:
        """The shards that hold rows of ``names``, and which rows these are."""
        found = {self._index[name] for name in names if name in self._index}
        positions = np.array(sorted(found), dtype=np.int64)
        bounds = pairwise(np.searchsorted(positions, self._starts))
        for shard, start, (low, high) in zip(self._shards, self._starts, bounds, strict=False):
            if low < high:
                yield shard, positions[low:high] - start

    def _keep(self, shards: list[Shard]) -> None:
        self._shards: list[Shard] = []
        self._starts = [0]  # of each shard, and the end of the last
        self._index: dict[bytes, int] = {}
        for shard in shards:
            self._add(shard)

    def _add(self, shard: Shard) -> None:
        self._seen.add(shard.path)
        if self._shards and shard.like != self._shards[0].like:
            return  # two prefixes have one fingerprint; append() says so
        for position, name in enumerate(shard.names, start=self._starts[-1]):
            self._index.setdefault(name, position)
        self._starts.append(self._starts[-1] + len(shard.names))
        self._shards.append(shard)


def _first(digests: Sequence[bytes]) -> dict[bytes, int]:
    """Where each digest stands first."""
    first: dict[bytes, int] = {}
    for position, name in enumerate(digests):
        first.setdefault(name, position)
    return first


@contextmanager
def _unless_refused() -> Iterator[None]:
    """Pass over what the disk has no room for, or does not allow."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL + FORBIDDEN:
            raise


def _told(like: Like) -> str:
    return f"{like[1]} of shape {like[0]}"
