"""Plan the fit of a network whose head takes the feature maps of several stages.

The phases, callbacks, records and checkpoints are those of every fit.  The outputs of the frozen
stages are computed once; with a cache, they serve every head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from .._support.random import seeded_globals
from ..backbones import Backbone, choose_maps, find_cut, map_shapes
from ..data import ImagePreset, Preset
from ..extraction import Prefix, Tap
from ..tasks import build_map_head, make_targets, set_map_bias
from .checkpoint import open_checkpoint
from .data import (
    Data,
    Subset,
    check_moves,
    collect_data,
    run_taps,
)
from .dense_tail import DenseStages, DenseTail, JoinedRows, MapLayout
from .frozen import open_stages
from .parameters import is_auto
from .phase import Run
from .plan import Plan, Request, load_backbone, make_phases
from .settings import resolve, starts_pretrained
from .sources import FixedRows
from .standardisation import LEAST
from .tail import Pooled
from .validation_split import hold_out_validation

# The values of the parameters of other fits that a fit of maps does not have.
FIXED = {
    "head_init": "prior",
    "image_shape": None,
    "max_length": None,
    "pooling": "avg",
    "tta": 0,
}

# How many resolutions a head takes by default.
N_MAPS = 4

# The number of rows of which moments are computed at a time.
BLOCK = 16


@contextmanager
def plan_dense_fit(request: Request) -> Iterator[Plan]:
    """Load the network, check the data, run the frozen stages once, and initialize the head.

    This is a context manager that yields the plan, as :func:`plan_fit`.
    """
    given = FIXED | dict(request.parameters)
    seed = int(check_random_state(given["random_state"]).randint(2**31))
    backbone, layout = _load(given, seed)
    given |= _resolve_depth(given, backbone)
    items = request.check_items(backbone.preset, request.X, reset=True)
    task = request.task(request.y, len(items))
    settings = resolve(given, backbone, items)
    check_moves(task, settings.augment, settings.skorch_callbacks)
    if (request.X_val is None) != (request.y_val is None):
        missing = "X_val" if request.X_val is None else "y_val"
        raise ValueError(f"X_val and y_val must be given together; {missing} is missing.")
    validation = None
    if request.X_val is not None:
        validation = (request.check_items(backbone.preset, request.X_val), request.y_val)
    targets = make_targets(task.encode(request.y, len(items)), request.sample_weight)
    data = collect_data(items, task, targets, validation)
    with open_checkpoint(given, request.groups, backbone, data) as checkpoint:
        state = None if checkpoint is None else checkpoint.load()
        if state is not None and state["seed"] != seed:
            seed = state["seed"]
            if not starts_pretrained(given, backbone):
                backbone, layout = _load(given, seed)
        if settings.early_stopping and not len(data.valid):
            data = hold_out_validation(data, settings, request.groups, seed)
        taps = [Tap(cut) for cut in {*layout.cuts(Pooled()), *layout.cuts(settings.cut)} if cut]
        with open_stages(backbone, settings, data.items, len(data.valid), taps) as opened:
            stages = DenseStages(backbone, settings, opened.cache, opened.keeps_rows, layout=layout)
            if settings.own_statistics:
                train = data.train.tolist()
                stages.use_own_statistics(data.items.take(train), lambda at: data.name(train[at]))
            data, features, rows = _run_first_pass(stages, data)
            data = data.placed(backbone.preset, settings.n_jobs).scaled()
            tail = _make_tail(stages, data, features, seed)
            train_maps, valid_maps = (
                FixedRows(Subset(features, part), Pooled()) for part in (data.train, data.valid)
            )
            phases = make_phases(stages, data, (train_maps, valid_maps), rows, seed)
            run, origin = Run(settings, data.task, seed), (given["backbone"], given["weights"])
            yield Plan(tail, phases, run, data, origin, checkpoint, state, None)


def find_dense_augmentation(request: Request) -> tuple[Preset, Any]:
    """Return the preset and the augmentation of a fit, with "auto" replaced by its meaning."""
    given = FIXED | dict(request.parameters)
    backbone, _ = _load(given, 0)
    given |= _resolve_depth(given, backbone)
    items = request.check_items(backbone.preset, request.X, reset=True)
    return backbone.preset, resolve(given, backbone, items).augment


def _load(given: Mapping[str, Any], seed: int) -> tuple[Backbone, MapLayout]:
    """Load the stages up to the last map, and the layout of the maps.

    By default, the network sees the whole of an image, so that each pixel gets a class.
    """
    backbone = load_backbone(given, seed)
    if given["preset"] is None and isinstance(backbone.preset, ImagePreset):
        backbone.preset = replace(backbone.preset, crop=None, resize=None)
    shapes = map_shapes(backbone, given["backbone"])
    maps = choose_maps(shapes, given["stages"], N_MAPS)
    backbone.truncate(maps[-1].cut)
    return backbone, measure_layout(backbone, maps)


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


def _run_first_pass(stages: DenseStages, data: Data) -> tuple[Data, Any, Any]:
    """Run every item through the frozen network once.

    Returns the data that could be decoded, the rows that enter the head, and those that enter at
    the cut, which are None if training does not need them.
    """
    settings, last = stages.settings, Tap(stages.n_stages, "avg")
    fixed = 0 < settings.cut < stages.n_stages and settings.augment is None
    head_cuts = stages.layout.cuts(Pooled())
    cuts = sorted({*head_cuts, *(stages.layout.cuts(settings.cut) if fixed else ())})
    taps = [Tap(cut) for cut in cuts] if stages.keeps_rows else [last]
    remaining, found = run_taps(stages, taps, data)
    if not stages.keeps_rows:
        rows = stages.rows(Tap(settings.cut), remaining.items) if fixed else None
        return remaining, stages.rows(last, remaining.items), rows
    by_cut = dict(zip(cuts, found.rows, strict=True))
    features = JoinedRows([by_cut[cut] for cut in head_cuts])
    if not fixed:
        return remaining, features, None
    return remaining, features, JoinedRows([by_cut[c] for c in stages.layout.cuts(settings.cut)])


def _make_tail(stages: DenseStages, data: Data, features: Any, seed: int) -> DenseTail:
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
    return tail


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
    scale[scale <= 1e-6 * total.abs() + LEAST * scale.median() + 1e-12] = 1
    tail.mean.copy_(total)
    tail.scale.copy_(scale)
