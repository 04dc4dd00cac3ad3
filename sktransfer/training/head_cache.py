"""Heads that fits share: the same head on the same features is trained once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import scipy
import sklearn
import skorch
import torch
from torch import Tensor

from .._support.hashing import described, hash_parts
from .._version import __version__
from ..cache import ActivationCache, Blobs
from ..tasks import Targets, Task
from .checkpoint import plain
from .net import TailNet, weights_of
from .phase import state_of
from .settings import FitSettings
from .tail import Tail

# The settings that a head phase depends on, besides its rows and its first head.
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
    """Heads that fits on one fold share through a cache, named by everything they depend on.

    Nothing is shared without a cache, without an integer ``random_state``, or if some setting
    cannot be described.  A head phase that callbacks watch is always trained.

    Parameters
    ----------
    settings : FitSettings
    task : Task
    seed : int or None
        None if ``random_state`` is not an integer: nothing is shared.
    watched : bool
        True if callbacks watch the fit.
    rows : sequence of (ndarray, Targets)
        Features and targets of the training rows, and of those of validation.
    """

    def __init__(
        self,
        settings: FitSettings,
        task: Task,
        seed: int | None,
        watched: bool,
        rows: list[tuple[np.ndarray, Targets]],
    ):
        self._cache = settings.cache if seed is not None else None
        self._watched = watched or bool(settings.skorch_callbacks)
        if self._cache is None:
            return
        try:
            exact = described([settings.head, settings.head_init, settings.standardise, task])
            phase = described([getattr(settings, name) for name in OF_PHASE])
        except TypeError:
            self._cache = None
            return
        packages = (torch, sklearn, skorch, scipy, np)
        versions = [__version__, *(package.__version__ for package in packages)]
        # The last bits of a sum depend on the number of threads that share it.
        numerics = [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
        numerics += [str(settings.numerics.dtype), torch.get_float32_matmul_precision()]
        data = _digest_of(rows)
        self._exact = json.dumps(["exact head", versions, numerics, seed, data, exact])
        device = settings.numerics.device.type
        phase_too = [phase, settings.freeze_epochs, settings.batch_size, device]
        self._phase = json.dumps([self._exact, "head phase", phase_too])

    def exact(
        self, solve: Callable[[], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights and biases of ``solve()``, or those that another fit kept."""
        if self._cache is None:
            return solve()
        found = self._load(self._exact)
        if found is None:
            weight, bias = (torch.from_numpy(np.array(part)) for part in solve())
            found = {"weight": weight, "bias": bias}
            self._save(self._exact, found)
        return found["weight"].numpy(), found["bias"].numpy()

    def load(self, tail: Tail) -> dict[str, Any] | None:
        """Return the state at the end of another fit's head phase, or None."""
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
        """Keep the state at the end of a head phase for other fits, without the frozen network."""
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
    parts = [
        part
        for features, targets in rows
        for part in (features, targets.values, targets.weight, targets.sample_weight)
    ]
    return hash_parts("rows of a head", *parts).hex()


def _of_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("backbone.")}


def _of_backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.startswith("backbone.")}
