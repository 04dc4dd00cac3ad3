"""What the displays share: colours, axes, and how they are dressed.

matplotlib is loaded when something is drawn, not before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._check import require

# Okabe and Ito's colours, which colour-blind readers tell apart, on greys.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, MUTED, GRID, BAND = "#24292f", "#6e7781", "#e7e9ec", "#f3f4f6"

# Inches.
SIZE = (6.0, 4.0)


def pyplot() -> Any:
    """matplotlib's pyplot; where it is missing, an error that says which extra brings it."""
    require("matplotlib", "plot")
    from matplotlib import pyplot as plt

    return plt


def new_axes(ax: Any, size: tuple[float, float] = SIZE) -> Any:
    """``ax``, or those of a new figure of a size in inches."""
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def dress(ax: Any, x: str, y: str) -> None:
    """A light grid, two spines, and labels."""
    ax.set_axisbelow(True)
    ax.grid(color=GRID, lw=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#c9ced4")
    ax.tick_params(which="both", color="#c9ced4", labelcolor=INK)
    ax.set_xlabel(x, color=INK)
    ax.set_ylabel(y, color=INK)


def line(color: Any, label: str) -> dict[str, Any]:
    """How a line of few points looks."""
    return {"color": color, "label": label, "lw": 1.8, "ms": 5, "mec": "white", "mew": 0.8}


def legend(ax: Any) -> None:
    """A quiet legend, where it hides least."""
    ax.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize="small")


def numbers(name: str, values: Any, n: int, of: str) -> np.ndarray:
    """``values`` as floats, one for each of ``n`` things: (n,)."""
    array = np.asarray(values, float)
    if array.shape != (n,):
        raise ValueError(
            f"{name} must have one number for each of {n} {of}; got shape {array.shape}."
        )
    return array
