"""Predict a map of outputs for each item, in the size of the item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from .._support.device import resolve_or_replace
from .._support.geometry import Place
from ..backbones import running
from ..cache import ActivationCache
from ..exceptions import DecodeError
from ..extraction import (
    ROWS_NAN,
    Prefix,
    Tap,
    decoder,
    first_failed,
    report_failed,
    run_batches,
    run_frozen,
    run_rows,
    spare_taps,
)
from ..tasks import Task
from .data import locate_items
from .dense_tail import DenseTail
from .frozen import graph_breaks
from .predictor import Predictor
from .settings import Numerics
from .tail import Pooled, Tail

# About how many pixels of an item are computed at a time.
STRIP = 2**18

# The positions of the items of a batch, their maps in stage order, and their places
Batch = tuple[Sequence[int], list[np.ndarray], list[Place]]


@dataclass(frozen=True)
class Order:
    """Items, and how their maps are computed.

    Parameters
    ----------
    items : sequence of n items
    batch_size, engine, cache, n_jobs, decode_error, progress
        As for :meth:`Predictor.features`.
    """

    items: Sequence[Any]
    _: KW_ONLY
    batch_size: int | str = "auto"
    engine: str = "torch"
    cache: ActivationCache | None = None
    n_jobs: int | None = None
    decode_error: str = "raise"
    progress: Callable[[int], object] = int

    def sized(self, prefix: Prefix) -> Prefix:
        """Return a prefix with the batch size and the engine of this order."""
        return prefix.sized(self.batch_size).run_by(self.engine, self.cache)


class DensePredictor(Predictor):
    """Computes maps of outputs with a trained network; see :class:`Predictor`.

    Parameters
    ----------
    tail : DenseTail
    task : Task
    numerics : Numerics
    """

    tail: DenseTail

    def _prepare(self) -> None:
        super()._prepare()
        backbone, numerics, cut = self.tail.backbone, self.numerics, self.tail.cut
        device = resolve_or_replace(numerics.device)
        cuts = self.tail.layout.cuts(Pooled())
        early = self.tail.layout.cuts(cut) if cut else []
        late = [Tap(each) for each in cuts if each > cut]
        precision = numerics.precision
        breaks = graph_breaks(len(backbone.names), cut)
        maps = [Tap(each) for each in cuts]
        self._maps = Prefix(backbone, maps, device, precision, "auto", breaks=breaks)
        how = device, numerics.frozen_precision, "auto"
        taps = [Tap(each) for each in early]
        self._early = Prefix(backbone, taps, *how, breaks=breaks, weights=self._weights)
        self._late = self._maps.after(cut, late)

    @property
    def n_features(self) -> int:
        """The number of features that ``transform`` returns: the channels of the last map."""
        return self.tail.layout.n_channels[-1]

    def each_map(self, items: Sequence[Any], **how: Any) -> Iterator[tuple[Tensor, Place] | None]:
        """Yield the outputs for each item, (n_outputs, h, w), and the place of the item.

        None stands for an item that cannot be decoded.

        Parameters
        ----------
        items : sequence of n items
        **how : dict
            The other parameters of :class:`Order`.
        """
        order = Order(items, **how)
        is_stored = self.tail.cut > 0 and order.cache is not None
        run = self._each_stored if is_stored else self._each_computed
        size, done = self._maps.sized(order.batch_size).batch_size, 0
        for indices, maps, places in run(order):
            for at, output, place in zip(indices, self._head_maps(maps, size), places, strict=True):
                yield from [None] * (at - done)  # items that cannot be decoded
                yield output, place
                done = at + 1
        yield from [None] * (len(items) - done)

    def _each_computed(self, order: Order) -> Iterator[Batch]:
        """Yield the positions, maps and places of batches, which the whole network computes."""
        items, n_jobs = order.items, order.n_jobs
        preset = self.tail.backbone.preset
        decoded = decoder(preset, items)
        prefix = order.sized(self._maps)
        places: dict[int, Place] = {}
        failed: dict[int, DecodeError] = {}

        def decode(at: int) -> tuple[int, Any]:
            at, row = decoded(at)
            if not isinstance(row, DecodeError):
                places[at] = preset.locate(items[at])
            return at, row

        raising = order.decode_error == "raise"
        batches = run_batches(
            prefix,
            decode,
            len(items),
            failed,
            n_jobs=n_jobs,
            raising=raising,
            progress=order.progress,
        )
        for indices, rows in batches:
            yield indices, self._in_order(prefix, rows), [places.pop(at) for at in indices]
        if failed and raising:
            later = range(max(failed) + 1, len(items))
            failed = first_failed(decoded, later, failed, n_jobs)
        report_failed(failed, order.decode_error, "X[{}]".format, ROWS_NAN)

    def _each_stored(self, order: Order) -> Iterator[Batch]:
        """Yield the positions, maps and places of batches, from rows of the cache.

        The rows of all items are computed first, and stay in files.
        """
        items, n_jobs = order.items, order.n_jobs
        prefix = order.sized(self._early)
        found = run_frozen(
            prefix,
            items,
            cache=order.cache,
            spare=spare_taps(len(self.tail.backbone.names), prefix.taps, order.cache),
            n_jobs=n_jobs,
            decode_error=order.decode_error,
            progress=order.progress,
        )
        late = order.sized(self._late) if self._late.taps else None
        preset, size = self.tail.backbone.preset, prefix.batch_size
        for start in range(0, len(found.kept), size):
            indices = found.kept[start : start + size].tolist()
            rows = [each[np.arange(start, start + len(indices))] for each in found.rows]
            maps = self._in_order(prefix, rows, late)
            yield indices, maps, locate_items(preset, [items[at] for at in indices], n_jobs)

    def _in_order(
        self, prefix: Prefix, rows: list[np.ndarray], late: Prefix | None = None
    ) -> list[np.ndarray]:
        """Return the maps that the head takes, in stage order.

        ``late`` computes those of stages after the cut from the rows at the cut.
        """
        found = {tap.cut: each for tap, each in zip(prefix.taps, rows, strict=True)}
        if late is not None:
            later = run_rows(late, found[self.tail.cut])
            found |= {tap.cut: each for tap, each in zip(late.taps, later, strict=True)}
        return [found[each.cut] for each in self.tail.layout.maps]

    @torch.inference_mode()
    def _head_maps(self, maps: list[np.ndarray], size: int) -> list[Tensor]:
        """Return the outputs of the head for the maps of at most ``size`` items.

        The batch is filled up, because the number of rows affects the last bits.
        """
        filled = []
        for each in maps:
            batch = torch.zeros(size, *each.shape[1:])
            batch[: len(each)] = torch.from_numpy(np.asarray(each))
            filled.append(self.tail.as_map(batch))
        with running(n_threads=1):
            return list(self.tail.outputs(filled)[: len(maps[0])])

    def masks(self, items: Sequence[Any], **how: Any) -> list[Any]:
        """Return the class of each pixel of each item; NaN for an item that cannot be decoded."""
        return list(self.each_mask(items, **how))

    def each_mask(self, items: Sequence[Any], **how: Any) -> Iterator[Any]:
        """Yield the class of each pixel by item; NaN for an item that cannot be decoded."""
        kinds = self.task.pixel_values  # type: ignore[attr-defined]  # only a task of masks has it
        for each in self.each_map(items, **how):
            strips = [] if each is None else [kinds[s.argmax(0)] for s in self._strips(*each)]
            yield np.concatenate(strips) if strips else np.nan

    def probabilities(self, items: Sequence[Any], **how: Any) -> Iterator[Any]:
        """Yield the probabilities of the classes at each pixel, (h, w, n_classes), by item."""
        for each in self.each_map(items, **how):
            if each is None:
                yield np.nan
                continue
            strips = [strip.softmax(0).movedim(0, -1).numpy() for strip in self._strips(*each)]
            yield np.concatenate(strips)

    def _strips(self, output: Tensor, place: Place) -> Iterator[Tensor]:
        """Yield the outputs at the pixels of an item, (n_outputs, rows, width), strip by strip.

        Pixels outside of the row get the outputs of its border.
        """
        width, height = place.item_size
        rows = max(1, STRIP // width)
        for top in range(0, height, rows):
            grid = find_grid(place, self.tail.layout.size, top, min(top + rows, height))
            with torch.inference_mode():
                yield grid_sample(
                    output[None], grid[None], padding_mode="border", align_corners=False
                )[0]


def find_grid(place: Place, size: int, top: int, bottom: int) -> Tensor:
    """Return the positions in a row of the pixels of an item, in [-1, 1]: (rows, width, 2).

    Parameters
    ----------
    place : Place
    size : int
        The side of the row.
    top, bottom : int
        The first row of pixels of the item, and the one after the last.
    """
    width = place.item_size[0]
    x = torch.arange(width, dtype=torch.float64)[None]
    y = torch.arange(top, bottom, dtype=torch.float64)[:, None]
    (xx, xy, x0), (yx, yy, y0) = place.matrix[:2].tolist()
    right, down = xx * x + xy * y + x0, yx * x + yy * y + y0
    grid = torch.stack([right, down], dim=-1)
    return ((grid + 0.5) * (2 / size) - 1).float()


def make_predictor(tail: Tail, task: Task, numerics: Numerics, **how: Any) -> Predictor:
    """Return the predictor of a tail; ``how`` are further parameters of :class:`Predictor`."""
    kind = DensePredictor if isinstance(tail, DenseTail) else Predictor
    return kind(tail, task, numerics, **how)
