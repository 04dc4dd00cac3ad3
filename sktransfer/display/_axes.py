"""What the displays share: colours, axes, how they are dressed, and how photos are laid out.

matplotlib is loaded when something is drawn, not before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validation import require

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


# In sides of a photo: the space between photos of one row.
GAP = 0.06

# By which floats of images may leave [0, 1].
ROUNDING = 0.01


@dataclass(frozen=True)
class Box:
    """The part of the axes that pictures fill, in sides of one."""

    width: float
    height: float
    above: float = 0.0

    def inches(self, side: float) -> tuple[float, float]:
        """The size of a figure in which a picture has a side of so many inches."""
        return side * (self.width + 0.1), side * (self.height + self.above + 0.1)

    def frame(self, ax: Any) -> None:
        """Let ``ax`` show this part and nothing else: no spines, no ticks."""
        ax.set_xlim(-0.02, self.width + 0.02)
        ax.set_ylim(self.height + 0.02, -0.02 - self.above)
        ax.set_aspect("equal")
        ax.set_axis_off()


def floats(pixels: Any) -> np.ndarray:
    """Pixels as floats: eight bits become [0, 1], others stay what they are."""
    pixels = np.asarray(pixels)
    scale = np.float32(255 if pixels.dtype == np.uint8 else 1)
    return np.asarray(pixels, np.float32) / scale


def span_of(photo: Any) -> tuple[float, float]:
    """The floats that stand for black and white: of a table's beyond [0, 1], the least and most."""
    pixels = floats(photo)
    low, high = float(pixels.min()), float(pixels.max())
    if low == high or (low >= -ROUNDING and high <= 1 + ROUNDING):
        return 0.0, 1.0
    return low, high


def show(ax: Any, pixels: Any, left: float, top: float, span: tuple[float, float]) -> None:
    """Draw an image (h, w, 3) in a square of side 1; ``span`` is black and white."""
    low, high = span
    scaled = np.clip((floats(pixels) - low) / (high - low), 0, 1)
    ax.imshow(scaled, extent=(left, left + 1, top + 1, top))
