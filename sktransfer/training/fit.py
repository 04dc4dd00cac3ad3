"""From items and labels to a trained tail: one pass of the frozen stages, then the phases."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import blake2b
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from .._support.hashing import described
from .._support.random import seeded_globals
from .._version import __version__
from ..backbones import Backbone, check_pooling, get_backbone
from ..cache import check_cache
from ..callbacks import GradualUnfreeze, Scheduled
from ..data import Items, adapt, smallest_preset
from ..schedules import resolve_schedule
from ..tasks import Targets, build_head, encode, find_counted, hold_out, weigh
from .batches import FixedRows, Samples, Source
from .checkpoint import Checkpoint
from .data import Data, digests_of, frozen_rows, store, tuning_sources
from .head_cache import SharedHeads
from .lr_range import with_rate
from .net import TailNet, weights_of
from .phase import (
    KeepBest,
    Phase,
    Settings,
    epochs_of,
    exact_head,
    run_phase,
    set_head,
    set_prior,
    snapshots_of,
)
from .records import Audit, History, Report, make_report
from .settings import Recipe, check_parameters, is_pretrained, resolve
from .tail import Tail


@dataclass(frozen=True)
class Fitted:
    """What a fit gives.

    Parameters
    ----------
    members : list of Tail
        Frozen, on the CPU: the tail as the best epoch left it; or its snapshots, the last one
        first, whose predictions are averaged.
    net : TailNet or None
        Of the last phase.
    history : History
    report : Report
    best : KeepBest or None
    """

    members: list[Tail]
    net: TailNet | None
    history: History
    report: Report
    best: KeepBest | None


@dataclass(frozen=True)
class Plan:
    """Everything that a fit needs, before it trains.

    Parameters
    ----------
    tail : Tail
        Its head initialised.
    phases : list of Phase
    settings : Settings
    recipe : Recipe
    data : Data
        What could be decoded of it.
    weights_info : dict
        Of the weights that the network begins with.
    checkpoint : Checkpoint or None
    shared : SharedHeads
    """

    tail: Tail
    phases: list[Phase]
    settings: Settings
    recipe: Recipe
    data: Data
    weights_info: dict[str, Any]
    checkpoint: Checkpoint | None
    shared: SharedHeads

    @property
    def n_epochs(self) -> int:
        """Epochs of all phases."""
        return sum(phase.n_epochs for phase in self.phases)


@contextmanager
def prepared(
    params: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    groups: Any = None,
    X_val: Any = None,
    y_val: Any = None,
) -> Iterator[Plan]:
    """The plan of a fit, as long as the rows that it reads are there.

    Parameters
    ----------
    params : FineTuneClassifier
        Its parameters are read; of its attributes, only those that tell the columns of X are set.
    X, y, sample_weight, groups, X_val, y_val
        As its ``fit`` takes them.
    """
    check_parameters(params)
    seed = int(check_random_state(params.random_state).randint(2**31))
    backbone = _load(params, seed)
    backbone.preset = adapt(backbone.preset, params.preset, params.image_size, params.image_shape)
    items = params._check_items(backbone.preset, X, reset=True)
    if params.image_size is None and params.preset is None:
        backbone.preset = smallest_preset(backbone.preset, items)
    recipe = resolve(params, backbone, items)
    targets = weigh(encode(y, len(items)), sample_weight, params.class_weight)
    data = _divide(params, items, targets, groups, X_val, y_val, backbone.preset, seed)
    checkpoint = None
    if params.checkpoint is not None:
        checkpoint = Checkpoint(params.checkpoint, fit_key(params, backbone, data, groups))
        begun = checkpoint.load()
        if begun is not None and begun["seed"] != seed:  # without a seed, the one drawn then holds
            seed, preset = begun["seed"], backbone.preset
            backbone = _load(params, seed)
            backbone.preset = preset
            data = _divide(params, items, targets, groups, X_val, y_val, preset, seed)
    with store(params.cache, recipe, data) as cache:
        data, features, rows = frozen_rows(params, backbone, recipe, data, cache)
        features = features.astype(recipe.numpy_dtype)
        pooled: tuple[Source, Source] = (
            FixedRows(features[data.train], None),
            FixedRows(features[data.valid], None),
        )
        rows_of = [(features[part], data.targets[part]) for part in (data.train, data.valid)]
        shared = SharedHeads(params, recipe, check_cache(params.cache), seed, rows_of)
        tail = _initial_tail(params, backbone, recipe, data, features, seed, shared)
        phases = []
        if recipe.freeze_epochs:
            phases.append(_phase(params, recipe, data, pooled, "head", len(backbone.names)))
        if params.max_epochs:
            sources = pooled
            if recipe.tunes or recipe.augment is not None:
                sources = tuning_sources(params, backbone, recipe, data, pooled, rows, seed, cache)
            phases.append(_phase(params, recipe, data, sources, "fine-tune", recipe.cut))
        settings = _settings(params, recipe, targets.multilabel, seed)
        yield Plan(tail, phases, settings, recipe, data, backbone.weights_info, checkpoint, shared)


def _load(params: Any, seed: int) -> Backbone:
    """The network, without its own classifier, which is of no use here."""
    backbone = get_backbone(params.backbone, params.weights, seed=seed)
    check_pooling(params.pooling, backbone, params.backbone)
    return backbone.truncate(len(backbone.names))


def _divide(
    params: Any,
    items: Items,
    targets: Targets,
    groups: Any,
    X_val: Any,
    y_val: Any,
    preset: Any,
    seed: int,
) -> Data:
    """Items and targets, some of them held out where that is asked for."""
    counted, targets = find_counted(targets)
    n_own = len(items)
    train, valid = counted, counted[:0]
    if (X_val is None) != (y_val is None):
        missing = "X_val" if X_val is None else "y_val"
        raise ValueError(f"X_val and y_val must be given together; {missing} is missing.")
    if X_val is not None:
        more = params._check_items(preset, X_val)
        known = encode(y_val, len(more), targets.classes, "y_val")
        if known.multilabel != targets.multilabel:
            kinds = ("one label", "columns of 0 and 1")[:: -1 if targets.multilabel else 1]
            raise ValueError(f"y_val must have {kinds[0]} for each item, as y has; got {kinds[1]}.")
        targets = targets.followed_by(known)
        items = items.followed_by(more)
        valid = np.arange(n_own, len(items))
    elif params.early_stopping:
        groups = None if groups is None else _checked_groups(groups, n_own)[counted]
        parts = hold_out(targets[counted], params.validation_fraction, groups, seed)
        train, valid = (counted[part] for part in parts)
    return Data(items, targets, train, valid, n_own)


def _checked_groups(groups: Any, n_items: int) -> np.ndarray:
    array = np.asarray(groups)
    if array.shape != (n_items,):
        raise ValueError(
            f"groups must have one entry for each of {n_items} items; got shape {array.shape}."
        )
    return array


def _initial_tail(
    params: Any,
    backbone: Backbone,
    recipe: Recipe,
    data: Data,
    features: np.ndarray,
    seed: int,
    shared: SharedHeads,
) -> Tail:
    """The tail before it trains; its head says what the exact solution says, or the prior."""
    own, targets = features[data.train], data.targets[data.train]
    mean, scale = _moments(own, targets.sample_weight, recipe.standardise)
    with seeded_globals(seed):
        head = build_head(params.head, features.shape[1], len(targets.classes))
    tail = Tail(
        backbone,
        head,
        pooling=params.pooling,
        mean=mean,
        scale=scale,
        dropout=params.dropout,
        freeze_bn=recipe.freeze_bn,
        start=recipe.cut,
    ).to(recipe.dtype)
    if recipe.head_init is None:
        set_prior(head, targets)
    else:
        with seeded_globals(seed):  # a solver may draw
            init = recipe.head_init
            set_head(head, *shared.exact(lambda: exact_head(init, (own - mean) / scale, targets)))
    return tail


def _settings(params: Any, recipe: Recipe, multilabel: bool, seed: int) -> Settings:
    return Settings(
        seed=seed,
        optimizer=params.optimizer,
        weight_decay=params.weight_decay,
        batch_size=recipe.batch_size,
        label_smoothing=params.label_smoothing,
        multilabel=multilabel,
        precision=recipe.precision,
        device=recipe.device,
        skorch_callbacks=params.skorch_callbacks,
    )


def _moments(
    features: np.ndarray, weight: np.ndarray, standardise: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and deviation of each feature; a constant one keeps its scale."""
    if not standardise:
        return np.zeros_like(features[0]), np.ones_like(features[0])
    mean = np.average(features, axis=0, weights=weight)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    scale[scale <= 1e-6 * np.abs(mean) + 1e-12] = 1
    return mean.astype(features.dtype), scale.astype(features.dtype)


