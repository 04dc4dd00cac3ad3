"""Weights that are tuned to the items of a fit, and shared by fits through the cache.

The parameter ``weights`` of an estimator may be an object that tunes weights.  A copy of it is
fitted to the training items of each fit.  The cache keeps the result under a key of everything that
it depends on, so candidates of a search tune once for each fold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import skorch
import torch
from torch import Tensor

from .._support.hashing import described, hash_parts
from .._support.plain import from_bytes, to_bytes
from .._support.threads import n_threads
from .._version import __version__
from ..backbones import Backbone, check_language_head
from ..cache import ActivationCache
from ..data import Items
from ..engines import describe_choice
from .user_callbacks import describe_callbacks

KIND = "tuned"

# Parameters that do not change the weights, or are in the key in another form.
NOT_IN_KEY = {
    *("backbone", "cache", "checkpoint", "device", "inference_batch_size", "n_jobs", "pooling"),
    *("random_state", "texts", "verbose", "weights"),
}


class WeightTuner(Protocol):
    """An object that tunes the weights of a network, such as a ``LanguageModelTuner``.

    Attributes
    ----------
    backbone : str, callable or None
        None stands for the network of the estimator whose ``weights`` it is.
    weights : str, path-like or None
        The weights that tuning begins with.
    texts : sequence or None
        Items that take the place of those of the fit.
    random_state : int, RandomState or None
    """

    backbone: Any
    weights: Any
    texts: Any
    random_state: Any

    def get_params(self, deep: bool = True) -> Mapping[str, Any]:
        """Return the parameters by name."""

    def tuned_stages(
        self, backbone: Backbone, items: Any, random_state: Any
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Fit a copy to items; return the state of the stages, and a description of the fit."""


def find_tuner(weights: Any) -> WeightTuner | None:
    """Return the parameter ``weights`` if it tunes weights, or else None."""
    is_tuner = hasattr(weights, "tuned_stages") and not isinstance(weights, type)
    return cast(WeightTuner, weights) if is_tuner else None


def starting_weights(weights: Any) -> Any:
    """Return the weights that a network is loaded with, for the parameter ``weights``."""
    tuner = find_tuner(weights)
    return weights if tuner is None else tuner.weights


def describe_weights(weights: Any) -> Any:
    """Return the parameter ``weights`` in a form that describes it in the key of a fit."""
    tuner = find_tuner(weights)
    if tuner is None:
        return weights
    texts = None if tuner.texts is None else hash_parts("texts", *map(str, tuner.texts)).hex()
    return [starting_weights(weights), texts, described(tuner.random_state), _parameters(tuner)]


def tune_weights(
    tuner: WeightTuner,
    backbone: Backbone,
    name: Any,
    items: Items,
    seed: int,
    cache: ActivationCache | None,
) -> None:
    """Tune the stages of a network to items in place, and drop its language head.

    Parameters
    ----------
    tuner : WeightTuner
        The parameter ``weights`` of an estimator.
    backbone : Backbone
    name : str or callable
        The parameter ``backbone`` of the estimator.
    items : Items
        The training items.
    seed : int
        The seed, unless the tuner has its own.
    cache : ActivationCache or None
        Where tuned weights are kept.

    Raises
    ------
    ValueError
        If the network has no language head, or the tuner is for another network.
    """
    if tuner.backbone not in (None, name):
        raise ValueError(
            "weights must be a tuner of the same backbone, or one whose backbone is None; got "
            f"{tuner.backbone!r} for {name!r}."
        )
    check_language_head(backbone, name)
    random_state = seed if tuner.random_state is None else tuner.random_state
    used = items if tuner.texts is None else backbone.preset.check(tuner.texts)
    kept = _Kept(tuner, backbone, used, random_state, cache)
    found = kept.load()
    if found is None:
        state, info = tuner.tuned_stages(backbone, used, random_state)
        kept.save(state, info)
    else:
        state, info = found
    backbone.stages.load_state_dict(state)
    backbone.weights_info = backbone.weights_info | {KIND: info}
    backbone.language_head = None  # it does not belong to the tuned stages


class _Kept:
    """The place of tuned weights in the cache.

    Nothing is kept without a cache, without an integer as seed, or if a parameter of the tuner
    cannot be described.
    """

    def __init__(
        self,
        tuner: WeightTuner,
        backbone: Backbone,
        items: Sequence[Any],
        random_state: Any,
        cache: ActivationCache | None,
    ):
        self._blobs = None
        if cache is None or not isinstance(random_state, (int, np.integer)):
            return
        try:
            parameters = _parameters(tuner)
        except TypeError:
            return
        packages = [package.__version__ for package in (torch, skorch, np)]
        # The last bits of a sum depend on the number of threads that compute it.
        numerics = [torch.backends.cpu.get_cpu_capability(), n_threads(None)]
        given = tuner.get_params()
        numerics += [str(given["device"]), torch.get_float32_matmul_precision()]
        numerics += describe_choice(given["engine"])
        words = json.dumps([__version__, packages, numerics, int(random_state), parameters])
        digests = cache.digests(items)
        self._key = hash_parts("tuned weights", words, backbone.fingerprint(), *digests)
        self._blobs = cache.blobs(KIND)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the state of the stages and the description of the fit; None without them."""
        data = None if self._blobs is None else self._blobs.get(self._key)
        if data is None:
            return None
        kept = from_bytes(data)
        return kept["state"], kept["info"]

    def save(self, state: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
        """Keep the result of tuning."""
        if self._blobs is not None:
            self._blobs.put(self._key, to_bytes({"state": dict(state), "info": dict(info)}))


def _parameters(tuner: WeightTuner) -> str:
    """Describe the parameters of a tuner that change the tuned weights."""
    given = {k: v for k, v in tuner.get_params(deep=False).items() if k not in NOT_IN_KEY}
    given["skorch_callbacks"] = describe_callbacks(given.get("skorch_callbacks"))
    return described(sorted(given.items()))
