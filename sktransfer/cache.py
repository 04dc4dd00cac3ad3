"""Rows of frozen stages, kept on disk by content: one folder for folds, candidates and processes.

A row is named by the fingerprint of the prefix that made it and by the digest of its item.  The
rows of one fingerprint lie in a few immutable shards, so no lock is needed, and a process killed at
any instant harms nothing; a damaged shard is removed, and its rows count as missing.  Two processes
may write the same rows: both are right, and ``prune`` drops the second copy.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from ._check import check_choice, check_int
from .digests import digest, digest_or_none, file_key, hashed
from .shards import (
    BFLOAT16,
    DTYPES,
    FINISHED,
    SMALL_BYTES,
    Like,
    Rows,
    Shard,
    TornShardError,
    find_files,
    remove_file,
    remove_stale,
    to_bfloat16,
    whole_shards,
    write_file,
)

# Part of the name of every folder: another layout of the files means other folders.
FORMAT = b"1"

# Rows go to disk in shards of about so many bytes, and so many small shards are joined to one.
SHARD_BYTES, MANY = 64 * 2**20, 16

# What the cache leaves free of a disk for others: a gigabyte, or a twentieth of a small one.
FREE_BYTES = 2**30

# What a killed writer left is removed after this time: no writer pauses for so long.
STALE_SECONDS = 3600

FOLDER = re.compile(r"[0-9a-f]{32}")
ABOUT = "about.json"

MEMO = "digests of files by path, size and time"

__all__ = ["ActivationCache", "Table", "check_cache", "digest"]

# The types that a table takes.
FLOATS_AND_BYTES = [text for text in DTYPES.values() if text != BFLOAT16.str]

FULL = (errno.ENOSPC, errno.EDQUOT)


def check_cache(cache: Any) -> ActivationCache | None:
    """The cache that an estimator's parameter ``cache`` stands for.

    Parameters
    ----------
    cache : ActivationCache, str, path-like or None

    Raises
    ------
    TypeError, ValueError
        If it is something else, such as a joblib.Memory, or its parameters are not what they must
        be.

    Examples
    --------
    >>> from sktransfer.cache import check_cache
    >>> check_cache("activations")
    ActivationCache('activations')
    """
    if cache is None:
        return None
    if isinstance(cache, ActivationCache):
        cache.check()
        return cache
    if isinstance(cache, (str, os.PathLike)):
        return ActivationCache(cache)
    is_memory = hasattr(cache, "store_backend")
    hint = " A joblib.Memory keys on whole arrays; pass its folder." if is_memory else ""
    raise TypeError(
        "cache must be None, the path of a folder, or an ActivationCache; "
        f"got {type(cache).__name__}.{hint}"
    )


class ActivationCache:
    """Rows of frozen stages, kept in a folder.

    Parameters
    ----------
    dir : str or path-like
        The folder; made where it is missing.
    max_bytes : int or None, default=None
        What the folder may hold, in bytes; the least recently used rows make room.  None sets no
        limit.
    dtype : {None, "float16", "bfloat16", "float32"}, default=None
        Type of the rows on disk; None leaves them as they are computed, in float32.  The others
        take half the space.  Of a network that computes in bfloat16, "bfloat16" keeps every bit of
        feature maps, though not of their means.
    cuts : int or None, default=None
        How many of the last cuts a pass for :class:`FineTuneClassifier` leaves rows of, for fits
        with another depth: 1 is the end of the chain, pooled.  None stands for 3.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from sktransfer import ActivationCache
    >>> folder = TemporaryDirectory()
    >>> cache = ActivationCache(folder.name)
    >>> digests = cache.digests([b"a photo", b"another"])
    >>> table = cache.table("fingerprint of a prefix")
    >>> table.missing(digests)
    [0, 1]
    >>> table.append(digests, np.eye(2, dtype="float32"))
    >>> cache.table("fingerprint of a prefix").rows(digests[::-1])[:]
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        dir: str | os.PathLike[str],  # noqa: A002 - the word that users know from joblib
        max_bytes: int | None = None,
        dtype: str | None = None,
        cuts: int | None = None,
    ):
        self.dir = dir
        self.max_bytes = max_bytes
        self.dtype = dtype
        self.cuts = cuts

    def __repr__(self) -> str:
        shown = str(self.dir) if isinstance(self.dir, os.PathLike) else self.dir
        names = ("max_bytes", "dtype", "cuts")
        given = [f"{n}={value!r}" for n in names if (value := getattr(self, n)) is not None]
        return f"ActivationCache({', '.join([repr(shown), *given])})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActivationCache) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def digests(self, items: Iterable[Any]) -> list[bytes]:
        """The digest of each item; a file that has not changed is not read again.

        Parameters
        ----------
        items : iterable of str, path-like, bytes, PIL image or array

        Returns
        -------
        list of bytes
            An item that cannot be read gets a digest that no other has: nothing is found for it,
            and decoding it tells what is wrong.
        """
        items = list(items)
        keys = [file_key(item) for item in items]
        if not any(keys):
            return [digest_or_none(item) or os.urandom(16) for item in items]
        memo = Table(self, MEMO, None)
        rows = memo.find(filter(None, keys))
        known: dict[bytes, bytes | None] = {key: row.tobytes() for key, row in rows.items()}
        fresh = {}
        for key, item in zip(keys, items, strict=True):
            if key and key not in known:
                known[key] = name = digest_or_none(item)
                if name:  # a file that changed since it was named has another name next time
                    fresh[key] = name
        if fresh:
            with suppress(OSError):  # without the memo files are read again, nothing worse
                memo.store(list(fresh), np.array(list(map(list, fresh.values())), "u1"))
        names = [
            known[key] if key else digest_or_none(item)
            for key, item in zip(keys, items, strict=True)
        ]
        return [name or os.urandom(16) for name in names]

    def table(self, fingerprint: str, spare: bool = False) -> Table:
        """The rows of one prefix.

        Parameters
        ----------
        fingerprint : str
            Whatever tells this prefix from others: weights, preset, numerics.
        spare : bool, default=False
            Whether nobody waits for these rows: they make no others go, and what the disk does not
            take is dropped.

        Returns
        -------
        Table

        Raises
        ------
        OSError
            If the folder cannot be made, read or written.
        """
        return Table(self, fingerprint, self.dtype, spare)

    def keeps(self, dtype: Any) -> bool:
        """Whether rows computed in ``dtype``, a torch.dtype, come back with the same bits."""
        return self.dtype in (None, "float32", str(dtype).removeprefix("torch."))

    @property
    def n_bytes(self) -> int:
        """Bytes of all rows on disk; 0 where the folder does not exist."""
        return sum(stat.st_size for stat in self._stats().values())

    def info(self) -> dict[str, dict[str, int]]:
        """Rows, bytes and shards on disk, by the fingerprint of their prefix.

        Returns
        -------
        dict of str to dict
            For each fingerprint, the numbers ``"rows"``, ``"bytes"`` and ``"shards"``.

        Raises
        ------
        OSError
            If the folder does not exist or cannot be read.
        """
        told = {}
        for folder in self._folders():
            shards = list(whole_shards(find_files(folder, FINISHED)))
            told[_fingerprint(folder)] = {
                "rows": sum(len(shard.names) for shard in shards),
                "bytes": sum(shard.size for shard in shards),
                "shards": len(shards),
            }
        return told

    def prune(self, max_bytes: int | None = None) -> int:
        """Remove what is damaged or stored twice, then the least recently used rows.

        Parameters
        ----------
        max_bytes : int or None, default=None
            What the folder may hold afterwards; None stands for the limit of the cache.

        Returns
        -------
        int
            Bytes freed.

        Raises
        ------
        OSError
            If the folder does not exist or cannot be read.
        """
        limit = check_int("max_bytes", max_bytes, 0, also=(None,))
        limit = self.max_bytes if limit is None else limit
        folders = self._folders()
        freed = sum(_tidy(folder) for folder in folders)
        if limit is not None:
            freed += self._shrink(limit)
        for folder in folders:
            if not find_files(folder, FINISHED):
                remove_file(folder / ABOUT)
                with suppress(OSError):  # another process has just written into it
                    folder.rmdir()
        return freed

    def _make_room(self, n_bytes: int, evict: bool) -> bool:
        """Whether ``n_bytes`` more can be had within the limit, now that others have gone.

        Raises
        ------
        OSError
            If the disk would be full but for the room that others need.
        """
        if self.max_bytes is not None:
            if n_bytes > self.max_bytes - (0 if evict else self.n_bytes):
                return False
            self._shrink(self.max_bytes - n_bytes)
        with suppress(FileNotFoundError):  # the folder is not there yet
            disk = shutil.disk_usage(self._root())
            if disk.free < n_bytes + min(FREE_BYTES, disk.total // 20):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.dir))
        return True

    def _shrink(self, limit: int) -> int:
        """Remove the least recently used shards until the others fit in ``limit`` bytes."""
        stats = self._stats()
        excess, freed = sum(stat.st_size for stat in stats.values()) - limit, 0
        for path in sorted(stats, key=lambda path: stats[path].st_mtime_ns):
            if freed >= excess:
                break
            freed += remove_file(path)
        return freed

    def _stats(self) -> dict[Path, os.stat_result]:
        """What the system says of each shard."""
        stats = {}
        folders = self._folders() if self._root().is_dir() else []
        for path in (path for folder in folders for path in find_files(folder, FINISHED)):
            with suppress(FileNotFoundError):
                stats[path] = path.lstat()
        return stats

    def _folders(self) -> list[Path]:
        """The folders of this cache, one for each fingerprint; what is not ours is passed over."""
        try:
            with os.scandir(self._root()) as entries:
                return sorted(
                    Path(entry)
                    for entry in entries
                    if FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except OSError as error:
            sentence = "cache must be a folder that exists and can be read"
            raise _explained(error, sentence, self.dir) from error

    def check(self) -> None:
        """Raise for the first parameter that is not what it must be; touches no disk."""
        if not isinstance(self.dir, (str, os.PathLike)) or not os.fspath(self.dir):
            raise TypeError(f"cache must be the path of a folder; got {self.dir!r}.")
        check_int("max_bytes", self.max_bytes, 1, also=(None,))
        check_choice("dtype", self.dtype, (None, "float16", "bfloat16", "float32"))
        check_int("cuts", self.cuts, 1, also=(None,))

    def _root(self) -> Path:
        """The folder."""
        self.check()
        return Path(self.dir).expanduser().absolute()


class Table:
    """The rows of one fingerprint, by digest; :meth:`ActivationCache.table` makes it.

    What a full or failing disk does not take is kept in memory, or dropped where it is spare.
    """

    def __init__(
        self, cache: ActivationCache, fingerprint: str, dtype: str | None, spare: bool = False
    ):
        self._cache = cache
        self._spare = spare
        self._fingerprint = fingerprint if dtype is None else f"{fingerprint}/{dtype}"
        self._dtype = dtype
        name = hashed("table", FORMAT, f"{dtype}\0{fingerprint}".encode())
        self._folder = cache._root() / name.hex()
        self._on = True
        self._told = False
        self._seen: set[Path | None] = set()
        self._keep([])
        try:
            if not spare:
                with _unless_full():  # append() will tell
                    self._folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self._folder, time.time() - STALE_SECONDS)
            self._refresh()
        except OSError as error:
            sentence = "cache must be a folder that can be written"
            raise _explained(error, sentence, cache.dir) from error

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
                f"{self._cache.dir}. {advice}",
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
        limit = self._cache.max_bytes
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
                f"{self._cache.max_bytes}. The next run will compute some of them again.",
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
        if not (self._on and len(small) >= MANY and rows.nbytes < SMALL_BYTES):
            small = []
        if found := self._here(name for shard in small for name in shard.names):
            names = [*found, *names]
            rows = np.concatenate([self.rows(found).stored(slice(None)), rows])
        shard = Shard.of(names, rows)
        if self._on and self._cache._make_room(shard.size, evict=not self._spare):
            self._describe()
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
            for path in find_files(self._folder, FINISHED):
                if path in self._seen:
                    continue
                try:
                    self._add(Shard.read(path))
                except FileNotFoundError:
                    vanished = True
                except TornShardError:
                    remove_file(path)
            if not vanished:
                return

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

    def _describe(self) -> None:
        """Say in the folder what it is for; it is made again where ``prune`` has removed it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / ABOUT).exists():
            made = {"sktransfer": __version__, "numpy": np.__version__}
            about = {"fingerprint": self._fingerprint, "made with": made}
            write_file(self._folder / ABOUT, json.dumps(about, indent=2).encode())


def _first(digests: Sequence[bytes]) -> dict[bytes, int]:
    """Where each digest stands first."""
    first: dict[bytes, int] = {}
    for position, name in enumerate(digests):
        first.setdefault(name, position)
    return first


def _tidy(folder: Path) -> int:
    """Remove what is damaged, stored twice or left by killed writers; returns the bytes freed."""
    paths = find_files(folder, FINISHED)
    kept: set[Path | None] = set()
    seen: set[bytes] = set()
    for shard in sorted(whole_shards(paths), key=lambda shard: shard.used, reverse=True):
        if not seen.issuperset(shard.names):
            kept.add(shard.path)
            seen.update(shard.names)
    freed = sum(remove_file(path) for path in paths if path not in kept)
    return freed + remove_stale(folder, time.time() - STALE_SECONDS)


def _fingerprint(folder: Path) -> str:
    """What the rows in ``folder`` are of; its name, where the file that says so is lost."""
    try:
        return str(json.loads((folder / ABOUT).read_bytes())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name


@contextmanager
def _unless_full() -> Iterator[None]:
    """Pass over what a full disk refuses."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise


def _explained(error: OSError, sentence: str, folder: Any) -> OSError:
    """``error`` in the user's own words, and of the user's own folder; its type and number stay."""
    return OSError(error.errno, f"{sentence}; {error.strerror}", str(folder))


def _told(like: Like) -> str:
    return f"{like[1]} of shape {like[0]}"
