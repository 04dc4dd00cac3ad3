"""LogME is the maximum evidence of a linear model; the other scores are cross-validated."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from sktransfer.estimators._transferability import knn, logme, probe


def evidence(F, t, alpha, beta):
    """The log density of t, whose weights and noise are integrated out, per item."""
    covariance = F @ F.T / alpha + np.eye(len(F)) / beta
    return multivariate_normal.logpdf(t, np.zeros(len(F)), covariance) / len(F)


def best_evidence(F, t):
    starts = [(a, b) for a in (-4, 0, 4) for b in (-2, 2)]
    found = [
        minimize(
            lambda p: -evidence(F, t, *np.exp(np.clip(p, -20, 20))),
            start,
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000},
        )
        for start in starts
    ]
    return max(-result.fun for result in found)


def make_features(rng, n=30, d=5, noise=1.0):
    y = np.arange(n) % 3
    F = rng.normal(size=(n, d)) * noise
    F[:, :3] += np.eye(3)[y]
    return F, y


@pytest.mark.parametrize(("d", "noise"), [(5, 1.0), (5, 0.2), (40, 1.0)])
def test_logme_is_the_maximum_evidence_of_each_class(rng, d, noise):
    F, y = make_features(rng, d=d, noise=noise)
    expected = np.mean([best_evidence(F, (y == label).astype(float)) for label in range(3)])
    assert logme(F, y) == pytest.approx(expected, abs=1e-6)


def test_logme_does_not_depend_on_the_scale_of_the_features(rng):
    F, y = make_features(rng)
    for scale in (1e-9, 1e6):
        assert logme(scale * F, y) == pytest.approx(logme(F, y), abs=1e-6)


def test_logme_of_numbers_is_that_of_standardised_numbers(rng):
    F, _ = make_features(rng)
    y = F @ rng.normal(size=5) + rng.normal(size=30)
    expected = best_evidence(F, (y - y.mean()) / y.std())
    assert logme(F, y, is_class=False) == pytest.approx(expected, abs=1e-6)
    two = logme(F, np.column_stack([y, y[::-1]]), is_class=False)
    assert two == pytest.approx(
        (logme(F, y, is_class=False) + logme(F, y[::-1], is_class=False)) / 2
    )


@pytest.mark.parametrize("score", [logme, knn, probe])
def test_better_features_have_a_better_score(rng, score):
    good, bad = (make_features(rng, n=60, noise=noise) for noise in (0.2, 3.0))
    assert score(*good) > score(*bad)


@pytest.mark.parametrize("score", [logme, knn, probe])
def test_numbers_are_scored(rng, score):
    F, _ = make_features(rng, n=60)
    y = F @ rng.normal(size=5)
    assert score(F, y, False) > score(rng.normal(size=(60, 5)), y, False)


@pytest.mark.parametrize("score", [logme, knn, probe])
def test_constant_features_have_a_finite_score(score):
    assert np.isfinite(score(np.ones((12, 3)), np.arange(12) % 2))


@pytest.mark.parametrize("score", [knn, probe])
def test_a_class_of_two_items_is_cross_validated(rng, score):
    F, _ = make_features(rng, n=12)
    assert 0 <= score(F, np.array([0] * 10 + [1] * 2)) <= 1
