"""Sources of the rows of a batch, and the order of the rows in an epoch.

Every random draw is a function of the seed, the epoch and the row.  So a fit that was killed and is
resumed makes the same draws, and no generator has to be saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from skorch.dataset import Dataset
from torch import Tensor

from .._support.random import rng_of, seed_of
from .._support.threads import map_ahead
from ..data import lengths_of
from ..tasks import Targets
from .tail import Entry

# Maximum share of the free memory of a device that the rows of a fit may occupy.
RESIDENT_SHARE = 0.25

# Number of rows that are copied to a device at a time.
BLOCK = 256

# Number of batches among which rows of several lengths are sorted.
WINDOW = 16


class Source(Protocol):
    """A source of rows that enter a tail."""

    @property
    def entry(self) -> Entry:
        """The index of the stage that the rows enter; ``Pooled()`` if they enter the head."""

    @property
    def lengths(self) -> np.ndarray | None:
        """The length of each row, or None if all rows have the same shape."""

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Return the rows at some positions as one batch; ``epoch`` counts from 0.

        Rows of several lengths are as long as the longest of them.
        """


@dataclass(frozen=True)
class FixedRows:
    """Rows that are the same in every epoch.

    Parameters
    ----------
    rows : ndarray, Rows or RowsByLength, (n, ...)
        An array in memory, or rows of the cache.
    entry : int or Pooled
    """

    rows: Any
    entry: Entry

    @property
    def lengths(self) -> np.ndarray | None:
        """The length of each row, or None if all rows have the same shape."""
        return getattr(self.rows, "lengths", None)

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:  # noqa: ARG002 - the rows do not depend on it
        """Return the rows at some positions, as float32 or float64."""
        batch = torch.from_numpy(self.rows[rows])
        return batch.to(torch.promote_types(batch.dtype, torch.float32))


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
        return found if self.lengths is None else found[:, : self.lengths[rows].max()]


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
    if one.nbytes * n > RESIDENT_SHARE * free_bytes or (lengths is not None and one.ndim < 3):
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
    """

    rows: Any
    n_views: int
    entry: Entry
    seed: int

    @property
    def lengths(self) -> None:
        """None, because the views of images have one shape."""

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Return one view of each item at some positions."""
        n_items = len(self.rows) // self.n_views
        drawn = rng_of(self.seed, "view", epoch).integers(self.n_views, size=n_items)
        return FixedRows(self.rows, self.entry).load(rows * self.n_views + drawn[rows], epoch)


@dataclass(frozen=True)
class DecodedItems:
    """Items that are decoded for each batch, and augmented if requested.

    Parameters
    ----------
    preset : Preset
        Decodes an item.
    items : sequence
    draw : callable or None, default=None
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
    draw: Callable[[Any, int], Tensor] | None = None
    seed: int = 0
    n_jobs: int | None = None
    entry: Entry = 0

    @cached_property
    def lengths(self) -> np.ndarray | None:
        """The length of each row, or None if all rows have the same shape."""
        return lengths_of(self.preset, self.items)

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Return the items at some positions as a batch, the input of the first stage."""

        def decode(row: int) -> Tensor:
            item = self.items[row]
            if self.draw is None:
                plain: Tensor = self.preset(item)
                return plain
            return self.draw(item, seed_of(self.seed, "augment", epoch, row))

        inputs = list(map_ahead(decode, rows.tolist(), self.n_jobs, ahead=len(rows)))
        batch: Tensor = self.preset.collate(inputs, len(rows))
        return batch