def _phase(
    params: Any, recipe: Recipe, data: Data, sources: tuple[Source, Source], name: str, cut: int
) -> Phase:
    """One phase, with what drives its rates and its cut."""
    train, valid = (
        Samples(source, data.targets[part], recipe.dtype)
        for source, part in zip(sources, (data.train, data.valid), strict=True)
    )
    schedule = resolve_schedule(params.lr_schedule)
    driven = {"lr": schedule, **getattr(schedule, "companions", {})}
    callbacks: list[tuple[str, Any]] = [
        (f"scheduled_{setting}", Scheduled(setting, each)) for setting, each in driven.items()
    ]
    if name == "fine-tune" and params.unfreeze_every is not None:
        callbacks.append(("gradual", GradualUnfreeze(params.unfreeze_every, cut)))
    tunes = name == "fine-tune" and recipe.tunes
    return Phase(
        name=name,
        cut=cut,
        n_epochs=params.max_epochs if name == "fine-tune" else recipe.freeze_epochs,
        train=train,
        valid=valid if len(valid) else None,
        lr=params.fine_tune_lr if tunes else params.lr,
        layer_decay=recipe.layer_decay if name == "fine-tune" else 1.0,  # or no stage has a rate
        callbacks=callbacks,
    )


def train(plan: Plan, params: Any, step: Callable[[TailNet], bool]) -> Fitted:
    """Go through the phases; returns the tail as the best epoch left it, and what happened.

    Parameters
    ----------
    plan : Plan
    params : FineTuneClassifier
    step : callable
        Called with the net after each epoch; returns whether to stop.
    """
    tail, settings, checkpoint = plan.tail, replace(plan.settings, step=step), plan.checkpoint
    before = weights_of(tail.backbone)
    patience = params.n_iter_no_change if params.early_stopping else None
    best = KeepBest(patience, params.tol) if len(plan.data.valid) else None
    audit, history = Audit(), History()
    resumed = checkpoint.load() if checkpoint is not None else None
    net = None
    for phase in plan.phases:
        if resumed is not None and phase.name != resumed["phase"]:
            continue  # it was done before the kill
        state, resumed = resumed, None
        if state is not None:
            history = History(state["earlier"])
        net = _trained(plan, phase, settings, state, audit=audit, best=best, earlier=history)
        history = History([*history, *epochs_of(net)])
        if net.interrupted_:
            warnings.warn(
                f"Training was interrupted in epoch {len(history) + 1}: the model is as the "
                f"{'best whole epoch' if best else 'last step'} left it.",
                UserWarning,
                stacklevel=2,
            )
        if net.interrupted_ or net.told_to_stop_:
            break
    snapshots = snapshots_of(net)
    if snapshots:  # the last of them is the network, the others are asked beside it
        tail.load_state_dict(snapshots[-1], strict=False)  # only what trains is kept
    elif best is not None and best.weights_:
        tail.load_state_dict(best.weights_)
    tail.to("cpu").to(memory_format=torch.contiguous_format).eval()
    tail.backbone.freeze_to(len(tail.backbone.names))
    report = make_report(before, tail.backbone, tail.head, audit, plan.recipe.freeze_bn)
    if checkpoint is not None and not (net is not None and net.interrupted_):
        checkpoint.remove()
    others = [deepcopy(tail) for _ in snapshots[:-1]]
    for other, state in zip(others, snapshots, strict=False):
        other.load_state_dict(state, strict=False)
    return Fitted([tail, *others], net, history, report, None if snapshots else best)


