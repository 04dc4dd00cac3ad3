"""The built-in augmentations: "light", "standard" and "trivial".

Each is a function of an image (3, h, w), the size of the result, a random generator, and a bool
that is False if the image must not be flipped.  It returns a tensor of shape (3, size, size), and
the map from positions in the image to positions in the tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, exp, log, radians, sin, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from .._support.geometry import IDENTITY, Matrix, mirrored, scaled, shifted

# "light": the range of a window's share of the area, and of its width divided by its height.
AREA, RATIO = (0.5, 1.0), (3 / 4, 4 / 3)

# "standard": largest rotation in degrees, shift as a share of the side, shear in radians, and
# change of the scale.
ROTATION, SHIFT, SHEAR, ZOOM = 40, 0.2, 0.2, 0.2

# "trivial": the number of strengths, and the largest ones of TrivialAugment's wide search space:
# shear, shift as a share of the side, rotation in degrees, and change of colours.
LEVELS = 31
MOST_SHEAR, MOST_SHIFT, MOST_ROTATION, MOST_COLOUR = 0.99, 32 / 224, 135, 0.99

Random = np.random.Generator

# A changed image, and the map from positions in the image before to positions in it
Moved = tuple[Tensor, Matrix]


def short_side(image: Tensor, short: int) -> Tensor:
    """Resize ``image``, (3, h, w), so that its short side is ``short``."""
    height, width = image.shape[1:]
    scale = short / min(height, width)
    return image if scale == 1 else resized(image, round(height * scale), round(width * scale))


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Resize ``image``, (3, h, w), with results equal to those of torchvision's ``resize``."""
    batch = image[None]  # (1, 3, h, w)
    if height == width == 1:
        # torch fails to resize a contiguous uint8 image to a single pixel.
        batch = batch.contiguous(memory_format=torch.channels_last)
    return interpolate(batch, (height, width), mode="bilinear", antialias=True)[0]


def _light(image: Tensor, size: int, rng: Random, flips: bool) -> Moved:
    """Crop a random window, resize it, and flip it with probability 0.5."""
    top, left, height, width = _window(image.shape[1], image.shape[2], rng)
    window = resized(image[:, top : top + height, left : left + width], size, size)
    matrix = scaled(size / width, size / height) @ shifted(-left, -top)
    if rng.random() < 0.5 and flips:
        return window.flip(-1), mirrored(size) @ matrix
    return window, matrix


def _window(height: int, width: int, rng: Random) -> tuple[int, int, int, int]:
    """Draw the top, left, height and width of a random window, as for Inception [1]_.

    References
    ----------
    .. [1] C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015,
       https://arxiv.org/abs/1409.4842
    """
    for _ in range(10):
        area = height * width * rng.uniform(*AREA)
        ratio = exp(rng.uniform(log(RATIO[0]), log(RATIO[1])))
        h, w = round(sqrt(area / ratio)), round(sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            break
    else:  # no draw fits an image that is a narrow strip: take the largest window
        h, w = min(height, int(width / RATIO[0])), min(width, int(height * RATIO[1]))
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w


def _standard(image: Tensor, size: int, rng: Random, flips: bool) -> Moved:
    """Rotate, shift, shear, zoom and flip an image, as Keras' ``ImageDataGenerator`` does."""
    rotation = _rotation(radians(rng.uniform(-ROTATION, ROTATION)))
    shift = rotation @ rng.uniform(-SHIFT, SHIFT, 2) * size
    angle = rng.uniform(-SHEAR, SHEAR)
    shear = np.array([[cos(angle), 0], [-sin(angle), 1]])
    flip = -1 if rng.random() < 0.5 and flips else 1
    zoom = np.diag(rng.uniform(1 - ZOOM, 1 + ZOOM, 2) * (flip, 1))
    return _warped(image, size, rotation @ shear @ zoom, shift)


def _trivial(image: Tensor, size: int, rng: Random, flips: bool) -> Moved:
    """Apply "light" and then one random operation of random strength: TrivialAugment [1]_.

    References
    ----------
    .. [1] S. Müller and F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data
       Augmentation", ICCV 2021, https://arxiv.org/abs/2103.10158
    """
    image, window = _light(image, size, rng, flips)
    operation = OPERATIONS[rng.integers(len(OPERATIONS))]
    level = float(rng.integers(LEVELS) / (LEVELS - 1))
    changed, matrix = operation(image, level if rng.random() < 0.5 else -level)
    return changed, matrix @ window


def _rotation(angle: float) -> np.ndarray:
    """Return the matrix of a rotation by ``angle``, in radians."""
    return np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])


