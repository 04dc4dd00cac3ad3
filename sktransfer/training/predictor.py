"""A trained tail, made to predict: on any device, in batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from .._support.device import resolve_device
from ..cache import ActivationCache
from ..extraction import Prefix, Tap, resolve_batch_size, run_frozen, run_rows, spare_taps
from .settings import Recipe
from .tail import Tail

# Rows of the features that the head takes at a time.
HEAD_ROWS = 64


class Served:
    """Features and scores of items.

    Parameters
    ----------
    tail : Tail
        Trained, frozen, on the CPU.
    recipe : Recipe
        That it was trained by.
    """

    def __init__(self, tail: Tail, recipe: Recipe):
        self.tail = tail
        self.recipe = recipe
        self._prepare()

    def _prepare(self) -> None:
        """The prefixes; what runs of them is made when the first batch comes."""
        backbone, recipe = self.tail.backbone, self.recipe
        device = recipe.device
        try:
            resolve_device(device)
        except ValueError:  # trained on a machine with another device
            device = resolve_device("auto")
        wide = recipe.dtype == torch.float64
        n_stages, cut = len(backbone.names), recipe.cut
        last = Tap(n_stages, self.tail.pooling)
        size = resolve_batch_size("auto", device)
        frozen = torch.float32 if wide else recipe.precision
        self._whole = Prefix(backbone, [last], device, recipe.precision, size)
        below = [last if cut == n_stages else Tap(cut)]
        self._below = Prefix(backbone, below, device, frozen, size)
        self._above = Prefix(backbone, [last], device, recipe.precision, size, cut)

    def features(
        self,
        items: Sequence[Any],
        *,
        views: Any = None,
        batch_size: int | str = "auto",
        cache: ActivationCache | None = None,
        n_jobs: int | None = None,
        decode_error: str = "raise",
        progress: Callable[[int], object] = int,
    ) -> np.ndarray:
        """Pooled features (n, d) of items; NaN where one could not be decoded.

        The frozen stages' rows are asked of the cache, where there is one.  Where the items are
        ``views`` of photos, their preset is to be told.
        """
        cut = self.recipe.cut
        halved = cut > 0 and (cache is not None or self.recipe.dtype == torch.float64)
        size = resolve_batch_size(batch_size, self._whole.device)
        prefix = (self._below if halved else self._whole).sized(size)
        found = run_frozen(
            prefix if views is None else prefix.over(views),
            items,
            cache=cache if halved else None,
            spare=spare_taps(len(self.tail.backbone.names), prefix.taps, cache),
            n_jobs=n_jobs,
            decode_error=decode_error,
            progress=progress,
        )
        rows = found.rows[0]
        if halved and cut < len(self.tail.backbone.names) and len(rows):
            rows = run_rows(self._above.sized(size), rows)[0]
        features = np.full((len(items), len(self.tail.mean)), np.nan, self.recipe.numpy_dtype)
        if len(rows):
            features[found.kept] = rows
        return features

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Logits (n, n_classes), float64, of features."""
        tail = self.tail
        head = deepcopy(tail.head).double().eval()
        scaled = (features.astype(np.float64) - tail.mean.double().numpy()) / (
            tail.scale.double().numpy()
        )
        # blocks of one size: the last bits of a matrix product depend on its number of rows
        block = np.zeros((HEAD_ROWS, scaled.shape[1]))
        scores = []
        with torch.inference_mode():
            for start in range(0, len(scaled), HEAD_ROWS):
                part = scaled[start : start + HEAD_ROWS]
                block[: len(part)] = part
                scores.append(head(torch.from_numpy(block)).numpy()[: len(part)].copy())
        return np.concatenate(scores)

    def __getstate__(self) -> dict[str, Any]:
        return {"tail": self.tail, "recipe": self.recipe}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()