def _trained(
    plan: Plan, phase: Phase, settings: Settings, state: dict[str, Any] | None, **how: Any
) -> TailNet:
    """The net of a phase that goes on from ``state``, or that another fit went through before."""
    shareable = phase.name == "head" and state is None
    begun = plan.shared.load(plan.tail) if shareable else state
    # groups that come with a state have their rates
    phase = replace(phase, lr=1.0) if begun else with_rate(phase, plan.tail, settings)
    net = run_phase(plan.tail, phase, settings, checkpoint=plan.checkpoint, resumed=begun, **how)
    if shareable and begun is None and not (net.interrupted_ or net.told_to_stop_):
        plan.shared.save(net)
    return net


def fit_key(params: Any, backbone: Backbone, data: Data, groups: Any) -> str:
    """The name of a fit: equal only where parameters, data, weights and versions are.

    What is drawn has no part in it: a fit without a seed is known again.
    """
    free = {"device", "n_jobs", "verbose", "cache", "checkpoint", "random_state", "backbone"}
    asked = {k: v for k, v in params.get_params(deep=False).items() if k not in free}
    given = isinstance(params.random_state, Integral)
    name = blake2b(digest_size=16)
    name.update(json.dumps([__version__, torch.__version__]).encode())
    name.update(described([asked, int(params.random_state) if given else None]).encode())
    pretrained = params.weights is not None and is_pretrained(backbone)
    network = backbone.fingerprint() if pretrained else described(params.backbone)
    name.update(f"{network} {data.n_own} {data.targets.classes.tolist()}".encode())
    for item in digests_of(data.items, check_cache(params.cache)):
        name.update(item)
    for table in (data.targets.table, data.targets.weight):
        name.update(np.ascontiguousarray(table).tobytes())
    name.update(repr(None if groups is None else np.asarray(groups).tolist()).encode())
    return name.hexdigest()
