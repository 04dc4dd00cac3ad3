"""The phases of a fit: the head alone first, then the stages after the cut."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import Tensor, nn

from ..tasks import Targets
from .batches import Samples
from .checkpoint import Checkpoint, callback_states, plain, restore_callbacks
from .net import StopPhase, TailNet, fresh, weights_of
from .optim import make_optimizer, stage_groups
from .records import Audit
from .tail import Tail

# Where torch has optimisers that update all parameters in one pass over memory.
FUSED = ("cpu", "cuda")


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Parameters
    ----------
    name : {"head", "fine-tune"}
    cut : int
        Stages before it are frozen when the phase begins.
    n_epochs : int
    train : Samples
    valid : Samples or None
    lr : float or "auto"
        The rate of the head; a number by the time that it runs.
    layer_decay : float
        The rate of a stage over that of what follows it.
    callbacks : list of (str, Callback)
        What is particular to the phase: its schedules, gradual unfreezing.
    """

    name: str
    cut: int
    n_epochs: int
    train: Samples
    valid: Samples | None
    lr: Any
    layer_decay: float
    callbacks: Sequence[tuple[str, Callback]]


@dataclass(frozen=True)
class Settings:
    """What both phases share."""

    seed: int
    optimizer: Any
    weight_decay: float
    batch_size: int
    label_smoothing: float
    multilabel: bool
    precision: torch.dtype
    device: torch.device
    skorch_callbacks: Any = None
    step: Callable[[TailNet], bool] = field(default=lambda _: False)


class KeepBest(Callback):
    """Keep the weights of the epoch whose validation loss was least; stop when it no longer falls.

    Parameters
    ----------
    patience : int or None
        Stop after so many epochs without an improvement; None never stops.
    tol : float
        An improvement is a fall of the loss by more than this.
    """

    def __init__(self, patience: int | None, tol: float):
        self.patience = patience
        self.tol = tol
        self.loss_ = float("inf")
        self.weights_: dict[str, Tensor] = {}
        self.where_ = ("", 0)
        self.done_ = False

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        """The weights before the first epoch may be the best already."""
        self.waited_, self.done_ = 0, False
        self.target_ = self.loss_
        if not self.weights_:
            batches = net.get_iterator(X[1])
            losses = np.array([(net.validation_step(b)["loss"].item(), len(b[1])) for b in batches])
            self._keep(net, float(np.average(losses[:, 0], weights=losses[:, 1])))
            self.target_ = self.loss_

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        """Keep this epoch's weights if they are the best."""
        loss = net.history[-1, "valid_loss"]
        if loss < self.loss_ or math.isnan(self.loss_):
            self._keep(net, loss)
        self.waited_ = 0 if loss < self.target_ - self.tol else self.waited_ + 1
        self.target_ = min(loss, self.target_)
        self.done_ = self.patience is not None and self.waited_ >= self.patience

    def _keep(self, net: Any, loss: float) -> None:
        self.loss_, self.weights_ = loss, weights_of(net.module_)
        self.where_ = (net.phase, net.first_epoch + net.epoch_)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {k: v for k, v in vars(self).items() if k.endswith("_")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)