def _warped(image: Tensor, size: int, matrix: Any, shift: Any = (0, 0)) -> Moved:
    """Apply an affine map to ``image`` and return its centre, (3, size, size), and its inverse.

    The map takes a position in the result to a position in the image, both counted to the right
    and down from the centre.  Positions outside of the image get the nearest pixel of its border,
    so that no corner is black.
    """
    (xx, xy), (yx, yy) = np.asarray(matrix, np.float32).tolist()
    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    x, y = float(shift[0]), float(shift[1])
    right = (xx * axis)[None] + (xy * axis + x)[:, None]  # (size, size)
    down = (yx * axis)[None] + (yy * axis + y)[:, None]
    height, width = image.shape[1:]
    centred = np.array([[xx, xy, x], [yx, yy, y], [0, 0, 1]])
    half = (size - 1) / 2
    back = shifted((width - 1) / 2, (height - 1) / 2) @ centred @ shifted(-half, -half)
    # grid_sample expects positions in [-1, 1].
    grid = torch.stack([right * (2 / width), down * (2 / height)], dim=-1)
    floats = image[None].float()
    pixels = grid_sample(floats, grid[None], padding_mode="border", align_corners=False)[0]
    if not image.is_floating_point():
        pixels = pixels.round_().to(image.dtype)
    return pixels, np.linalg.inv(back)


def _colours(name: str) -> Callable[[Tensor, float], Moved]:
    """Return an operation that calls torchvision's ``adjust_<name>`` with a factor in [0, 2]."""

    def adjusted(image: Tensor, level: float) -> Moved:
        return _functional(f"adjust_{name}", image, 1 + MOST_COLOUR * level)

    return adjusted


def _functional(name: str, image: Tensor, *arguments: float) -> Moved:
    """Change colours by a function of ``torchvision.transforms.v2``, which is imported late."""
    from torchvision.transforms.v2 import functional

    out: Tensor = getattr(functional, name)(image, *arguments)
    return out, IDENTITY


def _sheared(image: Tensor, xy: float, yx: float) -> Moved:
    """Shear an image along both axes by strengths in [-1, 1]."""
    return _warped(image, image.shape[1], [[1, MOST_SHEAR * xy], [MOST_SHEAR * yx, 1]])


def _moved(image: Tensor, x: float, y: float) -> Moved:
    """Shift an image along both axes by strengths in [-1, 1]."""
    most = MOST_SHIFT * image.shape[1]
    return _warped(image, image.shape[1], np.eye(2), (most * x, most * y))


def _solarized(image: Tensor, level: float) -> Moved:
    """Invert the pixels above a threshold that falls as the strength grows."""
    top = 1 if image.is_floating_point() else 255
    return _functional("solarize", image, top * (1 - abs(level)))


# The operations of "trivial": functions of an image and a strength in [-1, 1]
OPERATIONS: list[Callable[[Tensor, float], Moved]] = [
    lambda image, _: (image, IDENTITY),
    lambda image, level: _sheared(image, level, 0),
    lambda image, level: _sheared(image, 0, level),
    lambda image, level: _moved(image, level, 0),
    lambda image, level: _moved(image, 0, level),
    lambda image, level: _warped(image, image.shape[1], _rotation(radians(MOST_ROTATION * level))),
    _colours("brightness"),
    _colours("saturation"),
    _colours("contrast"),
    _colours("sharpness"),
    lambda image, level: _functional("posterize", image, 8 - round(6 * abs(level))),
    _solarized,
    lambda image, _: _functional("autocontrast", image),
    lambda image, _: _functional("equalize", image),
]

NAMED: dict[str, Callable[[Tensor, int, Random, bool], Moved]] = {
    "light": _light,
    "standard": _standard,
    "trivial": _trivial,
}
