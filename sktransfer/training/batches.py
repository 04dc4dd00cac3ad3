"""Where the rows of a batch come from, and in which order they are trained on.

Whatever is drawn is a pure function of the seed, the epoch and the row: a fit that was killed draws
the same again, and no generator has to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .._support.random import rng_of, seed_of
from .._support.threads import map_ahead
from ..tasks import Targets
from .tail import Entry

# Of the free memory of a device, what rows may take that stay there.
RESIDENT_SHARE = 0.25

# Rows that go there at a time.
BLOCK = 256


class Source(Protocol):
    """Rows that enter a tail, and where they enter it."""

    @property
    def entry(self) -> Entry:
        """The stage that the rows enter, or the head."""

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """The rows at some positions, as one batch, in one epoch (from 0)."""


@dataclass(frozen=True)
class FixedRows:
    """Rows that are the same in every epoch: an array, or rows of the cache.

    Parameters
    ----------
    rows : ndarray or Rows, (n, ...)
    entry : int or Pooled
    """

    rows: Any
    entry: Entry

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:  # noqa: ARG002 - the same in each
        """The rows at some positions, float32 at least."""
        batch = torch.from_numpy(self.rows[rows])
        return batch.to(torch.promote_types(batch.dtype, torch.float32))


@dataclass(frozen=True)
class ResidentRows:
    """Fixed rows that stay on the device, so that no step waits for them to come there.

    Parameters
    ----------
    rows : Tensor of shape (n, ...)
    entry : int or Pooled
    """

    rows: Tensor
    entry: Entry

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:  # noqa: ARG002 - the same in each
        """The rows at some positions."""
        return self.rows[torch.from_numpy(rows).to(self.rows.device)]


def resident(source: Source, device: torch.device, free_bytes: int | None = None) -> Source:
    """``source``, on the device where that has memory to spare for all of its rows.

    Parameters
    ----------
    source : Source
    device : torch.device
    free_bytes : int or None, default=None
        What the device has to give; None asks it: a CPU has its rows where they are.
    """
    if free_bytes is None:
        free_bytes = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    if not isinstance(source, FixedRows) or not len(source.rows):
        return source
    n, one = len(source.rows), source.load(np.zeros(1, int), 0)
    if one.nbytes * n > RESIDENT_SHARE * free_bytes:
        return source
    rows = torch.empty(n, *one.shape[1:], dtype=one.dtype, device=device)
    for part in np.split(np.arange(n), range(BLOCK, n, BLOCK)):
        rows[part[0] : part[-1] + 1] = source.load(part, 0).to(device)
    return ResidentRows(rows, source.entry)


@dataclass(frozen=True)
class DrawnViews:
    """One of the fixed views of each item, drawn anew in each epoch.

    Parameters
    ----------
    rows : ndarray or Rows, (n * n_views, ...)
        The views of one item stand side by side.
    n_views : int
    entry : int or Pooled
    seed : int
    """

    rows: Any
    n_views: int
    entry: Entry
    seed: int

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """One view of each of the items at some positions."""
        n_items = len(self.rows) // self.n_views
        drawn = rng_of(self.seed, "view", epoch).integers(self.n_views, size=n_items)
        return FixedRows(self.rows, self.entry).load(rows * self.n_views + drawn[rows], epoch)


@dataclass(frozen=True)
class DecodedItems:
    """Items decoded for each batch, and augmented where that is asked for.

    Parameters
    ----------
    preset : Preset
    items : sequence
    draw : callable or None, default=None
        Makes a random variant of an item: takes the item and a seed, gives what ``preset`` would.
    seed : int, default=0
    n_jobs : int or None, default=None
        Threads that decode; None is as many as torch computes with.
    """

    preset: Any
    items: Sequence[Any]
    draw: Callable[[Any, int], Tensor] | None = None
    seed: int = 0
    n_jobs: int | None = None
    entry: Entry = 0

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """The items at some positions, as the first stage takes them."""

        def decoded(row: int) -> Tensor:
            item = self.items[row]
            if self.draw is None:
                plain: Tensor = self.preset(item)
                return plain
            return self.draw(item, seed_of(self.seed, "augment", epoch, row))

        inputs = list(map_ahead(decoded, rows.tolist(), self.n_jobs, ahead=len(rows)))
        batch: Tensor = self.preset.collate(inputs, len(rows))
        return batch


@dataclass(frozen=True)
class Samples:
    """Rows and their targets.

    Parameters
    ----------
    source : Source
    targets : Targets
    dtype : torch.dtype
        In which the tail computes.
    """

    source: Source
    targets: Targets
    dtype: torch.dtype = torch.float32

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return the batch of a training step: inputs, targets, weights of mean 1; and targets."""
        x = self.source.load(rows, epoch)
        if x.is_floating_point():
            x = x.to(self.dtype)
        values, weight = self.targets.values, self.targets.weight
        parts = {
            "x": x,
            "target": torch.from_numpy(values[rows]).to(self.dtype),
            "weight": torch.from_numpy(weight[rows] / weight.mean()).to(self.dtype),
        }
        return parts, parts["target"]


def split_rows(n: int, batch_size: int, seed: int | None, epoch: int) -> list[np.ndarray]:
    """The positions of each batch of an epoch.

    Parameters
    ----------
    n : int
        Rows.
    batch_size : int
        A last batch of one row joins the one before it: batch norm cannot learn from one.
    seed : int or None
        Of their order; None keeps it.
    epoch : int

    Examples
    --------
    >>> from sktransfer.training.batches import split_rows
    >>> split_rows(5, 2, None, 0)
    [array([0, 1]), array([2, 3, 4])]
    """
    order = np.arange(n) if seed is None else rng_of(seed, "order", epoch).permutation(n)
    bounds = list(range(batch_size, n, batch_size))
    if bounds and n - bounds[-1] == 1:
        bounds.pop()
    return np.split(order, bounds)


def read_ahead(
    samples: Samples, parts: Sequence[np.ndarray], epoch: int
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The batches of an epoch; the next one is made while this one is trained on."""
    if isinstance(getattr(samples.source, "rows", None), (np.ndarray, Tensor)):
        yield from (samples.batch(rows, epoch) for rows in parts)  # in memory: nothing to wait for
        return
    yield from map_ahead(lambda rows: samples.batch(rows, epoch), parts, n_jobs=1, ahead=1)
