"""Show images next to their augmented variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.utils import check_random_state

from .._support.random import seed_of
from .._support.validation import check_int
from ..data import Views, digest, resolve_augment
from ._axes import GAP, MUTED, ImageArea, as_text, draw_image, get_axes, import_pyplot, value_range

# The side of an image and the maximum width of a row, in inches.
SIDE, WIDEST = 1.1, 9.0


class AugmentationDisplay:
    """Show images as the network sees them, each next to random variants of it.

    Parameters
    ----------
    photos : sequence of n_items arrays (h, w, 3)
        The images without augmentation.
    variants : sequence of n_items sequences of n_views arrays (h, w, 3)
        The variants of each image.
    name : str or None, default=None
        Name of the augmentation, shown above the variants.  None shows no name.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the grid, which has one row for each image.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    TopLossesDisplay : The images with the largest losses.

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
        """Plot the augmentation of an estimator, which does not have to be fitted.

        Parameters
        ----------
        estimator : FineTuneClassifier
            The estimator whose parameter ``augment`` is used.  "auto" has the same meaning as in
            ``fit``.
        X : sequence of items
            Images, of which the first ``n_items`` are shown.
        n_items : int, default=4
            Number of images, the rows of the grid; at least 1.
        n_views : int, default=6
            Number of variants of each image, at least 1.  ``Views(n=...)`` has at most ``n``.
        random_state : int, RandomState or None, default=0
            Seed of the variants.  Those of ``Views`` are fixed and do not depend on it.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        AugmentationDisplay

        Raises
        ------
        ValueError
            If the estimator does not augment images.
        TypeError
            If the estimator has no parameter ``augment`` or ``backbone``.
        """
        missing = [name for name in ("augment", "backbone") if not hasattr(estimator, name)]
        if missing:
            raise TypeError(
                f"estimator must have a parameter {missing[0]}, as FineTuneClassifier has; got "
                f"{type(estimator).__name__}. If it is a pipeline, pass the step with the model."
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
        """Plot an augmentation.

        Parameters
        ----------
        augment : {"light", "standard", "trivial"}, Views or callable
            The augmentation; see :class:`FineTuneClassifier`.
        preset : ImagePreset
            Preset of the network.
        X : sequence of items
            Images, of which the first ``n_items`` are shown.
        n_items : int, default=4
            Number of images, the rows of the grid; at least 1.
        n_views : int, default=6
            Number of variants of each image, at least 1.  ``Views(n=...)`` has at most ``n``.
        random_state : int, RandomState or None, default=0
            Seed of the variants.  Those of ``Views`` are fixed and do not depend on it.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        AugmentationDisplay
        """
        import_pyplot()
        n_items, n_views = check_int("n_items", n_items, 1), check_int("n_views", n_views, 1)
        if augment is None:
            raise ValueError(
                "augment must be an augmentation; got None. Set it to 'light', 'standard', "
                "'trivial', Views or a callable."
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
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        self
        """
        self._check()
        step = 1 + GAP
        apart = 3 * GAP  # a wider space between an image and its variants
        n_rows, n_columns = len(self.photos), 1 + len(self.variants[0])
        area = ImageArea(n_columns * step - GAP + apart, n_rows * step - GAP, above=0.3)
        ax = self.ax_ = get_axes(ax, area.figure_size(min(SIDE, WIDEST / n_columns)))
        self.figure_ = ax.figure
        for row, (photo, variants) in enumerate(zip(self.photos, self.variants, strict=True)):
            span = value_range(photo)
            draw_image(ax, photo, 0, row * step, span)
            for place, variant in enumerate(variants, start=1):
                draw_image(ax, variant, place * step + apart, row * step, span)
        of_name = "" if self.name is None else f": {as_text(self.name)}"
        ax.text(0, -0.08, "photo", color=MUTED)
        ax.text(step + apart, -0.08, f"variants{of_name}", color=MUTED)
        area.set_limits(ax)
        return self

    def _check(self) -> None:
        """Raise an error if the images have different numbers of variants."""
        counts = {len(variants) for variants in self.variants}
        if not len(self.photos) or len(self.variants) != len(self.photos) or len(counts) > 1:
            raise ValueError(
                "variants must hold the same number of variants for each of at least one image; "
                f"got {[len(variants) for variants in self.variants]} variants of "
                f"{len(self.photos)} images."
            )


def _augment_of(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the preset of an estimator, and its augmentation without "auto"."""
    preset, augment = estimator.get_augmentation(X)
    if augment is None:
        why = (
            "which is None for the rows of a table, for numbers in y, and if no stage trains"
            if isinstance(estimator.augment, str) and estimator.augment == "auto"
            else "which makes no variants"
        )
        raise ValueError(
            f"augment must make variants, to be shown; got {estimator.augment!r}, {why}. Set it, "
            "as in estimator.set_params(augment='light')."
        )
    return preset, augment


def _fixed_variants(views: Views, preset: Any, items: Sequence[Any], n_views: int) -> list[Any]:
    """Return the first variants of each item, of those from which training draws."""
    made = views.preset(preset)
    seen = views.items(items, [digest(item) for item in items])
    n_shown = min(n_views, views.n)
    return [
        [made(view) for view in seen[first : first + n_shown]]
        for first in range(0, len(seen), views.n)
    ]


def _name_of(augment: Any) -> str:
    """Return the name of an augmentation, to be shown above its variants."""
    if isinstance(augment, Views):
        return f"{augment.n} fixed views, {_name_of(augment.augment)}"
    if isinstance(augment, str):
        return augment
    return str(getattr(augment, "__name__", type(augment).__name__))
