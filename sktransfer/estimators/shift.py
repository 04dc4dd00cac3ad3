"""Test if two sets of items come from different domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, KFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from .._support.validation import check_int, require
from ..display import DomainShiftDisplay


@dataclass(frozen=True, eq=False)
class DomainShift:
    """The result of a test for a shift between two domains.

    Parameters
    ----------
    auc : float in [0, 1]
        Area under the ROC curve of a cross-validated classifier of the domains.
        About 0.5 means that it cannot.
    p_value : float in (0, 1]
        Share of the permutations of the domains whose area is at least as large.
    null : ndarray of shape (n_permutations,)
        The areas of the permutations.
    source_scores, target_scores : ndarray of shape (n_items,)
        Cross-validated score of each item; the larger, the more like the target.  NaN for an item
        that could not be decoded.
    """

    auc: float
    p_value: float
    null: np.ndarray
    source_scores: np.ndarray
    target_scores: np.ndarray

    def most_like_source(self, n: int = 5) -> np.ndarray:
        """Return the positions in ``X_target`` of the ``n`` items most like the source.

        Parameters
        ----------
        n : int, default=5
            At least 0.

        Returns
        -------
        ndarray of int of shape (n,)
        """
        return _first(self.target_scores, n)

    def least_like_source(self, n: int = 5) -> np.ndarray:
        """Return the positions in ``X_target`` of the ``n`` items least like the source.

        Parameters
        ----------
        n : int, default=5
            At least 0.

        Returns
        -------
        ndarray of int of shape (n,)
        """
        return _first(-self.target_scores, n)

    def plot(self, ax: Any = None) -> DomainShiftDisplay:
        """Plot the scores of both domains.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        DomainShiftDisplay
        """
        return DomainShiftDisplay.from_shift(self, ax=ax)


def _first(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the positions of the ``n`` lowest scores, without NaN."""
    check_int("n", n, 0)
    order: np.ndarray = np.argsort(scores, kind="stable")
    return order[: min(n, np.isfinite(scores).sum())]


def domain_shift(
    estimator: Any,
    X_source: Any,
    X_target: Any,
    *,
    n_permutations: int = 199,
    cv: int = 5,
    random_state: Any = None,
) -> DomainShift:
    """Test if two sets of items come from different domains.

    A linear classifier of the features is trained to distinguish the domains.  If it can, better
    than with permuted domains, there is a shift.  Its size does not show how many points of
    accuracy it costs: in measurements, no number without labels of the target did,
    neither this area nor distances between the domains nor the confidence of the classifier.

    Parameters
    ----------
    estimator : estimator with ``transform``, or None
        Computes the features, such as :class:`PretrainedFeatureExtractor` or a fine-tuned
        network.  If it is not fitted, a copy is fitted to both sets: fitted to one, it could
        distinguish them even if there is no shift.  None means that ``X_source`` and ``X_target``
        are features.
    X_source, X_target : sequence of n_items items, or array-like of shape (n_items, n_features)
        The items of the two domains.
    n_permutations : int, default=199
        Number of permutations, at least 1.  The smallest p-value is 1 / (1 + n_permutations).
    cv : int, default=5
        Number of folds, at least 2.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of the permutations.

    Returns
    -------
    DomainShift

    Raises
    ------
    ValueError
        If a domain has fewer than ``cv`` items that can be decoded, or the domains have different
        numbers of features.

    Examples
    --------
    >>> from sktransfer import PretrainedFeatureExtractor, domain_shift, load_textures
    >>> photos = load_textures("train").data
    >>> dark = [photo // 4 for photo in photos]
    >>> shift = domain_shift(PretrainedFeatureExtractor(), photos[:50], dark[50:], random_state=0)
    >>> shift.auc > 0.9, shift.p_value < 0.05
    (True, True)
    """
    check_int("n_permutations", n_permutations, 1)
    check_int("cv", cv, 2)
    source, target = _features(estimator, X_source, X_target)
    if source.shape[1:] != target.shape[1:]:
        raise ValueError(
            "X_source and X_target must have the same number of features; got "
            f"{source.shape[1]} and {target.shape[1]}."
        )
    both = np.concatenate([source, target])
    kept = ~np.isnan(both).any(axis=1)
    is_target = np.arange(len(both)) >= len(source)
    counts = [int((kept & part).sum()) for part in (~is_target, is_target)]
    if min(counts) < cv:
        raise ValueError(
            f"X_source and X_target must have at least cv={cv} items that can be decoded; got "
            f"{counts[0]} and {counts[1]}."
        )
    rng = check_random_state(random_state)
    domains = is_target[kept]
    permuted = [rng.permutation(domains) for _ in range(n_permutations)]
    labels = np.column_stack([domains, *permuted]).astype(np.float64)  # (n, 1 + n_permutations)
    scores = _cross_predict(both[kept], labels, cv, rng)
    areas = _areas(scores, labels)
    all_scores = np.full(len(both), np.nan)
    all_scores[kept] = scores[:, 0]
    return DomainShift(
        auc=float(areas[0]),
        p_value=float((areas >= areas[0]).mean()),
        null=areas[1:],
        source_scores=all_scores[~is_target],
        target_scores=all_scores[is_target],
    )


