"""Resize an upright image, or a part of it, with the place of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .._support.geometry import Place, scaled, shifted
from .pictures import Box, Picture

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# A strip that is longer than this many times its width is cut to its middle, because it would take
# gigabytes when it is resized.
LONGEST = 32


@dataclass(frozen=True)
class Window:
    """A part of an upright image, and the size to which it is resized.

    Parameters
    ----------
    box : tuple of 4 int
        Left, top, right and bottom of the part.
    size : tuple of 2 int
        Width and height after resizing.
    """

    box: Box
    size: tuple[int, int]

    def place(self, upright: Place) -> Place:
        """Return the place in the resized part of an item that has a place in the image."""
        left, top, right, bottom = self.box
        width, height = self.size
        part = upright.then(shifted(-left, -top))
        return part.then(scaled(width / (right - left), height / (bottom - top)))


def fit(size: tuple[int, int], short: int, keep_ratio: bool) -> Window:
    """Return the part of an image that is resized, and its size afterwards.

    Parameters
    ----------
    size : tuple of 2 int
        Width and height of the upright image.
    short : int
        The length of the short side afterwards.
    keep_ratio : bool
        If False, both sides have this length.
    """
    left, top, right, bottom = box = _middle(size)
    if not keep_ratio:
        return Window(box, (short, short))
    return Window(box, _resized((right - left, bottom - top), short))


def resized(picture: Picture, window: Window, interpolation: str) -> Tensor:
    """Return the resized part of a picture, (h, w, 3)."""
    resample = RESAMPLING[interpolation]
    planes = [plane.resize(window.size, resample) for plane in picture.planes(window.box)]
    if planes[0].mode != "F":
        return torch.from_numpy(np.array(planes[0].convert("RGB")))
    bands = [np.asarray(plane) for plane in planes]
    return torch.from_numpy(np.stack(bands * (3 // len(bands)), axis=-1))


def _middle(size: tuple[int, int]) -> Box:
    """Return the middle of a long strip, or the whole of another image."""
    width, height = size
    across, down = (max(0, side - LONGEST * min(size)) // 2 for side in size)
    return across, down, width - across, height - down


def _resized(size: tuple[int, int], short: int) -> tuple[int, int]:
    """Return width and height after resizing to a short side of ``short``, as torchvision does."""
    width, height = size
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short
