"""A learning rate is suggested from the losses of a range test."""

import numpy as np
import pytest

from sktransfer.training.lr_range import MOMENTUM, smooth, suggest


def test_the_smoothed_loss_is_a_running_mean_without_bias_towards_zero():
    assert smooth([3.0, 3.0, 3.0]) == pytest.approx([3, 3, 3])
    m = MOMENTUM
    expected = [1, (m * (1 - m) * 1 + (1 - m) * 2) / (1 - m**2)]
    assert smooth([1.0, 2.0]) == pytest.approx(expected)


def test_the_suggestion_for_a_loss_that_never_falls_is_a_tenth_of_the_rate_at_which_it_grows():
    rates = np.geomspace(1e-5, 1, 101)
    losses = 1 + np.clip(rates - 0.01, 0, None) * 20
    assert 0.001 < suggest(rates, losses) < 0.003
    assert suggest(rates, np.ones(101)) == pytest.approx(0.1)
