"""A learning rate is suggested from the losses of a range test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sktransfer.training.lr_range import MOMENTUM, remove_noise, smooth, suggest

RATES = np.geomspace(1e-6, 1, 60)


def falling_curve(rates=RATES, best=1e-3, fall=0.1):
    """Return a loss near 1 that falls up to the learning rate ``best``, and then grows to 4."""
    return 1 - fall * np.minimum(rates / best, 1) ** 0.7 + np.clip(rates / best - 3, 0, 3)


def rising_curve(rates=RATES, start=1e-2):
    """Return a loss of 1 that grows from the learning rate ``start`` on."""
    return 1 + np.clip(rates / start - 1, 0, 3)


def noise(scale, seed, n=60):
    return scale * np.random.default_rng(seed).normal(size=n)


def test_the_smoothed_loss_is_a_running_mean_without_bias_towards_zero():
    assert smooth([3.0, 3.0, 3.0]) == pytest.approx([3, 3, 3])
    m = MOMENTUM
    expected = [1, (m * (1 - m) * 1 + (1 - m) * 2) / (1 - m**2)]
    assert smooth([1.0, 2.0]) == pytest.approx(expected)


def test_a_single_huge_loss_does_not_change_the_curve_without_noise():
    losses = falling_curve()
    spoilt = losses.copy()
    spoilt[20] = 1e6
    np.testing.assert_allclose(remove_noise(RATES, spoilt), remove_noise(RATES, losses), atol=0.01)


@given(
    level=st.floats(-100, 100),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(1e-2, 1e2),
    seed=st.integers(0, 10),
)
def test_the_suggestion_follows_the_place_of_a_fall_and_not_its_scale(level, scale, shift, seed):
    losses = falling_curve() + noise(0.002, seed)
    moved = suggest(shift * RATES, level + scale * losses)
    assert moved == pytest.approx(shift * suggest(RATES, losses))


@given(relative=st.floats(0, 0.05), best=st.floats(1e-4, 1e-2), seed=st.integers(0, 1000))
def test_noise_moves_the_suggestion_by_less_than_a_factor_of_three(relative, best, seed):
    fall = 0.1
    losses = falling_curve(best=best, fall=fall) + noise(relative * fall, seed)
    assert best / 3 < suggest(RATES, losses) < best * 3


@given(scale=st.floats(1e-6, 0.05), seed=st.integers(0, 1000))
def test_noise_is_not_taken_for_a_fall(scale, seed):
    losses = rising_curve() + noise(scale, seed)
    assert 1e-2 / 3 < 10 * suggest(RATES, losses) < 1e-2 * 3


@pytest.mark.parametrize("n_steps", [60, 200])
def test_the_suggestion_for_a_flat_noisy_loss_is_a_tenth_of_the_last_rate(n_steps):
    rates = np.geomspace(1e-6, 1, n_steps)
    for seed in range(20):
        assert suggest(rates, 1 + noise(0.01, seed, n_steps)) == pytest.approx(0.1)


def test_the_suggestion_for_a_loss_that_never_falls_is_a_tenth_of_the_rate_at_which_it_grows():
    rates = np.geomspace(1e-5, 1, 101)
    losses = 1 + np.clip(rates - 0.01, 0, None) * 20
    assert 0.001 < suggest(rates, losses) < 0.003
    assert suggest(rates, np.ones(101)) == pytest.approx(0.1)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 5])
def test_a_short_curve_has_a_suggestion(n_steps):
    rates = np.geomspace(1e-3, 1e-1, n_steps)
    assert rates[0] / 10 <= suggest(rates, np.ones(n_steps)) <= rates[-1]
