"""Batches of rows with their targets, and the order of the rows in an epoch.

Every random draw is a function of the seed, the epoch and the row.  So a fit that was killed and is
resumed makes the same draws, and no generator has to be saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset
from torch import Tensor

from .._support.geometry import Place
from .._support.random import rng_of
from .._support.threads import map_ahead
from ..tasks import Targets
from .tail import Entry

# Number of batches among which rows of several lengths are sorted.
WINDOW = 16


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
class MovingTargets:
    """Targets with positions, which follow the pixels of rows that differ between epochs.

    Parameters
    ----------
    values : sequence of n targets
        The targets in pixels of the items.
    place : callable
        Takes some of the values, the places of their items in the rows, and the side of a row.
        Returns the encoded targets of these rows.
    size : int
        The side of a row.
    """

    values: Any
    place: Callable[[Any, Sequence[Place], int], Any]
    size: int


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
    moving : MovingTargets or None, default=None
        The targets of rows that augmentation moves, if targets have positions.  They take the place
        of the values of ``targets``; the source is a :class:`PlacedSource`.
    """

    source: Any
    targets: Targets
    labels: Any
    dtype: torch.dtype = torch.float32
    moving: MovingTargets | None = None

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
    def y(self) -> Any:
        """The labels."""
        return self.labels

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[Batch, np.ndarray]:
        """Return a batch for skorch: a dict of inputs, encoded targets and weights; and the labels.

        Over the whole epoch, the weights have a mean of 1.
        """
        if self.moving is None:
            x, values = self.source.load(rows, epoch), self.targets.values[rows]
        else:
            x, places = self.source.load_placed(rows, epoch)
            values = self.moving.place(self.moving.values[rows], places, self.moving.size)
        if x.is_floating_point():
            x = x.to(self.dtype)
        weight = self.targets.weight
        parts = {
            "x": x,
            "target": torch.from_numpy(np.asarray(values)).to(self.dtype),
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
        The number of tokens of each row.  None if all rows have the same shape.

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
