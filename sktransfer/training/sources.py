"""Sources of the rows of a batch.

Every random draw is a function of the seed, the epoch and the row.  So a fit that was killed and is
resumed makes the same draws, and no generator has to be saved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .._support.device import at_least_float32
from .._support.geometry import Place, Placed
from .._support.random import rng_of, seed_of
from .._support.threads import map_ahead
from ..data import Augmentation, count_tokens
from .tail import Entry

# Maximum share of the free memory of a device that the rows of a fit may occupy.
RESIDENT_SHARE = 0.25

# Number of rows that are copied to a device at a time.
BLOCK = 256


class Source(Protocol):
    """A source of rows that enter a tail."""

    @property
    def entry(self) -> Entry:
        """The index of the stage that the rows enter; ``Pooled()`` if they enter the head."""

    @property
    def lengths(self) -> np.ndarray | None:
        """The number of tokens of each row, or None if all rows have the same shape."""

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Return the rows at some positions as one batch; ``epoch`` counts from 0.

        Rows of several lengths are as long as the longest of them has tokens.
        """


class PlacedSource(Source, Protocol):
    """A source of rows in which items have known places, which differ between epochs."""

    def load_placed(self, rows: np.ndarray, epoch: int) -> tuple[Tensor, list[Place]]:
        """Return the rows at some positions, and the places of their items."""


def cut_to_longest(batch: Tensor, lengths: np.ndarray | None, rows: np.ndarray) -> Tensor:
    """Return a batch without the positions after the last token of all its rows.

    Parameters
    ----------
    batch : Tensor of shape (b, length, ...)
    lengths : ndarray of int of shape (n,), or None
        The number of tokens of each row of a source; with None, the batch is returned unchanged.
    rows : ndarray of int of shape (b,)
        The positions of the rows of the batch in the source.
    """
    return batch if lengths is None else batch[:, : lengths[rows].max()]


@dataclass(frozen=True)
class FixedRows:
    """Rows that are the same in every epoch.

    Parameters
    ----------
    rows : ndarray, Rows or RowsByLength, (n, ...)
        An array in memory, or rows of the cache.
    entry : int or Pooled
    lengths : ndarray of int of shape (n,), or None, default=None
        The number of tokens of each row; None if all rows have the same shape.
    """

    rows: Any
    entry: Entry
    lengths: np.ndarray | None = None

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:  # noqa: ARG002 - the rows do not depend on it
        """Return the rows at some positions, as float32 or float64."""
        batch = cut_to_longest(torch.from_numpy(self.rows[rows]), self.lengths, rows)
        return at_least_float32(batch)


@dataclass(frozen=True)
class ResidentRows:
    """Fixed rows that stay on the device, so that no step has to copy them.

    Parameters
    ----------
    rows : Tensor of shape (n, ...)
        Rows of several lengths are filled up with zeros.
    entry : int or Pooled
    lengths : ndarray of int of shape (n,), or None
    """

    rows: Tensor
    entry: Entry
    lengths: np.ndarray | None = None

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:  # noqa: ARG002 - the rows do not depend on it
        """Return the rows at some positions."""
        found = self.rows[torch.from_numpy(rows).to(self.rows.device)]
        return cut_to_longest(found, self.lengths, rows)


def move_to_device(source: Source, device: torch.device, free_bytes: int | None = None) -> Source:
    """Copy the rows of ``source`` to the device, if they need only a part of its free memory.

    Sources whose rows change from epoch to epoch are returned unchanged.

    Parameters
    ----------
    source : Source
    device : torch.device
    free_bytes : int or None, default=None
        The free memory of the device.  None asks the device; on a CPU, where rows need not be
        copied, it means 0.
    """
    if free_bytes is None:
        free_bytes = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    if not isinstance(source, FixedRows) or not len(source.rows):
        return source
    n, lengths = len(source.rows), source.lengths
    longest = 0 if lengths is None else lengths.argmax()
    one = source.load(np.array([longest]), 0)
    if one.nbytes * n > RESIDENT_SHARE * free_bytes:
        return source
    rows = torch.zeros(n, *one.shape[1:], dtype=one.dtype, device=device)
    for part in np.split(np.arange(n), range(BLOCK, n, BLOCK)):
        block = source.load(part, 0).to(device)
        rows[part[0] : part[-1] + 1, : block.shape[1]] = block
    return ResidentRows(rows, source.entry, lengths)


