"""Plan a fit: everything that happens before the first step of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sklearn.utils import check_random_state

from ..backbones import Backbone, check_pooling, get_backbone, resolve_pooling
from ..data import Items, Preset, adapt, smallest_preset, warn_of_lost_parts
from ..tasks import Task, make_targets
from .checkpoint import Checkpoint, open_checkpoint
from .data import (
    Data,
    check_moves,
    collect_data,
    run_first_pass,
    take_rows,
)
from .frozen import FrozenStages, open_stages
from .head_cache import SharedHeads
from .head_init import build_tail
from .phase import Phase, Run
from .phases import make_phases
from .settings import FitSettings, is_seeded, resolve, starts_pretrained
from .sources import FixedRows
from .tail import Pooled, Tail
from .tuned_weights import find_tuner, starting_weights, tune_weights
from .validation_split import hold_out_validation


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
    augments : bool, default=True
        False if the targets may depend on the position of pixels: then ``augment="auto"`` is None.
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
    augments: bool = True


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
    state : dict or None
        The state of the checkpoint, if the fit resumes from one.
    shared : SharedHeads or None
        None if no phase is a head phase.
    weights : dict, default={}
        The hashes of the weights before each cut, as far as they are known.
    """

    tail: Tail
    phases: list[Phase]
    run: Run
    data: Data
    origin: tuple[Any, Any]
    checkpoint: Checkpoint | None
    state: dict[str, Any] | None
    shared: SharedHeads | None
    weights: dict[int | None, str] = field(default_factory=dict)

    @property
    def n_epochs(self) -> int:
        """The number of epochs of all phases."""
        return sum(phase.n_epochs for phase in self.phases)

    @property
    def n_steps(self) -> int:
        """The number of training steps of all phases."""
        return sum(phase.n_epochs * phase.n_steps for phase in self.phases)


class FeatureFit:
    """The steps of a plan that depend on the input of the head, which is pooled features.

    The steps for a head that takes feature maps are in the module ``dense``.

    Parameters
    ----------
    request : Request
    """

    # The values of the parameters of other fits that this fit does not have.
    fixed: Mapping[str, Any] = {}

    def __init__(self, request: Request):
        self.request = request
        self.given: dict[str, Any] = {**self.fixed, **request.parameters}

    def load(self, seed: int) -> Backbone:
        """Load the network without its heads, unless its weights are tuned before they are used."""
        backbone = load_backbone(self.given, seed)
        if find_tuner(self.given["weights"]) is None:
            backbone.truncate(len(backbone.names))
        return backbone

    def check_items(self, backbone: Backbone) -> Items:
        """Check X and return its items; for tabular input, adapt the image size of the network."""
        items: Items = self.request.check_items(backbone.preset, self.request.X, reset=True)
        warn_of_lost_parts(backbone.preset, items)
        if self.given["image_size"] is None and self.given["preset"] is None:
            backbone.preset = smallest_preset(backbone.preset, items)
        return items

    def find_task(self, preset: Preset, items: Items) -> Task:  # noqa: ARG002 - other fits compare targets with them
        """Return the task of y."""
        return self.request.task(self.request.y, len(items))

    def resolve(self, backbone: Backbone, items: Items, task: Task | None = None) -> FitSettings:
        """Return the settings, in which "auto" is replaced by its meaning."""
        how = {} if task is None else {"exact_model": task.exact_model}
        return resolve(self.given, backbone, items, augments=self.request.augments, **how)

    def open_stages(
        self, backbone: Backbone, settings: FitSettings, data: Data
    ) -> AbstractContextManager[FrozenStages]:
        """Open the frozen stages, and the place of their activations."""
        tunes = find_tuner(self.given["weights"]) is not None
        return open_stages(backbone, settings, data.items, len(data.valid), keeps_weights=tunes)

    def run_first_pass(self, stages: Any, data: Data) -> tuple[Data, Any, Any]:
        """Run every item through the frozen network once; see :func:`run_first_pass`."""
        return run_first_pass(stages, data)

    def make_tail(
        self, stages: Any, data: Data, features: Any, seed: int
    ) -> tuple[Tail, SharedHeads | None]:
        """Build the tail with an initialized head, and the heads that other fits share."""
        settings, rows = stages.settings, [data.train, data.valid]
        parts = [(features[part], data.targets[part]) for part in rows]
        known_seed = seed if is_seeded(self.given["random_state"]) else None
        shared = SharedHeads(settings, data.task, known_seed, self.request.watched, parts)
        return build_tail(settings, stages.backbone, data.task, *parts[0], seed, shared), shared


