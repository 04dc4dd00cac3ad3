"""Standardise features: the mean and standard deviation that the head subtracts and divides by."""

from __future__ import annotations

import numpy as np

# A standard deviation below this part of the median of those that are not 0 counts as 0.
LEAST = 1e-4


def compute_moments(
    features: np.ndarray, weight: np.ndarray, standardise: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and standard deviation of each feature.

    The standard deviations are those that :func:`make_divisors` returns.  Without ``standardise``,
    all means are 0 and all standard deviations are 1.
    """
    if not standardise:
        return np.zeros_like(features[0]), np.ones_like(features[0])
    mean = np.average(features, axis=0, weights=weight)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    return mean.astype(features.dtype), make_divisors(mean, scale).astype(features.dtype)


def make_divisors(mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return standard deviations, with 1 for features that are constant or vary very little.

    Divided by its own, a feature that varies much less than the others would be amplified: the
    least change of the network would be a huge change of the feature.
    """
    varied = scale[scale > 0]  # many features of few items are 0
    least = LEAST * np.median(varied) if len(varied) else 0.0
    return np.where(scale <= 1e-6 * np.abs(mean) + least + 1e-12, 1, scale)
