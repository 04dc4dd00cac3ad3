"""Language modelling: the targets are the tokens of the texts themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from .targets import Targets

# The target of a position at which nothing is predicted.
NO_TARGET = -1


@dataclass(frozen=True)
class LanguageModel:
    """Predict tokens from their context.

    The targets of a batch, (b, l), are ids of tokens, or -1 for a position without a target.  They
    follow from the texts, so ``fit`` needs no y.

    Parameters
    ----------
    objective : {"causal", "masked"}
        The next token from those before it, or tokens that are masked from those around them.
    n_outputs : int
        The number of tokens.
    mask_token : int or None, default=None
        The id of the token that takes the place of a masked one.
    """

    objective: str
    n_outputs: int
    mask_token: int | None = None

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:  # noqa: ARG002 - y is ignored
        """Return zeros, (n, 1): the targets follow from the items."""
        return np.zeros((n_items, 1))

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return the values unchanged."""
        return values

    def weigh(self, targets: Targets, class_weight: Any) -> Targets:  # noqa: ARG002 - there are no classes
        """Return the targets unchanged."""
        return targets

    def narrow(self, targets: Targets) -> tuple[LanguageModel, Targets]:
        """Return the task and the targets unchanged."""
        return self, targets

    def strata(self, targets: Targets, n_most: int) -> None:
        """Return None: texts are held out at random."""

    def exact_model(self, gentle: bool) -> None:
        """Return None: the head comes with the network."""

    def smooth(self, target: Tensor, amount: float) -> Tensor:  # noqa: ARG002 - targets are ids
        """Return the targets unchanged."""
        return target

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of the targets of each row, (b,), for scores (b, l, n_tokens)."""
        losses = cross_entropy(
            outputs.flatten(0, 1), target.flatten(), ignore_index=NO_TARGET, reduction="none"
        )
        return _mean_of_targets(losses.view_as(target), target)

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the share of the targets of each row, (b,), that have the highest score."""
        return _mean_of_targets((outputs.argmax(-1) == target).to(outputs.dtype), target)


def _mean_of_targets(values: Tensor, target: Tensor) -> Tensor:
    has_target = target != NO_TARGET
    mean: Tensor = (values * has_target).sum(1) / has_target.sum(1).clamp(min=1)
    return mean
