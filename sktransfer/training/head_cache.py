"""Share trained heads between fits, so that the same head is trained on the same features once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

import numpy as np
import scipy
import sklearn
import skorch
import torch

from .._support.hashing import described, hash_parts
from .._support.plain import NotPlainError, from_bytes, to_bytes
from .._support.threads import n_threads
from .._version import __version__
from ..backbones import Original
from ..cache import ActivationCache, Blobs
from ..tasks import Targets, Task
from .net import TailNet
from .phase import collect_state
from .settings import FitSettings
from .states import complete, shorten

# The settings that the result of a head phase depends on, besides its rows and its initial head.
HEAD_PHASE_SETTINGS = (
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
    """Trained heads in a cache, which fits on the same data share.

    The key of a head contains everything that the head depends on.  Nothing is shared if there is
    no cache, if ``random_state`` is not an integer, or if a setting cannot be described in a key.
    If callbacks watch a head phase, it is always trained.

    Parameters
    ----------
    settings : FitSettings
    task : Task
    seed : int or None
        None means that ``random_state`` is not an integer, and that nothing is shared.
    watched : bool
        True if scikit-learn's callbacks watch the fit.
    rows : sequence of (ndarray, Targets)
        Features and targets of the training rows and of the validation rows.
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
            phase = described([getattr(settings, name) for name in HEAD_PHASE_SETTINGS])
        except TypeError:
            self._cache = None
            return
        packages = (torch, sklearn, skorch, scipy, np)
        versions = [__version__, *(package.__version__ for package in packages)]
        # The last bits of a sum depend on the number of threads that compute it.
        numerics = [torch.backends.cpu.get_cpu_capability(), n_threads(None)]
        numerics += [str(settings.numerics.dtype), torch.get_float32_matmul_precision()]
        data = _hash_rows(rows)
        self._exact = json.dumps(["exact head", versions, numerics, seed, data, exact])
        device = settings.numerics.device.type
        phase_too = [phase, settings.freeze_epochs, settings.batch_size, device]
        self._phase = json.dumps([self._exact, "head phase", phase_too])

    def load_or_solve(
        self, solve: Callable[[], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights and biases of ``solve()``, which are cached for other fits."""
        if self._cache is None:
            return solve()
        found = self._load(self._exact)
        if found is None:
            weight, bias = (torch.from_numpy(np.array(part)) for part in solve())
            found = {"weight": weight, "bias": bias}
            self._save(self._exact, found)
        return found["weight"].numpy(), found["bias"].numpy()

    def load(self, original: Original, names: Iterable[str]) -> dict[str, Any] | None:
        """Return the state after the same head phase of another fit; None if it is not cached.

        Parameters
        ----------
        original : Original
            The network, which the head phase does not change.
        names : iterable of str
            The names of the state of the tail.
        """
        if self._cache is None or self._watched:
            return None
        state: dict[str, Any] | None = self._load(self._phase)
        return None if state is None else complete(state, original, names)

    def save(self, net: TailNet, original: Original) -> None:
        """Save the state after a head phase for other fits, without the frozen network."""
        if self._cache is not None and not self._watched:
            self._save(self._phase, shorten(collect_state(net), original))

    def _load(self, name: str) -> Any:
        data = self._blobs().get(name.encode())
        return None if data is None else from_bytes(data)

    def _save(self, name: str, state: Any) -> None:
        with suppress(NotPlainError):  # for example if the user's own optimiser holds an array
            self._blobs().put(name.encode(), to_bytes(state))

    def _blobs(self) -> Blobs:
        return cast(ActivationCache, self._cache).blobs("heads")


def _hash_rows(rows: list[tuple[np.ndarray, Targets]]) -> str:
    """Return a hash of features, targets and weights."""
    parts = [
        part
        for features, targets in rows
        for part in (features, targets.values, targets.weight, targets.sample_weight)
    ]
    return hash_parts("rows of a head", *parts).hex()
