"""skorch callbacks that keep copies of the weights: a moving average, and snapshots.

:mod:`sktransfer.callbacks.scheduled` lists the attributes that a net needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from .._support.validation import check_int, check_range
from ..schedules import Schedule, resolve_schedule


class ModelEMA(Callback):
    """Average the weights exponentially, and validate with the average.

    At the first validation batch of an epoch, the averages are copied into the module, so that
    other callbacks score and save them.  Without validation data this happens at the end of the
    epoch.  When the next epoch begins, the training weights are restored.  After the last epoch
    the averages stay in the module.

    Frozen weights are not averaged.  Buffers, such as batch statistics, keep the values of the
    last training step.

    Parameters
    ----------
    decay : float, default=0.99
        Weight of the old average in each update, in [0, 1).  The first updates use
        ``(1 + step) / (10 + step)`` if that is smaller, so that the average forgets the first
        weights sooner.

    Attributes
    ----------
    average_ : dict of str to Tensor
        The averages, by parameter name.
    training_weights_ : dict of str to Tensor
        A copy of the training weights while the module holds the averages; empty otherwise.

    References
    ----------
    .. [1] B. Polyak and A. Juditsky, "Acceleration of Stochastic Approximation by Averaging",
       SIAM Journal on Control and Optimization 30(4), 1992, https://doi.org/10.1137/0330046

    Examples
    --------
    >>> from sktransfer.callbacks import ModelEMA
    >>> ModelEMA(decay=0.999).initialize().decay
    0.999
    """

    average_: dict[str, Tensor]
    training_weights_: dict[str, Tensor]

    def __init__(self, decay: float = 0.99):
        self.decay = decay

    def initialize(self) -> ModelEMA:
        """Check the parameters."""
        check_range("decay", self.decay, "[0, 1)")
        return self

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Start without averages, unless training resumes from a state that was loaded."""
        if net.step_ == 0 or not hasattr(self, "average_"):
            self.load_state_dict({"average": {}, "training_weights": {}})

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Restore the training weights."""
        _copy_into(net.module_, self.training_weights_)
        self.training_weights_ = {}

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        """Copy the averages into the module before validation."""
        if not training:
            self._swap_in(net)

    @torch.no_grad()
    def on_batch_end(self, net: Any, training: bool = False, **_: Any) -> None:
        """Update the averages with the weights after this step."""
        if not training:
            return
        decay = min(self.decay, (1 + net.step_) / (10 + net.step_))
        for name, weight in net.module_.named_parameters():
            if name in self.average_:
                average = self.average_[name].to(weight.device)
                self.average_[name] = average.lerp_(weight.detach(), 1 - decay)
            elif weight.requires_grad:
                self.average_[name] = weight.detach().clone()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Copy the averages into the module if there was no validation."""
        self._swap_in(net)

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Leave the averages in the module."""
        self._swap_in(net)
        self.training_weights_ = {}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return copies of the averages and of the training weights, on the CPU.

        Save them together with the state of the module, which holds one or the other.
        """
        return {
            "average": _copies(self.average_),
            "training_weights": _copies(self.training_weights_),
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load a state that ``state_dict`` returned."""
        self.average_ = _copies(state["average"])
        self.training_weights_ = _copies(state["training_weights"])

    def _swap_in(self, net: Any) -> None:
        """Copy the averages into the module, unless it holds them already."""
        if not self.training_weights_:
            weights = dict(net.module_.named_parameters())
            self.training_weights_ = {
                name: weights[name].detach().clone() for name in self.average_
            }
            _copy_into(net.module_, self.average_)


class Snapshots(Callback):
    """Keep the weights at the end of each cycle, for an ensemble of their predictions.

    A snapshot is the state of the module at the end of an epoch, without the parts that were
    frozen all along.  Load one with ``module.load_state_dict(snapshot, strict=False)``.

    Parameters
    ----------
    schedule : str, Schedule or None, default=None
        Schedule with cycles, such as ``SGDR``.  A snapshot is taken after each epoch that its
        ``ends`` lists.
    every : int or None, default=None
        Number of epochs between snapshots, at least 1.  Give either this or ``schedule``.
    most : int, default=5
        Maximum number of snapshots, at least 1.  The oldest ones are dropped.

    Attributes
    ----------
    snapshots_ : list of dict of str to Tensor
        The snapshots on the CPU, oldest first.  Empty if training stopped before the end of a
        cycle.

    References
    ----------
    .. [1] G. Huang, Y. Li, G. Pleiss, Z. Liu, J. E. Hopcroft and K. Q. Weinberger, "Snapshot
       Ensembles: Train 1, Get M for Free", ICLR 2017, https://arxiv.org/abs/1704.00109

    Examples
    --------
    >>> from sktransfer.callbacks import Scheduled, Snapshots
    >>> from sktransfer.schedules import SGDR
    >>> schedule = SGDR(cycle_length=5, multiplier=1)
    >>> callbacks = [Scheduled("lr", schedule), Snapshots(schedule)]
    """

    snapshots_: list[dict[str, Tensor]]

    def __init__(
        self,
        schedule: str | Schedule | None = None,
        every: int | None = None,
        most: int = 5,
    ):
        self.schedule = schedule
        self.every = every
        self.most = most

    def initialize(self) -> Snapshots:
        """Check the parameters."""
        if (self.schedule is None) == (self.every is None):
            raise ValueError(
                "Snapshots needs either schedule or every; "
                f"got schedule={self.schedule!r}, every={self.every!r}."
            )
        if self.schedule is not None:
            resolve_schedule(self.schedule, "schedule")
        check_int("every", self.every, 1, also=[None])
        check_int("most", self.most, 1)
        return self

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Start without snapshots, unless training resumes from a state that was loaded."""
        if self.schedule is None:
            self.ends_ = list(range(self.every or 1, net.max_epochs + 1, self.every or 1))
        else:
            self.ends_ = resolve_schedule(self.schedule, "schedule").ends(net.max_epochs)
        self.completed_in_: int | None = None  # the epoch in which snapshots were completed
        if net.step_ == 0 or not hasattr(self, "snapshots_"):
            self.load_state_dict({"snapshots": []})

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        """Add newly unfrozen weights to earlier snapshots, before their first update."""
        if training and self.completed_in_ != net.epoch_:
            self.completed_in_ = net.epoch_
            # An earlier snapshot left these weights out because they were frozen.  Their current
            # values are still the ones they had then.
            if self.snapshots_:
                state = _trained(net.module_)
                for snapshot in self.snapshots_:
                    new = {name: state[name] for name in state if name not in snapshot}
                    snapshot.update(_copies(new))

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Take a snapshot if a cycle ends with this epoch."""
        if net.epoch_ in self.ends_:
            self.snapshots_ = [*self.snapshots_, _copies(_trained(net.module_))][-self.most :]

    def state_dict(self) -> dict[str, list[dict[str, Tensor]]]:
        """Return copies of the snapshots, on the CPU."""
        return {"snapshots": [_copies(snapshot) for snapshot in self.snapshots_]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state that ``state_dict`` returned."""
        self.snapshots_ = [_copies(snapshot) for snapshot in state["snapshots"]]


@torch.no_grad()
def _copy_into(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Overwrite the parameters of ``module`` that ``weights`` names."""
    parameters = dict(module.named_parameters())
    for name, weight in weights.items():
        parameters[name].copy_(weight)


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of the tensors on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _trained(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of ``module`` without its frozen layers."""
    state = module.state_dict()
    for path, part in module.named_modules():
        # A layer without parameters, such as batch norm without affine weights, stays in.
        own = list(part.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            held = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
            for name, _ in held:
                state.pop(f"{path}.{name}" if path else name, None)
    return state
