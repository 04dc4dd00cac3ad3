"""The tail of a network whose head takes the feature maps of several stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._support.device import at_least_float32
from ..backbones import Backbone, MapShape, as_map
from ..extraction import Frozen, Tap, run_frozen
from .frozen import ComputedRows, FrozenStages
from .tail import Entry, Pooled, Tail


@dataclass(frozen=True)
class MapLayout:
    """The maps that a head takes, and the shapes of all rows.

    Parameters
    ----------
    maps : tuple of MapShape
        From the first to the last stage.
    row_shapes : mapping of int to tuple of int
        The shape of the output of each stage, by the number of stages up to it.
    size : int
        The side of the input of the first stage.
    """

    maps: tuple[MapShape, ...]
    row_shapes: Mapping[int, tuple[int, ...]]
    size: int

    @property
    def n_channels(self) -> list[int]:
        """The number of channels of each map."""
        return [each.n_channels for each in self.maps]

    def cuts(self, entry: Entry) -> list[int]:
        """Return the stages whose outputs are the rows that enter a tail at ``entry``.

        These are all maps, if no stage runs; or else those before the entry, and the output of the
        stage before the entry.
        """
        cuts = {each.cut for each in self.maps}
        if isinstance(entry, Pooled):
            return sorted(cuts)
        return sorted({cut for cut in cuts if cut < entry} | {entry})

    def unpack(self, rows: Tensor, entry: Entry) -> dict[int, Tensor]:
        """Divide flat rows into the outputs of stages, by the number of stages up to each."""
        cuts = self.cuts(entry)
        ends = list(accumulate(prod(self.row_shapes[cut]) for cut in cuts))
        starts = [0, *ends[:-1]]
        return {
            cut: rows[:, start:end].reshape(-1, *self.row_shapes[cut])
            for cut, start, end in zip(cuts, starts, ends, strict=True)
        }


class DenseTail(Tail):
    """The stages after the cut, and a head of the maps of several stages.

    Rows that were computed before are flat: the outputs of several stages one after the other; see
    :class:`MapLayout`.

    Parameters
    ----------
    backbone : Backbone
        The stages up to the last map.
    head : Module
        Maps a list of feature maps to outputs, (b, n_outputs, h, w).
    layout : MapLayout
    mean, scale : ndarray of shape (n_channels,)
        Of the channels of all maps, one map after the other.
    dropout : float in [0, 1)
    freeze_bn : bool
    cut : int, default=0
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        *,
        layout: MapLayout,
        mean: np.ndarray,
        scale: np.ndarray,
        dropout: float,
        freeze_bn: bool,
        cut: int = 0,
    ):
        how: Any = {"dropout": dropout, "freeze_bn": freeze_bn, "cut": cut}
        # ``transform`` returns the mean of the last map.
        super().__init__(backbone, head, pooling="avg", mean=mean, scale=scale, **how)
        self.layout = layout

    def features(self, x: Tensor, entry: Entry = 0) -> Any:
        """Return the feature maps of rows that enter at ``entry``, a list of (b, c, h, w)."""
        found = {0: x} if entry == 0 else self.layout.unpack(x, entry)
        wanted = [each.cut for each in self.layout.maps]
        if not isinstance(entry, Pooled):
            x = found[entry]
            for cut, stage in enumerate(self.backbone.stages.values(), start=1):
                if cut > entry:
                    x = found[cut] = stage(x)
        return [self.as_map(found[cut]) for cut in wanted]

    def probe(self, x: Tensor, entry: Entry = 0) -> Tensor:
        """Return all maps as flat rows, (b, d)."""
        return torch.cat([each.flatten(1) for each in self.features(x, entry)], dim=1)

    def as_map(self, output: Tensor) -> Tensor:
        """Return the output of a stage as a feature map of at least 32 bits."""
        backbone, size = self.backbone, self.layout.size
        maps = as_map(output, backbone.layout, backbone.n_prefix_tokens, (size, size))
        return at_least_float32(maps)

    def outputs(self, features: Any) -> Tensor:
        """Return the outputs of the head for feature maps, (b, n_outputs, h, w)."""
        sizes = self.layout.n_channels
        moments = zip(*(torch.split(each, sizes) for each in (self.mean, self.scale)), strict=True)
        scaled = [
            self.dropout((each - mean[:, None, None]) / scale[:, None, None])
            for each, (mean, scale) in zip(features, moments, strict=True)
        ]
        outputs: Tensor = self.head(scaled)
        return outputs


@dataclass(frozen=True)
class DenseStages(FrozenStages):
    """The frozen stages of a fit whose head takes the maps of several stages.

    Parameters
    ----------
    layout : MapLayout
    """

    layout: MapLayout = field(kw_only=True)

    def rows(self, tap: Tap, items: Sequence[Any], preset: Any = None, **how: Any) -> Any:
        """Return flat rows for several epochs: all maps if ``tap`` is pooled, or those at a cut."""
        taps = [Tap(cut) for cut in self.layout.cuts(Pooled() if tap.reduce else tap.cut)]
        if self.keeps_rows:
            return JoinedRows(self.run(taps, items, preset, **how).rows)
        return ComputedMaps(self.prefix(taps, preset), items, self.settings.n_jobs, how)


@dataclass(frozen=True)
class JoinedRows:
    """The outputs of several stages as flat rows.

    Parameters
    ----------
    parts : sequence of sequences of n rows
        The outputs of each stage.
    """

    parts: Sequence[Any]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Return some rows, (b, d)."""
        return join([part[positions] for part in self.parts])


class ComputedMaps(ComputedRows):
    """Flat rows of several taps that are computed whenever they are indexed."""

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Return some rows, (b, d)."""
        items = [self.items[at] for at in positions]
        found: Frozen = run_frozen(self.prefix, items, n_jobs=self.n_jobs, **self.how)
        return join([rows[np.arange(len(items))] for rows in found.rows])


def join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the outputs of several stages as flat rows, (b, d)."""
    return np.concatenate([np.reshape(part, (len(part), -1)) for part in parts], axis=1)
