"""Regression: one number for each item, or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from torch import Tensor
from torch.nn.functional import huber_loss, l1_loss, mse_loss

from .._support.text import is_number
from .._support.validation import (
    check_choice,
    check_present,
    find_positions,
    first_ten,
    list_cells,
)
from .base import Task
from .heads import fit_linear_numbers
from .labels import arrange_columns, check_passed, name_columns
from .targets import Targets, check_weight

# The penalty of the exact head, for standardised features and numbers.  It is a constant, because
# cross-validation over penalties counts a repeated item otherwise than an item of weight 2.
EXACT_ALPHA = 1000.0

# A standard deviation below this part of the mean is a rounding error.
ROUNDING = 1e-14


def find_regression(y: Any, n_items: int, estimator_name: str, loss: str) -> Task:
    """Return the task of numbers, of which y has one column or several.

    Parameters
    ----------
    y : array-like of shape (n_items,) or (n_items, n_outputs)
        Finite numbers.
    n_items : int
        The number of items of X.
    estimator_name : str
        The name of the estimator in messages.
    loss : {"squared_error", "absolute_error", "huber"}

    Raises
    ------
    ValueError
        If y is None, is not numbers, or its length differs from that of X.
    """
    check_passed(y, estimator_name)
    numbers = check_numbers(y, n_items, "y")
    n_outputs = 1 if numbers.ndim == 1 else numbers.shape[1]
    blank = np.zeros(n_outputs)
    return Regression(loss, blank, blank + 1, numbers.ndim == 1, names=name_columns(y))


def check_numbers(y: Any, n_items: int, name: str) -> np.ndarray:
    """Check numbers, and return them as an array of shape (n_items,) or (n_items, n_outputs)."""
    if issparse(y):
        raise TypeError(f"{name} must be a dense array; got a sparse one. Pass {name}.toarray().")
    check_present(y, name, "number")
    try:
        array = np.asarray(y)
        if array.dtype.kind in "US":  # NumPy turns numbers beside a text into texts
            array = np.asarray(y, dtype=object)
    except ValueError as error:  # lists of several lengths
        raise ValueError(
            f"{name} must have as many numbers for each item; got lists of several lengths."
        ) from error
    if array.ndim not in (1, 2) or array.shape[-1] == 0:
        advice = " For points, pass points=True." if array.shape[2:] == (2,) else ""
        raise ValueError(
            f"{name} must be of shape ({n_items},) or ({n_items}, n_outputs); got {array.shape}."
            f"{advice}"
        )
    check_length(array, n_items, name)
    if array.dtype.kind not in "biuf":
        others = find_positions(array, lambda value: not isinstance(value, Real))
        if others:
            raise ValueError(
                f"{name} must be numbers; {len(others)} values are not:\n"
                f"{first_ten(list_cells(y, others, name))}\n"
                f"{_advice_on([array[at] for at in others], name)}"
            )
    numbers: np.ndarray = array.astype(np.float64)
    infinite = list(zip(*np.nonzero(~np.isfinite(numbers)), strict=True))
    if infinite:
        raise ValueError(
            f"{name} must be finite numbers; {len(infinite)} values are not:\n"
            f"{first_ten(list_cells(y, infinite, name))}"
        )
    return numbers


def _advice_on(values: Sequence[Any], name: str) -> str:
    """Return what to do about values that are no numbers."""
    if all(isinstance(value, str) and is_number(value) for value in values):
        return f"Convert texts to numbers: pandas.to_numeric({name})."
    if all(isinstance(value, Decimal) for value in values):
        return f"Convert decimals to floats: numpy.asarray({name}, dtype=float)."
    if all(isinstance(value, (date, np.datetime64)) for value in values):
        return (
            f"Convert dates to numbers, such as days: ({name} - {name}.min()) / "
            "pandas.Timedelta(days=1)."
        )
    return "To predict labels, use FineTuneClassifier."


def check_length(array: np.ndarray, n_items: int, name: str) -> None:
    """Raise an error if an array does not have a row for each item."""
    if len(array) != n_items:
        raise ValueError(f"{name} must have a row for each of {n_items} items; got {len(array)}.")


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted mean of each column."""
    mean: np.ndarray = np.average(values, axis=0, weights=weight)
    return mean


