"""Heads make scores of a vector of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from .._support.validation import check_choice, check_int, check_range


@dataclass(frozen=True)
class LinearHead:
    """A linear layer, the whole head.

    Examples
    --------
    >>> from sktransfer.tasks import LinearHead
    >>> LinearHead()(1280, 3)
    Linear(in_features=1280, out_features=3, bias=True)
    """

    def __call__(self, n_features: int, n_outputs: int) -> nn.Module:
        """A new head."""
        return nn.Linear(n_features, n_outputs)


@dataclass(frozen=True)
class MLPHead:
    """Hidden layers with ReLU and dropout, then a linear layer.

    Parameters
    ----------
    hidden_sizes : sequence of int, default=(256,)
        Units of each hidden layer.
    dropout : float in [0, 1), default=0.5
        Share of the hidden units that a training step leaves out.

    Examples
    --------
    >>> from sktransfer import MLPHead
    >>> [type(layer).__name__ for layer in MLPHead(hidden_sizes=(64,))(1280, 3)]
    ['Linear', 'ReLU', 'Dropout', 'Linear']
    """

    hidden_sizes: Sequence[int] = (256,)
    dropout: float = 0.5

    def __post_init__(self) -> None:
        sizes = self.hidden_sizes
        if not isinstance(sizes, (tuple, list)) or not sizes:
            raise ValueError(f"hidden_sizes must name the units of each layer; got {sizes!r}.")
        # a tuple, so that heads can be compared and hashed
        whole = tuple(check_int("an entry of hidden_sizes", size, 1) for size in sizes)
        object.__setattr__(self, "hidden_sizes", whole)
        check_range("dropout", self.dropout, "[0, 1)")

    def __call__(self, n_features: int, n_outputs: int) -> nn.Module:
        """A new head."""
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((n_features, *self.hidden_sizes)):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(self.dropout)]
        return nn.Sequential(*layers, nn.Linear(self.hidden_sizes[-1], n_outputs))


# name -> builder: a callable of the numbers of features and outputs
HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": LinearHead(), "mlp": MLPHead()}


def build_head(head: Any, n_features: int, n_outputs: int) -> nn.Module:
    """A new head, (b, n_features) to (b, n_outputs).

    Parameters
    ----------
    head : str or callable
        "linear", "mlp", or a builder: called with the numbers of features and of outputs, it
        returns a new Module.
    n_features, n_outputs : int

    Raises
    ------
    TypeError, ValueError
        If ``head`` is none of these, or what it builds has another number of outputs.
    """
    if isinstance(head, nn.Module) or not (isinstance(head, str) or callable(head)):
        raise TypeError(
            "head must be 'linear', 'mlp', or a callable of the numbers of features and outputs "
            f"that returns a new Module; got {type(head).__name__}."
        )
    builder = HEADS[check_choice("head", head, list(HEADS))] if isinstance(head, str) else head
    module = builder(n_features, n_outputs)
    if not isinstance(module, nn.Module):
        raise TypeError(f"head must return a Module; {head!r} returned {type(module).__name__}.")
    try:
        with torch.no_grad():
            shape = tuple(module.eval()(torch.zeros(2, n_features)).shape)
    except RuntimeError as error:
        raise ValueError(
            f"head must take {n_features} features; {head!r} failed: {error}"
        ) from error
    if shape != (2, n_outputs):
        raise ValueError(f"head must return {n_outputs} outputs; {head!r} returned {shape[1:]}.")
    return module


@torch.no_grad()
def set_linear(head: nn.Module, weight: np.ndarray | None, bias: np.ndarray) -> None:
    """Copy weights and biases into the last linear layer of ``head``, if it has one of that size.

    Parameters
    ----------
    head : Module
    weight : ndarray of shape (n_outputs, n_features) or None
        None sets the weights to zero: the outputs are the biases.
    bias : ndarray of shape (n_outputs,)
    """
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1].out_features != len(bias):
        return
    last = layers[-1]
    last.weight.copy_(torch.zeros(()) if weight is None else torch.from_numpy(np.asarray(weight)))
    if last.bias is not None:
        last.bias.copy_(torch.from_numpy(np.asarray(bias)))
