"""All displays: importing matplotlib, and drawing into given axes."""

import sys

import numpy as np
import pytest
from helpers.fresh import run_fresh
from matplotlib import pyplot as plt

from sktransfer import ImagePreset
from sktransfer.display import (
    AugmentationDisplay,
    LRFinderDisplay,
    TopLossesDisplay,
    TrainingCurvesDisplay,
    UnfreezeDepthDisplay,
)

PRESET = ImagePreset(size=32)


def drawn(ax):
    """Return the y values of the lines of ``ax`` by label."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines}


def test_importing_a_display_does_not_import_matplotlib():
    code = "import sys, sktransfer.display; assert 'matplotlib' not in sys.modules"
    run_fresh(code)


@pytest.mark.parametrize(
    "draw",
    [
        lambda photos: LRFinderDisplay([1, 2], [1, 2]).plot(),
        lambda photos: AugmentationDisplay.from_augment("light", PRESET, photos),
        lambda photos: TopLossesDisplay.from_predictions([0], [[1.0]], photos[:1]),
    ],
)
def test_the_error_without_matplotlib_names_the_extra(draw, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sktransfer\[plot\]'"):
        draw(photos)


@pytest.mark.parametrize(
    "display",
    [
        LRFinderDisplay([1, 2], [1, 2]),
        UnfreezeDepthDisplay([0], [1], [0], [1]),
        AugmentationDisplay(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 2, 3))),
    ],
)
def test_plot_draws_into_the_axes_that_are_given_and_returns_the_display(display):
    figure, ax = plt.subplots()
    assert display.plot(ax) is display
    assert display.ax_ is ax
    assert display.figure_ is figure


def test_a_display_can_be_drawn_twice(history):
    display = TrainingCurvesDisplay(history).plot()
    first = display.ax_
    assert drawn(display.plot().ax_) == drawn(first)
    assert display.ax_ is not first
