"""A picture of what augmentation makes of photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.utils import check_random_state

from .._support.random import seed_of
from .._support.validation import check_int
from ..backbones import get_backbone
from ..data import Views, adapt, digest, resolve_augment, smallest_preset
from ..training import is_auto, resolve
from ._axes import GAP, MUTED, Box, new_axes, pyplot, show, span_of

# In inches: the side of a photo, and the most that a row of variants may be wide.
SIDE, WIDEST = 1.1, 9.0


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
    >>> from sktransfer.display import AugmentationDisplay
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
        items = preset.check(X)[:n_items]
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
        box = Box(n_columns * step - GAP + apart, n_rows * step - GAP, above=0.3)
        ax = self.ax_ = new_axes(ax, box.inches(min(SIDE, WIDEST / n_columns)))
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
    preset = backbone.preset
    items = preset.check(X)
    if not fitted and estimator.image_size is None and estimator.preset is None:
        preset = smallest_preset(preset, items)
    augment = resolve(estimator, backbone, items).augment
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
