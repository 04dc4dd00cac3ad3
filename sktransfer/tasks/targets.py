"""Encoded targets with their weights, and the split into training and validation parts."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils.validation import _check_sample_weight

from .._support.validation import first_ten


@dataclass(frozen=True)
class Targets:
    """Encoded targets of n items, with the weights of the items.

    Parameters
    ----------
    values : ndarray of shape (n, ...), float64
        The targets, as a task encodes them.
    weight : ndarray of shape (n,), float64
        The weight of each item in the loss.
    sample_weight : ndarray of shape (n,), float64
        The weight of each item, not multiplied by the weight of its class.
    """

    values: np.ndarray
    weight: np.ndarray
    sample_weight: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: np.ndarray) -> Targets:
        """Return the targets of some of the items."""
        return Targets(self.values[rows], self.weight[rows], self.sample_weight[rows])

    def followed_by(self, values: np.ndarray) -> Targets:
        """Append the targets of other items, each with weight 1."""
        ones = np.ones(len(values))
        return Targets(
            np.concatenate([self.values, values]),
            np.concatenate([self.weight, ones]),
            np.concatenate([self.sample_weight, ones]),
        )


def make_targets(values: np.ndarray, sample_weight: Any) -> Targets:
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
    weight = _check_sample_weight(sample_weight, values, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return Targets(values, weight, weight)


def hold_out(
    n_items: int, strata: np.ndarray | None, fraction: float, groups: Any, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split items into a training part and a validation part.

    Parameters
    ----------
    n_items : int
    strata : ndarray of shape (n_items,) or None
        The stratum of each item.  Both parts have items of every stratum, in similar proportions.
        None does not stratify.
    fraction : float in (0, 1)
        The fraction of the items to hold out.  With groups, it is only approximate.
    groups : array-like of shape (n_items,) or None
        The group of each item.  The items of a group stay together.
    seed : int
        The seed of the split.

    Returns
    -------
    train, held : ndarray of int
        The sorted positions of the items of both parts.

    Raises
    ------
    ValueError
        If a stratum has too few items, or groups, for both parts.
    """
    if strata is not None:
        _check_counts(strata)
    if groups is not None:
        return _hold_out_groups(n_items, strata, fraction, groups, seed)
    positions = np.arange(n_items)
    minimum = 1 if strata is None else len(np.unique(strata))
    n_held = max(round(fraction * n_items), minimum)
    train = held = positions[:0]
    if n_items - n_held >= minimum:
        train, held = train_test_split(
            positions, test_size=n_held, stratify=strata, random_state=seed
        )
    if len(train) < minimum or (strata is not None and len(np.unique(strata[train])) < minimum):
        raise ValueError(
            f"validation_fraction must leave items of every class in the training part; got "
            f"{fraction!r}, which leaves too few of {n_items} items."
        )
    return np.sort(train), np.sort(held)


def _hold_out_groups(
    n_items: int, strata: np.ndarray | None, fraction: float, groups: Any, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out one fold of a grouped split, and leave every stratum in the training part.

    Folds that contain every stratum are preferred; among these, the one closest to ``fraction``.
    """
    strata = np.zeros(n_items, int) if strata is None else strata
    n_groups, counts = len(np.unique(groups)), np.unique(strata, return_counts=True)[1]
    if n_groups < 2:
        raise ValueError(
            "groups must have at least 2 groups, because early_stopping holds out one; got 1. Pass "
            "X_val and y_val, or early_stopping=False."
        )
    n_folds = max(2, min(round(1 / fraction), n_groups, int(counts.max())))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # scikit-learn warns if a class has fewer items than there are folds.  One fold is enough.
        warnings.simplefilter("ignore", UserWarning)
        parts = list(folds.split(strata, strata, groups))

    def lacks(part: np.ndarray) -> bool:
        return len(np.unique(strata[part])) < len(counts)

    fit = [(train, held) for train, held in parts if len(held) and not lacks(train)]
    if not fit:
        raise ValueError(
            "groups must leave every class in the training part; got a class that is only in the "
            "groups that are held out. Pass X_val and y_val, or early_stopping=False."
        )
    return min(fit, key=lambda fold: (lacks(fold[1]), abs(len(fold[1]) - fraction * n_items)))


def _check_counts(strata: np.ndarray) -> None:
    """Raise an error if a stratum has fewer than two items."""
    counts = Counter(strata.tolist())
    single = [f"{label!r}: {count}" for label, count in counts.items() if count < 2]
    if single:
        raise ValueError(
            "y must have at least 2 items of every class, because early_stopping holds out one; "
            f"got:\n{first_ten(single)}\n"
            "Pass X_val and y_val, add items, or set early_stopping=False."
        )
