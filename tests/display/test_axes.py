"""All displays: importing matplotlib, and drawing into given axes."""

import subprocess
import sys

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
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


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def history():
    """One epoch of the head, then two in each of which one more stage is unfrozen."""
    rows = [
        ("head", 3, 2.0, 2.2, 0.3, (1e-5, 1e-4, 4e-4, 1e-3)),
        ("fine-tune", 2, 1.5, 1.4, 0.5, (2e-5, 2e-4, 8e-4, 2e-3)),
        ("fine-tune", 1, 1.0, 1.2, 0.7, (1e-5, 1e-4, 4e-4, 0.0)),
    ]
    names = ("stem", "layer1", "layer2", "head")
    return [
        {
            "phase": phase,
            "epoch": epoch,
            "cut": cut,
            "train_loss": train,
            "valid_loss": valid,
            "valid_score": score,
            "lr": dict(zip(names, rates, strict=True)),
        }
        for epoch, (phase, cut, train, valid, score, rates) in enumerate(rows, start=1)
    ]


@pytest.fixture
def photos():
    return np.random.default_rng(0).integers(0, 256, (5, 40, 60, 3), np.uint8)


def drawn(ax):
    """Return the y values of the lines of ``ax`` by label."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines}


def test_importing_a_display_does_not_import_matplotlib():
    code = "import sys, sktransfer.display; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


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