@contextmanager
def plan_fit(request: Request, kind: type[FeatureFit] = FeatureFit) -> Iterator[Plan]:
    """Load the network, check the data, run the frozen stages once, and initialize the head.

    This is a context manager that yields the plan.  The rows that the phases read may be in a
    temporary folder, which is deleted at the end.

    Parameters
    ----------
    request : Request
    kind : type, default=FeatureFit
        The steps that depend on the input of the head.
    """
    fit = kind(request)
    seed = int(check_random_state(fit.given["random_state"]).randint(2**31))
    backbone = fit.load(seed)
    given, items = fit.given, fit.check_items(backbone)
    task = fit.find_task(backbone.preset, items)
    settings = fit.resolve(backbone, items, task)
    check_moves(task, settings.augment, settings.skorch_callbacks)
    data = _collect(request, backbone.preset, items, task, settings)
    with open_checkpoint(given, request.groups, backbone, data) as checkpoint:
        backbone, seed, state = resume(fit, backbone, seed, checkpoint)
        if settings.early_stopping and not len(data.valid):
            data = hold_out_validation(data, settings, request.groups, seed)
        _tune(given, backbone, data, seed, settings)
        with fit.open_stages(backbone, settings, data) as stages:
            if settings.own_statistics:
                train = data.train.tolist()
                stages.use_own_statistics(data.items.take(train), lambda at: data.name(train[at]))
            data, features, rows = fit.run_first_pass(stages, data)
            data = data.placed(backbone.preset, settings.n_jobs).scaled()
            tail, shared = fit.make_tail(stages, data, features, seed)
            train, valid = (
                FixedRows(take_rows(features, part), Pooled()) for part in (data.train, data.valid)
            )
            phases = make_phases(stages, data, (train, valid), rows, seed)
            run = Run(settings, data.task, seed)
            origin = (given["backbone"], starting_weights(given["weights"]))
            yield Plan(tail, phases, run, data, origin, checkpoint, state, shared, stages.weights)


def _collect(
    request: Request, preset: Preset, items: Items, task: Task, settings: FitSettings
) -> Data:
    """Encode the targets, and collect the items of X and of X_val with them."""
    if (request.X_val is None) != (request.y_val is None):
        missing = "X_val" if request.X_val is None else "y_val"
        raise ValueError(f"X_val and y_val must be given together; {missing} is missing.")
    validation = None
    if request.X_val is not None:
        validation = (request.check_items(preset, request.X_val), request.y_val)
    targets = make_targets(task.encode(request.y, len(items)), request.sample_weight)
    return collect_data(items, task, task.weigh(targets, settings.class_weight), validation)


def resume(
    fit: FeatureFit, backbone: Backbone, seed: int, checkpoint: Checkpoint | None
) -> tuple[Backbone, int, dict[str, Any] | None]:
    """Return the network, the seed and the saved state with which a fit continues.

    A fit that is resumed has the seed that it drew when it began.  Only a network with random
    weights depends on it.
    """
    if checkpoint is None:
        return backbone, seed, None
    state = checkpoint.load()
    if state is not None and state["seed"] != seed:
        seed = state["seed"]
        if not starts_pretrained(fit.given, backbone):
            again = fit.load(seed)
            again.preset = backbone.preset
            backbone = again
    return backbone, seed, checkpoint.leave_out(backbone, state)


def _tune(
    given: Mapping[str, Any], backbone: Backbone, data: Data, seed: int, settings: FitSettings
) -> None:
    """Tune the weights to the training items, if the parameter ``weights`` asks for it."""
    if find_tuner(given["weights"]) is None:
        return
    train = data.items.take(data.train)
    tune_weights(given["weights"], backbone, given["backbone"], train, seed, settings.cache)
    backbone.truncate(len(backbone.names))


def find_augmentation(request: Request, kind: type[FeatureFit] = FeatureFit) -> tuple[Preset, Any]:
    """Return the preset and the augmentation of a fit, with "auto" replaced by its meaning."""
    fit = kind(request)
    backbone = fit.load(0)
    items = fit.check_items(backbone)
    return backbone.preset, fit.resolve(backbone, items).augment


def load_backbone(given: Mapping[str, Any], seed: int) -> Backbone:
    """Load the network, and adapt its preset to the parameters."""
    weights = starting_weights(given["weights"])
    backbone = get_backbone(given["backbone"], weights, seed=seed)
    check_pooling(resolve_pooling(given["pooling"], backbone), backbone, given["backbone"])
    backbone.preset = adapt(
        backbone.preset,
        given["preset"],
        given["image_size"],
        given["image_shape"],
        given["max_length"],
    )
    return backbone
