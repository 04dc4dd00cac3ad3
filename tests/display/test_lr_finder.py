"""LRFinderDisplay: the curve, the suggestion, the limits of the axes, wrong input."""

import numpy as np
import pytest

from sktransfer.display import LRFinderDisplay


def drawn(ax):
    """Return the y values of the lines of ``ax`` by label."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines}


RATES, LOSSES = [1e-4, 1e-3, 1e-2, 1e-1], [2.0, 1.0, 0.5, 80.0]


def test_the_loss_is_drawn_over_the_rate_on_a_log_scale():
    ax = LRFinderDisplay(RATES, LOSSES).plot().ax_
    assert drawn(ax) == {"loss": LOSSES}
    assert list(ax.lines[0].get_xdata()) == RATES
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "loss")


def test_the_suggestion_is_marked_on_the_smoothed_curve():
    smoothed = [2.0, 1.2, 0.6, 3.0]
    ax = LRFinderDisplay(RATES, LOSSES, smoothed, 1e-3).plot().ax_
    assert drawn(ax)["loss"] == LOSSES
    assert drawn(ax)["smoothed"] == smoothed
    np.testing.assert_allclose(ax.lines[-1].get_xydata(), [[1e-3, 1.2]])
    assert ax.lines[-1].get_label() == "suggestion: 0.001"


def test_a_loss_that_diverges_is_cut_off():
    low, high = LRFinderDisplay(RATES, LOSSES).plot().ax_.get_ylim()
    assert low < 0.5
    assert 2 < high < 4


@pytest.mark.parametrize("losses", [[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
def test_a_loss_that_never_falls_is_drawn_in_full(losses):
    low, high = LRFinderDisplay(RATES, losses).plot().ax_.get_ylim()
    assert low < min(losses)
    assert max(losses) <= high


def test_the_result_of_a_range_test_is_drawn():
    class Curve:
        rates, losses, smoothed, suggestion = RATES, LOSSES, LOSSES, 1e-2

    display = LRFinderDisplay.from_curve(Curve())
    assert display.suggestion == 1e-2
    assert "suggestion: 0.01" in drawn(display.ax_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1e-3], [1.0]), "rates must be at least two numbers above 0 in ascending order"),
        (([1e-3, 0], [1.0, 1.0]), "rates must be"),
        (([1e-2, 1e-3], [1.0, 1.0]), "rates must be"),
        ((RATES, [1.0]), r"losses must have one number for each of 4 rates; got shape \(1,\)"),
        ((RATES, LOSSES, [1.0]), "smoothed must have one number"),
        ((RATES, [np.nan] * 4), "losses must hold a finite number; got only NaN or infinity"),
        ((RATES, LOSSES, None, 0), "suggestion must be a learning rate above 0 or None; got 0"),
        (
            (RATES, LOSSES, None, np.nan),
            "suggestion must be a learning rate above 0 or None; got nan",
        ),
    ],
)
def test_a_wrong_range_test_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LRFinderDisplay(*arguments).plot()
