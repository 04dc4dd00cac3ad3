"""Scores of features: how well a linear model, or neighbours, can predict y from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# Ratios of the precision of the weights to that of the noise, among which the evidence is maximal,
# for features with a mean square of 1.
RATIOS = np.exp(np.linspace(-25, 25, 101))
# Rounds in which the grid around the best ratio becomes finer.
N_ROUNDS = 6


def logme(F: np.ndarray, y: np.ndarray, is_class: bool = True) -> float:
    """Return LogME: the maximum evidence of a Bayesian linear model of y, per item [1]_.

    Parameters
    ----------
    F : ndarray of shape (n, d)
        Features.
    y : ndarray of shape (n,) or (n, k)
        Labels, each of which is compared with the rest; or numbers, which are standardised.
    is_class : bool, default=True

    Returns
    -------
    float
        The mean over the classes, or over the columns of numbers.

    References
    ----------
    .. [1] K. You, Y. Liu, J. Wang and M. Long, "LogME: Practical Assessment of Pre-trained Models
       for Transfer Learning", ICML 2021, https://arxiv.org/abs/2102.11005
    """
    F = np.asarray(F, np.float64)
    U, singular, _ = np.linalg.svd(F, full_matrices=False)
    if is_class:
        Y = (y[:, None] == np.unique(y)).astype(np.float64)  # (n, k)
    else:
        Y = StandardScaler().fit_transform(np.reshape(y, (len(y), -1)).astype(np.float64))
    squares = singular**2 / max(float((F**2).mean()), np.finfo(float).tiny)
    shares = (U.T @ Y) ** 2  # (r, k)
    rest = np.maximum((Y**2).sum(axis=0) - shares.sum(axis=0), 0)  # (k,)
    columns = zip(shares.T, rest, strict=True)
    return float(np.mean([_max_evidence(squares, *column, len(F)) for column in columns]))


def _max_evidence(squares: np.ndarray, shares: np.ndarray, rest: float, n: int) -> float:
    """Return the maximum of the log evidence of one column, divided by ``n``.

    Parameters
    ----------
    squares : ndarray of shape (r,)
        The squared singular values of the features.
    shares : ndarray of shape (r,)
        The squared coordinates of the column in the singular vectors.
    rest : float
        The squared length of the part of the column that no features explain.
    n : int
        The number of items.
    """
    ratios = RATIOS
    for _ in range(N_ROUNDS):
        scaled = squares / ratios[:, None]  # (m, r)
        # For each ratio, the best precision of the noise is known.
        residual = np.maximum((shares / (1 + scaled)).sum(axis=1) + rest, np.finfo(float).tiny)
        determinant = np.log1p(scaled).sum(axis=1)
        evidence = -0.5 * (n * (np.log(2 * np.pi * residual / n) + 1) + determinant) / n
        best = int(evidence.argmax())
        low, high = ratios[max(best - 1, 0)], ratios[min(best + 1, len(ratios) - 1)]
        ratios = np.exp(np.linspace(np.log(low), np.log(high), 41))
    return float(evidence[best])


def knn(F: np.ndarray, y: np.ndarray, is_class: bool = True) -> float:
    """Return the cross-validated accuracy, or R2, of the five nearest neighbours by cosine."""
    n_neighbors = min(5, len(F) // 2)
    kind: Any = KNeighborsClassifier if is_class else KNeighborsRegressor
    return _cross_validate(kind(n_neighbors, metric="cosine"), F, y, is_class, 5)


def probe(F: np.ndarray, y: np.ndarray, is_class: bool = True) -> float:
    """Return the cross-validated accuracy, or R2, of a linear model of standardised features."""
    model = LogisticRegression(C=0.01, max_iter=1000) if is_class else RidgeCV(10.0 ** np.arange(6))
    return _cross_validate(make_pipeline(StandardScaler(), model), F, y, is_class, 3)


def _cross_validate(model: Any, F: np.ndarray, y: np.ndarray, is_class: bool, n: int) -> float:
    if is_class:
        _, counts = np.unique(y, return_counts=True)
        cv: Any = StratifiedKFold(min(n, int(counts.min())), shuffle=True, random_state=0)
    else:
        cv = KFold(min(n, len(y)), shuffle=True, random_state=0)
    return float(cross_val_score(model, F, y, cv=cv).mean())


SCORERS = {"logme": logme, "knn": knn, "probe": probe}
