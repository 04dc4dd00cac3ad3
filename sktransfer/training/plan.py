"""The plan of a fit: everything that happens before the first step of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from .._support.hashing import described, hash_parts
from .._support.random import seeded_globals
from .._version import __version__
from ..backbones import Backbone, check_pooling, get_backbone
from ..cache import check_cache
from ..callbacks import GradualUnfreeze, Scheduled
from ..data import Items, Preset, adapt, smallest_preset
from ..tasks import Targets, Task, build_head, hold_out, set_linear, weighted
from .batches import FixedRows, Samples, Source
from .checkpoint import Checkpoint
from .data import Data, FrozenStages, digests_of, first_pass, fit_cache, tuning_sources
from .head_cache import SharedHeads
from .phase import Phase, Run
from .settings import FitSettings, is_pretrained, is_seeded, resolve
from .tail import Pooled, Tail


@dataclass(frozen=True)
class Request:
    """The arguments of a fit, as an estimator received and checked them.

    Parameters
    ----------
    parameters : mapping of str to object
        The parameters of the estimator.
    task : callable
        Takes y and the number of items; returns the task of y.
    X, y, sample_weight, groups, X_val, y_val
        As ``fit`` takes them.
    check_items : callable
        Takes a preset, X and whether this is the X of ``fit``; returns items.
    watched : bool, default=False
        True if scikit-learn's callbacks watch the fit.
    """

    parameters: Mapping[str, Any]
    task: Callable[[Any, int], Task]
    check_items: Callable[..., Any]
    X: Any
    y: Any = None
    sample_weight: Any = None
    groups: Any = None
    X_val: Any = None
    y_val: Any = None
    watched: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything that a fit needs before it trains.

    Parameters
    ----------
    tail : Tail
        With its head initialized.
    phases : list of Phase
    run : Run
    data : Data
        The part of the data that could be decoded.
    origin : tuple
        The parameters ``backbone`` and ``weights``.
    checkpoint : Checkpoint or None
    shared : SharedHeads
    """

    tail: Tail
    phases: list[Phase]
    run: Run
    data: Data
    origin: tuple[Any, Any]
    checkpoint: Checkpoint | None
    shared: SharedHeads

    @property
    def n_epochs(self) -> int:
        """The number of epochs of all phases."""
        return sum(phase.n_epochs for phase in self.phases)


@contextmanager
def plan_fit(request: Request) -> Iterator[Plan]:
    """Return a context manager with the plan of a fit, in which the rows it reads exist."""
    given = request.parameters
    seed = int(check_random_state(given["random_state"]).randint(2**31))
    backbone = _load(given, seed)
    items = _checked_items(request, backbone)
    task = request.task(request.y, len(items))
    settings = resolve(given, backbone, items, task.exact_model)
    data = _gather(request, settings, items, task, backbone.preset)
    checkpoint = None
    if given["checkpoint"] is not None:
        checkpoint = Checkpoint(given["checkpoint"], fit_key(request, backbone, data))
        begun = checkpoint.load()
        if begun is not None and begun["seed"] != seed:  # without a random_state, that one counts
            seed, preset = begun["seed"], backbone.preset
            if not is_pretrained(backbone):
                backbone = _load(given, seed)
                backbone.preset = preset
    if settings.early_stopping and not len(data.valid):
        data = _held_out(data, settings, request.groups, seed)
    with fit_cache(settings, data) as cache:
        stages = FrozenStages(backbone, settings, cache)
        data, features, rows = first_pass(stages, data)
        rows_of = [(features[part], data.targets[part]) for part in (data.train, data.valid)]
        known_seed = seed if is_seeded(given["random_state"]) else None
        shared = SharedHeads(settings, data.task, known_seed, request.watched, rows_of)
        tail = _initial_tail(settings, backbone, data.task, *rows_of[0], seed, shared)
        phases = _phases(stages, data, features, rows, seed)
        run, origin = Run(settings, data.task, seed), (given["backbone"], given["weights"])
        yield Plan(tail, phases, run, data, origin, checkpoint, shared)


