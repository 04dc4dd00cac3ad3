"""A fit: train the phases of a plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..backbones import unpatched
from ..tasks import Task
from .lr_range import with_rate
from .net import TailNet, release, resting_net, weights_of
from .phase import KeepBest, Phase, Run, run_phase
from .plan import Plan
from .predictor import Predictor
from .records import Audit, History, Report, epochs_of, make_report
from .tail import Tail


@dataclass(frozen=True)
class Fitted:
    """The result of a fit.

    Parameters
    ----------
    predictor : Predictor
        The trained tail, frozen, on the CPU, as the best epoch left it.
    net : TailNet or None
        The net of the last phase; None if no phase trained.
    history : History
    report : Report
    best_epoch : int or None
        None without validation data.
    skipped : ndarray of int
        Positions of the items of X that were left out.
    weights_info : dict
        The origin of the weights that the network began with.
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
        """Return the result as if the fit had stopped after the last epoch of ``net``."""
        tail: Any = unpatched(deepcopy(net.module_)).to("cpu").eval()
        tail.backbone.freeze_to(len(tail.backbone.names))
        return cls(
            predictor=Predictor(tail, plan.run.task, plan.run.settings.numerics),
            net=None,
            history=History([*net.earlier_, *epochs_of(net)]),
            report=Report(),
            best_epoch=None,
            skipped=plan.data.skipped,
            weights_info=tail.backbone.weights_info,
            origin=plan.origin,
        )

    @property
    def task(self) -> Task:
        """The task that was learned."""
        return self.predictor.task

    @property
    def tail(self) -> Tail:
        """The trained tail."""
        return self.predictor.tail

    def parts(self) -> dict[str, Any]:
        """Return everything but the tail: plain values and small objects, by name."""
        names = ("history", "report", "best_epoch", "skipped", "weights_info", "origin")
        return {name: getattr(self, name) for name in names} | {
            "task": self.task,
            "numerics": self.predictor.numerics,
            "phase": None if self.net is None else self.net.phase,
        }

    @classmethod
    def from_parts(cls, tail: Tail, parts: Mapping[str, Any]) -> Fitted:
        """Return the result that had these parts; the net is rebuilt around the tail."""
        others = dict(parts)
        task, numerics, phase = (others.pop(name) for name in ("task", "numerics", "phase"))
        net = None if phase is None else resting_net(tail, task, phase)
        return cls(predictor=Predictor(tail, task, numerics), net=net, **others)

    def __reduce__(self) -> tuple[Any, ...]:
        # one copy of the weights: the tail, without the net around it
        return Fitted.from_parts, (self.tail, self.parts())


def run_fit(plan: Plan, step: Callable[[TailNet], bool]) -> Fitted:
    """Train the phases of a plan.

    Parameters
    ----------
    plan : Plan
    step : callable
        Called with the net after each epoch; returns True to stop.
    """
    tail, run, checkpoint = plan.tail, replace(plan.run, step=step), plan.checkpoint
    settings = run.settings
    before = weights_of(tail.backbone)
    weights_info = tail.backbone.weights_info
    patience = settings.n_iter_no_change if settings.early_stopping else None
    best = KeepBest(patience, settings.tol) if len(plan.data.valid) else None
    audit = Audit()
    net, history = _run_phases(plan, run, audit, best)
    if best is not None and best.weights_:
        tail.load_state_dict(best.weights_)
    tail.to("cpu").to(memory_format=torch.contiguous_format).eval()
    tail.backbone.freeze_to(len(tail.backbone.names))
    report = make_report(before, tail.backbone, tail.head, audit, settings.freeze_bn)
    if checkpoint is not None and not (net is not None and net.interrupted_):
        checkpoint.remove()
    if net is not None:
        release(net)
    return Fitted(
        predictor=Predictor(tail, run.task, settings.numerics),
        net=net,
        history=history,
        report=report,
        best_epoch=best.best_[1] if best is not None else None,
        skipped=plan.data.skipped,
        weights_info=weights_info,
        origin=plan.origin,
    )


def _run_phases(
    plan: Plan, run: Run, audit: Audit, best: KeepBest | None
) -> tuple[TailNet | None, History]:
    """Train each phase that a checkpoint does not show as done; return the last net."""
    state = plan.checkpoint.load() if plan.checkpoint is not None else None
    names = [phase.name for phase in plan.phases]
    done = names.index(state["phase"]) if state is not None else 0
    history = History(state["earlier"] if state is not None else [])
    net = None
    for phase in plan.phases[done:]:
        net = _trained(plan, phase, run, state, audit=audit, best=best, earlier=history)
        state = None
        history = History([*history, *epochs_of(net)])
        if net.interrupted_:
            warnings.warn(
                f"Training was interrupted in epoch {len(history) + 1}: the model is as the "
                f"{'best whole epoch' if best else 'last step'} left it.",
                UserWarning,
                stacklevel=2,
            )
        if net.interrupted_ or net.asked_to_stop_:
            break
    return net, history


def _trained(
    plan: Plan, phase: Phase, run: Run, state: dict[str, Any] | None, **how: Any
) -> TailNet:
    """Return the net of a phase that starts fresh, or from ``state``, or from another fit's end."""
    shareable = phase.name == "head" and state is None
    begun = plan.shared.load(plan.tail) if shareable else state
    # The parameter groups of a state have their learning rates already.
    phase = replace(phase, lr=1.0) if begun else with_rate(phase, plan.tail, run)
    net = run_phase(plan.tail, phase, run, checkpoint=plan.checkpoint, resumed=begun, **how)
    if shareable and begun is None and not (net.interrupted_ or net.asked_to_stop_):
        plan.shared.save(net)
    return net
