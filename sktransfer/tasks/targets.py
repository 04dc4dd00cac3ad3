"""Encoded targets with the weights of their items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from .._support.text import short


@dataclass(frozen=True)
class Targets:
    """Encoded targets of n items, with the weights of the items.

    Parameters
    ----------
    values : ndarray of shape (n, ...), float64, or another sequence of n targets
        The targets, as a task encodes them.  A sequence that is no array, such as masks, has the
        methods ``followed_by`` and ``digest``.
    weight : ndarray of shape (n,), float64
        The weight of each item in the loss.
    sample_weight : ndarray of shape (n,), float64
        The weight of each item, not multiplied by the weight of its class.
    """

    values: Any
    weight: np.ndarray
    sample_weight: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: np.ndarray) -> Targets:
        """Return the targets of some of the items."""
        return Targets(self.values[rows], self.weight[rows], self.sample_weight[rows])

    @property
    def content(self) -> Any:
        """The values as an array, or their digest."""
        return self.values if isinstance(self.values, np.ndarray) else self.values.digest()

    def followed_by(self, values: Any) -> Targets:
        """Append the targets of other items, each with weight 1."""
        ones = np.ones(len(values))
        return Targets(
            _append(self.values, values),
            np.concatenate([self.weight, ones]),
            np.concatenate([self.sample_weight, ones]),
        )


def _append(values: Any, others: Any) -> Any:
    """Append targets to others of the same kind."""
    if isinstance(values, np.ndarray):
        return np.concatenate([values, others])
    return values.followed_by(others)


def weighted_mean(correct: Any, sample_weight: Any) -> Any:
    """Return the mean over the items, (n, ...), with weights that are checked."""
    return np.average(correct, axis=0, weights=check_weight(sample_weight, len(correct)))


def check_weight(sample_weight: Any, n_items: int) -> np.ndarray | None:
    """Return the weights of items in a score, or None; raise an error if they are not usable."""
    if sample_weight is None:
        return None
    return make_targets(np.empty((n_items, 1)), sample_weight).weight


def make_targets(values: Any, sample_weight: Any) -> Targets:
    """Make targets from encoded values and the weights of the items.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
    sample_weight : array-like of shape (n,), float or None
        The weights, at least 0.  None means 1 for each item.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or all are zero.
    """
    if sample_weight is not None:
        _check_numbers(sample_weight, len(values))
    weight = _check_sample_weight(sample_weight, values, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return Targets(values, weight, weight)


def _check_numbers(sample_weight: Any, n_items: int) -> None:
    """Raise an error unless weights are numbers, one for each item, or one for all."""
    try:
        array = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"sample_weight must be a number of at least 0 for each item; got "
            f"{short(sample_weight)}: {error}. For weights of classes, pass class_weight."
        ) from error
    if array.ndim == 1 and len(array) != n_items:
        raise ValueError(
            f"sample_weight must have a number for each of {n_items} items; got {len(array)}."
        )
