"""Weights that are kept beside those that train: their average, and snapshots.

These are skorch callbacks, as those of :mod:`sktransfer.callbacks`, which says what they ask of a
net.
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
    """Validate and end with an exponential moving average of the weights.

    From the first validation batch of an epoch (or its end, where nothing is held out) until the
    next epoch begins, the module holds the averages: other callbacks score and keep those.  Then
    the weights that train come back.  When training ends, the averages stay.  What is frozen is
    left alone, and buffers, such as batch statistics, are those of the last step.

    Parameters
    ----------
    decay : float, default=0.99
        How much of the average is kept at a step, in [0, 1).  At the first steps less is kept:
        ``(1 + step) / (10 + step)``, where that is smaller.

    Attributes
    ----------
    average_ : dict of str to Tensor
        The averages, by the names of the parameters.
    aside_ : dict of str to Tensor
        The weights that train, while the module holds the averages; otherwise empty.

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
    aside_: dict[str, Tensor]

    def __init__(self, decay: float = 0.99):
        self.decay = decay

    def initialize(self) -> ModelEMA:
        """Check the parameters."""
        check_range("decay", self.decay, "[0, 1)")
        return self

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Start anew with a phase; a resumed one goes on with the state that was loaded."""
        if net.step_ == 0 or not hasattr(self, "average_"):
            self.load_state_dict({"average": {}, "aside": {}})

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Go on with the weights that train."""
        _copy_into(net.module_, self.aside_)
        self.aside_ = {}

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        """Validate the averages."""
        if not training:
            self._swap_in(net)

    @torch.no_grad()
    def on_batch_end(self, net: Any, training: bool = False, **_: Any) -> None:
        """Move the averages towards the weights of the step just done."""
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
        """Hold the averages, without validation too."""
        self._swap_in(net)

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Leave the averages in the module."""
        self._swap_in(net)
        self.aside_ = {}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Copies of the averages and of what is put aside, on the CPU.

        To be saved together with the module's own state, which is either.
        """
        return {"average": _copies(self.average_), "aside": _copies(self.aside_)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take back what ``state_dict`` gave."""
        self.average_, self.aside_ = _copies(state["average"]), _copies(state["aside"])

    def _swap_in(self, net: Any) -> None:
        if not self.aside_:
            weights = dict(net.module_.named_parameters())
            self.aside_ = {name: weights[name].detach().clone() for name in self.average_}
            _copy_into(net.module_, self.average_)


class Snapshots(Callback):
    """Keep the weights at the end of each cycle, so that predictions can be averaged over them.

    A snapshot holds what the module holds at the end of the epoch, without what never trained.
    Loaded with ``module.load_state_dict(snapshot, strict=False)``, each makes a network of its
    own.

    Parameters
    ----------
    schedule : str, Schedule or None, default=None
        The schedule whose cycles count, such as ``SGDR``; each ends where its ``ends`` says.
    every : int or None, default=None
        In place of a schedule: epochs from one snapshot to the next, at least 1.
    most : int, default=5
        How many snapshots are kept, the last ones; at least 1.

    Attributes
    ----------
    snapshots_ : list of dict of str to Tensor
        The oldest first, on the CPU.  Empty where training stopped before a cycle ended.

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
        """Start anew with a phase; a resumed one goes on with the state that was loaded."""
        if self.schedule is None:
            self.ends_ = list(range(self.every or 1, net.max_epochs + 1, self.every or 1))
        else:
            self.ends_ = resolve_schedule(self.schedule, "schedule").ends(net.max_epochs)
        self.filled_: int | None = None
        if net.step_ == 0 or not hasattr(self, "snapshots_"):
            self.load_state_dict({"snapshots": []})

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        """Before what has just been thawed trains, add it to earlier snapshots as it was then."""
        if training and self.filled_ != net.epoch_:
            self.filled_ = net.epoch_
            if self.snapshots_:
                state = _trained(net.module_)
                for snapshot in self.snapshots_:
                    new = {name: state[name] for name in state if name not in snapshot}
                    snapshot.update(_copies(new))

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Take a snapshot where a cycle ends."""
        if net.epoch_ in self.ends_:
            self.snapshots_ = [*self.snapshots_, _copies(_trained(net.module_))][-self.most :]

    def state_dict(self) -> dict[str, list[dict[str, Tensor]]]:
        """Copies of the snapshots, on the CPU."""
        return {"snapshots": [_copies(snapshot) for snapshot in self.snapshots_]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        self.snapshots_ = [_copies(snapshot) for snapshot in state["snapshots"]]


@torch.no_grad()
def _copy_into(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    parameters = dict(module.named_parameters())
    for name, weight in weights.items():
        parameters[name].copy_(weight)


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _trained(module: nn.Module) -> dict[str, Tensor]:
    """The state of ``module`` without that of its frozen parts."""
    state = module.state_dict()
    for path, part in module.named_modules():
        own = list(part.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            held = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
            for name, _ in held:
                state.pop(f"{path}.{name}" if path else name, None)
    return state
