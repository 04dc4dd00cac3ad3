"""Shared parts of the displays: colours, the style of axes, and images inside of axes.

matplotlib is imported when something is drawn, not before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.text import printable
from .._support.validation import require

# Okabe and Ito's colours, which colour-blind readers can distinguish, and greys.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, MUTED, GRID, BAND = "#24292f", "#6e7781", "#e7e9ec", "#f3f4f6"

# Size of a figure in inches.
SIZE = (6.0, 4.0)


def import_pyplot() -> Any:
    """Import matplotlib's pyplot; if it is missing, the error names the extra to install."""
    require("matplotlib", "plot")
    from matplotlib import pyplot as plt

    return plt


def get_axes(ax: Any, size: tuple[float, float] = SIZE) -> Any:
    """Return ``ax``, or the axes of a new figure of ``size`` inches if it is None."""
    plt = import_pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def style_axes(ax: Any, x: str, y: str) -> None:
    """Style axes with a light grid, two spines and the labels ``x`` and ``y``."""
    ax.set_axisbelow(True)
    ax.grid(color=GRID, lw=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#c9ced4")
    ax.tick_params(which="both", color="#c9ced4", labelcolor=INK)
    ax.set_xlabel(x, color=INK)
    ax.set_ylabel(y, color=INK)


def as_text(name: object) -> str:
    r"""Return a name as matplotlib shows it as it is, without formulas between dollar signs.

    Examples
    --------
    >>> from sktransfer.display._axes import as_text
    >>> print(as_text("$x_1$"))
    \$x_1\$
    """
    return printable(name).replace("$", r"\$")


def line_style(color: Any, label: str) -> dict[str, Any]:
    """Return the style of a line with few points, which legends show by its label."""
    label = as_text(label)
    if label.startswith("_"):  # matplotlib leaves such labels out of legends
        label = f" {label}"
    return {"color": color, "label": label, "lw": 1.8, "ms": 5, "mec": "white", "mew": 0.8}


def add_legend(ax: Any) -> None:
    """Add a legend at the place with the fewest points."""
    ax.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize="small")


def check_numbers(name: str, values: Any, n: int, of: str) -> np.ndarray:
    """Return ``values`` as floats of shape (n,), or raise an error that names ``of``."""
    array = np.asarray(values, float)
    if array.shape != (n,):
        raise ValueError(
            f"{name} must have one number for each of {n} {of}; got shape {array.shape}."
        )
    return array


# Space between the images of a row; the unit is the side of an image.
GAP = 0.06

# Floats of images may leave [0, 1] by this much, from rounding.
ROUNDING = 0.01


@dataclass(frozen=True)
class ImageArea:
    """The part of the axes that is filled with images; the unit is the side of an image."""

    width: float
    height: float
    above: float = 0.0

    def figure_size(self, side: float) -> tuple[float, float]:
        """Return the size in inches of a figure whose images have sides of ``side`` inches."""
        return side * (self.width + 0.1), side * (self.height + self.above + 0.1)

    def set_limits(self, ax: Any) -> None:
        """Limit ``ax`` to this area, without spines and ticks."""
        ax.set_xlim(-0.02, self.width + 0.02)
        ax.set_ylim(self.height + 0.02, -0.02 - self.above)  # the y axis points downwards
        ax.set_aspect("equal")
        ax.set_axis_off()


def to_floats(pixels: Any) -> np.ndarray:
    """Convert pixels to floats.  Eight bits are scaled to [0, 1], other types are not scaled."""
    pixels = np.asarray(pixels)
    scale = np.float32(255 if pixels.dtype == np.uint8 else 1)
    return np.asarray(pixels, np.float32) / scale


def value_range(image: Any) -> tuple[float, float]:
    """Return the values that are drawn as black and as white.

    They are 0 and 1 for images.  If tabular input leaves that range, they are its minimum and
    maximum.
    """
    pixels = to_floats(image)
    low, high = float(pixels.min()), float(pixels.max())
    if low == high or (low >= -ROUNDING and high <= 1 + ROUNDING):
        return 0.0, 1.0
    return low, high


def draw_image(ax: Any, pixels: Any, left: float, top: float, span: tuple[float, float]) -> None:
    """Draw an image (h, w, 3) in a square of side 1; ``span`` is drawn as black and white."""
    low, high = span
    scaled = np.clip((to_floats(pixels) - low) / (high - low), 0, 1)
    ax.imshow(scaled, extent=(left, left + 1, top + 1, top))
