"""Hold out a part of the training data for validation."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from .._support.validation import check_present, first_ten
from .data import Data
from .settings import FitSettings


def hold_out_validation(data: Data, settings: FitSettings, groups: Any, seed: int) -> Data:
    """Hold out a part of the training items for validation."""
    counted = data.train
    groups = None if groups is None else _check_groups(groups, data.n_own)[counted]
    fraction = settings.validation_fraction
    n_held = round(fraction * len(counted))
    # A group may have all items of a stratum of numbers, so groups are divided without strata.
    n_most = min(n_held, len(counted) - n_held) if groups is None else 1
    strata = data.task.strata(data.targets[counted], n_most)
    train, valid = hold_out(len(counted), strata, fraction, groups, seed)
    return replace(data, train=counted[train], valid=counted[valid])


def _check_groups(groups: Any, n_items: int) -> np.ndarray:
    array = np.asarray(groups)
    if array.shape != (n_items,):
        raise ValueError(
            f"groups must have one entry for each of {n_items} items; got shape {array.shape}."
        )
    return array


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
    check_present(groups, "groups", "group")
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