class Batch(dict[str, Tensor]):
    """The tensors of a batch by name, and the entry of its rows ``"x"`` into the tail."""

    def __init__(self, parts: dict[str, Tensor], entry: Entry):
        super().__init__(parts)
        self.entry = entry

    def split(self, n_rows: int) -> list[Batch]:
        """Split the rows into equal parts of at most ``n_rows`` rows, and of at least two.

        Batch norm cannot compute the statistics of one row.
        """
        n = len(self["x"])
        n_parts = min(math.ceil(n / n_rows), max(n // 2, 1))
        split = {name: value.tensor_split(n_parts) for name, value in self.items()}
        return [
            Batch({name: values[part] for name, values in split.items()}, self.entry)
            for part in range(n_parts)
        ]


@dataclass(frozen=True)
class Samples(Dataset):
    """Rows and their targets, as a dataset of skorch.

    Parameters
    ----------
    source : Source
    targets : Targets
    labels : ndarray of shape (n, ...)
        The targets in the form of ``predict``, for scorers.
    dtype : torch.dtype, default=torch.float32
        The type in which the tail computes; integers, such as the ids of words, stay integers.
    """

    source: Source
    targets: Targets
    labels: np.ndarray
    dtype: torch.dtype = torch.float32

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Return a row as it enters the tail in the first epoch, and its label."""
        label = self.labels[index]
        return self.batch(np.array([index]), 0)[0]["x"][0], label

    @property
    def X(self) -> Samples:  # noqa: N802 - the name in skorch
        """The samples, from which the net computes predictions."""
        return self

    @property
    def y(self) -> np.ndarray:
        """The labels."""
        return self.labels

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[Batch, np.ndarray]:
        """Return a batch for skorch: a dict of inputs, encoded targets and weights; and the labels.

        Over the whole epoch, the weights have a mean of 1.
        """
        x = self.source.load(rows, epoch)
        if x.is_floating_point():
            x = x.to(self.dtype)
        values, weight = self.targets.values, self.targets.weight
        parts = {
            "x": x,
            "target": torch.from_numpy(values[rows]).to(self.dtype),
            "weight": torch.from_numpy(weight[rows] / weight.mean()).to(self.dtype),
        }
        return Batch(parts, self.source.entry), self.labels[rows]


def split_rows(
    n: int,
    batch_size: int,
    seed: int | None,
    epoch: int,
    lengths: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Return the positions of the rows in each batch of an epoch.

    Rows of several lengths are shuffled, and then sorted by length within each window of some
    batches, so that little of a batch is filled up.  The batches are shuffled, too.

    Parameters
    ----------
    n : int
        The number of rows.
    batch_size : int
        The last batch may be smaller.  If it had one row only, this row is added to the batch
        before it, because batch norm cannot compute the statistics of a single row.
    seed : int or None
        The seed of the order of the rows.  None keeps the order.
    epoch : int
        The epoch, counted from 0; each has its own order.
    lengths : ndarray of int of shape (n,), or None, default=None
        The length of each row.  None if all rows have the same shape.

    Examples
    --------
    >>> from sktransfer.training.batches import split_rows
    >>> split_rows(5, 2, None, 0)
    [array([0, 1]), array([2, 3, 4])]
    """
    order = np.arange(n) if seed is None else rng_of(seed, "order", epoch).permutation(n)
    bounds = _find_bounds(n, batch_size)
    if seed is None or lengths is None:
        return np.split(order, bounds)
    window = WINDOW * batch_size
    for start in range(0, n, window):
        part = order[start : start + window]
        order[start : start + window] = part[np.argsort(-lengths[part], kind="stable")]
    parts = np.split(order, bounds)
    return [parts[at] for at in rng_of(seed, "batches", epoch).permutation(len(parts))]


def count_batches(n: int, batch_size: int) -> int:
    """Return the number of batches that :func:`split_rows` makes of ``n`` rows."""
    return len(_find_bounds(n, batch_size)) + 1


def _find_bounds(n: int, batch_size: int) -> list[int]:
    bounds = list(range(batch_size, n, batch_size))
    if bounds and n - bounds[-1] == 1:
        bounds.pop()
    return bounds


def read_ahead(
    samples: Samples, parts: Sequence[np.ndarray], epoch: int
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield the batches of an epoch; a thread loads the next one during each training step."""
    if isinstance(getattr(samples.source, "rows", None), (np.ndarray, Tensor)):
        yield from (samples.batch(rows, epoch) for rows in parts)  # in memory, so loading is fast
        return
    yield from map_ahead(lambda rows: samples.batch(rows, epoch), parts, n_jobs=1, ahead=1)