def augmentation_of(request: Request, backbone: Backbone | None) -> tuple[Preset, Any]:
    """Return the preset of a fit and its augmentation, without "auto".

    Parameters
    ----------
    request : Request
    backbone : Backbone or None
        The network of an earlier fit; None loads it.
    """
    if backbone is None:
        backbone = _load(request.parameters, 0)
        items = _checked_items(request, backbone)
    else:
        items = request.check_items(backbone.preset, request.X, reset=True)
    return backbone.preset, resolve(request.parameters, backbone, items).augment


def _checked_items(request: Request, backbone: Backbone) -> Items:
    """Return the items of X; the preset of the network becomes the one that suits them."""
    given = request.parameters
    items: Items = request.check_items(backbone.preset, request.X, reset=True)
    if given["image_size"] is None and given["preset"] is None:
        backbone.preset = smallest_preset(backbone.preset, items)
    return items


def _load(given: Mapping[str, Any], seed: int) -> Backbone:
    """Return the network without its own classifier, its preset adapted to the parameters."""
    backbone = get_backbone(given["backbone"], given["weights"], seed=seed)
    check_pooling(given["pooling"], backbone, given["backbone"])
    backbone.truncate(len(backbone.names))
    backbone.preset = adapt(
        backbone.preset, given["preset"], given["image_size"], given["image_shape"]
    )
    return backbone


def _gather(request: Request, settings: FitSettings, items: Items, task: Task, preset: Any) -> Data:
    """Return the items of X, then those of X_val, with their encoded targets."""
    n_own = len(items)
    targets = weighted(task.encode(request.y, n_own), request.sample_weight)
    task, targets = task.narrow(task.weigh(targets, settings.class_weight))
    counted = np.flatnonzero(targets.weight > 0)
    X_val, y_val = request.X_val, request.y_val
    if (X_val is None) != (y_val is None):
        missing = "X_val" if X_val is None else "y_val"
        raise ValueError(f"X_val and y_val must be given together; {missing} is missing.")
    if X_val is None:
        return Data(items, task, targets, counted, counted[:0], n_own)
    more = request.check_items(preset, X_val)
    targets = targets.followed_by(task.encode(y_val, len(more), "y_val"))
    valid = np.arange(n_own, n_own + len(more))
    return Data(items.followed_by(more), task, targets, counted, valid, n_own)


def _held_out(data: Data, settings: FitSettings, groups: Any, seed: int) -> Data:
    """Return the data with a part of its training items held out for validation."""
    counted = data.train
    groups = None if groups is None else _checked_groups(groups, data.n_own)[counted]
    strata = data.task.strata(data.targets[counted])
    train, valid = hold_out(len(counted), strata, settings.validation_fraction, groups, seed)
    return replace(data, train=counted[train], valid=counted[valid])


def _checked_groups(groups: Any, n_items: int) -> np.ndarray:
    array = np.asarray(groups)
    if array.shape != (n_items,):
        raise ValueError(
            f"groups must have one entry for each of {n_items} items; got shape {array.shape}."
        )
    return array


def _initial_tail(
    settings: FitSettings,
    backbone: Backbone,
    task: Task,
    features: np.ndarray,
    targets: Targets,
    seed: int,
    shared: SharedHeads,
) -> Tail:
    """Return the tail before it trains; its head has the exact solution, or the prior."""
    mean, scale = _moments(features, targets.sample_weight, settings.standardise)
    with seeded_globals(seed):
        head = build_head(settings.head, features.shape[1], task.n_outputs)
    tail = Tail(
        backbone,
        head,
        pooling=settings.pooling,
        mean=mean,
        scale=scale,
        dropout=settings.dropout,
        freeze_bn=settings.freeze_bn,
        cut=settings.cut,
    ).to(settings.numerics.dtype)
    model = settings.head_init
    if model is None:
        set_linear(head, None, task.initial_bias(targets))
        return tail

    def solve() -> tuple[np.ndarray, np.ndarray]:
        return task.exact_head(model, (features - mean) / scale, targets)

    with seeded_globals(seed):  # a solver may draw
        set_linear(head, *shared.exact(solve))
    return tail


