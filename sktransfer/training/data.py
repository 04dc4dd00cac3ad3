"""The data of a fit: one pass through the frozen stages, and the rows of each phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._support.geometry import Place
from .._support.progress import progress_bar
from .._support.threads import map_ahead
from .._support.validation import first_ten
from ..cache import compute_digests
from ..callbacks import CutMix, MixUp
from ..data import Items, Views, count_tokens, resolve_augment
from ..extraction import LEFT_OUT, Frozen, Tap
from ..tasks import Placing, Targets, Task
from .frozen import FrozenStages
from .sources import DecodedItems, DrawnViews, FixedRows, Source
from .tail import Pooled
from .user_callbacks import refuse


@dataclass(frozen=True)
class Data:
    """The items of a fit with their targets.

    Parameters
    ----------
    items : Items
        The items of X, followed by those of X_val.
    task : Task
    targets : Targets
        The targets of all items.
    train, valid : ndarray of int
        The positions of the training items and of the validation items.
    n_own : int
        The number of items of X.
    skipped, skipped_valid : ndarray of int
        The positions in X, and in X_val, of the items that could not be decoded.
    unplaced : sequence of n targets or None, default=None
        The targets in pixels of the items, if they have positions, and ``targets`` those in pixels
        of the rows.
    row_size : int, default=0
        The side of a row in pixels, if targets have positions.
    """

    items: Items
    task: Task
    targets: Targets
    train: np.ndarray
    valid: np.ndarray
    n_own: int
    skipped: np.ndarray = field(default_factory=lambda: np.array([], int))
    skipped_valid: np.ndarray = field(default_factory=lambda: np.array([], int))
    unplaced: Any = None
    row_size: int = 0

    @property
    def flips(self) -> bool:
        """False if augmentation must not flip images, because the targets do not follow."""
        return self.task.flips if isinstance(self.task, Placing) else True

    def name(self, index: int) -> str:
        """Return the name of an item for messages, such as "X_val[3]"."""
        return f"X[{index}]" if index < self.n_own else f"X_val[{index - self.n_own}]"

    def keep(self, kept: np.ndarray) -> Data:
        """Return the data of the items at the positions ``kept``."""
        if len(kept) == len(self.items):
            return self
        # Old positions become new ones; those of items that are left out become -1.
        new_position = np.full(len(self.items), -1)
        new_position[kept] = np.arange(len(kept))
        train, valid = new_position[self.train], new_position[self.valid]
        return Data(
            self.items.take(kept),
            self.task,
            self.targets[kept],
            train[train >= 0],
            valid[valid >= 0],
            int((kept < self.n_own).sum()),
            np.setdiff1d(np.arange(self.n_own), kept),
            np.setdiff1d(np.arange(len(self.items) - self.n_own), kept - self.n_own),
        )

    def placed(self, preset: Any, n_jobs: int | None) -> Data:
        """Return the data with the targets in pixels of the rows, if they have positions.

        Raises
        ------
        ValueError
            If targets do not suit the sizes of their items.
        """
        if not isinstance(self.task, Placing):
            return self
        if not hasattr(preset, "locate"):
            raise ValueError(
                f"y must have no positions for items that are not images; got a "
                f"{type(self.task).__name__} task for a {type(preset).__name__}."
            )
        places = locate_items(preset, self.items, n_jobs)
        names = [
            f"{name}[{at}]"
            for name, n, skipped in (
                ("y", self.n_own, self.skipped),
                ("y_val", len(self.items) - self.n_own, self.skipped_valid),
            )
            for at in np.setdiff1d(np.arange(n + len(skipped)), skipped)
        ]

        values = self.targets.values
        self.task.check_sizes(values, [place.item_size for place in places], names.__getitem__)
        targets = replace(self.targets, values=self.task.place(values, places, preset.size))
        return replace(self, targets=targets, unplaced=values, row_size=preset.size)

    def scaled(self) -> Data:
        """Return the data with numbers scaled by the moments of the training items."""
        task, targets = self.task.scaled(self.targets, self.train)
        return replace(self, task=task, targets=targets)


def collect_data(
    items: Items, task: Task, targets: Targets, validation: tuple[Items, Any] | None
) -> Data:
    """Collect the items of X and of X_val, with their targets.

    Items of weight 0 are left out of training.

    Parameters
    ----------
    items : Items
        The items of X.
    task : Task
    targets : Targets
        The targets of these items, weighted.
    validation : (Items, array-like) or None
        The items of X_val, and y_val.
    """
    task, targets = task.narrow(targets)
    n_own, weighted = len(items), np.flatnonzero(targets.weight > 0)
    if validation is None:
        return Data(items, task, targets, weighted, weighted[:0], n_own)
    val_items, y_val = validation
    targets = targets.followed_by(task.encode(y_val, len(val_items), "y_val"))
    valid = np.arange(n_own, n_own + len(val_items))
    return Data(items.followed_by(val_items), task, targets, weighted, valid, n_own)


def run_first_pass(stages: FrozenStages, data: Data) -> tuple[Data, np.ndarray, Any]:
    """Run every item through the frozen network once.

    Returns
    -------
    data : Data
        The part of the data that could be decoded.
    features : ndarray of shape (n, n_features)
        The pooled output of the last stage.
    rows : sequence of n activations at the cut, or None
        None if the training items are augmented, or if training does not need these activations.
    """
    settings, n_stages = stages.settings, stages.n_stages
    taps = [Tap(n_stages, settings.pooling)]
    fixed = 0 < settings.cut < n_stages and settings.augment is None
    if fixed and stages.keeps_rows:
        taps.append(Tap(settings.cut))
    remaining, found = run_taps(stages, taps, data)
    rows = None
    if fixed:
        whole = len(taps) > 1
        rows = found.rows[1] if whole else stages.rows(Tap(settings.cut), remaining.items)
    features = np.asarray(found.rows[0], np.float32).astype(settings.numerics.numpy_dtype)
    return remaining, features, rows


def run_taps(stages: FrozenStages, taps: list[Tap], data: Data) -> tuple[Data, Frozen]:
    """Run the frozen stages, and return the data that could be decoded with the activations."""
    settings = stages.settings
    with progress_bar(len(data.items), "frozen stages", settings.verbose) as advance:
        found = stages.run(
            taps,
            data.items,
            decode_error=settings.decode_error,
            progress=advance,
            name=data.name,
            advice=LEFT_OUT,
        )
    remaining = data.keep(found.kept)
    _check_remaining(data, remaining, found.failed)
    return remaining, found


def _check_remaining(data: Data, remaining: Data, failed: dict[int, Any]) -> None:
    """Raise an error if a class or all validation items were lost to decoding errors."""
    lost = _count_outputs(remaining) < _count_outputs(data)
    if lost or (len(data.valid) and not len(remaining.valid)):
        listed = first_ten([f"{data.name(at)}: {error}" for at, error in failed.items()])
        raise ValueError(
            "X must have items of every class that can be decoded, and such items for validation; "
            f"too few are left without these:\n{listed}"
        )


def _count_outputs(data: Data) -> int:
    """Return the number of outputs without those of classes that have no training item."""
    try:
        return data.task.narrow(data.targets[data.train])[0].n_outputs if len(data.train) else 0
    except ValueError:  # a single class is left
        return 0


def check_moves(task: Task, augment: Any, callbacks: Any) -> None:
    """Raise an error if targets with positions cannot follow an augmentation or a callback."""
    if not isinstance(task, Placing):
        return
    refuse(callbacks, (MixUp, CutMix), " if targets have positions, which cannot be mixed.")
    inner = augment.augment if isinstance(augment, Views) else augment
    if not (inner is None or isinstance(inner, str)):
        raise ValueError(
            "augment must be None, a name, or Views of a name, because targets with positions "
            f"cannot follow a callable; got {augment!r}."
        )


def make_tuning_sources(
    stages: FrozenStages, data: Data, pooled: tuple[Source, Source], rows: Any, seed: int
) -> tuple[Source, Source]:
    """Make the sources of the fine-tuning phase, of the training rows and the validation rows.

    Parameters
    ----------
    stages : FrozenStages
    data : Data
    pooled : (Source, Source)
        The sources of the pooled features of both parts, for a tail without trainable stages.
    rows : sequence of n activations at the cut, or None
        As :func:`run_first_pass` returns them.
    seed : int
        The seed of the augmentation.
    """
    backbone, settings = stages.backbone, stages.settings
    cut, n_jobs = settings.cut, settings.n_jobs

    def fixed(part: np.ndarray, pooled: Source) -> Source:
        if cut == stages.n_stages or not len(part):
            return pooled
        items = data.items.take(part)
        if cut == 0:
            return DecodedItems(backbone.preset, items, n_jobs=n_jobs)
        # Without rows, the training items are augmented, and only these are not.
        found = stages.rows(Tap(cut), items) if rows is None else Subset(rows, part)
        return FixedRows(found, cut, count_tokens(backbone.preset, items))

    valid = fixed(data.valid, pooled[1])
    if settings.augment is None:
        return fixed(data.train, pooled[0]), valid
    items = data.items.take(data.train)
    if isinstance(settings.augment, Views):
        return _make_views(stages, settings.augment, items, seed, data.flips), valid
    draw = resolve_augment(settings.augment, backbone.preset, data.flips)
    return DecodedItems(backbone.preset, items, draw, seed, n_jobs), valid


class Subset:
    """A part of the rows of a sequence, which are read when they are needed."""

    def __init__(self, rows: Any, part: np.ndarray):
        self._rows = rows
        self._part = part

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._rows[self._part[positions]]
        return found


def take_rows(rows: Any, part: np.ndarray) -> Any:
    """Return a part of the rows: an array if they are in memory, otherwise a :class:`Subset`."""
    return rows[part] if isinstance(rows, np.ndarray) else Subset(rows, part)


def _make_views(stages: FrozenStages, views: Views, items: Items, seed: int, flips: bool) -> Source:
    """Compute the rows of all views of the items, and return a source that draws among them."""
    settings, n_stages = stages.settings, stages.n_stages
    preset = views.preset(stages.backbone.preset, flips)
    all_views = views.items(items, compute_digests(items, stages.cache))

    def locate(at: int) -> Any:
        return preset.locate(all_views[at])

    if settings.cut == 0:
        decoded = _DecodedViews(preset, all_views, settings.n_jobs)
        return DrawnViews(decoded, views.n, 0, seed, locate)
    head_only = settings.cut == n_stages
    rows = stages.rows(
        Tap(settings.cut, settings.pooling if head_only else None),
        all_views,
        preset,
        name=lambda at: f"view {at % views.n} of a training item",
    )
    return DrawnViews(rows, views.n, Pooled() if head_only else settings.cut, seed, locate)


class _DecodedViews:
    """Views that are decoded when they are needed, for a network without frozen stages."""

    def __init__(self, preset: Any, items: Sequence[Any], n_jobs: int | None):
        self._source = DecodedItems(preset, items, n_jobs=n_jobs)

    def __len__(self) -> int:
        return len(self._source.items)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self._source.load(positions, 0).numpy()
        return rows


def locate_items(preset: Any, items: Sequence[Any], n_jobs: int | None) -> list[Place]:
    """Return the places of items in the rows that a preset makes of them."""
    return list(map_ahead(preset.locate, items, n_jobs, ahead=64))
