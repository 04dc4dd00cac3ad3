"""Compute features and outputs with a trained tail, on any device and in batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from .._support.device import resolve_or_replace
from .._support.geometry import Place
from .._support.threads import map_ahead
from ..backbones import running
from ..cache import ActivationCache, compute_digests
from ..data import Views
from ..exceptions import DecodeError
from ..extraction import Prefix, Tap, estimate_statistics, run_frozen, run_rows, spare_taps
from ..tasks import Task
from .frozen import graph_breaks
from .parameters import is_auto
from .settings import Numerics, check_tta
from .tail import Tail

# Number of rows of the blocks in which the head computes.
HEAD_ROWS = 64


class Predictor:
    """Computes features and outputs with a trained network.

    Parameters
    ----------
    tail : Tail
        The trained tail, frozen and on the CPU.
    task : Task
    numerics : Numerics
        The device and the types with which the tail was trained.
    weights : mapping, default={}
        Hashes of the weights before some cuts, computed before training.
    """

    def __init__(
        self,
        tail: Tail,
        task: Task,
        numerics: Numerics,
        weights: Mapping[int | None, str] = MappingProxyType({}),
    ):
        self.tail = tail
        self.task = task
        self.numerics = numerics
        # Training does not change the stages before the cut.
        self._weights: dict[int | None, str] = {
            at: text for at, text in weights.items() if at and at <= tail.cut
        }
        self._prepare()

    def _prepare(self) -> None:
        """Make the prefixes: of all stages, of the frozen ones, and of those after the cut.

        They copy the stages to the device when they get their first batch.
        """
        backbone, numerics = self.tail.backbone, self.numerics
        device = resolve_or_replace(numerics.device)
        n_stages, cut = len(backbone.names), self.tail.cut
        last = Tap(n_stages, self.tail.pooling)
        precision = numerics.precision
        breaks = graph_breaks(n_stages, cut)
        self._whole = Prefix(backbone, [last], device, precision, "auto", breaks=breaks)
        frozen = [last if cut == n_stages else Tap(cut)]
        how = device, numerics.frozen_precision, "auto"
        self._frozen = Prefix(backbone, frozen, *how, breaks=breaks, weights=self._weights)
        self._tuned = self._whole.after(cut, [last])

    @property
    def n_features(self) -> int:
        """The number of features, which are the inputs of the head."""
        return len(self.tail.mean)

    def features(
        self,
        items: Sequence[Any],
        *,
        preset: Any = None,
        batch_size: int | str = "auto",
        engine: str = "torch",
        cache: ActivationCache | None = None,
        n_jobs: int | None = None,
        decode_error: str = "raise",
        progress: Callable[[int], object] = int,
    ) -> np.ndarray:
        """Return the pooled features of items, (n, d); those that cannot be decoded get NaN.

        With a cache, the activations at the cut are looked up, and kept for later calls.

        Parameters
        ----------
        items : sequence of n items
        preset : Preset or None, default=None
            The preset of the items.  None is that of the network.
        batch_size : int or "auto", default="auto"
            Number of rows in every batch.
        engine : str, default="torch"
            The engine that runs the stages, a value of the parameter of the estimators.
        cache, n_jobs, decode_error, progress
            As for :func:`run_frozen`.
        """
        cut, n_stages = self.tail.cut, len(self.tail.backbone.names)
        double = self.numerics.dtype == torch.float64
        # Two runs, divided at the cut, if the rows there are cached, or if they are float32 and the
        # later stages compute in float64.
        divided = cut > 0 and (cache is not None or double)
        prefix = (self._frozen if divided else self._whole).sized(batch_size)
        prefix = prefix.run_by(engine, cache)
        found = run_frozen(
            prefix if preset is None else prefix.over(preset),
            items,
            cache=cache if divided else None,
            spare=spare_taps(n_stages, prefix.taps, cache),
            n_jobs=n_jobs,
            decode_error=decode_error,
            progress=progress,
        )
        rows = found.rows[0]
        if divided and cut < n_stages and len(rows):
            tuned = self._tuned.sized(batch_size).run_by(engine, cache)
            rows = run_rows(tuned, rows)[0]
        features = np.full((len(items), self.n_features), np.nan, self.numerics.numpy_dtype)
        if len(rows):
            features[found.kept] = rows
        return features

    def statistics(
        self, items: Sequence[Any], cut: int, batch_size: int | str, engine: str, **how: Any
    ) -> dict[str, np.ndarray]:
        """Return the batch-norm statistics of items in the stages after ``cut``.

        Parameters
        ----------
        items : sequence
        cut : int
        batch_size : int or "auto"
            Number of rows in every batch of the stages before the cut.
        engine : str
            The engine that runs these stages.
        **how : dict
            Keyword arguments of :func:`estimate_statistics`.
        """
        last = Tap(len(self.tail.backbone.names), self.tail.pooling)
        prefix = self._frozen.after(0, [last]).sized(batch_size)
        prefix = prefix.run_by(engine, how.get("cache"))
        return estimate_statistics(prefix, items, cut=cut, **how)

    def head_outputs(self, features: np.ndarray) -> np.ndarray:
        """Return the outputs of the head for features, (n, n_outputs), float64."""
        tail = self.tail
        head = deepcopy(tail.head).double().eval()
        scaled = (features.astype(np.float64) - tail.mean.double().numpy()) / (
            tail.scale.double().numpy()
        )
        # Blocks of one size in memory that torch aligns, because the number of rows and their
        # alignment affect the last bits of a matrix product.
        block = torch.zeros(HEAD_ROWS, scaled.shape[1], dtype=torch.float64)
        outputs = []
        with running(n_threads=1), torch.inference_mode():
            for start in range(0, len(scaled), HEAD_ROWS):
                part = scaled[start : start + HEAD_ROWS]
                block[: len(part)] = torch.from_numpy(part)
                outputs.append(head(block).numpy()[: len(part)].copy())
        return np.concatenate(outputs)

    def outputs(self, items: Sequence[Any], *, tta: int, augment: Any, **how: Any) -> np.ndarray:
        """Return the outputs for items, (n, n_outputs), float64; those not decoded get NaN.

        Parameters
        ----------
        items : sequence of n items
        tta : int
            Number of random views of each item, for test-time augmentation.  Their outputs and the
            output of the item itself are averaged.
        augment : None, str, Views or callable
            The augmentation that makes the views; "light" if None or "auto".
        **how : dict
            Keyword arguments of :meth:`features`.
        """
        outputs = self.head_outputs(self.features(items, **how))
        if not tta:
            return outputs
        check_tta(tta, self.tail.backbone.preset)
        views = make_tta_views(augment, tta)
        if how.get("decode_error") == "warn":  # there was a warning for the items already
            how |= {"decode_error": "ignore"}
        all_views = views.items(items, compute_digests(items, how.get("cache")))
        preset = views.preset(self.tail.backbone.preset)
        drawn = self.head_outputs(self.features(all_views, preset=preset, **how))
        summed = drawn.reshape(len(items), tta, -1).sum(axis=1)
        averaged: np.ndarray = (outputs + summed) / (1 + tta)
        return averaged

    def points(self, items: Sequence[Any], *, n_jobs: int | None = None, **how: Any) -> np.ndarray:
        """Return the points of items in pixels of the items, in the form of y.

        Parameters
        ----------
        items : sequence of n items
        n_jobs : int or None, default=None
        **how : dict
            Keyword arguments of :meth:`outputs`.
        """
        outputs = self.outputs(items, n_jobs=n_jobs, **how)
        preset = self.tail.backbone.preset

        def locate(item: Any) -> Place | None:
            try:
                place: Place = preset.locate(item)
            except DecodeError:
                return None
            return place

        places = list(map_ahead(locate, items, n_jobs, ahead=64))
        found: np.ndarray = self.task.find_in_items(outputs, places)  # type: ignore[attr-defined]  # only of points
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"tail": self.tail, "task": self.task, "numerics": self.numerics}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _weights={})
        self._prepare()


def make_tta_views(augment: Any, n: int) -> Views:
    """Make the ``n`` views whose outputs a prediction averages."""
    if isinstance(augment, Views):
        augment = augment.augment
    return Views("light" if augment is None or is_auto(augment) else augment, n)
