"""The frozen stages of a fit, and the place where their activations are kept."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._support.files import temporary_folder
from .._support.warn import warn_user
from ..backbones import Backbone, set_statistics
from ..cache import ActivationCache, describe_temporary
from ..data import Items, Views, lengths_of
from ..extraction import (
    CUTS,
    Frozen,
    Prefix,
    Tap,
    estimate_statistics,
    run_frozen,
    spare_taps,
)
from .settings import FitSettings

# Maximum share of the free disk that the activations of a fit may occupy, and their bytes.
DISK_SHARE, BYTES = 0.5, 4


def graph_breaks(n_stages: int, cut: int) -> set[int]:
    """Return the cuts of a fit at which the graphs of an engine end.

    They are the last ones, at which activations are kept for fits of another depth, and its own.

    Parameters
    ----------
    n_stages : int
        Number of stages in the chain.
    cut : int
        The number of stages that never train.
    """
    return {cut, *range(max(1, n_stages - CUTS + 1), n_stages)}


@dataclass(frozen=True)
class FrozenStages:
    """The frozen stages of a fit, and the cache of their activations.

    Parameters
    ----------
    backbone : Backbone
    settings : FitSettings
    cache : ActivationCache or None
        The cache of :func:`open_stages`; None computes all activations.
    keeps_rows : bool, default=True
        If False, activations at the cut are computed whenever they are read.
    weights : dict, default={}
        The hashes of the weights before each cut, once they are computed.
    """

    backbone: Backbone
    settings: FitSettings
    cache: ActivationCache | None
    keeps_rows: bool = True
    weights: dict[int | None, str] = field(default_factory=dict)

    @property
    def n_stages(self) -> int:
        """The number of all stages, frozen or not."""
        return len(self.backbone.names)

    def prefix(self, taps: list[Tap], preset: Any = None) -> Prefix:
        """Return the stages before some taps; ``preset`` takes the place of the network's own."""
        numerics, size = self.settings.numerics, self.settings.inference_batch_size
        how = numerics.device, numerics.frozen_precision, size
        breaks = graph_breaks(self.n_stages, self.settings.cut)
        prefix = Prefix(self.backbone, taps, *how, breaks=breaks, weights=self.weights)
        prefix = prefix.run_by(self.settings.engine, self.cache)
        return prefix if preset is None else prefix.over(preset)

    def run(self, taps: list[Tap], items: Sequence[Any], preset: Any = None, **how: Any) -> Frozen:
        """Return the activations of items at some taps.

        The activations at the last few cuts are cached as well, for later fits that train another
        number of stages.

        Parameters
        ----------
        taps : list of Tap
        items : sequence
        preset : Preset or None, default=None
            The preset of the items.  None is that of the network.
        **how : dict
            Further arguments of :func:`run_frozen`.
        """
        return run_frozen(
            self.prefix(taps, preset),
            items,
            cache=self.cache,
            spare=spare_taps(self.n_stages, taps, self.cache),
            n_jobs=self.settings.n_jobs,
            **how,
        )

    def use_own_statistics(self, items: Sequence[Any], name: Callable[[int], str]) -> None:
        """Set the batch norm after the cut to the statistics of items.

        Parameters
        ----------
        items : sequence
            Those that cannot be decoded are left out; the first pass warns of them.
        name : callable
            Returns the name of the item at a position, for messages.
        """
        settings = self.settings
        statistics = estimate_statistics(
            self.prefix([Tap(self.n_stages, settings.pooling)]),
            items,
            cut=settings.cut,
            cache=self.cache if self.keeps_rows else None,
            n_jobs=settings.n_jobs,
            decode_error="raise" if settings.decode_error == "raise" else "ignore",
            name=name,
        )
        set_statistics(self.backbone, statistics)
        self.weights.clear()

    def rows(self, tap: Tap, items: Sequence[Any], preset: Any = None, **how: Any) -> Any:
        """Return the activations of items at one tap, for several epochs."""
        if self.keeps_rows or tap.reduce is not None:
            return self.run([tap], items, preset, **how).rows[0]
        return ComputedRows(self.prefix([tap], preset), items, self.settings.n_jobs, how)


