"""Plan a fit: everything that happens before the first step of training."""

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
from ..tasks import Targets, Task, build_head, hold_out, make_targets, set_linear
from .batches import FixedRows, Samples, Source
from .checkpoint import Checkpoint
from .data import (
    Data,
    FrozenStages,
    compute_digests,
    make_tuning_sources,
    open_fit_cache,
    run_first_pass,
)
from .head_cache import SharedHeads
from .phase import Phase, Run
from .settings import FitSettings, is_pretrained, is_seeded, resolve
from .tail import Pooled, Tail


@dataclass(frozen=True)
class Request:
    """The arguments of a fit, so that planning does not depend on the estimator.

    Parameters
    ----------
    parameters : mapping of str to object
        The checked parameters of the estimator.
    task : callable
        Takes y and the number of items, and returns the task of y.
    check_items : callable
        Takes a preset, X and ``reset``, which is True for the X of ``fit``, and returns the items
        of X.
    X, y, sample_weight, groups, X_val, y_val
        The arguments of ``fit``, not yet checked.
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
    """Everything that a fit needs for training.

    Parameters
    ----------
    tail : Tail
        The part of the network that is trained; its head is initialized.
    phases : list of Phase
        The phases in the order they are trained; empty if nothing trains.
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
    """Load the network, check the data, run the frozen stages once, and initialize the head.

    This is a context manager that yields the plan.  The rows that the phases read may be in a
    temporary folder, which is deleted at the end.
    """
    given = request.parameters
    seed = int(check_random_state(given["random_state"]).randint(2**31))
    backbone = _load_backbone(given, seed)
    items = _check_items(request, backbone)
    task = request.task(request.y, len(items))
    settings = resolve(given, backbone, items, task.exact_model)
    data = _gather(request, settings, items, task, backbone.preset)
    checkpoint = None
    if given["checkpoint"] is not None:
        checkpoint = Checkpoint(given["checkpoint"], compute_fit_key(request, backbone, data))
        state = checkpoint.load()
        # Without an integer random_state, a resumed fit has the seed with which it began.
        if state is not None and state["seed"] != seed:
            seed, preset = state["seed"], backbone.preset
            if not is_pretrained(backbone):  # its random weights depend on the seed
                backbone = _load_backbone(given, seed)
                backbone.preset = preset
    if settings.early_stopping and not len(data.valid):
        data = _hold_out_validation(data, settings, request.groups, seed)
    with open_fit_cache(settings, data) as cache:
        stages = FrozenStages(backbone, settings, cache)
        data, features, rows = run_first_pass(stages, data)
        head_rows = [(features[part], data.targets[part]) for part in (data.train, data.valid)]
        known_seed = seed if is_seeded(given["random_state"]) else None
        shared = SharedHeads(settings, data.task, known_seed, request.watched, head_rows)
        tail = _build_tail(settings, backbone, data.task, *head_rows[0], seed, shared)
        phases = _make_phases(stages, data, features, rows, seed)
        run, origin = Run(settings, data.task, seed), (given["backbone"], given["weights"])
        yield Plan(tail, phases, run, data, origin, checkpoint, shared)


def find_augmentation(request: Request, backbone: Backbone | None) -> tuple[Preset, Any]:
    """Return the preset and the augmentation of a fit, with "auto" replaced by its meaning.

    Parameters
    ----------
    request : Request
    backbone : Backbone or None
        The network of an earlier fit.  None loads the network.
    """
    if backbone is None:
        backbone = _load_backbone(request.parameters, 0)
        items = _check_items(request, backbone)
    else:
        items = request.check_items(backbone.preset, request.X, reset=True)
    return backbone.preset, resolve(request.parameters, backbone, items).augment


def _check_items(request: Request, backbone: Backbone) -> Items:
    """Check X and return its items; for tabular input, adapt the image size of the network."""
    given = request.parameters
    items: Items = request.check_items(backbone.preset, request.X, reset=True)
    if given["image_size"] is None and given["preset"] is None:
        backbone.preset = smallest_preset(backbone.preset, items)
    return items


def _load_backbone(given: Mapping[str, Any], seed: int) -> Backbone:
    """Load the network without its own classifier, and adapt its preset to the parameters."""
    backbone = get_backbone(given["backbone"], given["weights"], seed=seed)
    check_pooling(given["pooling"], backbone, given["backbone"])
    backbone.truncate(len(backbone.names))
    backbone.preset = adapt(
        backbone.preset, given["preset"], given["image_size"], given["image_shape"]
    )
    return backbone


def _gather(request: Request, settings: FitSettings, items: Items, task: Task, preset: Any) -> Data:
    """Collect the items of X and of X_val, with their encoded targets and weights."""
    n_own = len(items)
    targets = make_targets(task.encode(request.y, n_own), request.sample_weight)
    task, targets = task.narrow(task.weigh(targets, settings.class_weight))
    counted = np.flatnonzero(targets.weight > 0)
    X_val, y_val = request.X_val, request.y_val
    if (X_val is None) != (y_val is None):
        missing = "X_val" if X_val is None else "y_val"
        raise ValueError(f"X_val and y_val must be given together; {missing} is missing.")
    if X_val is None:
        return Data(items, task, targets, counted, counted[:0], n_own)
    val_items = request.check_items(preset, X_val)
    targets = targets.followed_by(task.encode(y_val, len(val_items), "y_val"))
    valid = np.arange(n_own, n_own + len(val_items))
    return Data(items.followed_by(val_items), task, targets, counted, valid, n_own)


