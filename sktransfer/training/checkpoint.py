"""Save a fit on disk after each epoch, so that it can be resumed after it was killed.

A checkpoint is one file, which is written atomically and contains no code.  Every random draw of a
fit is a function of its seed, the epoch and the step, so no generator has to be saved.
"""

from __future__ import annotations

import io
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._support.files import remove_stale, write_file
from .._support.hashing import described, hash_parts
from .._support.plain import keep_plain, to_plain
from .._version import __version__
from ..backbones import Backbone
from ..cache import check_cache
from .data import Data, compute_digests
from .settings import is_seeded, starts_pretrained

FILE = "last.pt"

# Parameters that do not change the result of a fit, or are in its key in another form.
NOT_IN_KEY = {"device", "n_jobs", "verbose", "cache", "checkpoint", "random_state", "backbone"}


class Checkpoint:
    """The checkpoint of one fit, in a folder of its own.

    Parameters
    ----------
    dir : str or path-like
        The folder that contains the folders of all fits.
    key : str
        The name of the fit: a hash of its parameters and its data.
    """

    def __init__(self, dir: str | os.PathLike[str], key: str):  # noqa: A002 - as in ActivationCache
        self.folder = Path(dir).expanduser() / key

    def load(self) -> dict[str, Any] | None:
        """Load the state after the last complete epoch; None if no epoch was saved."""
        path = self.folder / FILE
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
        except Exception as error:  # torch raises nearly anything for a damaged file
            raise ValueError(
                f"checkpoint must be a folder with files that fit wrote; {str(path)!r} cannot be "
                f"read: {error} Delete this file to start the fit from the beginning."
            ) from error

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state by that of a later epoch, atomically."""
        callbacks = state.get("callbacks", {})
        parts = {name: part for name, part in state.items() if name != "callbacks"} | callbacks
        for name in parts.keys() - keep_plain(parts).keys():
            raise TypeError(
                f"checkpoint must be None if the state of {name!r} contains other values than "
                "tensors and plain values. If possible, return only these from state_dict."
            )
        buffer = io.BytesIO()
        torch.save(to_plain(state), buffer)
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale(self.folder)
        write_file(self.folder / FILE, buffer.getbuffer())

    def remove(self) -> None:
        """Delete the folder of a fit that is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)


def collect_callback_states(callbacks: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the state of each callback by name.

    The state is the result of ``state_dict()``, or else the attributes that end in ``_`` and hold
    tensors or plain values.  A warning names other attributes that end in ``_``.
    """
    states = {}
    for name, callback in callbacks:
        if hasattr(callback, "state_dict"):
            states[name] = callback.state_dict()
            continue
        learned = {k: v for k, v in vars(callback).items() if k.endswith("_")}
        states[name] = keep_plain(learned)
        lost = [k for k in learned.keys() - states[name].keys() if not _is_rebuilt(learned[k])]
        if lost:
            warnings.warn(
                f"checkpoint saves only tensors and plain values; {', '.join(sorted(lost))} of the "
                f"callback {name!r} will be lost if the fit is killed and resumed. Define "
                "state_dict and load_state_dict in the callback.",
                UserWarning,
                stacklevel=2,
            )
    return states


def _is_rebuilt(value: Any) -> bool:
    """Return True for a function or a class, which a callback looks up when training begins."""
    return callable(value) and not hasattr(value, "state_dict")


def restore_callbacks(callbacks: Iterable[tuple[str, Any]], states: dict[str, Any]) -> None:
    """Load the states that :func:`collect_callback_states` returned into the callbacks."""
    for name, callback in callbacks:
        if hasattr(callback, "load_state_dict"):
            callback.load_state_dict(states[name])
        else:
            vars(callback).update(states[name])


def compute_fit_key(given: Mapping[str, Any], groups: Any, backbone: Backbone, data: Data) -> str:
    """Return a key that is equal for two fits if parameters, data, weights and versions are.

    If ``random_state`` is not an integer, the seed is not part of the key, because a resumed fit
    uses the seed with which it began.

    Parameters
    ----------
    given : mapping of str to object
        The parameters of the estimator.
    groups : array-like of shape (n_items,) or None
    backbone : Backbone
    data : Data
    """
    parameters = {name: value for name, value in given.items() if name not in NOT_IN_KEY}
    seed = int(given["random_state"]) if is_seeded(given["random_state"]) else None
    pretrained = starts_pretrained(given, backbone)
    network = backbone.fingerprint() if pretrained else described(given["backbone"])
    groups = None if groups is None else np.asarray(groups).tolist()
    words = described(
        [__version__, torch.__version__, parameters, seed, data.task, data.n_own, groups]
    )
    items = compute_digests(data.items, check_cache(given["cache"]))
    return hash_parts("fit", words, network, *items, data.targets.values, data.targets.weight).hex()
