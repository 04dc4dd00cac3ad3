"""Make the phases of a fit, with the callbacks that change their learning rates and their cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..callbacks import GradualUnfreeze, Scheduled
from ..schedules import Constant, Schedule, find_peak
from ..tasks import Placing
from .batches import MovingTargets, Samples, count_batches
from .data import Data, make_tuning_sources
from .frozen import FrozenStages
from .interpolation import InitialHead
from .phase import Phase
from .settings import FitSettings
from .sources import Source

# A phase must reach this fraction of the peak of its schedule, or the report has a remark.
REACHED = 0.9
# So many steps reach the peak of every schedule of this package.
MANY_STEPS = 101


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
