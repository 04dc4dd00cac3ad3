"""The photos that a model gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._support.validation import check_int, first_ten
from ..data import ImagePreset
from ._axes import GAP, GREEN, INK, MUTED, RED, Box, new_axes, pyplot, show, span_of

# In sides of a photo: from one line of text to the next.
LINE = 0.13

# In inches: the side of a photo.
SIDE = 1.75

# Characters of a label that fit below a photo.
LONGEST = 15


class TopLossesDisplay:
    """The photos with the greatest loss: what they are, and what the model says.

    The loss of a photo is minus the logarithm of the probability of its label.  Among the worst
    photos stand those that are labelled wrongly, hard to see, or of a kind of their own.

    Parameters
    ----------
    photos : sequence of k arrays (h, w, 3)
        The greatest loss first.
    labels, predictions : sequence of k labels
        The true ones, and those that the model gives.
    shares, probabilities, losses : array-like of shape (k,)
        The probability of the true label, that of the prediction, and the loss.
    indices : array-like of shape (k,)
        Positions of the photos in X.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the grid.
    figure_ : matplotlib Figure
        That holds it.

    See Also
    --------
    AugmentationDisplay : What the network trains on.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.display import TopLossesDisplay
    >>> photos = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    >>> proba = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    >>> labels = ["ant", "ant", "bee"]
    >>> display = TopLossesDisplay.from_predictions(labels, proba, photos, k=2)
    >>> display.indices.tolist(), display.predictions.tolist()
    ([1, 2], ['bee', 'ant'])
    """

    def __init__(
        self,
        photos: Sequence[Any],
        labels: Any,
        predictions: Any,
        shares: Any,
        probabilities: Any,
        losses: Any,
        indices: Any,
    ):
        self.photos = photos
        self.labels = labels
        self.predictions = predictions
        self.shares = shares
        self.probabilities = probabilities
        self.losses = losses
        self.indices = indices

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, k: int = 9, ax: Any = None
    ) -> TopLossesDisplay:
        """The photos that a fitted classifier finds hardest, drawn as its network sees them.

        Parameters
        ----------
        estimator : FineTuneClassifier, or another classifier of photos
            Fitted, with ``predict_proba``; a pipeline, too.
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images
            Photos.
        y : array-like of shape (n_items,)
            Their labels.
        k : int, default=9
            How many to show, at most.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        TopLossesDisplay
        """
        pyplot()
        check_int("k", k, 1)
        if not hasattr(estimator, "predict_proba"):
            raise TypeError(
                "estimator must be a classifier with predict_proba; got "
                f"{type(estimator).__name__}. Pass probabilities to from_predictions."
            )
        check_is_fitted(estimator)
        backbone = getattr(estimator, "backbone_", None)
        return cls.from_predictions(
            y,
            estimator.predict_proba(X),
            X,
            classes=estimator.classes_,
            k=k,
            preset=None if backbone is None else backbone.preset,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred_proba: Any,
        X: Any,
        *,
        classes: Any = None,
        k: int = 9,
        preset: Any = None,
        ax: Any = None,
    ) -> TopLossesDisplay:
        """The photos whose labels got the least probability, drawn.

        Parameters
        ----------
        y_true : array-like of shape (n_items,)
            Labels.
        y_pred_proba : array-like of shape (n_items, n_classes)
            Probabilities; rows with NaN are left out.
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images
            Photos; only those that are shown are decoded.
        classes : array-like of shape (n_classes,) or None, default=None
            What the columns stand for, as ``classes_``; None is the sorted labels of ``y_true``.
        k : int, default=9
            How many to show, at most.
        preset : ImagePreset or None, default=None
            What makes pixels of an item; None shows the central square.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        TopLossesDisplay
        """
        pyplot()
        check_int("k", k, 1)
        preset = ImagePreset(size=160, crop=1.0) if preset is None else preset
        items = preset.check(X)
        place, proba, classes = _checked(y_true, y_pred_proba, classes, len(items))
        share = proba[np.arange(len(proba)), place]
        worst = _least(np.where(np.isnan(proba).any(axis=1), np.nan, share), k)
        least = np.finfo(float).eps  # as in log_loss: a loss is finite
        return cls(
            photos=[preset(items[index]) for index in worst],
            labels=classes[place[worst]],
            predictions=classes[proba[worst].argmax(axis=1)],
            shares=share[worst],
            probabilities=proba[worst].max(axis=1),
            losses=-np.log(np.clip(share[worst], least, 1)),
            indices=worst,
        ).plot(ax)

    def plot(self, ax: Any = None) -> TopLossesDisplay:
        """Draw the photos, three lines below each.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self
        """
        n = len(self.photos)
        if not n:
            raise ValueError("photos must hold at least one photo; got none.")
        n_columns = n if n <= 3 else ceil(sqrt(n))
        across, down = 1 + 3 * GAP, 1 + 3 * LINE + 3 * GAP
        box = Box(n_columns * across - 3 * GAP, ceil(n / n_columns) * down - 2 * GAP)
        ax = self.ax_ = new_axes(ax, box.inches(SIDE))
        self.figure_ = ax.figure
        for index, photo in enumerate(self.photos):
            row, place = divmod(index, n_columns)
            show(ax, photo, place * across, row * down, span_of(photo))
            self._caption(index, place * across, row * down + 1 + GAP)
        box.frame(ax)
        return self

    def _caption(self, index: int, left: float, top: float) -> None:
        """Three lines below a photo: what it is, what the model says, the loss."""
        label, said = self.labels[index], self.predictions[index]
        lines = [
            ("true", _short(label), f"{self.shares[index]:.2f}", INK),
            (
                "said",
                _short(said),
                f"{self.probabilities[index]:.2f}",
                GREEN if label == said else RED,
            ),
            ("loss", f"{self.losses[index]:.2f}", "", INK),
        ]
        for number, (word, text, value, color) in enumerate(lines):
            style = {"y": top + (number + 0.7) * LINE, "fontsize": 8.5}
            self.ax_.text(left, s=word, color=MUTED, **style)
            self.ax_.text(left + 0.22, s=text, color=color, **style)
            self.ax_.text(left + 1, s=value, color=color, ha="right", **style)


def _short(label: Any) -> str:
    """A label that fits below a photo."""
    text = str(label)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _least(shares: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` least numbers, NaN left out."""
    n_known = np.isfinite(shares).sum()
    if not n_known:
        raise ValueError(
            "y_pred_proba must have a row without NaN; got none: no image could be decoded."
        )
    return np.argsort(shares, kind="stable")[: min(k, n_known)]  # NaN comes last


def _checked(
    y_true: Any, y_pred_proba: Any, classes: Any, n_items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The column of each label, the probabilities, and what the columns stand for."""
    labels = np.asarray(y_true)
    if labels.shape != (n_items,):
        raise ValueError(
            f"y_true must be one label for each of {n_items} items of X; got shape {labels.shape}."
        )
    classes = np.unique(labels) if classes is None else np.asarray(classes)
    proba = np.asarray(y_pred_proba, float)
    if proba.shape != (n_items, len(classes)):
        raise ValueError(
            f"y_pred_proba must be of shape {(n_items, len(classes))}, a column for each of the "
            f"classes; got {proba.shape}. Pass classes=model.classes_ where y_true lacks some."
        )
    place = {label: index for index, label in enumerate(classes.tolist())}
    unknown = [f"y_true[{i}]: {x!r}" for i, x in enumerate(labels.tolist()) if x not in place]
    if unknown:
        raise ValueError(f"y_true must hold labels of classes; not of them:\n{first_ten(unknown)}")
    return np.array([place[label] for label in labels.tolist()]), proba, classes