def _hold_out_validation(data: Data, settings: FitSettings, groups: Any, seed: int) -> Data:
    """Hold out a part of the training items for validation."""
    counted = data.train
    groups = None if groups is None else _check_groups(groups, data.n_own)[counted]
    strata = data.task.strata(data.targets[counted])
    train, valid = hold_out(len(counted), strata, settings.validation_fraction, groups, seed)
    return replace(data, train=counted[train], valid=counted[valid])


def _check_groups(groups: Any, n_items: int) -> np.ndarray:
    array = np.asarray(groups)
    if array.shape != (n_items,):
        raise ValueError(
            f"groups must have one entry for each of {n_items} items; got shape {array.shape}."
        )
    return array


def _build_tail(
    settings: FitSettings,
    backbone: Backbone,
    task: Task,
    features: np.ndarray,
    targets: Targets,
    seed: int,
    shared: SharedHeads,
) -> Tail:
    """Build the tail; its head has the coefficients of a linear model, or predicts the priors.

    Parameters
    ----------
    settings : FitSettings
    backbone : Backbone
    task : Task
    features : ndarray of shape (n, n_features)
        The features of the training items.
    targets : Targets
        The targets of the training items.
    seed : int
        The seed of the random weights of the head, and of the solver.
    shared : SharedHeads
        The coefficients of the linear model, if another fit computed them.
    """
    mean, scale = _compute_moments(features, targets.sample_weight, settings.standardise)
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

    with seeded_globals(seed):  # a solver may draw random numbers
        set_linear(head, *shared.load_or_solve(solve))
    return tail


def _compute_moments(
    features: np.ndarray, weight: np.ndarray, standardise: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and standard deviation of each feature.

    The standard deviation of a constant feature is replaced by 1.  Without ``standardise``, all
    means are 0 and all standard deviations are 1.
    """
    if not standardise:
        return np.zeros_like(features[0]), np.ones_like(features[0])
    mean = np.average(features, axis=0, weights=weight)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    scale[scale <= 1e-6 * np.abs(mean) + 1e-12] = 1
    return mean.astype(features.dtype), scale.astype(features.dtype)


def _make_phases(
    stages: FrozenStages, data: Data, features: np.ndarray, rows: Any, seed: int
) -> list[Phase]:
    """Make the phases of a fit: the head on frozen features, then the stages after the cut."""
    settings = stages.settings
    pooled: tuple[Source, Source] = (
        FixedRows(features[data.train], Pooled()),
        FixedRows(features[data.valid], Pooled()),
    )
    phases = []
    if settings.freeze_epochs:
        phases.append(_make_phase(settings, data, pooled, "head", stages.n_stages))
    if settings.max_epochs:
        sources = pooled
        if settings.tunes or settings.augment is not None:
            sources = make_tuning_sources(stages, data, pooled, rows, seed)
        phases.append(_make_phase(settings, data, sources, "fine-tune", settings.cut))
    return phases


def _make_phase(
    settings: FitSettings, data: Data, sources: tuple[Source, Source], name: str, cut: int
) -> Phase:
    """Make one phase, with the callbacks that change its learning rates and its cut."""
    train, valid = (
        Samples(source, data.targets[part], settings.numerics.dtype)
        for source, part in zip(sources, (data.train, data.valid), strict=True)
    )
    schedule = settings.lr_schedule
    # Some schedules, such as one cycle, also have schedules of other settings.
    schedules = {"lr": schedule, **getattr(schedule, "companions", {})}
    callbacks: list[tuple[str, Any]] = [
        (f"scheduled_{setting}", Scheduled(setting, each)) for setting, each in schedules.items()
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
        # In the head phase no stage trains, so none needs a learning rate of its own.
        layer_decay=settings.layer_decay if fine_tunes else 1.0,
        callbacks=callbacks,
    )


# Parameters that do not change the result of a fit, or are in its key in another form.
NOT_IN_KEY = {"device", "n_jobs", "verbose", "cache", "checkpoint", "random_state", "backbone"}


def compute_fit_key(request: Request, backbone: Backbone, data: Data) -> str:
    """Return a key that is equal for two fits if parameters, data, weights and versions are.

    If ``random_state`` is not an integer, the seed is not part of the key, because a resumed fit
    uses the seed with which it began.
    """
    given = request.parameters
    parameters = {name: value for name, value in given.items() if name not in NOT_IN_KEY}
    seed = int(given["random_state"]) if is_seeded(given["random_state"]) else None
    pretrained = given["weights"] is not None and is_pretrained(backbone)
    network = backbone.fingerprint() if pretrained else described(given["backbone"])
    groups = None if request.groups is None else np.asarray(request.groups).tolist()
    words = described(
        [__version__, torch.__version__, parameters, seed, data.task, data.n_own, groups]
    )
    items = compute_digests(data.items, check_cache(given["cache"]))
    return hash_parts("fit", words, network, *items, data.targets.values, data.targets.weight).hex()
