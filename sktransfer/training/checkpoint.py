"""Save a fit on disk after each epoch, so that it can be resumed after it was killed.

A checkpoint is one file, which is written atomically and contains no code.  Every random draw of a
fit is a function of its seed, the epoch and the step, so no generator has to be saved.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping
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
from .user_callbacks import describe_callbacks

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
    parameters = {name: _describe(name, given[name]) for name in given.keys() - NOT_IN_KEY}
    seed = int(given["random_state"]) if is_seeded(given["random_state"]) else None
    pretrained = starts_pretrained(given, backbone)
    network = backbone.fingerprint() if pretrained else _describe("backbone", given["backbone"])
    groups = None if groups is None else np.asarray(groups).tolist()
    versions = [__version__, torch.__version__]
    words = described([versions, sorted(parameters.items()), seed, data.task, data.n_own, groups])
    items = compute_digests(data.items, check_cache(given["cache"]))
    return hash_parts("fit", words, network, *items, data.targets.values, data.targets.weight).hex()


def _describe(name: str, value: Any) -> str:
    """Describe the value of a parameter for the key of a fit."""
    try:
        return described(describe_callbacks(value) if name == "skorch_callbacks" else value)
    except TypeError as error:
        raise TypeError(
            f"checkpoint must be None if {name} holds an object that cannot be described, because "
            f"a fit is recognised by its parameters: {error}. Remove the object from {name}."
        ) from error
