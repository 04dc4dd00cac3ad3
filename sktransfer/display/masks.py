"""Lay predicted and true masks over their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._support.validation import check_int
from ..data import ImagePreset, check_masks
from ._axes import get_axes, import_pyplot

# The width of an image in inches, and the longer side of its pixels at most.
WIDTH, PIXELS = 2.6, 512

# Opacity of a mask
ALPHA = 0.55


class MasksDisplay:
    """Lay masks over images: a row for each image, with its true and its predicted mask.

    Parameters
    ----------
    photos : sequence of k arrays (h, w, 3)
        The images as they are stored.
    true, predicted : sequence of k integer arrays (h, w), or None
        Masks of the sizes of the images.
    classes : array-like of int
        The values of the classes, each of which has a colour.  Other pixels show the image.
    names : sequence of str or None, default=None
        The names of the classes, for the legend.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (k, n_columns)
        The image alone is in the first column.
    figure_ : matplotlib Figure

    See Also
    --------
    FineTuneSegmenter : Predicts masks.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.display import MasksDisplay
    >>> photos, masks = np.zeros((2, 32, 48, 3), np.uint8), np.zeros((2, 32, 48), int)
    >>> MasksDisplay.from_predictions(masks, masks, photos, classes=[0, 1]).axes_.shape
    (2, 3)
    """

    def __init__(
        self, photos: Sequence[Any], true: Any, predicted: Any, classes: Any, names: Any = None
    ):
        self.photos = photos
        self.true = true
        self.predicted = predicted
        self.classes = classes
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        names: Sequence[str] | None = None,
        k: int = 4,
        ax: Any = None,
    ) -> MasksDisplay:
        """Plot the masks that a fitted model predicts for the first images.

        Parameters
        ----------
        estimator : FineTuneSegmenter
            A fitted model.
        X : sequence of n_items paths, images, arrays or bytes
        y : sequence of n_items masks, or None
            The true masks.
        names : sequence of str or None, default=None
            The names of the classes.
        k : int, default=4
            Maximum number of images to show, at least 1.
        ax : matplotlib Axes or None, default=None
            Axes that the images divide.  None makes a new figure.

        Returns
        -------
        MasksDisplay
        """
        import_pyplot()
        check_int("k", k, 1)
        check_is_fitted(estimator)
        items = ImagePreset().check(X)
        chosen = [items[at] for at in range(min(k, len(items)))]
        predicted, classes = estimator.predict(chosen), estimator.classes_
        how: dict[str, Any] = {"classes": classes, "names": names, "k": k, "ax": ax}
        return cls.from_predictions(y, predicted, chosen, **how)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        X: Any,
        *,
        classes: Any,
        names: Sequence[str] | None = None,
        k: int = 4,
        ax: Any = None,
    ) -> MasksDisplay:
        """Plot masks over the first images.

        Parameters
        ----------
        y_true, y_pred : sequence of n_items masks, or None
            True and predicted masks: paths, or integer arrays (h, w) of the sizes of the items.
        X : sequence of n_items paths, images, arrays or bytes
        classes : array-like of int
            The values of the classes.
        names : sequence of str or None, default=None
            The names of the classes.
        k : int, default=4
            Maximum number of images to show, at least 1.
        ax : matplotlib Axes or None, default=None
            Axes that the images divide.  None makes a new figure.

        Returns
        -------
        MasksDisplay

        Raises
        ------
        ValueError
            If a mask cannot be read or has another size than its image, if images have no mask, or
            if there are not as many names as classes.
        """
        import_pyplot()
        check_int("k", k, 1)
        items = ImagePreset().check(X)
        n_shown = min(k, len(items))
        if names is not None and len(names) != len(classes):
            raise ValueError(
                f"names must have a name for each of {len(classes)} classes; got {len(names)}."
            )
        photos, indices = zip(*(_stored(items[at]) for at in range(n_shown)), strict=True)
        display = cls(
            list(photos),
            _reduced("y_true", y_true, indices),
            _reduced("y_pred", y_pred, indices),
            np.asarray(classes),
            names,
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any = None) -> MasksDisplay:
        """Plot the images and their masks.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes that the images divide.  None makes a new figure.

        Returns
        -------
        MasksDisplay
        """
        columns = {"image": None, "true": self.true, "predicted": self.predicted}
        columns = {name: masks for name, masks in columns.items() if name == "image" or masks}
        shape = len(self.photos), len(columns)
        height = WIDTH * max(photo.shape[0] / photo.shape[1] for photo in self.photos)
        outer = get_axes(ax, (WIDTH * shape[1] + 1.2, height * shape[0] + 0.3))
        outer.axis("off")
        self.figure_, self.axes_ = outer.figure, np.empty(shape, object)
        for row, photo in enumerate(self.photos):
            for column, (name, masks) in enumerate(columns.items()):
                bounds = (column / shape[1], 1 - (row + 1) / shape[0])
                inner = outer.inset_axes((*bounds, 0.98 / shape[1], 0.94 / shape[0]))
                inner.imshow(photo)
                inner.set(xticks=[], yticks=[])
                if row == 0:
                    inner.set_title(name, fontsize=10)
                if masks:
                    inner.imshow(self._colour(masks[row]), interpolation="nearest")
                self.axes_[row, column] = inner
        self._add_legend(outer)
        return self

    def _colour(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask as colours (h, w, 4), transparent at pixels without a class."""
        colours = np.zeros((*mask.shape, 4))
        for number, value in enumerate(self.classes):
            colours[mask == value] = (*self._colour_of(number)[:3], ALPHA)
        return colours

    def _colour_of(self, number: int) -> Any:
        colours = import_pyplot().get_cmap("tab10" if len(self.classes) <= 10 else "tab20")
        return colours(number % colours.N)

    def _add_legend(self, ax: Any) -> None:
        """Add a legend of the classes to the right of the images."""
        names = map(str, self.classes) if self.names is None else self.names
        handles = [
            ax.scatter([], [], color=self._colour_of(number), marker="s", label=name)
            for number, name in enumerate(names)
        ]
        ax.legend(
            handles=handles,
            labels=[handle.get_label() for handle in handles],
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            frameon=False,
            fontsize=8,
        )


