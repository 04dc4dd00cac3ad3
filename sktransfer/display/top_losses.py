"""Show the images or texts with the largest losses."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted

from .._support.text import printable
from .._support.validation import check_int, first_ten
from ..data import ImagePreset, Text, TextPreset
from ._axes import (
    GAP,
    GREEN,
    INK,
    MUTED,
    RED,
    ImageArea,
    as_text,
    draw_image,
    get_axes,
    import_pyplot,
    value_range,
)
from ._text_table import draw_table

# Distance between two lines of text; the unit is the side of an image.
LINE = 0.13

# The side of an image in inches.
SIDE = 1.75

# Maximum number of characters of a label that fit below an image.
LONGEST = 15


class TopLossesDisplay:
    """Show the images or texts with the largest losses, with their labels and predictions.

    The loss of an item is the negative logarithm of the probability of its label; if labels are
    numbers, it is the absolute error.  Items with a large loss are often mislabelled, hard to
    recognise or unlike all others.

    Parameters
    ----------
    photos : sequence of k arrays (h, w, 3), or of k str
        The images or texts, in descending order of their losses.
    labels, predictions : sequence of k labels
        True and predicted labels, or numbers.
    shares, probabilities : array-like of shape (k,) or None
        Probability of the true label, and of the predicted label.  None for numbers.
    losses : array-like of shape (k,)
        Losses.
    indices : array-like of shape (k,)
        Positions of the images in X.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the grid of images, or with the table of texts.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    AugmentationDisplay : The images on which the network trains.

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
        """Plot the images or texts with the largest losses of a fitted model.

        Parameters
        ----------
        estimator : FineTuneClassifier, FineTuneRegressor, or another model of images or texts
            Fitted regressor, or fitted classifier or pipeline with a method ``predict_proba``.  The
            images of a FineTuneClassifier or FineTuneRegressor are shown as its network sees them.
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
            Images, or texts if the network takes texts.
        y : array-like of shape (n_items,)
            Labels of the images, or numbers.
        k : int, default=9
            Maximum number of images to show, at least 1.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        TopLossesDisplay

        Raises
        ------
        TypeError
            If the model has no probabilities, or predicts several tasks, or masks.
        ValueError
            If ``y`` is not one label or number for each item.
        """
        import_pyplot()
        check_int("k", k, 1)
        if is_regressor(estimator):
            check_is_fitted(estimator)
            preset = _preset_of(estimator)
            return cls.from_numbers(y, estimator.predict(X), X, k=k, preset=preset, ax=ax)
        if not hasattr(estimator, "predict_proba"):
            raise TypeError(
                "estimator must be a regressor, or a classifier with predict_proba; got "
                f"{type(estimator).__name__}. Pass probabilities to from_predictions."
            )
        check_is_fitted(estimator)
        proba = estimator.predict_proba(X)
        if isinstance(proba, dict) or not hasattr(proba, "__len__"):
            raise TypeError(
                "estimator must predict one label or number for each item; "
                f"{type(estimator).__name__} predicts several. Pass one column of them to "
                "from_predictions or from_numbers, or the estimator model.task(name) of one task. "
                "Masks are drawn by MasksDisplay."
            )
        return cls.from_predictions(
            y,
            proba,
            X,
            classes=estimator.classes_,
            k=k,
            preset=_preset_of(estimator),
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
        """Plot the images or texts whose labels have the smallest predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_items,)
            True labels.
        y_pred_proba : array-like of shape (n_items, n_classes)
            Predicted probabilities.  Rows with NaN are ignored.
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
            Items.  Of images, only those that are shown are decoded.
        classes : array-like of shape (n_classes,) or None, default=None
            Labels of the columns of ``y_pred_proba``, such as ``classes_`` of a classifier.
            None stands for the sorted labels of ``y_true``.
        k : int, default=9
            Maximum number of images to show, at least 1.
        preset : ImagePreset, TextPreset or None, default=None
            Preset that decodes, resizes and crops the images.  None shows their central squares.
            With a TextPreset, the items are texts.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        TopLossesDisplay
        """
        preset, items = _checked_items(X, k, preset)
        place, proba, classes = _checked(y_true, y_pred_proba, classes, len(items))
        share = proba[np.arange(len(proba)), place]
        worst = _least(np.where(np.isnan(proba).any(axis=1), np.nan, share), k)
        least = np.finfo(float).eps  # keeps losses finite, as in scikit-learn's log_loss
        return cls(
            photos=[_shown(preset, items[index]) for index in worst],
            labels=classes[place[worst]],
            predictions=classes[proba[worst].argmax(axis=1)],
            shares=share[worst],
            probabilities=proba[worst].max(axis=1),
            losses=-np.log(np.clip(share[worst], least, 1)),
            indices=worst,
        ).plot(ax)

    @classmethod
    def from_numbers(
        cls, y_true: Any, y_pred: Any, X: Any, *, k: int = 9, preset: Any = None, ax: Any = None
    ) -> TopLossesDisplay:
        """Plot the images or texts whose numbers have the largest absolute errors.

        Parameters
        ----------
        y_true : array-like of shape (n_items,)
            True numbers.
        y_pred : array-like of shape (n_items,)
            Predicted numbers.  NaN is ignored.
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
            Items.  Of images, only those that are shown are decoded.
        k : int, default=9
            Maximum number of images to show, at least 1.
        preset : ImagePreset, TextPreset or None, default=None
            As for ``from_predictions``.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        TopLossesDisplay
        """
        preset, items = _checked_items(X, k, preset)
        true, predicted = (
            _check_column(name, values, len(items))
            for name, values in (("y_true", y_true), ("y_pred", y_pred))
        )
        errors = np.abs(predicted - true)
        worst = _least(-errors, k, "y_pred")
        return cls(
            photos=[_shown(preset, items[index]) for index in worst],
            labels=true[worst],
            predictions=predicted[worst],
            shares=None,
            probabilities=None,
            losses=errors[worst],
            indices=worst,
        ).plot(ax)

    def plot(self, ax: Any = None) -> TopLossesDisplay:
        """Draw the images with three lines of text below each, or a table of the texts.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        self
        """
        n = len(self.photos)
        if not n:
            raise ValueError("photos must hold at least one image; got an empty sequence.")
        if isinstance(self.photos[0], str):
            return self._plot_texts(ax)
        n_columns = n if n <= 3 else ceil(sqrt(n))
        across, down = 1 + 3 * GAP, 1 + 3 * LINE + 3 * GAP
        area = ImageArea(n_columns * across - 3 * GAP, ceil(n / n_columns) * down - 2 * GAP)
        ax = self.ax_ = get_axes(ax, area.figure_size(SIDE))
        self.figure_ = ax.figure
        for index, photo in enumerate(self.photos):
            row, place = divmod(index, n_columns)
            draw_image(ax, photo, place * across, row * down, value_range(photo))
            self._caption(index, place * across, row * down + 1 + GAP)
        area.set_limits(ax)
        return self

    def _plot_texts(self, ax: Any) -> TopLossesDisplay:
        """Draw a table with the loss, the label, the prediction and the text of each item."""
        rows = []
        for index, text in enumerate(self.photos):
            lines = self._lines(index)
            cells = [
                (f"{label} {probability}".strip(), color) for _, label, probability, color in lines
            ]
            rows.append(([cells[2], *cells[:2]], text))
        loss = "loss" if self.shares is not None else "error"
        names, places = (loss, "true", "pred", "text"), (0.0, 0.06, 0.21, 0.36)
        self.ax_ = draw_table(ax, names, places, rows)
        self.figure_ = self.ax_.figure
        return self

    def _caption(self, index: int, left: float, top: float) -> None:
        """Write the label, the prediction and the loss below an image."""
        for number, (word, text, value, color) in enumerate(self._lines(index)):
            style = {"y": top + (number + 0.7) * LINE, "fontsize": 8.5}
            self.ax_.text(left, s=word, color=MUTED, **style)
            self.ax_.text(left + 0.22, s=text, color=color, **style)
            self.ax_.text(left + 1, s=value, color=color, ha="right", **style)

    def _lines(self, index: int) -> list[tuple[str, str, str, str]]:
        """Return the label, the prediction and the loss, each with a word, a value and a colour."""
        label, predicted = self.labels[index], self.predictions[index]
        if self.shares is None:
            numbers = {"true": label, "pred": predicted, "error": self.losses[index]}
            return [(word, f"{number:.4g}", "", INK) for word, number in numbers.items()]
        color = GREEN if label == predicted else RED
        return [
            ("true", _short(label), f"{self.shares[index]:.2f}", INK),
            ("pred", _short(predicted), f"{self.probabilities[index]:.2f}", color),
            ("loss", f"{self.losses[index]:.2f}", "", INK),
        ]


def _preset_of(estimator: Any) -> Any:
    """Return the preset of a network, or of the network in a pipeline that takes texts."""
    backbone = getattr(estimator, "backbone_", None)
    if backbone is not None:
        return backbone.preset
    steps = [step for _, step in getattr(estimator, "steps", ())]
    presets = (getattr(getattr(step, "backbone_", None), "preset", None) for step in steps)
    return next((preset for preset in presets if isinstance(preset, TextPreset)), None)


def _checked_items(X: Any, k: int, preset: Any) -> tuple[Any, Any]:
    """Return the preset that shows items, and the items, after checks."""
    import_pyplot()
    check_int("k", k, 1)
    preset = ImagePreset(size=160, crop=1.0) if preset is None else preset
    return preset, preset.check(X)


def _shown(preset: Any, item: Any) -> Any:
    """Return an item as it is shown: a text, or an image as the preset makes it."""
    return item.text if isinstance(item, Text) else preset(item)


def _short(label: Any) -> str:
    """Shorten a label to the width of an image."""
    text = printable(label)
    return as_text(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def _check_column(name: str, values: Any, n_items: int) -> np.ndarray:
    """Return one number for each item as an array."""
    array = np.asarray(values, float)
    if array.shape != (n_items,):
        raise ValueError(
            f"{name} must be one number for each of {n_items} items of X; got shape {array.shape}. "
            "Of several columns, pass one."
        )
    return array


def _least(shares: np.ndarray, k: int, name: str = "y_pred_proba") -> np.ndarray:
    """Return the positions of the ``k`` smallest numbers, ignoring NaN."""
    n_known = np.isfinite(shares).sum()
    if not n_known:
        raise ValueError(
            f"{name} must have a row without NaN; got NaN in every row, as for images that "
            "could not be decoded."
        )
    return np.argsort(shares, kind="stable")[: min(k, n_known)]  # NaN is sorted to the end


def _checked(
    y_true: Any, y_pred_proba: Any, classes: Any, n_items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the column of each label, the probabilities, and the classes, after checks."""
    labels = np.asarray(y_true)
    if labels.shape != (n_items,):
        raise ValueError(
            f"y_true must be one label for each of {n_items} items of X; got shape {labels.shape}."
        )
    classes = np.unique(labels) if classes is None else np.asarray(classes)
    proba = np.asarray(y_pred_proba, float)
    if proba.shape != (n_items, len(classes)):
        raise ValueError(
            f"y_pred_proba must be of shape {(n_items, len(classes))}, with one column for each "
            f"class; got {proba.shape}. If y_true lacks some classes, pass classes=model.classes_."
        )
    place = {label: index for index, label in enumerate(classes.tolist())}
    unknown = [f"y_true[{i}]: {x!r}" for i, x in enumerate(labels.tolist()) if x not in place]
    if unknown:
        raise ValueError(f"y_true must hold labels of classes; got others:\n{first_ten(unknown)}")
    return np.array([place[label] for label in labels.tolist()]), proba, classes
