"""Pictures of photos: what augmentation makes of them, and which of them a model gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._check import check_int, first_ten
from ._random import seed_of
from .augment import Views, resolve_augment
from .axes import GREEN, INK, MUTED, RED, new_axes, pyplot
from .digests import digest
from .presets import ImagePreset, adapt
from .recipe import fitting, is_auto, resolve
from .registry import get_backbone

# In sides of a photo: between photos of one row, and between two lines of text.
GAP = 0.06
LINE = 0.13

# In inches: the side of a photo, and the most that a row of variants may be wide.
SIDE, WIDEST = 1.75, 9.0

# By which floats of images may leave [0, 1].
ROUNDING = 0.01

# Characters of a label that fit below a photo.
LONGEST = 15


class AugmentationDisplay:
    """Photos as the network sees them, and random variants of each beside them.

    Parameters
    ----------
    photos : sequence of n_items arrays (h, w, 3)
        Without augmentation.
    variants : sequence of n_items sequences of n_views arrays (h, w, 3)
        Of each photo.
    name : str or None, default=None
        What the augmentation is called; None names none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the grid: a row for each photo.
    figure_ : matplotlib Figure
        That holds it.

    See Also
    --------
    TopLossesDisplay : The photos that a model gets wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import ImagePreset
    >>> from sktransfer.photo_display import AugmentationDisplay
    >>> photos = np.random.default_rng(0).random((2, 48, 64, 3), np.float32)
    >>> preset = ImagePreset(size=32)
    >>> display = AugmentationDisplay.from_augment("light", preset, photos, n_views=3)
    >>> len(display.ax_.images)
    8
    """

    def __init__(
        self, photos: Sequence[Any], variants: Sequence[Sequence[Any]], name: str | None = None
    ):
        self.photos = photos
        self.variants = variants
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_items: int = 4,
        n_views: int = 6,
        random_state: Any = 0,
        ax: Any = None,
    ) -> AugmentationDisplay:
        """What an estimator, fitted or not, makes of its photos when it trains, drawn.

        Parameters
        ----------
        estimator : FineTuneClassifier
            Its parameters say how photos are augmented; "auto" is resolved as ``fit`` does.
        X : sequence of items
            The first ``n_items`` are shown.
        n_items : int, default=4
            Rows of the grid.
        n_views : int, default=6
            Variants of each photo; of ``Views(n=...)`` at most n.
        random_state : int, RandomState or None, default=0
            Of the variants; those of ``Views`` are what they are.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        AugmentationDisplay

        Raises
        ------
        ValueError
            If the estimator augments nothing.
        """
        missing = [name for name in ("augment", "backbone") if not hasattr(estimator, name)]
        if missing:
            raise TypeError(
                f"estimator must have a parameter {missing[0]}, as FineTuneClassifier has; got "
                f"{type(estimator).__name__}. Of a pipeline, pass that step."
            )
        preset, augment = _augment_of(estimator, X)
        return cls.from_augment(
            augment,
            preset,
            X,
            n_items=n_items,
            n_views=n_views,
            random_state=random_state,
            ax=ax,
        )

    @classmethod
    def from_augment(
        cls,
        augment: Any,
        preset: Any,
        X: Any,
        *,
        n_items: int = 4,
        n_views: int = 6,
        random_state: Any = 0,
        ax: Any = None,
    ) -> AugmentationDisplay:
        """What an augmentation makes of photos, drawn.

        Parameters
        ----------
        augment : {"light", "standard", "trivial"}, Views or callable
            As in FineTuneClassifier.
        preset : ImagePreset
            Of the network.
        X : sequence of items
            The first ``n_items`` are shown.
        n_items : int, default=4
            Rows of the grid.
        n_views : int, default=6
            Variants of each photo; of ``Views(n=...)`` at most n.
        random_state : int, RandomState or None, default=0
            Of the variants; those of ``Views`` are what they are.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        AugmentationDisplay
        """
        pyplot()
        n_items, n_views = check_int("n_items", n_items, 1), check_int("n_views", n_views, 1)
        if augment is None:
            raise ValueError(
                "augment must make variants, to be shown; got None. Set it to 'light', "
                "'standard', 'trivial', Views or a callable."
            )
        items = _items(preset, X)[:n_items]
        seed = int(check_random_state(random_state).randint(2**31))
        if isinstance(augment, Views):
            variants = _fixed_variants(augment, preset, items, n_views)
        else:
            draw: Any = resolve_augment(augment, preset)
            variants = [
                [draw(item, seed_of(seed, "augment", view, row)) for view in range(n_views)]
                for row, item in enumerate(items)
            ]
        photos = [preset(item) for item in items]
        return cls(photos, variants, _name_of(augment)).plot(ax)

    def plot(self, ax: Any = None) -> AugmentationDisplay:
        """Draw the grid.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self
        """
        self._check()
        step = 1 + GAP
        apart = 3 * GAP  # the photo itself stands a little apart
        n_rows, n_columns = len(self.photos), 1 + len(self.variants[0])
        box = _Box(n_columns * step - GAP + apart, n_rows * step - GAP, above=0.3)
        ax = self.ax_ = new_axes(ax, box.inches(min(1.1, WIDEST / n_columns)))
        self.figure_ = ax.figure
        for row, (photo, variants) in enumerate(zip(self.photos, self.variants, strict=True)):
            span = span_of(photo)
            show(ax, photo, 0, row * step, span)
            for place, variant in enumerate(variants, start=1):
                show(ax, variant, place * step + apart, row * step, span)
        of_name = "" if self.name is None else f": {self.name}"
        ax.text(0, -0.08, "photo", color=MUTED)
        ax.text(step + apart, -0.08, f"variants{of_name}", color=MUTED)
        box.frame(ax)
        return self

    def _check(self) -> None:
        counts = {len(variants) for variants in self.variants}
        if not len(self.photos) or len(self.variants) != len(self.photos) or len(counts) > 1:
            raise ValueError(
                "variants must hold equally many variants of each of one or more photos; got "
                f"{[len(variants) for variants in self.variants]} of {len(self.photos)} photos."
            )


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
    >>> from sktransfer.photo_display import TopLossesDisplay
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
        items = _items(preset, X)
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
        box = _Box(n_columns * across - 3 * GAP, ceil(n / n_columns) * down - 2 * GAP)
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
            ("true", short(label), f"{self.shares[index]:.2f}", INK),
            (
                "said",
                short(said),
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


@dataclass(frozen=True)
class _Box:
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


# Pixels


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


def short(label: Any) -> str:
    """A label that fits below a photo."""
    text = str(label)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


# What is shown


def _items(preset: Any, X: Any) -> Any:
    """The items of ``X``, validated."""
    return preset.check(BaseEstimator(), X, reset=True)


def _augment_of(estimator: Any, X: Any) -> tuple[Any, Any]:
    """The preset of an estimator, and its augmentation without "auto"."""
    fitted = hasattr(estimator, "backbone_")
    if fitted:
        backbone = estimator.backbone_
    else:
        backbone = get_backbone(estimator.backbone, estimator.weights, seed=0)
        backbone.preset = adapt(
            backbone.preset, estimator.preset, estimator.image_size, estimator.image_shape
        )
    columns = BaseEstimator()
    items = backbone.preset.check(columns, X, reset=True)
    is_table = isinstance(items, np.ndarray) and hasattr(columns, "n_features_in_")
    preset = backbone.preset
    if is_table and not fitted and estimator.image_size is None and estimator.preset is None:
        preset = fitting(preset, items)
    augment = resolve(estimator, backbone, items, is_table).augment
    if augment is None:
        why = (
            "which is None for the rows of a table, and where no stage trains"
            if is_auto(estimator.augment)
            else "which makes no variants"
        )
        raise ValueError(
            f"augment must make variants, to be shown; got {estimator.augment!r}, {why}. Set it, "
            "as in estimator.set_params(augment='light')."
        )
    return preset, augment


def _fixed_variants(views: Views, preset: Any, items: Sequence[Any], n_views: int) -> list[Any]:
    """The first variants of each item, as training draws from them."""
    made = views.preset(preset)
    seen = views.items(items, [digest(item) for item in items])
    n_shown = min(n_views, views.n)
    return [
        [made(view) for view in seen[first : first + n_shown]]
        for first in range(0, len(seen), views.n)
    ]


def _name_of(augment: Any) -> str:
    if isinstance(augment, Views):
        return f"{augment.n} fixed views, {_name_of(augment.augment)}"
    if isinstance(augment, str):
        return augment
    return str(getattr(augment, "__name__", type(augment).__name__))


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