def _stored(item: Any) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return an image as it is stored, reduced to few pixels, and the indices of these pixels."""
    placed = ImagePreset(size=PIXELS, crop=None).placed(item)
    if placed.place is None:
        raise ValueError("X must have images with known places.")
    width, height = placed.place.item_size
    step = max(1, -(-max(width, height) // PIXELS))
    down, right = np.arange(0, height, step), np.arange(0, width, step)
    matrix = placed.place.matrix
    x = matrix[0, 0] * right[None] + matrix[0, 1] * down[:, None] + matrix[0, 2]
    y = matrix[1, 0] * right[None] + matrix[1, 1] * down[:, None] + matrix[1, 2]
    rows, columns = (np.rint(each).clip(0, PIXELS - 1).astype(int) for each in (y, x))
    chosen: Any = np.ix_(down, right)
    return placed.pixels.numpy()[rows, columns], chosen


def _reduced(name: str, masks: Any, indices: Sequence[Any]) -> list[np.ndarray] | None:
    """Return the pixels of the first masks that are shown."""
    if masks is None:
        return None
    found, shown = [], check_masks(masks, name)
    if len(shown) < len(indices):
        raise ValueError(
            f"{name} must have a mask for each of the {len(indices)} images; got {len(shown)}."
        )
    for at, (mask, chosen) in enumerate(zip(shown, indices, strict=False)):
        if mask.shape[0] <= chosen[0].max() or mask.shape[1] <= chosen[1].max():
            raise ValueError(
                f"{name} must have masks of the sizes of their images; {name}[{at}] is of shape "
                f"{mask.shape}."
            )
        found.append(mask[chosen])
    return found
