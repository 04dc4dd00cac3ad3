"""Heads that fits share: what is learned of the same features in the same way is learned once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from hashlib import blake2b
from numbers import Integral
from typing import Any, cast

import numpy as np
import scipy
import sklearn
import skorch
import torch
from torch import Tensor

from .._support.hashing import described
from .._version import __version__
from ..cache import ActivationCache, Blobs
from ..tasks import Targets
from .checkpoint import plain
from .net import TailNet, weights_of
from .phase import state_of
from .settings import Recipe
from .tail import Tail

# The parameters that a head phase depends on beside its rows and its first head.
OF_PHASE = (
    "lr",
    "lr_schedule",
    "optimizer",
    "weight_decay",
    "dropout",
    "label_smoothing",
    "early_stopping",
    "n_iter_no_change",
    "tol",
)


class SharedHeads:
    """Heads of one fold in a cache, by all that they depend on.

    Nothing is shared without a cache, without an integer ``random_state``, or where something in
    the parameters cannot be named.  A head phase that callbacks watch is trained anew.

    Parameters
    ----------
    params : FineTuneClassifier
    recipe : Recipe
    cache : ActivationCache or None
    seed : int
    rows : sequence of (ndarray, Targets)
        Features and targets of the training rows, and of those of validation.
    """

    def __init__(
        self,
        params: Any,
        recipe: Recipe,
        cache: ActivationCache | None,
        seed: int,
        rows: list[tuple[np.ndarray, Targets]],
    ):
        self._cache = cache if isinstance(params.random_state, Integral) else None
        self._watched = bool(params.skorch_callbacks or getattr(params, "_skl_callbacks", ()))
        if self._cache is None:
            return
        try:
            exact = described([params.head, recipe.head_init, recipe.standardise])
            phase = described([getattr(params, name) for name in OF_PHASE])
        except TypeError:
            self._cache = None
            return
        packages = (torch, sklearn, skorch, scipy, np)
        versions = [__version__, *(package.__version__ for package in packages)]
        # a sum has other last bits where it is divided among other numbers of threads
        numerics = [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
        numerics += [str(recipe.dtype), torch.get_float32_matmul_precision()]
        data = _digest_of(rows)
        self._exact = json.dumps(["exact head", versions, numerics, seed, data, exact])
        phase_too = [phase, recipe.freeze_epochs, recipe.batch_size, recipe.device.type]
        self._phase = json.dumps([self._exact, "head phase", phase_too])

    def exact(
        self, solve: Callable[[], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """What ``solve()`` gives, or gave another fit: weights and biases."""
        if self._cache is None:
            return solve()
        found = self._load(self._exact)
        if found is None:
            weight, bias = (torch.from_numpy(np.array(part)) for part in solve())
            found = {"weight": weight, "bias": bias}
            self._save(self._exact, found)
        return found["weight"].numpy(), found["bias"].numpy()

    def load(self, tail: Tail) -> dict[str, Any] | None:
        """The state in which another fit's head phase ended; None where there is none."""
        if self._cache is None or self._watched:
            return None
        state: dict[str, Any] | None = self._load(self._phase)
        if state is None:
            return None
        frozen = _of_backbone(weights_of(tail))  # copies: the best weights must not go on learning
        best = state["callbacks"].get("best")
        if best is not None:
            best["weights_"] = frozen | best["weights_"]
        return state | {"tail": frozen | state["tail"]}

    def save(self, net: TailNet) -> None:
        """Leave to others how a head phase has ended, without the frozen network."""
        if self._cache is None or self._watched:
            return
        state = state_of(net)
        callbacks = dict(state["callbacks"])
        if "best" in callbacks:
            best = callbacks["best"]
            callbacks["best"] = best | {"weights_": _of_head(best["weights_"])}
        self._save(self._phase, state | {"tail": _of_head(state["tail"]), "callbacks": callbacks})

    def _load(self, name: str) -> Any:
        data = self._blobs().get(name.encode())
        return None if data is None else torch.load(io.BytesIO(data), weights_only=True)

    def _save(self, name: str, state: Any) -> None:
        kept = plain(state)
        if kept is NotImplemented:  # such as an optimiser of the user's own that holds an array
            return
        buffer = io.BytesIO()
        torch.save(kept, buffer)
        self._blobs().put(name.encode(), buffer.getbuffer())

    def _blobs(self) -> Blobs:
        return cast(ActivationCache, self._cache).blobs("heads")


def _digest_of(rows: list[tuple[np.ndarray, Targets]]) -> str:
    name = blake2b(digest_size=16)
    for features, targets in rows:
        for part in (features, targets.table, targets.weight, targets.sample_weight):
            name.update(f"{part.dtype} {part.shape}".encode())
            name.update(np.ascontiguousarray(part).tobytes())
        name.update(f"{targets.multilabel} {targets.classes.tolist()}".encode())
    return name.hexdigest()


def _of_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("backbone.")}


def _of_backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.startswith("backbone.")}
