"""Show predicted and true points in their images."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._support.geometry import move
from .._support.validation import check_int
from ..data import ImagePreset
from ._axes import get_axes, import_pyplot

# The side of an image in inches, and the longer side of its pixels.
SIDE, PIXELS = 1.9, 320

TRUE, PREDICTED = "#2ca02c", "#d62728"


class PointsDisplay:
    """Show images with their true and predicted points.

    Each image is upright, and a line connects a predicted point with the true one.

    Parameters
    ----------
    photos : sequence of k arrays (h, w, 3)
        The upright images.
    true, predicted : sequence of k arrays (n_points, 2), or None
        Positions in pixels of ``photos``; NaN if a point is not visible.
    indices : array-like of shape (k,)
        Positions of the images in X.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One for each image.
    figure_ : matplotlib Figure

    See Also
    --------
    FineTuneRegressor : Predicts points with ``points=True``.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.display import PointsDisplay
    >>> photos = np.zeros((2, 32, 48, 3), np.uint8)
    >>> true = np.full((2, 1, 2), 16.0)
    >>> display = PointsDisplay.from_predictions(true, true + 3, photos)
    >>> len(display.axes_)
    2
    """

    def __init__(self, photos: Sequence[Any], true: Any, predicted: Any, indices: Any):
        self.photos = photos
        self.true = true
        self.predicted = predicted
        self.indices = indices

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any = None, *, k: int = 9, ax: Any = None
    ) -> PointsDisplay:
        """Plot the points that a fitted model predicts for the first images.

        Parameters
        ----------
        estimator : FineTuneRegressor
            Fitted with ``points=True``.
        X : sequence of n_items paths, images, arrays or bytes
        y : array-like of shape (n_items, n_points, 2) or (n_items, 2 * n_points), or None
            The true points.
        k : int, default=9
            Maximum number of images to show, at least 1.
        ax : matplotlib Axes or None, default=None
            Axes that the images divide.  None makes a new figure.

        Returns
        -------
        PointsDisplay
        """
        import_pyplot()
        check_int("k", k, 1)
        check_is_fitted(estimator)
        items = ImagePreset().check(X)
        chosen = items.take(np.arange(min(k, len(items))))
        true = None if y is None else np.asarray(y)[: len(chosen)]
        return cls.from_predictions(true, estimator.predict(list(chosen)), list(chosen), k=k, ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, X: Any, *, k: int = 9, ax: Any = None
    ) -> PointsDisplay:
        """Plot points in the first images.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_items, n_points, 2), or None
            True and predicted points in pixels of the items, or a table with a column for each x
            and each y.
        X : sequence of n_items paths, images, arrays or bytes
        k : int, default=9
            Maximum number of images to show, at least 1.
        ax : matplotlib Axes or None, default=None
            Axes that the images divide.  None makes a new figure.

        Returns
        -------
        PointsDisplay

        Raises
        ------
        ValueError
            If points have another shape.
        """
        import_pyplot()
        check_int("k", k, 1)
        items = ImagePreset().check(X)
        n_shown = min(k, len(items))
        placed = [
            ImagePreset(size=PIXELS, crop=1.0).placed_whole(items[at]) for at in range(n_shown)
        ]
        places = [each.place for each in placed]
        display = cls(
            [each.pixels.numpy() for each in placed],
            _moved("y_true", y_true, places),
            _moved("y_pred", y_pred, places),
            np.arange(n_shown),
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any = None) -> PointsDisplay:
        """Plot the images with their points.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes that the images divide.  None makes a new figure.

        Returns
        -------
        PointsDisplay
        """
        n_columns = ceil(sqrt(len(self.photos)))
        n_rows = ceil(len(self.photos) / n_columns)
        outer = get_axes(ax, (SIDE * n_columns, SIDE * n_rows + 0.3))
        outer.axis("off")
        self.figure_, axes = outer.figure, []
        for at, photo in enumerate(self.photos):
            row, column = divmod(at, n_columns)
            bounds = (column / n_columns, 1 - (row + 1) / n_rows, 0.97 / n_columns, 0.97 / n_rows)
            inner = outer.inset_axes(bounds)
            inner.imshow(photo)
            inner.set(xticks=[], yticks=[])
            self._draw_points(inner, at, photo.shape)
            axes.append(inner)
        self.axes_ = np.array(axes)
        if self.true is not None and self.predicted is not None:
            _add_legend(outer)
        return self

    def _draw_points(self, ax: Any, at: int, shape: tuple[int, ...]) -> None:
        """Draw the points of one image."""
        if self.true is not None and self.predicted is not None:
            for pair in zip(self.true[at], self.predicted[at], strict=True):
                ax.plot(*np.transpose(pair), color=PREDICTED, lw=0.7)
        for points, colour, marker in ((self.true, TRUE, "o"), (self.predicted, PREDICTED, "x")):
            if points is not None:
                ax.scatter(*np.transpose(points[at]), s=9, c=colour, marker=marker, lw=0.9)
        ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))


def _moved(name: str, points: Any, places: Sequence[Any]) -> list[np.ndarray] | None:
    """Return the points of the first items in pixels of the images that are shown."""
    if points is None:
        return None
    array = np.asarray(points, float)
    if array.ndim == 2 and array.shape[1] % 2 == 0:
        array = array.reshape(len(array), -1, 2)
    if array.ndim != 3 or array.shape[2] != 2 or len(array) < len(places):
        raise ValueError(
            f"{name} must be of shape (n_items, n_points, 2), the points of {len(places)} images "
            f"or more; got {np.shape(points)}."
        )
    return [move(place.matrix, each) for place, each in zip(places, array, strict=False)]


def _add_legend(ax: Any) -> None:
    """Add a legend of both kinds of points above the images."""
    handles = [
        ax.scatter([], [], c=colour, marker=marker, s=16, label=label)
        for colour, marker, label in ((TRUE, "o", "true"), (PREDICTED, "x", "predicted"))
    ]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
