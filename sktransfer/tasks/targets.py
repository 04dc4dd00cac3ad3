"""Labels and weights: what a classifier is to learn, as numbers, and which rows are held out."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, assert_all_finite, check_array

from .._support.validation import check_range, first_ten


@dataclass(frozen=True)
class Targets:
    """What is to be learned of n items.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, sorted; of multi-label targets, 0 to n_classes - 1.
    table : ndarray of shape (n, n_classes), float64, in [0, 1]
        How much each item belongs to each class.
    weight : ndarray of shape (n,), float64
        How much each item counts.
    sample_weight : ndarray of shape (n,), float64
        The same, before classes were weighed against each other.
    multilabel : bool
        Whether an item may belong to several classes, or to none.
    """

    classes: np.ndarray
    table: np.ndarray
    weight: np.ndarray
    sample_weight: np.ndarray
    multilabel: bool

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: np.ndarray) -> Targets:
        """The targets of some of the items."""
        return replace(
            self,
            table=self.table[rows],
            weight=self.weight[rows],
            sample_weight=self.sample_weight[rows],
        )

    def followed_by(self, other: Targets) -> Targets:
        """These targets, then those of other items with the same classes."""
        return replace(
            self,
            table=np.concatenate([self.table, other.table]),
            weight=np.concatenate([self.weight, other.weight]),
            sample_weight=np.concatenate([self.sample_weight, other.sample_weight]),
        )

    @property
    def index(self) -> np.ndarray:
        """The position of each item's class, (n,); of multi-label targets, of its first."""
        index: np.ndarray = self.table.argmax(axis=1)
        return index

    @property
    def labels(self) -> np.ndarray:
        """What scikit-learn calls y: labels (n,), or indicators (n, n_classes)."""
        return self.table.astype(int) if self.multilabel else self.classes[self.index]

    @property
    def prior(self) -> np.ndarray:
        """The weighted share of each class, (n_classes,), none of them 0 or 1."""
        # As if one item more belonged to all classes alike.
        n, k = self.weight.sum(), self.table.shape[1]
        prior: np.ndarray = (self.weight @ self.table + 1 / k) / (
            n + (2 / k if self.multilabel else 1)
        )
        return prior


def encode(y: Any, n_items: int, classes: np.ndarray | None = None, name: str = "y") -> Targets:
    """The targets that ``y`` stands for, each of weight 1.

    Parameters
    ----------
    y : array-like of shape (n_items,), or (n_items, n_classes) of 0 and 1
        Labels: strings, bools or integers; or multi-label indicators.
    n_items : int
    classes : ndarray or None, default=None
        The labels that may occur; None takes those that do.
    name : str, default="y"
        How messages call it.

    Raises
    ------
    ValueError
        If y is missing, not of the length of X, continuous, or has an unknown label.
    """
    if y is None:
        raise ValueError(
            f"FineTuneClassifier requires {name} to be passed, but the target {name} is None."
        )
    if len(getattr(y, "shape", ())) != 2:
        y = np.asarray(y)
    if len(y.shape) == 2 and y.shape[1] > 1:
        return _encode_indicators(y, n_items, classes, name)
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name=name)
    check_classification_targets(y)
    if len(y) != n_items:
        raise ValueError(f"{name} must have one label for each of {n_items} items; got {len(y)}.")
    known = np.unique(y) if classes is None else classes
    unknown = np.setdiff1d(y, known)
    if len(unknown):
        shown = ", ".join(map(repr, unknown[:10].tolist()))
        raise ValueError(f"{name} must hold labels that y holds; it also has {shown}.")
    table = np.zeros((n_items, len(known)))
    table[np.arange(n_items), np.searchsorted(known, y)] = 1
    ones = np.ones(n_items)
    return Targets(known, table, ones, ones, multilabel=False)


def _encode_indicators(y: Any, n_items: int, classes: np.ndarray | None, name: str) -> Targets:
    table = check_array(y, accept_sparse=False, dtype="numeric", input_name=name)
    if type_of_target(table) != "multilabel-indicator":
        raise ValueError(
            f"{name} must be one column of labels, or columns of 0 and 1, one for each label; "
            f"got {table.shape[1]} columns of other values."
        )
    n_classes = table.shape[1] if classes is None else len(classes)
    if table.shape != (n_items, n_classes):
        raise ValueError(f"{name} must be of shape {(n_items, n_classes)}; got {table.shape}.")
    known = np.arange(n_classes) if classes is None else classes
    ones = np.ones(n_items)
    return Targets(known, table.astype(float), ones, ones, multilabel=True)


