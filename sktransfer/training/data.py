"""Where the rows of a fit come from: one pass over the frozen stages, then batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from .._support.progress import progress_bar
from .._support.validation import first_ten
from ..backbones import Backbone
from ..cache import ActivationCache, check_cache
from ..data import Items, Views, digest_or_none, resolve_augment
from ..extraction import LEFT_OUT, Frozen, Prefix, Tap, resolve_batch_size, run_frozen, spare_taps
from ..tasks import Targets
from .batches import DecodedItems, DrawnViews, FixedRows, Source
from .settings import Recipe


@dataclass(frozen=True)
class Data:
    """Items with their targets.

    Parameters
    ----------
    items : Items
        Those of X, then those of X_val.
    targets : Targets
    train, valid : ndarray of int
        Positions of the items to train on, and of those held out.
    n_own : int
        Items of X.
    skipped : ndarray of int
        Positions in X of items that were left out.
    """

    items: Items
    targets: Targets
    train: np.ndarray
    valid: np.ndarray
    n_own: int
    skipped: np.ndarray = field(default_factory=lambda: np.array([], int))

    def name(self, index: int) -> str:
        """What messages call an item."""
        return f"X[{index}]" if index < self.n_own else f"X_val[{index - self.n_own}]"

    def keep(self, kept: np.ndarray) -> Data:
        """The data without the items that could not be decoded."""
        if len(kept) == len(self.items):
            return self
        place = np.full(len(self.items), -1)
        place[kept] = np.arange(len(kept))
        train, valid = place[self.train], place[self.valid]
        return Data(
            self.items.take(kept),
            self.targets[kept],
            train[train >= 0],
            valid[valid >= 0],
            int((kept < self.n_own).sum()),
            np.setdiff1d(np.arange(self.n_own), kept),
        )


@contextmanager
def store(cache: Any, recipe: Recipe, data: Data) -> Iterator[ActivationCache | None]:
    """The cache of the user; without one, where there are maps to keep, one for the fit alone."""
    given = check_cache(cache)
    fixed = recipe.augment is None or isinstance(recipe.augment, Views) or len(data.valid)
    if given is not None or not (fixed and recipe.tunes and recipe.cut):
        yield given
        return
    with TemporaryDirectory(prefix="sktransfer-", ignore_cleanup_errors=True) as folder:
        yield ActivationCache(folder, cuts=1)  # there is no other fit


def frozen_rows(
    params: Any, backbone: Backbone, recipe: Recipe, data: Data, cache: ActivationCache | None
) -> tuple[Data, np.ndarray, Any]:
    """One pass over every item: the data that could be decoded, its features, its rows at the cut.

    Returns
    -------
    data : Data
    features : ndarray of shape (n, n_features)
        After the last stage, pooled.
    rows : sequence of n rows, or None
        At the cut, of every item; None where training rows are augmented, or start elsewhere.
    """
    n_stages = len(backbone.names)
    taps = [Tap(n_stages, params.pooling)]
    if 0 < recipe.cut < n_stages and recipe.augment is None:
        taps.append(Tap(recipe.cut))
    with progress_bar(len(data.items), "frozen stages", params.verbose) as advance:
        found = run_stages(
            params,
            backbone,
            recipe,
            taps,
            data.items,
            cache,
            decode_error=params.decode_error,
            progress=advance,
            name=data.name,
            advice=LEFT_OUT,
        )
    left = data.keep(found.kept)
    _check_left(data, left, found.failed)
    rows = found.rows[1] if len(taps) > 1 else None
    return left, np.asarray(found.rows[0], np.float32), rows


def _check_left(data: Data, left: Data, failed: dict[int, Any]) -> None:
    """Raise where too few items could be decoded to learn from them."""
    before, after = (np.unique(part.targets.index[part.train]) for part in (data, left))
    if len(after) < len(before) or (len(data.valid) and not len(left.valid)):
        listed = first_ten([f"{data.name(at)}: {error}" for at, error in failed.items()])
        raise ValueError(
            "X must hold images of every class that can be decoded, and some to validate with; "
            f"too few are left without these:\n{listed}"
        )


def run_stages(
    params: Any,
    backbone: Backbone,
    recipe: Recipe,
    taps: list[Tap],
    items: Sequence[Any],
    cache: ActivationCache | None,
    preset: Any = None,
    **how: Any,
) -> Frozen:
    """The rows of items at some taps, as a fit runs the stages before the last of them.

    No fit knows which cuts others will ask for: rows of the last few are left in the cache.
    """
    dtype = torch.float32 if recipe.precision == torch.float64 else recipe.precision
    size = resolve_batch_size(params.inference_batch_size, recipe.device)
    prefix = Prefix(backbone, taps, recipe.device, dtype, size)
    return run_frozen(
        prefix if preset is None else prefix.over(preset),
        items,
        cache=cache,
        spare=spare_taps(len(backbone.names), taps, cache),
        n_jobs=params.n_jobs,
        **how,
    )


def tuning_sources(
    params: Any,
    backbone: Backbone,
    recipe: Recipe,
    data: Data,
    pooled: tuple[Source, Source],
    rows: Any,
    seed: int,
    cache: ActivationCache | None,
) -> tuple[Source, Source]:
    """Where the fine-tuning phase takes its training rows from, and those of validation."""
    cut, n_stages = recipe.cut, len(backbone.names)

    def fixed(part: np.ndarray, pooled: Source) -> Source:
        if cut == n_stages or not len(part):
            return pooled
        if cut == 0:
            return DecodedItems(backbone.preset, data.items.take(part), n_jobs=params.n_jobs)
        if rows is None:  # training rows are augmented: only these are fixed
            found = run_stages(params, backbone, recipe, [Tap(cut)], data.items.take(part), cache)
            return FixedRows(found.rows[0], cut)
        return FixedRows(_Some(rows, part), cut)

    valid = fixed(data.valid, pooled[1])
    if recipe.augment is None:
        return fixed(data.train, pooled[0]), valid
    if isinstance(recipe.augment, Views):
        return _views(params, backbone, recipe, data.items.take(data.train), seed, cache), valid
    draw = resolve_augment(recipe.augment, backbone.preset)
    own = data.items.take(data.train)
    return DecodedItems(backbone.preset, own, draw, seed, params.n_jobs), valid


class _Some:
    """Some of the rows of a sequence, indexed by positions."""

    def __init__(self, rows: Any, part: np.ndarray):
        self._rows = rows
        self._part = part

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._rows[self._part[positions]]
        return found


def _views(
    params: Any, backbone: Backbone, recipe: Recipe, items: Any, seed: int, cache: Any
) -> Source:
    """The rows of a few fixed views of each item, one of which each epoch draws."""
    views = recipe.augment
    preset = views.preset(backbone.preset)
    of_items = views.items(items, digests_of(items, cache))
    n_stages = len(backbone.names)
    if recipe.cut == 0:
        return DrawnViews(_Decoded(preset, of_items, params.n_jobs), views.n, 0, seed)
    tap = Tap(recipe.cut, params.pooling if recipe.cut == n_stages else None)
    found = run_stages(
        params,
        backbone,
        recipe,
        [tap],
        of_items,
        cache,
        preset,
        name=lambda at: f"view {at % views.n} of a training item",
    )
    return DrawnViews(found.rows[0], views.n, None if recipe.cut == n_stages else recipe.cut, seed)


class _Decoded:
    """Views decoded when they are asked for, where no stage is frozen."""

    def __init__(self, preset: Any, items: Sequence[Any], n_jobs: int | None):
        self._source = DecodedItems(preset, items, n_jobs=n_jobs)

    def __len__(self) -> int:
        return len(self._source.items)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self._source.load(positions, 0).numpy()
        return rows


def digests_of(items: Sequence[Any], cache: ActivationCache | None) -> list[bytes]:
    """The names of items; the cache knows those of files without reading them again.

    One that cannot be read, whose decoding will tell, is named by zeros.
    """
    if cache is not None:
        return cache.digests(items)
    return [digest_or_none(item) or bytes(16) for item in items]
