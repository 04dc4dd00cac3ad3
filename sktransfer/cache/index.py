"""The index of a table: which row of which shard a digest has.

All tables of a process that use a folder share its index.  So only the first lookup reads the
digests of all shards, later ones read those of new shards, and none takes longer the more rows or
shards there are.  An index is never changed but replaced by another one, so threads need no lock.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._support.files import RACY_SECONDS, find_files, remove_file, remove_stale
from .columns import TornShardError
from .shard import SHARD_NAME, Like, Shard

# The number of folders whose index a process keeps: those used last.  A row takes 24 bytes.
N_FOLDERS = 512

# Each run of an index is at least this many times as long as the next one.
GROWTH = 8

# The place of a row is the number of its shard times this, plus its row there.
PLACES = 2**32

# How often a folder is listed again because a shard has vanished.
N_LISTINGS = 3


class Run(NamedTuple):
    """Digests in increasing order, and the places of their rows."""

    digests: np.ndarray  # (n,) of S16
    places: np.ndarray  # (n,) of int64

    @classmethod
    def of(cls, digests: np.ndarray, places: np.ndarray) -> Run:
        """Return a run of digests that are in any order."""
        order = np.argsort(digests, kind="stable")
        return cls(digests[order], places[order])

    def find(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of those of ``digests`` that are here, and their places."""
        at = np.searchsorted(self.digests, digests).clip(max=len(self.digests) - 1)
        (here,) = np.nonzero(self.digests[at] == digests)
        return here, self.places[at[here]]


@dataclass(frozen=True)
class Index:
    """The places of the rows of some shards by digest.

    Parameters
    ----------
    shards : dict of int to Shard
        The shards by number.  They are not open, and their rows are of one shape and type.
    runs : tuple of Run
        One or more, so that to add a shard does not take longer the more rows there are.
    stamp : tuple or None
        The state of the folder when it was listed; None if it has to be listed again.
    """

    shards: Mapping[int, Shard] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()
    stamp: tuple[int, ...] | None = None

    @property
    def like(self) -> Like | None:
        """Shape and type of one row; None if there is no shard."""
        return next((shard.like for shard in self.shards.values()), None)

    def find(self, digests: Collection[bytes]) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """Yield each shard that has some of the ``digests``, their positions, and their rows."""
        asked = np.frombuffer(b"".join(digests), "S16")  # (n,)
        places = np.full(len(asked), -1)
        for run in self.runs:
            here, found = run.find(asked)
            places[here] = found
        (here,) = np.nonzero(places >= 0)
        here = here[np.argsort(places[here], kind="stable")]
        numbers, rows = np.divmod(places[here], PLACES)
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, stop in pairwise([*starts, len(here)]):
            yield self.shards[int(numbers[start])], here[start:stop], rows[start:stop]

    def adding(self, shards: Iterable[tuple[Shard, np.ndarray]]) -> Index:
        """Return an index with further shards, given with their digests.

        Shards whose rows have another shape or type than the first one are left out: two prefixes
        have one fingerprint, and ``Table.append`` reports it.
        """
        shards = list(shards)
        like = self.like or next((shard.like for shard, _ in shards), None)
        start = 1 + max(self.shards, default=-1)
        new = dict(enumerate((pair for pair in shards if pair[0].like == like), start))
        if not new:
            return self
        run = Run.of(
            np.concatenate([digests for _, digests in new.values()]),
            np.concatenate([n * PLACES + np.arange(len(shard)) for n, (shard, _) in new.items()]),
        )
        runs = list(self.runs)
        while runs and len(runs[-1].digests) < GROWTH * len(run.digests):
            run = Run.of(*map(np.concatenate, zip(runs.pop(), run, strict=True)))
        numbered = {number: shard for number, (shard, _) in new.items()}
        return replace(self, shards={**self.shards, **numbered}, runs=(*runs, run))

    def without(self, paths: Collection[Path | None]) -> Index:
        """Return an index without the shards in some files."""
        if not paths:
            return self
        gone = [number for number, shard in self.shards.items() if shard.path in paths]
        kept = {number: shard for number, shard in self.shards.items() if number not in gone}
        masks = [~np.isin(run.places // PLACES, gone) for run in self.runs]
        runs = [
            Run(run.digests[mask], run.places[mask])
            for run, mask in zip(self.runs, masks, strict=True)
            if mask.any()
        ]
        return replace(self, shards=kept, runs=tuple(runs))


class _Known:
    """The index of a folder, as it was last seen."""

    def __init__(self) -> None:
        self.index = Index()


@lru_cache(maxsize=N_FOLDERS)
def _known(folder: Path) -> _Known:  # noqa: ARG001 - a key
    return _Known()


def read_index(folder: Path) -> Index:
    """Return the index of all shards in a folder, which need not exist.

    If the folder has changed, it is listed, and what dead processes left there is removed.

    Raises
    ------
    OSError
        If the folder cannot be listed, for another reason than that this is forbidden.
    """
    known = _known(folder)
    for _ in range(N_LISTINGS):  # again if a shard has vanished: its rows may have joined another
        stamp, index = _stamp(folder), known.index
        if stamp is not None and stamp == index.stamp:
            break
        remove_stale(folder)
        paths = _paths(folder)
        held = {shard.path for shard in index.shards.values()}
        new, failed = _read_new(paths - held)
        index = index.without(held - paths).adding(new)
        known.index = replace(index, stamp=None if failed else stamp)
        if FileNotFoundError not in failed:
            break
    return known.index


def list_again(folder: Path) -> None:
    """Have a folder listed by the next lookup, even if its time stamp stays the same."""
    known = _known(folder)
    known.index = replace(known.index, stamp=None)


def _stamp(folder: Path) -> tuple[int, ...] | None:
    """Return times and number of a folder, which change with the names in it.

    None means that the folder does not exist or changed a moment ago.
    """
    try:
        stat = folder.stat()
    except OSError:
        return None
    times = stat.st_mtime_ns, stat.st_ctime_ns
    is_racy = time.time_ns() - max(times) < RACY_SECONDS * 10**9
    return None if is_racy else (*times, stat.st_ino)


def _paths(folder: Path) -> set[Path]:
    """Return the files of the shards; none if the folder may not be read."""
    with suppress(PermissionError):
        return set(find_files(folder, SHARD_NAME))
    return set()


def _read_new(paths: Iterable[Path]) -> tuple[list[tuple[Shard, np.ndarray]], set[type[OSError]]]:
    """Return the shards in some files with their digests, and the kinds of errors of the others.

    Damaged files are removed.
    """
    shards, failed = [], set()
    for path in paths:
        try:
            shard = Shard.read(path)
            shards.append((shard, shard.sortable_digests()))
        except TornShardError:
            remove_file(path)
        except OSError as error:  # it has vanished, belongs to another user, or the disk fails
            failed.add(type(error))
    return shards, failed