class _EpochDone(Callback):
    """After an epoch: its checkpoint, then the step of whoever watches the fit."""

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        step: Callable[[TailNet], bool],
        best: KeepBest | None,
        resumed: dict[str, Any] | None,
    ):
        self.best = best
        self.checkpoint = checkpoint
        self.step = step
        self.resumed = resumed

    def on_train_begin(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        # the other callbacks have just begun anew, as skorch's do
        if self.resumed is not None:
            restore_callbacks(net.callbacks_, self.resumed["callbacks"])

    def on_epoch_end(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        if self.checkpoint is not None:
            self.checkpoint.save(state_of(net))
        if self.step(net):
            net.told_to_stop_ = True
            raise StopPhase
        if self.best is not None and self.best.done_:
            raise StopPhase


def run_phase(
    tail: Tail,
    phase: Phase,
    settings: Settings,
    *,
    audit: Audit,
    best: KeepBest | None = None,
    earlier: Sequence[dict[str, Any]] = (),
    checkpoint: Checkpoint | None = None,
    resumed: dict[str, Any] | None = None,
) -> TailNet:
    """Train ``tail`` in place; returns the skorch net that did it.

    Parameters
    ----------
    tail : Tail
    phase : Phase
    settings : Settings
    audit : Audit
        The same for all phases.
    best : KeepBest or None, default=None
        Where there is validation data.
    earlier : sequence of dict
        The epochs of the phases before this one.
    checkpoint : Checkpoint or None, default=None
        Where each epoch is kept.
    resumed : dict or None, default=None
        A state of this phase that ``checkpoint`` held: the phase goes on from it.
    """
    tail.backbone.freeze_to(phase.cut)
    tail.to(settings.device).to(memory_format=torch.channels_last)
    groups = stage_groups(
        tail.backbone,
        tail.head,
        phase.lr,
        phase.layer_decay,
        weight_decay=settings.weight_decay,
    )
    fused = True if settings.device.type in FUSED else None  # else torch's choice
    done = _EpochDone(checkpoint, settings.step, best, resumed)
    callbacks = [
        ("audit", audit),
        *phase.callbacks,
        *([("best", best)] if best is not None else []),
        *fresh(settings.skorch_callbacks),
        ("epoch_done", done),
    ]
    net = TailNet(
        tail,
        make_optimizer=partial(make_optimizer, settings.optimizer, groups, fused=fused),
        phase=phase.name,
        seed=settings.seed,
        multilabel=settings.multilabel,
        label_smoothing=settings.label_smoothing,
        precision=settings.precision,
        first_epoch=len(earlier),
        max_epochs=phase.n_epochs,
        batch_size=settings.batch_size,
        callbacks=callbacks,
        device=str(settings.device),
    )
    net.initialize()
    if resumed is not None:
        _restore(net, resumed)
    net.earlier_ = list(earlier)
    left = phase.n_epochs - net.epoch_
    stopped = resumed is not None and best is not None and best.done_
    if left > 0 and not stopped:
        net.train_on(phase.train, phase.valid, left)
    return net


def state_of(net: TailNet) -> dict[str, Any]:
    """Where a phase stands: all that it takes to go on from here."""
    rows = [
        {k: v for k, v in row.items() if k != "batches" and plain(v) is not NotImplemented}
        for row in net.history.to_list()
    ]
    return {
        "seed": net.seed,
        "phase": net.phase,
        "counters": (net.epoch_, net.step_),
        "tail": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "callbacks": callback_states(net.callbacks_),
        "history": rows,
        "earlier": net.earlier_,
    }


def _restore(net: TailNet, state: dict[str, Any]) -> None:
    net.module_.load_state_dict(state["tail"])
    net.optimizer_.load_state_dict(state["optimizer"])
    net.epoch_, net.step_ = state["counters"]
    restore_callbacks(net.callbacks_, state["callbacks"])
    for row in state["history"]:
        net.history.append({**row, "batches": []})


def exact_head(
    classifier: Any, features: np.ndarray, targets: Targets
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_classes, d) and biases (n_classes,) of a linear classifier of the features.

    Parameters
    ----------
    classifier : estimator
        A linear one of scikit-learn: ``coef_`` and ``intercept_`` are copied.
    features : ndarray of shape (n, d)
    targets : Targets
    """
    n_classes = len(targets.classes)
    if targets.multilabel:
        columns = [
            _exact(classifier, features, targets.table[:, k] > 0, targets.weight, prior)
            for k, prior in enumerate(targets.prior)
        ]
        return np.concatenate([c for c, _ in columns]), np.concatenate([b for _, b in columns])
    coef, bias = _exact(classifier, features, targets.index, targets.weight)
    if len(coef) == n_classes:
        return coef, bias
    # of two classes one score is learned: half of it speaks for one, half against the other
    return np.concatenate([-coef, coef]) / 2, np.concatenate([-bias, bias]) / 2


def _exact(
    classifier: Any, features: np.ndarray, y: np.ndarray, weight: np.ndarray, prior: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    if len(np.unique(y)) == 1:  # a label that all items have, or none
        return np.zeros((1, features.shape[1])), np.array([np.log(prior / (1 - prior))])
    fitted = clone(classifier)
    with warnings.catch_warnings():
        # where it stops, gradient steps go on
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(features, y, sample_weight=weight)
    n_classes = len(np.unique(y))
    n_rows = 1 if n_classes == 2 else n_classes
    coef: Any = getattr(fitted, "coef_", None)
    bias: Any = getattr(fitted, "intercept_", None)
    if np.shape(coef) == (n_rows, features.shape[1]) and np.size(bias) in (1, n_rows):
        bias = bias + np.zeros(n_rows)
        some = features[:8]
        scores = np.reshape(fitted.decision_function(some), (len(some), n_rows))
        if np.allclose(some @ coef.T + bias, scores, rtol=1e-3, atol=1e-3):
            return coef, bias
    raise ValueError(
        "head_init must be a linear classifier of scikit-learn, which has one row of coef_ for "
        f"each class; got {classifier!r}."
    )


@torch.no_grad()
def set_head(head: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    """Copy weights and biases into the last linear layer of ``head``."""
    last = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
    last.weight.copy_(torch.from_numpy(np.asarray(weight)))
    if last.bias is not None:
        last.bias.copy_(torch.from_numpy(np.asarray(bias)))


def set_prior(head: nn.Module, targets: Targets) -> None:
    """Let an untrained head say what the shares of the classes say, whatever it sees."""
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    prior = targets.prior
    if layers and layers[-1].out_features == len(prior):
        bias = np.log(prior / (1 - prior)) if targets.multilabel else np.log(prior)
        set_head(head, np.zeros(layers[-1].weight.shape), bias)


def snapshots_of(net: TailNet | None) -> list[dict[str, torch.Tensor]]:
    """The weights that a callback has kept at the ends of cycles, in order."""
    callbacks = [callback for _, callback in net.callbacks_] if net is not None else []
    return [state for each in callbacks for state in getattr(each, "snapshots_", [])]


def epochs_of(net: TailNet) -> list[dict[str, Any]]:
    """The epochs of a phase, in the words of History."""
    names = ("phase", "epoch", "cut", "train_loss", "valid_loss", "valid_score", "lr")
    return [
        {name: plain(row[name]) for name in names if name in row} | {"seconds": row["dur"]}
        for row in net.history.to_list()
        if "lr" in row  # an interrupted epoch has none
    ]
