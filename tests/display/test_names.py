"""Names in plots are shown as they are, without formulas."""

import numpy as np
import pytest

from sktransfer.display import LearningRatesDisplay, TopLossesDisplay, UnfreezeDepthDisplay
from sktransfer.display._axes import as_text

plt = pytest.importorskip("matplotlib.pyplot")


def drawn(text):
    """Return the text that matplotlib draws, and if it reads a formula in it."""
    shown, is_math = text._preprocess_math(text.get_text())
    return shown, bool(is_math)


@pytest.mark.parametrize("name", ["$x_1$", "$\\alpha$ and $", "a$b", "\\$"])
def test_a_name_is_drawn_as_it_is(name):
    figure = plt.figure()
    assert drawn(figure.text(0, 0, as_text(name))) == (name, False)
    plt.close(figure)


def test_characters_that_cannot_be_printed_are_escaped():
    assert as_text("a\nb\udce9") == r"a\nb\udce9"


def test_labels_below_images_are_no_formulas():
    photos = np.zeros((2, 16, 16, 3), np.uint8)
    labels, proba = ["$x_1$", "$\\bad{$"], [[0.1, 0.9], [0.8, 0.2]]
    display = TopLossesDisplay.from_predictions(labels, proba, photos)
    display.figure_.canvas.draw()
    shown = [drawn(text) for text in display.ax_.texts]
    assert ("$x_1$", False) in shown
    plt.close(display.figure_)


def test_metrics_and_stages_are_no_formulas():
    display = UnfreezeDepthDisplay(["$a$", 1], [0.5, 0.6], [0, 0], [1, 1], name="$y_2$").plot()
    display.figure_.canvas.draw()
    assert drawn(display.ax_.get_xticklabels()[0]) == ("$a$", False)
    assert drawn(display.ax_.yaxis.label) == ("test $y 2$", False)
    plt.close(display.figure_)


@pytest.mark.parametrize("name", ["_a", "__", "_nolegend_", "_child0", "_$x$"])
def test_names_that_begin_with_an_underscore_are_in_the_legend(name):
    rates = {name: 0.1, "b_": 0.2, "head": 0.3}
    display = LearningRatesDisplay([{"phase": "all", "epoch": 1, "cut": 0, "lr": rates}]).plot()
    for legend in (display.ax_.get_legend(), display.ax_.legend()):
        shown = [drawn(text) for text in legend.get_texts()]
        assert shown == [("head", False), ("b_", False), (f" {name}", False)]
    plt.close(display.figure_)