@dataclass(frozen=True)
class ComputedRows:
    """Rows that are computed whenever they are indexed, because they are too large to be kept.

    Parameters
    ----------
    prefix : Prefix
        It has one tap.
    items : sequence of n items
    n_jobs : int or None
    how : dict
        Further arguments of :func:`run_frozen`.
    """

    prefix: Prefix
    items: Sequence[Any]
    n_jobs: int | None
    how: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        items = [self.items[position] for position in positions]
        found = run_frozen(self.prefix, items, n_jobs=self.n_jobs, **self.how).rows[0]
        rows: np.ndarray = found[np.arange(len(items))]
        return rows


@contextmanager
def open_stages(
    backbone: Backbone,
    settings: FitSettings,
    items: Items,
    n_valid: int,
    taps: Sequence[Tap] = (),
    keeps_weights: bool = False,
) -> Iterator[FrozenStages]:
    """Open the cache of a fit, and yield its frozen stages; a context manager.

    This is the user's cache.  Without one, it is a temporary folder, if several epochs read the
    same activations at the cut.  If this folder cannot be made, it warns, and the activations stay
    in memory.  If they take more than a part of the free disk, they are computed in each epoch.  It
    also warns if the user's cache cannot make the epochs faster.

    Parameters
    ----------
    backbone : Backbone
    settings : FitSettings
    items : Items
        All items of the fit.
    n_valid : int
        The number of validation items.
    taps : sequence of Tap, default=()
        The places whose activations several epochs read.  Without them, it is the cut, if stages
        train.
    keeps_weights : bool, default=False
        True if the user's cache also keeps tuned weights, so that it is of use in any case.
    """
    stages = FrozenStages(backbone, settings, settings.cache)
    fixed = settings.augment is None or isinstance(settings.augment, Views)
    if settings.cache is not None:
        tunes = settings.tunes and settings.max_epochs and not keeps_weights
        if tunes and not (fixed and settings.cut):
            _warn_of_idle_cache(settings)
        yield stages
        return
    # Random augmentation changes the training rows in every epoch, but not the validation rows.
    read = list(taps) or [Tap(settings.cut)] * bool(settings.tunes and settings.cut)
    if not read or not (fixed or n_valid or taps):
        yield stages
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder())
            share = 1 if fixed or taps else n_valid / len(items)
            needed = _count_bytes(stages, items, read) * share
            if _is_too_large(needed * getattr(settings.augment, "n", 1), folder):
                stages = replace(stages, keeps_rows=False)
            else:
                cache = ActivationCache(folder, cuts=1)  # no other fit reads it
                stages = replace(stages, cache=cache)
        except OSError as error:
            warn_user(describe_temporary(error, error.filename))
        yield stages


def _count_bytes(stages: FrozenStages, items: Items, taps: list[Tap]) -> float:
    """Return about how many bytes the activations of items at some taps take."""
    preset = stages.backbone.preset
    blank = preset.collate([], 1)
    shapes = stages.prefix(taps).measure(blank)
    lengths = lengths_of(preset, items)
    n_rows = len(items) if lengths is None else lengths.sum() / blank.shape[1]
    return float(n_rows * sum(map(math.prod, shapes)) * BYTES)


def _is_too_large(n_bytes: float, folder: Path) -> bool:
    """Return True, and warn, if a number of bytes is more than a part of the free disk."""
    free = shutil.disk_usage(folder).free
    if n_bytes <= DISK_SHARE * free:
        return False
    warn_user(
        f"The activations of this fit take {n_bytes / 1e9:.1f} GB, more than half of the free "
        f"{free / 1e9:.1f} GB at {str(folder.parent)!r}, so they are computed in each epoch. Pass "
        "cache= a folder on a larger disk, or set the variable TMPDIR to one."
    )
    return True


def _warn_of_idle_cache(settings: FitSettings) -> None:
    reason, remedy = "all stages train", "Freeze stages, for example with unfreeze=1"
    if settings.cut:
        reason = "augment changes the images in every epoch"
        remedy = "Use augment=None, or fixed variants: augment=Views('light')"
    warn_user(
        f"cache saves the first pass over the items only, and cannot make the epochs of this fit "
        f"faster: {reason}. {remedy}, or cache=None."
    )
