"""What pictures of photos share: which items, where on the axes, and which pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

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


def items_of(preset: Any, X: Any) -> Any:
    """The items of ``X``, validated."""
    return preset.check(BaseEstimator(), X, reset=True)
