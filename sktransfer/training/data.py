"""The data of a fit: one pass through the frozen stages, then the rows of each phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .._support.progress import progress_bar
from .._support.validation import first_ten
from ..backbones import Backbone
from ..cache import ActivationCache
from ..data import Items, Views, digest_or_none, resolve_augment
from ..extraction import LEFT_OUT, Frozen, Prefix, Tap, run_frozen, spare_taps
from ..tasks import Targets, Task
from .batches import DecodedItems, DrawnViews, FixedRows, Source
from .settings import FitSettings
from .tail import Pooled


@dataclass(frozen=True)
class Data:
    """Items with their targets.

    Parameters
    ----------
    items : Items
        Those of X, then those of X_val.
    task : Task
    targets : Targets
    train, valid : ndarray of int
        Positions of the items to train on, and of those held out.
    n_own : int
        The number of items of X.
    skipped : ndarray of int
        Positions in X of items that were left out.
    """

    items: Items
    task: Task
    targets: Targets
    train: np.ndarray
    valid: np.ndarray
    n_own: int
    skipped: np.ndarray = field(default_factory=lambda: np.array([], int))

    def name(self, index: int) -> str:
        """Return the name of an item in messages."""
        return f"X[{index}]" if index < self.n_own else f"X_val[{index - self.n_own}]"

    def keep(self, kept: np.ndarray) -> Data:
        """Return the data without the items that could not be decoded."""
        if len(kept) == len(self.items):
            return self
        place = np.full(len(self.items), -1)
        place[kept] = np.arange(len(kept))
        train, valid = place[self.train], place[self.valid]
        return Data(
            self.items.take(kept),
            self.task,
            self.targets[kept],
            train[train >= 0],
            valid[valid >= 0],
            int((kept < self.n_own).sum()),
            np.setdiff1d(np.arange(self.n_own), kept),
        )


@contextmanager
def fit_cache(settings: FitSettings, data: Data) -> Iterator[ActivationCache | None]:
    """Return a context manager with the cache of a fit.

    It is the user's.  Without one, feature maps that are read in several epochs are kept in a
    temporary folder.
    """
    augment = settings.augment
    fixed = augment is None or isinstance(augment, Views) or len(data.valid)
    if settings.cache is not None or not (fixed and settings.tunes and settings.cut):
        yield settings.cache
        return
    with TemporaryDirectory(prefix="sktransfer-", ignore_cleanup_errors=True) as folder:
        yield ActivationCache(folder, cuts=1)  # no other fit reads it


@dataclass(frozen=True)
class FrozenStages:
    """The frozen stages of a fit, and the cache of their activations.

    Parameters
    ----------
    backbone : Backbone
    settings : FitSettings
    cache : ActivationCache or None
    """

    backbone: Backbone
    settings: FitSettings
    cache: ActivationCache | None

    @property
    def n_stages(self) -> int:
        """The number of stages of the chain."""
        return len(self.backbone.names)

    def run(self, taps: list[Tap], items: Sequence[Any], preset: Any = None, **how: Any) -> Frozen:
        """Return the activations of items at some taps.

        A fit does not know which cuts others will need, so activations at the last few cuts are
        left in the cache.
        """
        settings, numerics = self.settings, self.settings.numerics
        prefix = Prefix(
            self.backbone,
            taps,
            numerics.device,
            numerics.frozen_precision,
            settings.inference_batch_size,
        )
        return run_frozen(
            prefix if preset is None else prefix.over(preset),
            items,
            cache=self.cache,
            spare=spare_taps(self.n_stages, taps, self.cache),
            n_jobs=settings.n_jobs,
            **how,
        )


def first_pass(stages: FrozenStages, data: Data) -> tuple[Data, np.ndarray, Any]:
    """Run every item through the frozen network once.

    Returns
    -------
    data : Data
        The data that could be decoded.
    features : ndarray of shape (n, n_features)
        The pooled output of the last stage.
    rows : sequence of n activations at the cut, or None
        None if training items are augmented, or if no pass needs the activations at the cut.
    """
    settings, n_stages = stages.settings, stages.n_stages
    taps = [Tap(n_stages, settings.pooling)]
    if 0 < settings.cut < n_stages and settings.augment is None:
        taps.append(Tap(settings.cut))
    with progress_bar(len(data.items), "frozen stages", settings.verbose) as advance:
        found = stages.run(
            taps,
            data.items,
            decode_error=settings.decode_error,
            progress=advance,
            name=data.name,
            advice=LEFT_OUT,
        )
    left = data.keep(found.kept)
    _check_left(data, left, found.failed)
    rows = found.rows[1] if len(taps) > 1 else None
    features = np.asarray(found.rows[0], np.float32).astype(settings.numerics.numpy_dtype)
    return left, features, rows


def _check_left(data: Data, left: Data, failed: dict[int, Any]) -> None:
    """Raise if too few items could be decoded to learn from them."""
    before, after = _n_strata(data), _n_strata(left)
    if after < before or (len(data.valid) and not len(left.valid)):
        listed = first_ten([f"{data.name(at)}: {error}" for at, error in failed.items()])
        raise ValueError(
            "X must hold images of every class that can be decoded, and some to validate with; "
            f"too few are left without these:\n{listed}"
        )


def _n_strata(data: Data) -> int:
    """Return the number of strata of the training items; without strata, 1 if there are items."""
    strata = data.task.strata(data.targets[data.train])
    return min(1, len(data.train)) if strata is None else len(np.unique(strata))


def tuning_sources(
    stages: FrozenStages, data: Data, pooled: tuple[Source, Source], rows: Any, seed: int
) -> tuple[Source, Source]:
    """Return the sources of the fine-tuning phase: of the training rows, and of validation."""
    backbone, settings = stages.backbone, stages.settings
    cut, n_jobs = settings.cut, settings.n_jobs

    def fixed(part: np.ndarray, pooled: Source) -> Source:
        if cut == stages.n_stages or not len(part):
            return pooled
        if cut == 0:
            return DecodedItems(backbone.preset, data.items.take(part), n_jobs=n_jobs)
        if rows is None:  # training items are augmented, and only these are not
            return FixedRows(stages.run([Tap(cut)], data.items.take(part)).rows[0], cut)
        return FixedRows(_Some(rows, part), cut)

    valid = fixed(data.valid, pooled[1])
    if settings.augment is None:
        return fixed(data.train, pooled[0]), valid
    items = data.items.take(data.train)
    if isinstance(settings.augment, Views):
        return _views(stages, settings.augment, items, seed), valid
    draw = resolve_augment(settings.augment, backbone.preset)
    return DecodedItems(backbone.preset, items, draw, seed, n_jobs), valid


class _Some:
    """A part of the rows of a sequence, indexed by positions."""

    def __init__(self, rows: Any, part: np.ndarray):
        self._rows = rows
        self._part = part

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._rows[self._part[positions]]
        return found


def _views(stages: FrozenStages, views: Views, items: Items, seed: int) -> Source:
    """Return the rows of a few fixed views of each item, one of which each epoch draws."""
    settings, n_stages = stages.settings, stages.n_stages
    preset = views.preset(stages.backbone.preset)
    of_items = views.items(items, digests_of(items, stages.cache))
    if settings.cut == 0:
        return DrawnViews(_Decoded(preset, of_items, settings.n_jobs), views.n, 0, seed)
    whole = settings.cut == n_stages
    found = stages.run(
        [Tap(settings.cut, settings.pooling if whole else None)],
        of_items,
        preset,
        name=lambda at: f"view {at % views.n} of a training item",
    )
    return DrawnViews(found.rows[0], views.n, Pooled() if whole else settings.cut, seed)


class _Decoded:
    """Views that are decoded when they are read, for a network without frozen stages."""

    def __init__(self, preset: Any, items: Sequence[Any], n_jobs: int | None):
        self._source = DecodedItems(preset, items, n_jobs=n_jobs)

    def __len__(self) -> int:
        return len(self._source.items)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self._source.load(positions, 0).numpy()
        return rows


def digests_of(items: Sequence[Any], cache: ActivationCache | None) -> list[bytes]:
    """Return the digests of items; the cache knows those of files without reading them again.

    The digest of an item that cannot be read is zero: decoding it raises the error.
    """
    if cache is not None:
        return cache.digests(items)
    return [digest_or_none(item) or bytes(16) for item in items]