def _moments(
    features: np.ndarray, weight: np.ndarray, standardise: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted mean and standard deviation of each feature; 1 for a constant one."""
    if not standardise:
        return np.zeros_like(features[0]), np.ones_like(features[0])
    mean = np.average(features, axis=0, weights=weight)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    scale[scale <= 1e-6 * np.abs(mean) + 1e-12] = 1
    return mean.astype(features.dtype), scale.astype(features.dtype)


def _phases(
    stages: FrozenStages, data: Data, features: np.ndarray, rows: Any, seed: int
) -> list[Phase]:
    """Return the phases of a fit: the head on frozen features, then the stages behind the cut."""
    settings = stages.settings
    pooled: tuple[Source, Source] = (
        FixedRows(features[data.train], Pooled()),
        FixedRows(features[data.valid], Pooled()),
    )
    phases = []
    if settings.freeze_epochs:
        phases.append(_phase(settings, data, pooled, "head", stages.n_stages))
    if settings.max_epochs:
        sources = pooled
        if settings.tunes or settings.augment is not None:
            sources = tuning_sources(stages, data, pooled, rows, seed)
        phases.append(_phase(settings, data, sources, "fine-tune", settings.cut))
    return phases


def _phase(
    settings: FitSettings, data: Data, sources: tuple[Source, Source], name: str, cut: int
) -> Phase:
    """Return one phase, with the callbacks that drive its learning rates and its cut."""
    train, valid = (
        Samples(source, data.targets[part], settings.numerics.dtype)
        for source, part in zip(sources, (data.train, data.valid), strict=True)
    )
    schedule = settings.lr_schedule
    driven = {"lr": schedule, **getattr(schedule, "companions", {})}
    callbacks: list[tuple[str, Any]] = [
        (f"scheduled_{setting}", Scheduled(setting, each)) for setting, each in driven.items()
    ]
    fine_tunes = name == "fine-tune"
    if fine_tunes and settings.unfreeze_every is not None:
        callbacks.append(("gradual", GradualUnfreeze(settings.unfreeze_every, cut)))
    return Phase(
        name=name,
        cut=cut,
        n_epochs=settings.max_epochs if fine_tunes else settings.freeze_epochs,
        train=train,
        valid=valid if len(valid) else None,
        lr=settings.fine_tune_lr if fine_tunes and settings.tunes else settings.lr,
        # in the head phase no stage trains, so none needs a learning rate of its own
        layer_decay=settings.layer_decay if fine_tunes else 1.0,
        callbacks=callbacks,
    )


# These parameters do not change the result of a fit, or are described in another way.
NOT_IN_KEY = {"device", "n_jobs", "verbose", "cache", "checkpoint", "random_state", "backbone"}


def fit_key(request: Request, backbone: Backbone, data: Data) -> str:
    """Return the name of a fit: equal if parameters, data, weights and versions are.

    Without an integer ``random_state``, the seed is not part of it: such a fit continues with the
    seed that it drew first.
    """
    given = request.parameters
    asked = {name: value for name, value in given.items() if name not in NOT_IN_KEY}
    seed = int(given["random_state"]) if is_seeded(given["random_state"]) else None
    pretrained = given["weights"] is not None and is_pretrained(backbone)
    network = backbone.fingerprint() if pretrained else described(given["backbone"])
    groups = None if request.groups is None else np.asarray(request.groups).tolist()
    words = described([__version__, torch.__version__, asked, seed, data.task, data.n_own, groups])
    items = digests_of(data.items, check_cache(given["cache"]))
    return hash_parts("fit", words, network, *items, data.targets.values, data.targets.weight).hex()
