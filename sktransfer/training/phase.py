"""The phases of a fit: first the head alone, then the head and the stages after the cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import torch
from skorch.callbacks import Callback, PrintLog

from .._support.plain import keep_plain, pack_arrays, unpack_arrays
from .._support.progress import print_line
from ..tasks import Task
from .batches import Samples
from .checkpoint import Checkpoint
from .early_stopping import KeepBest
from .net import StopPhase, TailNet
from .optim import make_optimizer, read_learning_rates, stage_groups
from .records import Audit
from .settings import FitSettings
from .tail import Tail
from .user_callbacks import (
    collect_callback_states,
    copy_callbacks,
    restore_callbacks,
    warn_of_loss,
)

# Kinds of device on which torch has optimisers that update all parameters in one pass over memory.
FUSED = ("cpu", "cuda")


@dataclass(frozen=True)
class Phase:
    """One phase of training.

    Parameters
    ----------
    name : {"head", "fine-tune"}
    cut : int
        The number of stages that are frozen when the phase begins.
    n_epochs : int
    train : Samples
        The training samples.
    valid : Samples or None
        The validation samples.
    lr : float or "auto"
        The base learning rate of the head.  "auto" is replaced by a number before the phase runs.
    layer_decay : float
        The learning rate of a stage divided by that of the next stage.
    callbacks : list of (str, Callback)
        The callbacks of this phase only: schedules and gradual unfreezing.
    n_steps : int
        The number of steps of an epoch.
    note : str, default=""
        A remark for the report.
    """

    name: str
    cut: int
    n_epochs: int
    train: Samples
    valid: Samples | None
    lr: Any
    layer_decay: float
    callbacks: Sequence[tuple[str, Callback]]
    n_steps: int
    note: str = ""


def _never_stop(_net: TailNet) -> bool:
    return False


def _show_nothing(_n_steps: int, **_values: Any) -> None:
    pass


@dataclass(frozen=True)
class Run:
    """The values that all phases of a fit share.

    Parameters
    ----------
    settings : FitSettings
    task : Task
    seed : int
    step : callable, default=_never_stop
        Called with the net after each epoch; returns True to stop the fit.
    advance : callable, default=_show_nothing
        Called after each training step with the number of steps just done, and with values to
        show at the end of the progress bar.
    """

    settings: FitSettings
    task: Task
    seed: int
    step: Callable[[TailNet], bool] = _never_stop
    advance: Callable[..., object] = _show_nothing


class _Steering(Callback):
    """Report each step; after each epoch, write the checkpoint, and end the phase on request."""

    def __init__(
        self,
        run: Run,
        checkpoint: Checkpoint | None,
        best: KeepBest | None,
        resumed: dict[str, Any] | None,
    ):
        self.run: Run | None = run
        self.best = best
        self.checkpoint = checkpoint
        self.resumed = resumed

    def on_train_begin(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        # Other callbacks reset their state when training begins; this one runs after them.
        if self.resumed is not None:
            restore_callbacks(net.callbacks_, self.resumed["callbacks"])
            # A scheduler of torch sets the learning rates when it is made.
            net.optimizer_.load_state_dict(self.resumed["optimizer"])

    def on_batch_end(self, net: TailNet, training: bool = False, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        if training and self.run is not None:
            losses = [batch["train_loss"] for batch in net.history[-1]["batches"]]
            rates = list(read_learning_rates(net.optimizer_).values())
            shown = {"loss": fmean(losses), "lr": rates[-1]}  # that of the head, or the last stage
            epoch = f"{net.first_epoch + net.epoch_ + 1}"
            self.run.advance(1, epoch=epoch, **{k: f"{v:.3g}" for k, v in shown.items()})

    def on_epoch_end(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        if self.checkpoint is not None:
            self.checkpoint.save(collect_state(net))
        if self.run is not None and self.run.step(net):
            net.asked_to_stop_ = True
            raise StopPhase
        if self.best is not None and self.best.done_:
            raise StopPhase

    def release(self) -> None:
        """Release what the net need not keep: the run may hold the data of the fit."""
        self.run, self.resumed, self.best = None, None, None


def _make_print_log() -> PrintLog:
    # Learning rates are small: the default format has no digits for them.
    return PrintLog(sink=print_line, floatfmt=".4g")


def run_phase(
    tail: Tail,
    phase: Phase,
    run: Run,
    *,
    audit: Audit,
    best: KeepBest | None = None,
    earlier: Sequence[dict[str, Any]] = (),
    checkpoint: Checkpoint | None = None,
    resumed: dict[str, Any] | None = None,
) -> TailNet:
    """Train ``tail`` in place, and return the skorch net that trained it.

    Parameters
    ----------
    tail : Tail
    phase : Phase
    run : Run
    audit : Audit
        The same object for all phases.
    best : KeepBest or None, default=None
        The same object for all phases.  None if there is no validation data.
    earlier : sequence of dict, default=()
        The epochs of the earlier phases.
    checkpoint : Checkpoint or None, default=None
        Saves each epoch.
    resumed : dict or None, default=None
        A state of this phase, from which it continues; see :func:`collect_state`.
    """
    device = run.settings.numerics.device
    tail.backbone.freeze_to(phase.cut)
    tail.to(device).to(memory_format=torch.channels_last)
    steering = _Steering(run, checkpoint, best, resumed)
    callbacks = [
        ("audit", audit),
        *phase.callbacks,
        *([("best", best)] if best is not None else []),
        *copy_callbacks(run.settings.skorch_callbacks),
        *([("print_log", _make_print_log())] if run.settings.verbose > 1 else []),
        ("steering", steering),
    ]
    net = _make_net(tail, phase, run, callbacks, len(earlier))
    net.initialize()
    if resumed is not None:
        _restore(net, resumed)
        run.advance(net.epoch_ * phase.n_steps)
    net.earlier_ = list(earlier)
    n_remaining = phase.n_epochs - net.epoch_
    stopped = resumed is not None and best is not None and best.done_
    if n_remaining > 0 and not stopped:
        net.train_on(phase.train, phase.valid, n_remaining)
    steering.release()
    return net


def _make_net(
    tail: Tail, phase: Phase, run: Run, callbacks: list[tuple[str, Callback]], first_epoch: int
) -> TailNet:
    """Return the net that trains ``tail``; it is not initialised."""
    settings, device = run.settings, run.settings.numerics.device
    groups = stage_groups(
        tail.backbone,
        tail.head,
        phase.lr,
        phase.layer_decay,
        weight_decay=settings.weight_decay,
    )
    fused = True if device.type in FUSED else None  # None leaves the choice to torch
    return TailNet(
        tail,
        make_optimizer=partial(make_optimizer, settings.optimizer, groups, fused=fused),
        task=run.task,
        phase=phase.name,
        seed=run.seed,
        label_smoothing=settings.label_smoothing,
        precision=settings.numerics.precision,
        first_epoch=first_epoch,
        max_epochs=phase.n_epochs,
        batch_size=settings.batch_size,
        callbacks=callbacks,
        device=str(device),
        lr=phase.lr,
        verbose=settings.verbose,
    )


def collect_state(net: TailNet) -> dict[str, Any]:
    """Return everything that is needed to continue a phase after the current epoch."""
    return {
        "seed": net.seed,
        "phase": net.phase,
        "counters": (net.epoch_, net.step_),
        "tail": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "callbacks": collect_callback_states(net.callbacks_),
        "history": _pack_rows(net.history.to_list()),
        "earlier": _pack_rows(net.earlier_),
    }


def _pack_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the recorded values that a checkpoint can save, without those of the batches."""
    recorded = [{name: row[name] for name in row if name != "batches"} for row in rows]
    kept = [keep_plain(pack_arrays(row)) for row in recorded]
    lost = {name for row, saved in zip(recorded, kept, strict=True) for name in row.keys() - saved}
    warn_of_loss(lost, "the history")
    return kept


def _restore(net: TailNet, state: dict[str, Any]) -> None:
    """Load a state that :func:`collect_state` returned."""
    net.module_.load_state_dict(state["tail"])
    net.optimizer_.load_state_dict(state["optimizer"])
    net.epoch_, net.step_ = state["counters"]
    restore_callbacks(net.callbacks_, state["callbacks"])
    for row in state["history"]:
        net.history.append({**unpack_arrays(row), "batches": []})