def weigh(targets: Targets, sample_weight: Any, class_weight: Any) -> Targets:
    """The targets with the weight that ``sample_weight`` and ``class_weight`` give each item.

    Parameters
    ----------
    targets : Targets
    sample_weight : array-like of shape (n,), float or None
        At least 0, in any unit.
    class_weight : dict, "balanced" or None
        A factor for each label, in any unit; "balanced" makes every class count the same.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, all are zero, or ``class_weight`` names a label
        that does not occur.
    """
    given = _check_sample_weight(
        sample_weight, targets.table, dtype=np.float64, ensure_non_negative=True
    )
    if not given.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if class_weight is None:
        return replace(targets, weight=given, sample_weight=given)
    if targets.multilabel:
        raise ValueError("class_weight must be None where y is multi-label; got one.")
    if isinstance(class_weight, dict):
        unknown = [label for label in class_weight if label not in targets.classes]
        if unknown:
            raise ValueError(f"class_weight must name labels of y; {unknown[0]!r} is none.")
        for label, factor_of_label in class_weight.items():
            check_range(f"class_weight[{label!r}]", factor_of_label, "[0, inf)")
    elif not (isinstance(class_weight, str) and class_weight == "balanced"):
        raise ValueError(f"class_weight must be a dict, 'balanced' or None; got {class_weight!r}.")
    counted = given > 0
    present = np.unique(targets.index[counted])
    factor = np.ones(len(targets.classes))
    factor[present] = compute_class_weight(
        class_weight,
        classes=targets.classes[present],
        y=targets.labels[counted],
        sample_weight=given[counted],
    )
    weight = given * factor[targets.index]
    if not weight.any():
        raise ValueError("class_weight must leave at least two classes a weight above 0; got none.")
    # how classes count against each other: together the items count as they did
    weight *= given.sum() / weight.sum()
    return replace(targets, weight=weight, sample_weight=given)


def find_counted(targets: Targets) -> tuple[np.ndarray, Targets]:
    """Positions of the items that count, and the targets, without classes that none of them has.

    Raises
    ------
    ValueError
        If they are all of one class.
    """
    counted = np.flatnonzero(targets.weight > 0)
    if targets.multilabel:
        return counted, targets
    present = targets.table[counted].any(axis=0)
    if present.sum() < 2:
        raise ValueError(
            "y must have at least 2 classes; it has only one class: "
            f"{targets.classes[present].tolist()[0]!r}."
        )
    return counted, replace(
        targets, classes=targets.classes[present], table=targets.table[:, present]
    )


def hold_out(
    targets: Targets, fraction: float, groups: Any, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the items to train on, and of those held out for validation.

    Stratified by class; the items of one group stay together.

    Parameters
    ----------
    targets : Targets
    fraction : float in (0, 1)
        Share of the items that is held out; where there are groups, as nearly as they allow.
    groups : array-like of shape (n,) or None
    seed : int

    Raises
    ------
    ValueError
        If a class has too few items, or groups, to stand on both sides.
    """
    strata = None if targets.multilabel else targets.index
    if strata is not None:
        _check_counts(targets)
    if groups is not None:
        return _hold_out_groups(len(targets), strata, fraction, groups, seed)
    positions = np.arange(len(targets))
    least = 1 if strata is None else len(np.unique(strata))
    n_held = max(round(fraction * len(positions)), least)
    train = held = positions[:0]
    if len(positions) - n_held >= least:
        train, held = train_test_split(
            positions, test_size=n_held, stratify=strata, random_state=seed
        )
    if len(train) < least or (strata is not None and len(np.unique(strata[train])) < least):
        raise ValueError(
            "validation_fraction must leave every class in the training part; "
            f"of {len(positions)} items, {fraction} leaves too few."
        )
    return np.sort(train), np.sort(held)


def _hold_out_groups(
    n: int, strata: np.ndarray | None, fraction: float, groups: Any, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the folds that leave every class to train on, the one nearest to ``fraction``.

    A fold that holds every class goes before one that lacks some.
    """
    labels = np.zeros(n, int) if strata is None else strata
    n_groups, counts = len(np.unique(groups)), np.unique(labels, return_counts=True)[1]
    if n_groups < 2:
        raise ValueError("groups must be at least 2, one of them to hold out; got 1.")
    n_folds = max(2, min(round(1 / fraction), n_groups, int(counts.max())))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # scikit-learn's words about a class with fewer items than folds: not all folds are needed
        warnings.simplefilter("ignore", UserWarning)
        parts = list(folds.split(labels, labels, groups))

    def lacks(part: np.ndarray) -> bool:
        return len(np.unique(labels[part])) < len(counts)

    fit = [(train, held) for train, held in parts if len(held) and not lacks(train)]
    if not fit:
        raise ValueError(
            "groups must leave every class in the training part; one class lies in the groups that "
            "were held out alone. Pass X_val and y_val, or early_stopping=False."
        )
    return min(fit, key=lambda fold: (lacks(fold[1]), abs(len(fold[1]) - fraction * n)))


def _check_counts(targets: Targets) -> None:
    counts = Counter(targets.labels.tolist())
    single = [f"{label!r}: {count}" for label, count in counts.items() if count < 2]
    if single:
        raise ValueError(
            "y must have at least 2 items of every class, one of them to hold out for "
            f"early_stopping; it has only:\n{first_ten(single)}\n"
            "Pass X_val and y_val, add photos, or set early_stopping=False."
        )
