"""Keep the best weights of a fit, and stop it early."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from skorch.callbacks import Callback
from torch import Tensor

from .net import copy_weights


class KeepBest(Callback):
    """Keep the weights of the epoch with the lowest validation loss, and stop if none is lower.

    Parameters
    ----------
    patience : int or None
        Number of epochs without an improvement after which the phase ends.  None never ends it.
    tol : float
        Minimum decrease of the loss that counts as an improvement.
    """

    def __init__(self, patience: int | None, tol: float):
        self.patience = patience
        self.tol = tol
        self.loss_ = float("inf")
        self.weights_: dict[str, Tensor] = {}
        self.best_epoch_ = 0
        self.done_ = False

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        """Score the weights before the first epoch, which may already be the best ones."""
        self.waited_, self.done_ = 0, False
        self.target_ = self.loss_
        if not self.weights_:
            batches = net.get_iterator(X[1])
            losses = np.array([(net.validation_step(b)["loss"].item(), len(b[1])) for b in batches])
            self._keep(net, float(np.average(losses[:, 0], weights=losses[:, 1])))
            self.target_ = self.loss_

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        """Keep the weights of this epoch if they are the best."""
        loss = net.history[-1, "valid_loss"]
        if loss < self.loss_ or math.isnan(self.loss_):
            self._keep(net, loss)
        self.waited_ = 0 if loss < self.target_ - self.tol else self.waited_ + 1
        self.target_ = min(loss, self.target_)
        self.done_ = self.patience is not None and self.waited_ >= self.patience

    def _keep(self, net: Any, loss: float) -> None:
        self.loss_, self.weights_ = loss, copy_weights(net.module_)
        self.best_epoch_ = net.first_epoch + net.epoch_

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint keeps."""
        return {k: v for k, v in vars(self).items() if k.endswith("_")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)
