"""Joins the small shards of a folder to one, so that single rows do not become a file each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import numpy as np

from .._support.files import claimed
from .index import Index, read_index
from .shard import SMALL_BYTES, Shard

# The number of small shards that a folder may have.
MANY = 16


def join_small(folder: Path, index: Index, n_bytes: int, write: Callable[[Shard], bool]) -> None:
    """Join the small shards of a folder to one if there are many.

    A process or thread does this alone, so no row is written twice.  The small shards are removed
    once the joined one is on disk, so no row is missing meanwhile.

    Parameters
    ----------
    folder : Path
    index : Index
        The index of the folder.
    n_bytes : int
        Maximum size of the joined shard.
    write : callable
        Writes a shard and returns True, or False if it cannot be kept.

    Raises
    ------
    OSError
        If the disk fails.
    """
    if len(_small(index, n_bytes)) <= MANY:
        return
    with claimed(folder) as is_mine:
        small = _small(read_index(folder), n_bytes)  # another process may have just joined them
        if not is_mine or len(small) <= MANY:
            return
        whole = {shard: shard.unopened().salvaged() for shard in small}
        readable = {shard: rows for shard, rows in whole.items() if len(rows)}
        if write(_joined(folder, list(readable.values()))):
            for shard in readable:
                shard.remove()


def _small(index: Index, n_bytes: int) -> list[Shard]:
    """Return small shards, the smallest first, that take at most ``n_bytes`` together."""
    small = [shard for shard in index.shards.values() if shard.size < SMALL_BYTES]
    small.sort(key=lambda shard: shard.size)
    totals = accumulate(shard.size for shard in small)
    return [shard for shard, total in zip(small, totals, strict=True) if total <= n_bytes]


def _joined(folder: Path, shards: list[Shard]) -> Shard:
    """Return a shard in memory of the rows of others, one for each digest."""
    digests = np.concatenate([shard.sortable_digests() for shard in shards])
    rows = np.concatenate([shard.columns.rows[:] for shard in shards])
    _, first = np.unique(digests, return_index=True)
    return Shard.of(folder, digests[first].view("V16").tolist(), rows[first])
