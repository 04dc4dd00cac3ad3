"""Affine maps from the pixels of an item to those of a row.

A position is a pair (x, y), counted to the right and downwards.  The centre of the top left pixel
is (0, 0), as in matplotlib and scikit-image.  A map is a matrix of shape (3, 3), which is
multiplied by columns (x, y, 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

Matrix = np.ndarray

IDENTITY: Matrix = np.eye(3)


def shifted(x: float, y: float) -> Matrix:
    """Return the map that adds ``x`` and ``y`` to a position."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], float)


def scaled(x: float, y: float) -> Matrix:
    """Return the map to an image that is ``x`` times as wide and ``y`` times as high.

    It keeps the corners of the image.  These are half a pixel away from the centres of its pixels.
    """
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], float)


def mirrored(width: float) -> Matrix:
    """Return the map that flips an image of this width horizontally."""
    return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], float)


def swapped() -> Matrix:
    """Return the map that exchanges rows and columns."""
    return np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], float)


def move(matrix: Matrix, points: np.ndarray) -> np.ndarray:
    """Return the positions to which a map takes points.

    Parameters
    ----------
    matrix : ndarray of shape (..., 3, 3)
        One map, or as many as there are sets of points.
    points : ndarray of shape (..., k, 2)

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer._support.geometry import mirrored, move
    >>> move(mirrored(10), np.array([[0.0, 5.0], [9.0, 7.0]]))
    array([[9., 5.],
           [0., 7.]])
    """
    moved: np.ndarray = points @ np.swapaxes(matrix[..., :2, :2], -1, -2) + matrix[..., None, :2, 2]
    return moved


@dataclass(frozen=True, eq=False)
class Place:
    """The place of an item in a row.

    Parameters
    ----------
    matrix : ndarray of shape (3, 3)
        The map from the pixels of the item, as they are stored, to those of the row.
    item_size : tuple of 2 int
        Width and height of the item as it is stored, in pixels.
    is_mirrored : bool, default=False
        True if augmentation flipped the image.
    """

    matrix: Matrix
    item_size: tuple[int, int]
    is_mirrored: bool = False

    def then(self, matrix: Matrix) -> Place:
        """Return the place after another map, which is a part of the preprocessing."""
        return replace(self, matrix=matrix @ self.matrix)

    def augmented(self, matrix: Matrix) -> Place:
        """Return the place after the map of an augmentation, which may flip the image."""
        flips = bool(np.linalg.det(matrix[:2, :2]) < 0)
        return replace(self.then(matrix), is_mirrored=self.is_mirrored != flips)


@dataclass(frozen=True, eq=False)
class Placed:
    """The pixels of a row, and the place of the item in it.

    Parameters
    ----------
    pixels : Tensor of shape (h, w, 3)
    place : Place or None
        None if the map is not known, as for a transform of the user.
    """

    pixels: Tensor
    place: Place | None