def _median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted median of each column."""
    order = np.argsort(values, axis=0)
    below = np.cumsum(weight[order], axis=0)  # (n, k)
    middle = (below >= weight.sum() / 2).argmax(axis=0)
    median: np.ndarray = np.take_along_axis(values, order, 0)[middle, np.arange(values.shape[1])]
    return median


def _huber_centre(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the constant of each column with the lowest Huber loss."""
    centre = _median(values, weight)
    for _ in range(100):  # a mean in which distant values have lower weights
        distance = np.abs(values - centre)
        lowered = weight[:, None] / np.maximum(distance, 1)  # (n, k)
        centre = (lowered * values).sum(axis=0) / lowered.sum(axis=0)
    return centre


# The loss of each number, and the constant with the lowest loss.
LOSSES: dict[str, tuple[Callable[..., Tensor], Callable[..., np.ndarray]]] = {
    "squared_error": (mse_loss, _mean),
    "absolute_error": (l1_loss, _median),
    "huber": (huber_loss, _huber_centre),
}


@dataclass(frozen=True, eq=False)
class Regression:
    """The task of predicting one number for each item, or several.

    The outputs of the network are standardised numbers.

    Parameters
    ----------
    criterion : {"squared_error", "absolute_error", "huber"}
        The loss of standardised numbers.
    mean, scale : ndarray of shape (n_outputs,)
        An output of 0 means ``mean``, and an output of 1 means ``mean + scale``.
    is_flat : bool
        True if y has one axis.
    names : tuple of str, default=()
        The names of the columns of y, if they have names.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.tasks import Regression
    >>> task = Regression("squared_error", np.array([10.0]), np.array([2.0]), True)
    >>> task.encode([8, 14], 2)
    array([[-1.],
           [ 2.]])
    >>> task.decide(np.array([[0.5]]))
    array([11.])
    """

    criterion: str
    mean: np.ndarray
    scale: np.ndarray
    is_flat: bool
    names: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        check_choice("criterion", self.criterion, list(LOSSES))
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if not isinstance(values, np.ndarray) or values.ndim != 1:
                raise TypeError(f"{name} must be an array of one axis; got {values!r}.")
        if self.names and len(self.names) != len(self.mean):
            raise ValueError(
                f"names must be as many as outputs, {len(self.mean)}; got {len(self.names)}."
            )

    @property
    def n_outputs(self) -> int:
        """The number of columns of y."""
        return len(self.mean)

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:
        """Return standardised numbers, (n, n_outputs)."""
        y = self.arrange(y, name)
        values = check_numbers(y, n_items, name).reshape(n_items, -1)
        if values.shape[1] != self.n_outputs:
            raise ValueError(
                f"{name} must have {self.n_outputs} numbers for each item, as y has; got "
                f"{values.shape[1]}."
            )
        standardised: np.ndarray = (values - self.mean) / self.scale
        return standardised

    def arrange(self, y: Any, name: str = "y") -> Any:
        """Return a table with its columns in the order of ``names``, which it must have."""
        return arrange_columns(y, self.names, name)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return numbers in the units of y."""
        return self.decide(values)

    def weigh(self, targets: Targets, class_weight: Any) -> Targets:  # noqa: ARG002 - numbers have no classes
        """Return the targets unchanged; numbers have no class weights."""
        return targets

    def narrow(self, targets: Targets, name: str = "y") -> tuple[Task, Targets]:  # noqa: ARG002 - no message
        """Return the task and the targets unchanged; numbers have no classes."""
        return self, targets

    def scaled(self, targets: Targets, train: np.ndarray) -> tuple[Task, Targets]:
        """Scale the numbers to weighted mean 0 and standard deviation 1 over the training items."""
        values = targets.values[train]
        mean = _mean(values, targets.weight[train])
        largest = np.abs(values - mean).max(axis=0)
        largest[largest == 0] = 1
        scale = largest * np.sqrt(_mean(((values - mean) / largest) ** 2, targets.weight[train]))
        scale[scale <= ROUNDING * np.abs(mean)] = 1  # a constant
        units = replace(self, mean=self.mean + mean * self.scale, scale=self.scale * scale)
        return units, replace(targets, values=(targets.values - mean) / scale)

    def strata(self, targets: Targets, n_most: int) -> np.ndarray | None:
        """Return the quantile of each item among at most 10, if there is one column."""
        n_strata = min(10, n_most, len(targets) // 2)
        if self.n_outputs > 1 or n_strata < 2:
            return None
        # By rank, so that each stratum has as many items even if numbers are equal.
        rank = np.argsort(np.argsort(targets.values[:, 0], kind="stable"), kind="stable")
        stratum: np.ndarray = rank * n_strata // len(targets)
        return stratum

    def initial_bias(self, targets: Targets) -> np.ndarray:
        """Return the constants with the lowest loss, such as the means."""
        return LOSSES[self.criterion][1](targets.values, targets.weight)

    def exact_model(self, gentle: bool) -> Any:  # noqa: ARG002 - the same for all items
        """Return an unfitted ridge regression, whose coefficients are the initial head."""
        return Ridge(EXACT_ALPHA)

    def exact_head(
        self, model: Any, features: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit a clone of a linear regressor, and return its weights and biases."""
        return fit_linear_numbers(model, features, targets.values, targets.weight)

    def smooth(self, target: Tensor, amount: float) -> Tensor:  # noqa: ARG002 - numbers are not smoothed
        """Return the targets unchanged."""
        return target

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each item, averaged over its numbers."""
        return LOSSES[self.criterion][0](outputs, target, reduction="none").mean(1)

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return 1 minus the squared error of each item; its mean is R2 on the training items."""
        return 1 - (outputs - target).square().mean(1)

    def finish(self, outputs: Tensor) -> Tensor:
        """Return numbers in the units of y, (b, n_outputs)."""
        return outputs * outputs.new_tensor(self.scale) + outputs.new_tensor(self.mean)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return numbers in the units of y, (n,) or (n, n_outputs)."""
        numbers: np.ndarray = outputs * self.scale + self.mean
        return numbers[:, 0] if self.is_flat else numbers

    def score(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> float:
        """Return R2, the mean over the columns of y."""
        return float(np.mean(self.score_columns(predicted, y, sample_weight)))

    def score_columns(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Return R2 of each column of y, (n_outputs,)."""
        y = self.arrange(y)
        true = check_numbers(y, len(predicted), "y").reshape(len(predicted), -1)
        found = predicted.reshape(len(predicted), -1)
        if true.shape != found.shape:
            raise ValueError(f"y must be of shape {predicted.shape}; got {np.shape(y)}.")
        self.check_found(found)
        weight = check_weight(sample_weight, len(true))
        # A single number, NaN, if there is only one item.
        scores = r2_score(true, found, sample_weight=weight, multioutput="raw_values")
        return np.broadcast_to(scores, true.shape[1:])

    def check_found(self, found: np.ndarray) -> None:
        """Raise an error if items have no prediction, (n, n_outputs)."""
        missing = np.flatnonzero(np.isnan(found).any(axis=1))
        if len(missing):
            raise ValueError(
                f"X must have items that can be decoded, because R2 needs a prediction for each; "
                f"{len(missing)} of {len(found)} have none:\n"
                f"{first_ten([f'X[{position}]' for position in missing])}\nLeave them out."
            )
