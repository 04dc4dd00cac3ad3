"""Run a fit: train the phases of a plan, and collect the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from .._support.plain import unpack_arrays
from .._support.warn import warn_user
from ..backbones import Original, unpatched
from ..tasks import Task
from .dense_predictor import make_predictor
from .early_stopping import KeepBest
from .interpolation import interpolate
from .lr_range import resolve_learning_rate
from .net import TailNet, copy_weights, end_training, wrap_trained_tail
from .phase import Phase, Run, run_phase
from .plan import Plan
from .predictor import Predictor
from .records import Audit, History, Report, list_epochs, make_report
from .states import PREFIX
from .tail import Tail


@dataclass(frozen=True)
class Fitted:
    """The result of a fit.

    Parameters
    ----------
    predictor : Predictor
        Holds the trained tail, frozen and on the CPU, with the weights of the best epoch.
    net : TailNet or None
        The net of the last phase; None if no phase trained.
    history : History
    report : Report
    best_epoch : int or None
        The epoch whose weights were kept; None without validation data.
    skipped : ndarray of int
        The positions of the items of X that were left out.
    weights_info : dict
        The origin of the initial weights.
    origin : tuple
        The parameters ``backbone`` and ``weights`` of the estimator.
    """

    predictor: Predictor
    net: TailNet | None
    history: History
    report: Report
    best_epoch: int | None
    skipped: np.ndarray
    weights_info: dict[str, Any]
    origin: tuple[Any, Any]

    @classmethod
    def so_far(cls, plan: Plan, net: TailNet) -> Fitted:
        """Return a preliminary result: the current weights, without a report."""
        # A copy, because training continues with the original.
        tail: Any = unpatched(deepcopy(net.module_)).to("cpu").eval()
        tail.backbone.freeze_to(len(tail.backbone.names))
        return cls(
            predictor=make_predictor(tail, plan.run.task, plan.run.settings.numerics),
            net=None,
            history=History([*net.earlier_, *list_epochs(net)]),
            report=Report(),
            best_epoch=None,
            skipped=plan.data.skipped,
            weights_info=tail.backbone.weights_info,
            origin=plan.origin,
        )

    @property
    def task(self) -> Task:
        """The kind of target."""
        return self.predictor.task

    @property
    def tail(self) -> Tail:
        """The trained tail."""
        return self.predictor.tail

    @cached_property
    def module(self) -> Tail:
        """A copy of the tail that is an ordinary module: no parameter is frozen."""
        module = deepcopy(self.tail)
        module.backbone.freeze_to(0)
        return module.requires_grad_(True).eval()

    def parts(self) -> tuple[dict[str, Any], Tail]:
        """Return all parts of the result except the tail, by name, and the tail."""
        names = ("history", "report", "best_epoch", "skipped", "weights_info", "origin")
        parts = {name: getattr(self, name) for name in names} | {
            "task": self.task,
            "numerics": self.predictor.numerics,
            "phase": None if self.net is None else self.net.phase,
        }
        return parts, self.tail

    @classmethod
    def from_parts(cls, parts: Mapping[str, Any], tail: Tail) -> Fitted:
        """Rebuild a result from its tail and its other parts; the net is rebuilt, too."""
        others = dict(parts)
        task, numerics, phase = (others.pop(name) for name in ("task", "numerics", "phase"))
        net = None if phase is None else wrap_trained_tail(tail, task, phase)
        return cls(predictor=make_predictor(tail, task, numerics), net=net, **others)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle contains the weights once: in the tail, and not in the net around it.
        return Fitted.from_parts, self.parts()


def run_fit(plan: Plan, step: Callable[[TailNet], bool], advance: Callable[..., object]) -> Fitted:
    """Train the phases of a plan, and return the result.

    Parameters
    ----------
    plan : Plan
    step : callable
        Called with the net after each epoch; returns True to stop the fit.
    advance : callable
        Called with the number of training steps just done, and with values to show, by name.
    """
    tail, run = plan.tail, replace(plan.run, step=step, advance=advance)
    settings = run.settings
    copied = copy_weights if plan.checkpoint is None else plan.checkpoint.copy_weights
    before = copied(tail.backbone)
    weights_info = tail.backbone.weights_info
    patience = settings.n_iter_no_change if settings.early_stopping else None
    best = KeepBest(patience, settings.tol) if len(plan.data.valid) else None
    audit = Audit()
    original = Original.of(before, PREFIX)
    net, history = _run_phases(plan, run, audit, best, original)
    if best is not None and best.weights_:
        tail.load_state_dict(best.weights_)
    tail.to("cpu").to(memory_format=torch.contiguous_format).eval()
    tail.backbone.freeze_to(len(tail.backbone.names))
    best_epoch = best.best_epoch_ if best is not None else None
    if net is not None:
        interpolate(tail, before, net, best_epoch, settings.weight_interpolation)
    note = "; ".join(phase.note for phase in plan.phases if phase.note)
    report = make_report(before, tail.backbone, tail.head, audit, settings.freeze_bn, note)
    if net is not None:
        end_training(net)
    if best is not None:
        best.weights_ = {}
    # In float64, batch norm is fused with other bits, so the rows have another name.
    is_same = settings.numerics.dtype == torch.float32
    known = plan.weights if is_same else {}
    return Fitted(
        predictor=make_predictor(tail, run.task, settings.numerics, weights=known),
        net=net,
        history=history,
        report=report,
        best_epoch=best_epoch,
        skipped=plan.data.skipped,
        weights_info=weights_info,
        origin=plan.origin,
    )


def remove_checkpoint(plan: Plan, fitted: Fitted) -> None:
    """Remove the checkpoint of a fit that is done; an interrupted fit can be resumed from it."""
    interrupted = fitted.net is not None and fitted.net.interrupted_
    if plan.checkpoint is not None and not interrupted:
        plan.checkpoint.remove()


def _run_phases(
    plan: Plan, run: Run, audit: Audit, best: KeepBest | None, original: Original
) -> tuple[TailNet | None, History]:
    """Train the phases, except those that are complete in the checkpoint.

    Returns the net of the last phase that trained, and the history of all phases.
    """
    state = plan.state
    names = [phase.name for phase in plan.phases]
    n_complete = names.index(state["phase"]) if state is not None else 0
    history = History(unpack_arrays(state["earlier"]) if state is not None else [])
    net = None
    run.advance(sum(phase.n_epochs * phase.n_steps for phase in plan.phases[:n_complete]))
    for phase in plan.phases[n_complete:]:
        if phase.note:
            _warn_of_few_steps(phase)
        how = {"audit": audit, "best": best, "earlier": history}
        net = _train_phase(plan, phase, run, state, original, **how)
        state = None  # only the first of these phases is resumed
        history = History([*history, *list_epochs(net)])
        if net.interrupted_:
            warn_user(
                f"Training was interrupted in epoch {len(history) + 1}: the model has the weights "
                f"of the {'best complete epoch' if best else 'last step'}. In a search, the next "
                "fit begins: press Ctrl-C again to stop the program."
            )
        if net.interrupted_ or net.asked_to_stop_:
            break
    return net, history


def _warn_of_few_steps(phase: Phase) -> None:
    epochs = "max_epochs" if phase.name == "fine-tune" else "freeze_epochs"
    warn_user(
        f"The {phase.name} phase has only {phase.note}. Increase {epochs}, lower batch_size, or "
        "use lr_schedule='constant'.",
        ConvergenceWarning,
    )


def _train_phase(
    plan: Plan,
    phase: Phase,
    run: Run,
    state: dict[str, Any] | None,
    original: Original,
    **how: Any,
) -> TailNet:
    """Train a phase and return its net.

    The phase starts from ``state``, a checkpoint; or from the result of the same head phase in
    another fit; or from the beginning.
    """
    shared = plan.shared if phase.name == "head" and state is None else None
    names = plan.tail.state_dict().keys()
    if shared is not None:
        resumed = shared.load(original, names)
    elif state is not None and plan.checkpoint is not None:
        resumed = plan.checkpoint.complete(state, names)
    else:
        resumed = None
    # The optimiser of a state contains the learning rates, so they need not be found.
    phase = replace(phase, lr=1.0) if resumed else resolve_learning_rate(phase, plan.tail, run)
    net = run_phase(plan.tail, phase, run, checkpoint=plan.checkpoint, resumed=resumed, **how)
    if shared is not None and resumed is None and not (net.interrupted_ or net.asked_to_stop_):
        shared.save(net, original)
    return net
