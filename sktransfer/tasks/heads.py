"""Heads: the last layers of a network, which compute outputs from a vector of features."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags
from torch import Tensor, nn

from .._support.validation import check_choice, check_int, check_range, no_choice


@dataclass(frozen=True)
class LinearHead:
    """A head that is one linear layer.

    Examples
    --------
    >>> from sktransfer.tasks import LinearHead
    >>> LinearHead()(1280, 3)
    Linear(in_features=1280, out_features=3, bias=True)
    """

    def __call__(self, n_features: int, n_outputs: int) -> nn.Module:
        """Build a new head."""
        return nn.Linear(n_features, n_outputs)


@dataclass(frozen=True)
class MLPHead:
    """A head with hidden layers, each followed by ReLU and dropout, and a final linear layer.

    Parameters
    ----------
    hidden_sizes : sequence of int, default=(256,)
        Number of units of each hidden layer, each at least 1.
    dropout : float in [0, 1), default=0.5
        Probability with which a hidden unit is set to zero in training.

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
            raise ValueError(
                "hidden_sizes must be a tuple or list with the number of units of each hidden "
                f"layer; got {sizes!r}."
            )
        # A tuple, so that heads can be compared and hashed.
        whole = tuple(check_int("an entry of hidden_sizes", size, 1) for size in sizes)
        object.__setattr__(self, "hidden_sizes", whole)
        check_range("dropout", self.dropout, "[0, 1)")

    def __call__(self, n_features: int, n_outputs: int) -> nn.Module:
        """Build a new head."""
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((n_features, *self.hidden_sizes)):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(self.dropout)]
        return nn.Sequential(*layers, nn.Linear(self.hidden_sizes[-1], n_outputs))


# The keys are names, the values functions of the number of features and the number of outputs.
HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": LinearHead(), "mlp": MLPHead()}


def check_head(name: str, head: Any) -> None:
    """Raise an error if ``head`` is neither the name of a head nor a callable."""
    also = "or a callable that takes the numbers of features and outputs and returns a new Module"
    check_builder(name, head, HEADS, also)


def check_builder(name: str, head: Any, named: Mapping[str, Any], also: str) -> None:
    """Raise an error if ``head`` is neither one of the ``named`` builders nor a callable.

    ``also`` describes the callable, for the message.
    """
    if isinstance(head, str):
        check_choice(name, head, list(named), also)
    elif isinstance(head, nn.Module) or not callable(head):
        raise TypeError(no_choice(name, head, list(named), also))


def call_builder(head: Any, named: Mapping[str, Any], *sizes: Any) -> nn.Module:
    """Build the head of a name or a callable for some sizes; raise an error if it is no Module."""
    module = (named[head] if isinstance(head, str) else head)(*sizes)
    if not isinstance(module, nn.Module):
        raise TypeError(f"head must return a Module; got {type(module).__name__} from {head!r}.")
    return module


def build_head(head: Any, n_features: int, n_outputs: int) -> nn.Module:
    """Build a new head, which maps (b, n_features) to (b, n_outputs).

    Parameters
    ----------
    head : {"linear", "mlp"} or callable
        A callable takes the number of features and the number of outputs, and returns a new
        Module.
    n_features, n_outputs : int

    Raises
    ------
    TypeError, ValueError
        If ``head`` is anything else, or if the Module has another number of inputs or outputs.
    """
    check_head("head", head)
    module = call_builder(head, HEADS, n_features, n_outputs)
    try:
        with torch.no_grad():
            shape = tuple(module.eval()(torch.zeros(2, n_features)).shape)
    except RuntimeError as error:
        raise ValueError(
            f"head must return a Module for {n_features} features; that of {head!r} failed: {error}"
        ) from error
    if shape != (2, n_outputs):
        raise ValueError(
            f"head must return a Module with {n_outputs} outputs; got outputs of shape {shape[1:]} "
            f"from {head!r}."
        )
    return module


