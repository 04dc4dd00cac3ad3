"""The steps of a plan whose head takes the feature maps of several stages.

The outputs of the frozen stages are computed once; with a cache, they serve every head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from .._support.random import seeded_globals
from .._support.threads import map_ahead
from ..backbones import Backbone, choose_maps, find_cut, map_shapes
from ..data import ImagePreset, Items
from ..exceptions import DecodeError
from ..extraction import Prefix, Tap
from ..tasks import Task, build_map_head, check_mask_sizes, set_map_bias
from .data import Data, run_taps
from .dense_tail import DenseStages, DenseTail, JoinedRows, MapLayout
from .frozen import open_stages
from .parameters import is_auto
from .plan import FeatureFit, load_backbone
from .settings import FitSettings, starts_pretrained
from .standardisation import make_divisors
from .tail import Pooled
from .user_callbacks import SCORING, refuse

# The values of the parameters of other fits that a fit of maps does not have.
FIXED = {
    "head_init": "prior",
    "image_shape": None,
    "max_length": None,
    "pooling": "avg",
    "tta": 0,
}

# Why no callback scores the validation data, after "skorch_callbacks must not contain ..."
NO_SCORING = (
    ": y has masks, which scorers do not take. The share of right pixels is in history_, as "
    "valid_score."
)

# The number of rows of which moments are computed at a time.
BLOCK = 16


class MapFit(FeatureFit):
    """The steps of a plan whose head takes the feature maps of several stages."""

    fixed = FIXED
    layout: MapLayout

    def load(self, seed: int) -> Backbone:
        """Load the stages up to the last map, and find the layout of the maps.

        By default, the network sees the whole of an image, so that each pixel gets a class.
        """
        given = self.given
        refuse(given["skorch_callbacks"], SCORING, NO_SCORING)
        backbone = load_backbone(given, seed)
        if given["preset"] is None and isinstance(backbone.preset, ImagePreset):
            backbone.preset = replace(backbone.preset, crop=None, resize=None)
        maps = choose_maps(map_shapes(backbone, given["backbone"]), given["stages"])
        backbone.truncate(maps[-1].cut)
        self.layout = measure_layout(backbone, maps)
        self.given |= _resolve_depth(given, backbone)
        return backbone

    def check_items(self, backbone: Backbone) -> Items:
        """Check X and return its items; the image size of the network stays."""
        items: Items = self.request.check_items(backbone.preset, self.request.X, reset=True)
        return items

    def find_task(self, preset: Any, items: Items) -> Task:
        """Return the task of the masks, whose sizes are checked before their values."""
        masks = self.request.y
        if masks is not None and len(masks) == len(items) and hasattr(preset, "locate"):
            find_size = partial(_size_of, preset)
            sizes = list(map_ahead(find_size, items, self.given["n_jobs"], ahead=64))
            check_mask_sizes(masks, sizes, "y[{}]".format)
        return super().find_task(preset, items)

    @contextmanager
    def open_stages(
        self, backbone: Backbone, settings: FitSettings, data: Data
    ) -> Iterator[DenseStages]:
        """Open the frozen stages, and the place of all maps."""
        cuts = {*self.layout.cuts(Pooled()), *self.layout.cuts(settings.cut)}
        taps = [Tap(cut) for cut in cuts if cut]
        with open_stages(backbone, settings, data.items, len(data.valid), taps) as opened:
            keeps_rows = opened.keeps_rows
            yield DenseStages(backbone, settings, opened.cache, keeps_rows, layout=self.layout)

    def run_first_pass(self, stages: DenseStages, data: Data) -> tuple[Data, Any, Any]:
        """Run every item through the frozen network once.

        Returns the data that could be decoded, the rows that enter the head, and those that enter
        at the cut, which are None if training does not need them.
        """
        settings, last, layout = stages.settings, Tap(stages.n_stages, "avg"), stages.layout
        fixed = 0 < settings.cut < stages.n_stages and settings.augment is None
        head_cuts = layout.cuts(Pooled())
        cuts = sorted({*head_cuts, *(layout.cuts(settings.cut) if fixed else ())})
        taps = [Tap(cut) for cut in cuts] if stages.keeps_rows else [last]
        remaining, found = run_taps(stages, taps, data)
        if not stages.keeps_rows:
            rows = stages.rows(Tap(settings.cut), remaining.items) if fixed else None
            return remaining, stages.rows(last, remaining.items), rows
        by_cut = dict(zip(cuts, found.rows, strict=True))
        features = JoinedRows([by_cut[cut] for cut in head_cuts])
        if not fixed:
            return remaining, features, None
        return remaining, features, JoinedRows([by_cut[cut] for cut in layout.cuts(settings.cut)])

    def make_tail(
        self, stages: DenseStages, data: Data, features: Any, seed: int
    ) -> tuple[DenseTail, None]:
        """Build the tail; its head predicts the shares of the classes."""
        settings, layout, task = stages.settings, stages.layout, data.task
        n_channels = layout.n_channels
        sizes = [each.size for each in layout.maps]
        with seeded_globals(seed):
            head = build_map_head(settings.head, n_channels, task.n_outputs, sizes)
        blank = np.zeros(sum(n_channels), np.float32)
        tail = DenseTail(
            stages.backbone,
            head,
            layout=layout,
            mean=blank,
            scale=blank + 1,
            dropout=settings.dropout,
            freeze_bn=settings.freeze_bn,
            cut=settings.cut,
        )
        if settings.standardise:
            _standardise(tail, features, data.train, data.targets.sample_weight[data.train])
        set_map_bias(head, task.initial_bias(data.targets[data.train]))
        return tail, None


def _size_of(preset: Any, item: Any) -> tuple[int, int] | None:
    """Return the width and height of an item; None if it cannot be decoded."""
    try:
        size: tuple[int, int] = preset.locate(item).item_size
    except DecodeError:
        return None
    return size


def measure_layout(backbone: Backbone, maps: Any) -> MapLayout:
    """Return the layout of maps, with the shapes of the outputs of all stages."""
    taps = [Tap(cut) for cut in range(1, len(backbone.names) + 1)]
    prefix = Prefix(backbone, taps, torch.device("cpu"), torch.float32, 1)
    shapes = prefix.measure(backbone.preset.collate([], 1))
    row_shapes = dict(zip((tap.cut for tap in taps), shapes, strict=True))
    return MapLayout(tuple(maps), row_shapes, backbone.preset.size)


def _resolve_depth(given: Mapping[str, Any], backbone: Backbone) -> dict[str, Any]:
    """Return the meaning of "auto" for the stages and for the epochs of the head."""
    pretrained = starts_pretrained(given, backbone)
    unfreeze, epochs = given["unfreeze"], given["freeze_epochs"]
    if is_auto(unfreeze):
        unfreeze = 0 if pretrained else "all"
    tunes = find_cut(backbone, unfreeze) < len(backbone.names)
    if is_auto(epochs):
        epochs = 3 if pretrained and tunes else 0
    return {"unfreeze": unfreeze, "freeze_epochs": epochs}


@torch.no_grad()
def _standardise(tail: DenseTail, features: Any, train: np.ndarray, weight: np.ndarray) -> None:
    """Set the mean and the scale of a tail to those of the channels of the training rows."""
    total, squares = torch.zeros(0), torch.zeros(0)
    for start in range(0, len(train), BLOCK):
        rows = torch.from_numpy(features[train[start : start + BLOCK]]).float()
        shares = torch.from_numpy(weight[start : start + BLOCK] / weight.sum())
        maps = [each.double() for each in tail.features(rows, Pooled())]
        found = [
            torch.cat([shares @ (each**power).mean((2, 3)) for each in maps]) for power in (1, 2)
        ]
        total = found[0] if not start else total + found[0]
        squares = found[1] if not start else squares + found[1]
    scale = (squares - total**2).clamp(min=0).sqrt()
    tail.mean.copy_(total)
    tail.scale.copy_(torch.from_numpy(make_divisors(total.numpy(), scale.numpy())))