def _features(estimator: Any, X_source: Any, X_target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of both domains; rows of NaN for items that could not be decoded."""
    if estimator is None:
        return _dense(X_source), _dense(X_target)
    if not hasattr(estimator, "transform"):
        raise TypeError(
            f"estimator must have a method transform, or be None; got {type(estimator).__name__}."
        )
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        if get_tags(estimator).target_tags.required:
            raise ValueError(
                "estimator must be fitted, because its fit needs labels; got a "
                f"{type(estimator).__name__} that is not. Fit it to X_source and its labels."
            ) from None
        estimator = clone(estimator).fit(_join(X_source, X_target))
    return _dense(estimator.transform(X_source)), _dense(estimator.transform(X_target))


def _join(X_source: Any, X_target: Any) -> Any:
    """Return the items of both sets, in the form in which they were passed."""
    if hasattr(X_source, "iloc") and hasattr(X_target, "iloc"):
        return require("pandas", "cli").concat([X_source, X_target], ignore_index=True)
    are_arrays = isinstance(X_source, np.ndarray) and isinstance(X_target, np.ndarray)
    if are_arrays and X_source.shape[1:] == X_target.shape[1:]:
        return np.concatenate([X_source, X_target])
    return [*X_source, *X_target]


def _dense(features: Any) -> np.ndarray:
    """Return features as an array of two axes, in which NaN is allowed."""
    how: Any = {"accept_sparse": True, "ensure_all_finite": "allow-nan"}
    array = check_array(features, **how)
    dense: np.ndarray = array.toarray() if issparse(array) else array
    return dense


def _cross_predict(
    F: np.ndarray, labels: np.ndarray, cv: int, rng: np.random.RandomState
) -> np.ndarray:
    """Return cross-validated predictions of ridge regressions, one for each column of labels.

    All columns have the same folds.  Equal rows are in one fold, because a row that is in both
    domains would otherwise be trained with the other label.  The penalty is the mean squared length
    of a row of features.
    """
    groups = np.unique(F, axis=0, return_inverse=True)[1].ravel()
    if cv <= groups.max() + 1 < len(F):
        folds = GroupKFold(cv, shuffle=True, random_state=rng).split(F, groups=groups)
    else:
        folds = KFold(cv, shuffle=True, random_state=rng).split(F)
    F = StandardScaler().fit_transform(F.astype(np.float64))
    penalty = max(float((F**2).sum()) / len(F), np.finfo(float).tiny)
    scores = np.empty_like(labels)
    for train, test in folds:
        centred = labels[train] - labels[train].mean(axis=0)
        scores[test] = F[test] @ _ridge(F[train], centred, penalty)
    scores += labels.mean(axis=0)  # one mean, because those of folds tell their labels
    return scores


def _ridge(F: np.ndarray, Y: np.ndarray, penalty: float) -> np.ndarray:
    """Return the weights of ridge regressions, (n_features, n_columns), by the smaller system."""
    n, d = F.shape
    if n <= d:
        dual: np.ndarray = F.T @ np.linalg.solve(F @ F.T + penalty * np.eye(n), Y)
        return dual
    weights: np.ndarray = np.linalg.solve(F.T @ F + penalty * np.eye(d), F.T @ Y)
    return weights


def _areas(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each column."""
    n_target = labels.sum(axis=0)
    ranks = (rankdata(scores, axis=0) * labels).sum(axis=0)
    areas: np.ndarray = (ranks - n_target * (n_target + 1) / 2) / (
        n_target * (len(labels) - n_target)
    )
    return areas