@dataclass(frozen=True)
class DrawnViews:
    """Rows of the fixed views of items; each epoch draws one view of each item.

    Parameters
    ----------
    rows : ndarray or Rows, (n * n_views, ...)
        The views of one item are adjacent rows.
    n_views : int
        The number of views of each item.
    entry : int or Pooled
    seed : int
    locate : callable or None, default=None
        Takes the position of a view, and returns the place of its item.
    """

    rows: Any
    n_views: int
    entry: Entry
    seed: int
    locate: Callable[[int], Place] | None = None

    @property
    def lengths(self) -> None:
        """None, because the views of images have one shape."""

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Return one view of each item at some positions."""
        return FixedRows(self.rows, self.entry).load(self._draw(rows, epoch), epoch)

    def load_placed(self, rows: np.ndarray, epoch: int) -> tuple[Tensor, list[Place]]:
        """Return one view of each item at some positions, and the places of the items in them."""
        if self.locate is None:
            raise ValueError("locate must be a function of the position of a view; got None.")
        views = self._draw(rows, epoch)
        places = list(map(self.locate, views.tolist()))
        return FixedRows(self.rows, self.entry).load(views, epoch), places

    def _draw(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Return the positions of the views that an epoch draws of some items."""
        n_items = len(self.rows) // self.n_views
        drawn = rng_of(self.seed, "view", epoch).integers(self.n_views, size=n_items)
        views: np.ndarray = rows * self.n_views + drawn[rows]
        return views


@dataclass(frozen=True)
class DecodedItems:
    """Items that are decoded for each batch, and augmented if requested.

    Parameters
    ----------
    preset : Preset
        Decodes an item.
    items : sequence
    draw : Augmentation or None, default=None
        Takes an item and a seed, and returns a random variant in the form of ``preset(item)``.
        None decodes the item as it is.
    seed : int, default=0
        The seed of the variants.
    n_jobs : int or None, default=None
        Number of threads that decode.  None means the number of threads that torch uses.
    entry : int, default=0
        Decoded items enter the first stage.
    """

    preset: Any
    items: Sequence[Any]
    draw: Augmentation | None = None
    seed: int = 0
    n_jobs: int | None = None
    entry: Entry = 0

    @cached_property
    def lengths(self) -> np.ndarray | None:
        """The number of tokens of each row, or None if all rows have the same shape."""
        return count_tokens(self.preset, self.items)

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Return the items at some positions as a batch, the input of the first stage."""

        def decode(row: int) -> Tensor:
            item = self.items[row]
            if self.draw is None:
                plain: Tensor = self.preset(item)
                return plain
            return self.draw(item, seed_of(self.seed, "augment", epoch, row))

        return cut_to_longest(self._collate(self._map(decode, rows)), self.lengths, rows)

    def load_placed(self, rows: np.ndarray, epoch: int) -> tuple[Tensor, list[Place]]:
        """Return the items at some positions as a batch, and their places in its rows."""

        def decode(row: int) -> Placed:
            placed: Placed
            if self.draw is None:
                placed = self.preset.placed(self.items[row])
            else:
                seed = seed_of(self.seed, "augment", epoch, row)
                placed = self.draw.placed(self.items[row], seed)
            return placed

        found = self._map(decode, rows)
        return self._collate([placed.pixels for placed in found]), [each.place for each in found]

    def _map(self, decode: Callable[[int], Any], rows: np.ndarray) -> list[Any]:
        return list(map_ahead(decode, rows.tolist(), self.n_jobs, ahead=len(rows)))

    def _collate(self, inputs: Sequence[Tensor]) -> Tensor:
        batch: Tensor = self.preset.collate(inputs, len(inputs))
        return batch
