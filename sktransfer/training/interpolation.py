"""Interpolate the weights between the start and the end of the second phase.

This is weight-space ensembling: M. Wortsman, G. Ilharco, J. W. Kim et al., "Robust fine-tuning of
zero-shot models", CVPR 2022, https://arxiv.org/abs/2109.01903.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from .net import TailNet, copy_weights
from .tail import Tail


class InitialHead(Callback):
    """Keep the weights that the head has when a phase begins.

    Attributes
    ----------
    head_ : dict of str to Tensor
    """

    def on_train_begin(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        """Copy the head, unless training resumes from a checkpoint."""
        if net.step_ == 0:
            self.head_ = copy_weights(net.module_.head)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"head": self.head_}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state that ``state_dict`` returned."""
        self.head_ = state["head"]


def interpolate(
    tail: Tail,
    before: Mapping[str, Tensor],
    net: TailNet,
    best_epoch: int | None,
    weight: float,
) -> None:
    """Move the weights of a trained tail towards those at the start of the second phase.

    Nothing changes if the second phase was not trained, or if the weights are of an earlier epoch.

    Parameters
    ----------
    tail : Tail
        The trained tail, on the CPU.
    before : mapping of str to Tensor
        The state of the backbone before the fit.  The first phase does not change it.
    net : TailNet
        The net of the last phase.
    best_epoch : int or None
        The epoch whose weights the tail has; None for the last one.
    weight : float in [0, 1]
        The weight of the trained values; 1 changes nothing.
    """
    initial = dict(net.callbacks_).get("initial_head")
    if initial is None or (best_epoch is not None and best_epoch <= net.first_epoch):
        return
    _move(tail.backbone, before, weight)
    _move(tail.head, initial.head_, weight)


@torch.no_grad()
def _move(module: nn.Module, before: Mapping[str, Tensor], weight: float) -> None:
    for name, after in module.state_dict().items():
        if after.is_floating_point():
            after.copy_(torch.lerp(before[name].to(after), after, weight))
