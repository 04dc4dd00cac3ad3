"""Plan a fit: everything that happens before the first step of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sklearn.utils import check_random_state

from ..backbones import Backbone, check_pooling, get_backbone, resolve_pooling
from ..callbacks import GradualUnfreeze, Scheduled
from ..data import Items, Preset, adapt, smallest_preset, warn_of_lost_parts
from ..schedules import Constant, Schedule, find_peak
from ..tasks import Placing, Task, make_targets
from .batches import MovingTargets, Samples, count_batches
from .checkpoint import Checkpoint, open_checkpoint
from .data import (
    Data,
    check_moves,
    collect_data,
    make_tuning_sources,
    run_first_pass,
    take_rows,
)
from .frozen import FrozenStages, open_stages
from .head_cache import SharedHeads
from .head_init import build_tail
from .interpolation import InitialHead
from .phase import Phase, Run
from .settings import FitSettings, is_seeded, resolve, starts_pretrained
from .sources import FixedRows, Source
from .tail import Pooled, Tail
from .tuned_weights import find_tuner, starting_weights, tune_weights
from .validation_split import hold_out_validation

# A phase must reach this fraction of the peak of its schedule, or the report has a remark.
REACHED = 0.9
# So many steps reach the peak of every schedule of this package.
MANY_STEPS = 101


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
    """

    tail: Tail
    phases: list[Phase]
    run: Run
    data: Data
    origin: tuple[Any, Any]
    checkpoint: Checkpoint | None
    state: dict[str, Any] | None
    shared: SharedHeads | None

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
    task = request.task(request.y, len(items))
    settings = fit.resolve(backbone, items, task)
    check_moves(task, settings.augment, settings.skorch_callbacks)
    if (request.X_val is None) != (request.y_val is None):
        missing = "X_val" if request.X_val is None else "y_val"
        raise ValueError(f"X_val and y_val must be given together; {missing} is missing.")
    validation = None
    if request.X_val is not None:
        validation = (request.check_items(backbone.preset, request.X_val), request.y_val)
    targets = make_targets(task.encode(request.y, len(items)), request.sample_weight)
    data = collect_data(items, task, task.weigh(targets, settings.class_weight), validation)
    with open_checkpoint(given, request.groups, backbone, data) as checkpoint:
        state = None if checkpoint is None else checkpoint.load()
        if state is not None and state["seed"] != seed:
            seed, backbone = state["seed"], _continue_with_seed(fit, backbone, state["seed"])
        if checkpoint is not None:
            state = checkpoint.leave_out(backbone, state)
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
            yield Plan(tail, phases, run, data, origin, checkpoint, state, shared)


def _continue_with_seed(fit: FeatureFit, backbone: Backbone, seed: int) -> Backbone:
    """Return the network of a fit that is resumed with the seed that it drew when it began.

    Only a network with random weights depends on the seed.
    """
    if starts_pretrained(fit.given, backbone):
        return backbone
    again = fit.load(seed)
    again.preset = backbone.preset
    return again


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


def make_phases(
    stages: FrozenStages, data: Data, pooled: tuple[Source, Source], rows: Any, seed: int
) -> list[Phase]:
    """Make the phases of a fit: the head on frozen features, then the stages after the cut.

    Parameters
    ----------
    stages : FrozenStages
    data : Data
    pooled : (Source, Source)
        The input of the head for the training items and for the validation items.
    rows : sequence of n activations at the cut, or None
    seed : int
    """
    settings = stages.settings
    phases = []
    if settings.freeze_epochs:
        phases.append(make_phase(settings, data, pooled, "head", stages.n_stages))
    if settings.max_epochs:
        sources = pooled
        if settings.tunes or settings.augment is not None:
            sources = make_tuning_sources(stages, data, pooled, rows, seed)
        phases.append(make_phase(settings, data, sources, "fine-tune", settings.cut))
    return phases


def make_phase(
    settings: FitSettings, data: Data, sources: tuple[Source, Source], name: str, cut: int
) -> Phase:
    """Make one phase, with the callbacks that change its learning rates and its cut."""
    labels = data.task.decode(data.targets.values)
    train, valid = (
        Samples(source, data.targets[part], labels[part], settings.numerics.dtype)
        for source, part in zip(sources, (data.train, data.valid), strict=True)
    )
    if isinstance(data.task, Placing) and name == "fine-tune" and settings.augment is not None:
        moving = MovingTargets(data.unplaced[data.train], data.task.place, data.row_size)
        train = replace(train, moving=moving)
    fine_tunes = name == "fine-tune"
    callbacks = make_callbacks(settings, cut if fine_tunes else None)
    if fine_tunes and settings.weight_interpolation < 1:
        callbacks.append(("initial_head", InitialHead()))
    n_epochs = settings.max_epochs if fine_tunes else settings.freeze_epochs
    n_steps = count_batches(len(train), settings.batch_size)
    return Phase(
        name=name,
        cut=cut,
        n_epochs=n_epochs,
        train=train,
        valid=valid if len(valid) else None,
        lr=settings.fine_tune_lr if fine_tunes and settings.tunes else settings.lr,
        # In the head phase no stage trains, so none needs a learning rate of its own.
        layer_decay=settings.layer_decay if fine_tunes else 1.0,
        callbacks=callbacks,
        n_steps=n_steps,
        note=check_schedule(settings.lr_schedule.over(n_epochs), n_epochs * n_steps),
    )


def make_callbacks(settings: FitSettings, cut: int | None) -> list[tuple[str, Any]]:
    """Make the callbacks that change the learning rates of a phase and its cut.

    Parameters
    ----------
    settings : FitSettings
    cut : int or None
        The number of stages that are never unfrozen.  None for a phase that unfreezes no stage.
    """
    schedule = settings.lr_schedule
    # Some schedules, such as one cycle, also have schedules of other settings.
    schedules = {"lr": schedule, **getattr(schedule, "companions", {})}
    if isinstance(schedule, Constant):  # then a callback of the user may set the learning rates
        del schedules["lr"]
    callbacks: list[tuple[str, Any]] = [
        (f"scheduled_{setting}", Scheduled(setting, each)) for setting, each in schedules.items()
    ]
    if cut is not None and settings.unfreeze_every is not None:
        callbacks.append(("gradual", GradualUnfreeze(settings.unfreeze_every, cut)))
    return callbacks


def check_schedule(schedule: Schedule, n_steps: int) -> str:
    """Return a remark if a phase has too few steps to reach the peak of its schedule, or ""."""
    peak, reached = find_peak(schedule, MANY_STEPS), find_peak(schedule, n_steps)
    if reached >= REACHED * peak:
        return ""
    steps = "1 step" if n_steps == 1 else f"{n_steps} steps"
    return f"{steps}: the learning rate reaches {reached / peak:.0%} of its maximum"
