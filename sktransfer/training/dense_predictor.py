"""Predict a map of outputs for each item, in the size of the item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
        self._early = Prefix(backbone, [Tap(each) for each in early], *how, breaks=breaks)
        self._late = self._maps.after(cut, late)

    @property
    def n_features(self) -> int:
        """The number of features that ``transform`` returns: the channels of the last map."""
        return self.tail.layout.n_channels[-1]

    def each_map(
        self,
        items: Sequence[Any],
        *,
        batch_size: int | str = "auto",
        engine: str = "torch",
        cache: ActivationCache | None = None,
        n_jobs: int | None = None,
        decode_error: str = "raise",
        progress: Callable[[int], object] = int,
    ) -> Iterator[tuple[Tensor, Place] | None]:
        """Yield the outputs for each item, (n_outputs, h, w), and the place of the item.

        None stands for an item that cannot be decoded.

        Parameters
        ----------
        items : sequence of n items
        batch_size, engine, cache, n_jobs, decode_error, progress
            As for :meth:`features`.
        """
        size, preset = self._maps.sized(batch_size).batch_size, self.tail.backbone.preset
        how = {"n_jobs": n_jobs, "decode_error": "ignore", "progress": progress}
        broken: dict[int, DecodeError] = {}
        for start in range(0, len(items), size):
            part = (
                items[start : start + size]
                if isinstance(items, list)
                else [items[at] for at in range(start, min(start + size, len(items)))]
            )
            kept, maps, failed = self._run(part, batch_size, engine, cache, how)
            broken |= {start + at: error for at, error in failed.items()}
            if broken and decode_error == "raise":
                later = range(start + len(part), len(items))
                broken = first_failed(decoder(preset, items), later, broken, n_jobs)
                break
            found: list[tuple[Tensor, Place] | None] = [None] * len(part)
            if len(kept):
                places = locate_items(preset, [part[at] for at in kept], n_jobs)
                outputs = self._head_maps(maps, size)
                for at, output, place in zip(kept, outputs, places, strict=True):
                    found[at] = (output, place)
            yield from found
        report_failed(broken, decode_error, "X[{}]".format, ROWS_NAN)

    def _run(
        self,
        items: Sequence[Any],
        batch_size: int | str,
        engine: str,
        cache: ActivationCache | None,
        how: dict[str, Any],
    ) -> tuple[np.ndarray, list[np.ndarray], dict[int, DecodeError]]:
        """Return the positions of items that can be decoded, their maps, and the other errors.

        The maps are in stage order.
        """
        cut, n_stages = self.tail.cut, len(self.tail.backbone.names)
        divided = cut > 0 and cache is not None
        prefix = (self._early if divided else self._maps).sized(batch_size)
        prefix = prefix.run_by(engine, cache)
        found = run_frozen(
            prefix,
            items,
            cache=cache if divided else None,
            spare=spare_taps(n_stages, prefix.taps, cache),
            **how,
        )
        rows = {tap.cut: each for tap, each in zip(prefix.taps, found.rows, strict=True)}
        if divided and self._late.taps and len(found.kept):
            late = self._late.sized(batch_size).run_by(engine, cache)
            later = run_rows(late, rows[cut])
            rows |= {tap.cut: each for tap, each in zip(self._late.taps, later, strict=True)}
        positions = np.arange(len(found.kept))
        maps = [rows[each.cut][positions] for each in self.tail.layout.maps]
        return found.kept, maps, found.failed

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
        kinds = self.task.pixel_values  # type: ignore[attr-defined]  # only a task of masks has it
        found: list[Any] = []
        for each in self.each_map(items, **how):
            strips = [] if each is None else [kinds[s.argmax(0)] for s in self._strips(*each)]
            found.append(np.concatenate(strips) if strips else np.nan)
        return found

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


def make_predictor(tail: Tail, task: Task, numerics: Numerics) -> Predictor:
    """Return the predictor of a tail."""
    kind = DensePredictor if isinstance(tail, DenseTail) else Predictor
    return kind(tail, task, numerics)