@torch.no_grad()
def set_linear(head: nn.Module, weight: np.ndarray | None, bias: np.ndarray) -> None:
    """Copy weights and biases into the last linear layer of ``head``.

    A head whose last linear layer has another number of outputs, or that has no such layer, stays
    unchanged.

    Parameters
    ----------
    head : Module
    weight : ndarray of shape (n_outputs, n_features) or None
        None sets the weights to zero, so that the outputs are the biases.
    bias : ndarray of shape (n_outputs,)
    """
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1].out_features != len(bias):
        return
    last = layers[-1]
    last.weight.copy_(torch.zeros(()) if weight is None else torch.from_numpy(np.asarray(weight)))
    if last.bias is not None:
        last.bias.copy_(torch.from_numpy(np.asarray(bias)))


def fit_linear(
    model: Any, features: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a clone of a classifier, and return its coefficients (k, d) and intercepts (k,)."""
    if len(np.unique(y)) == 1:
        raise ValueError("y must have at least 2 classes in the training part; got one.")
    fitted = _fit(model, features, y, weight)
    n_classes = len(np.unique(y))
    found = _read_linear(fitted, "decision_function", features, 1 if n_classes == 2 else n_classes)
    if found is None:
        raise ValueError(
            "head_init must be a linear classifier of scikit-learn, which has one row of coef_ for "
            f"each class; got {model!r}."
        )
    return found


def fit_linear_numbers(
    model: Any, features: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a clone of a regressor to numbers (n, k); return coefficients (k, d) and intercepts (k,).

    A regressor of a single number is fitted to each column.
    """
    at_once = y.shape[1] > 1 and get_tags(model).target_tags.multi_output
    columns = [y] if at_once else list(y.T)
    heads = []
    for column in columns:
        fitted = _fit(model, features, column, weight)
        n_rows = 1 if column.ndim == 1 else column.shape[1]
        found = _read_linear(fitted, "predict", features, n_rows)
        if found is None:
            raise ValueError(
                "head_init must be a linear regressor of scikit-learn, whose predictions are "
                f"linear in the features; got {model!r}."
            )
        heads.append(found)
    return np.concatenate([coef for coef, _ in heads]), np.concatenate([bias for _, bias in heads])


def _fit(model: Any, features: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Any:
    """Fit a clone of a model."""
    fitted = clone(model)
    with warnings.catch_warnings():
        # It does not matter if the solver stops early, because training continues from there.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fitted.fit(features, y, sample_weight=weight)


def _read_linear(
    fitted: Any, method: str, features: np.ndarray, n_rows: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the coefficients and intercepts of a model; None if ``method`` is not linear."""
    coef: Any = getattr(fitted, "coef_", None)
    bias: Any = getattr(fitted, "intercept_", None)
    if np.size(coef) != n_rows * features.shape[1] or np.size(bias) not in (1, n_rows):
        return None
    coef, bias = np.reshape(coef, (n_rows, -1)), np.ravel(bias) + np.zeros(n_rows)
    # Not every model with coef_ is linear, so compare its scores for some items.
    some = features[:8]
    scores = np.reshape(getattr(fitted, method)(some), (len(some), n_rows))
    is_linear = np.allclose(some @ coef.T + bias, scores, rtol=1e-3, atol=1e-3)
    return (coef, bias) if is_linear else None


class HeadPart(nn.Module):
    """Some outputs of a head.

    Parameters
    ----------
    head : Module
    start, stop : int
        The positions of the outputs, from ``start`` to before ``stop``.
    """

    def __init__(self, head: nn.Module, start: int, stop: int):
        super().__init__()
        self.head, self.start, self.stop = head, start, stop

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (b, stop - start) of features (b, n_features)."""
        outputs: Tensor = self.head(x)[:, self.start : self.stop]
        return outputs


def take_outputs(head: nn.Module, start: int, stop: int) -> nn.Module:
    """Return a copy of a head that computes the outputs from ``start`` to before ``stop``."""
    head = deepcopy(head)
    if type(head) is nn.Linear:
        return _part_of_linear(head, start, stop)
    if type(head) is nn.Sequential and type(head[-1]) is nn.Linear:
        head[-1] = _part_of_linear(head[-1], start, stop)
        return head
    return HeadPart(head, start, stop)


def _part_of_linear(layer: nn.Linear, start: int, stop: int) -> nn.Linear:
    has_bias = layer.bias is not None
    part = nn.Linear(layer.in_features, stop - start, has_bias, dtype=layer.weight.dtype)
    part.load_state_dict({name: w[start:stop] for name, w in layer.state_dict().items()})
    return part.requires_grad_(layer.weight.requires_grad)
