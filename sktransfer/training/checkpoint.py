"""Save a fit on disk after each epoch, so that it can be resumed after it was killed.

A checkpoint is one file, which is written atomically, has a digest, and contains no code.  Every
random draw of a fit is a function of its seed, the epoch and the step, so no generator has to be
saved.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from .._support.files import (
    STALE_SECONDS,
    BrokenSealError,
    explained,
    read_sealed,
    remove_stale,
    write_sealed,
)
from .._support.hashing import described, hash_parts
from .._support.plain import from_bytes, keep_plain, to_bytes
from .._support.processes import TOKEN, is_alive, token
from .._support.warn import warn_user
from .._version import __version__
from ..backbones import Backbone, Original
from ..cache import check_cache, compute_digests
from ..engines import describe_choice
from .data import Data
from .settings import is_seeded, starts_pretrained
from .states import PREFIX, complete, shorten
from .tuned_weights import describe_weights
from .user_callbacks import describe_callbacks

FILE = "last.checkpoint"

# Parameters that do not change the result of a fit, or are in its key in another form.
NOT_IN_KEY = {"device", "n_jobs", "verbose", "cache", "checkpoint", "random_state", "backbone"}


class Checkpoint:
    """The checkpoint of one fit, in a folder that no other fit uses at the same time.

    The name of the folder is ``KEY.NUMBER.OWNER`` while a process uses it, and ``KEY.NUMBER``
    otherwise.  A fit takes over the folder of a dead owner by renaming it, which only one process
    can do.  If it finds no such folder, it makes a new one.

    Parameters
    ----------
    dir : str or path-like
        The folder that contains the folders of all fits.
    key : str
        The name of the fit: a hash of its parameters and its data.
    seeded : bool, default=True
        True if all fits with this key have the same result.  Then the folder of an owner on another
        machine, which may be running, is taken over at once.  Otherwise it is taken over if no
        epoch was saved for STALE_SECONDS, because two fits must not become the same model.

    Raises
    ------
    OSError
        If ``dir`` is not a folder.
    """

    def __init__(self, dir: str | os.PathLike[str], key: str, seeded: bool = True):  # noqa: A002 - as in ActivationCache
        self._dir = Path(dir).expanduser()
        self._key = key
        self._seeded = seeded
        self._warned = False
        self._original: Original | None = None
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise explained(error, "checkpoint must be a folder", self._dir) from error
        except OSError:
            pass  # save() warns
        self.folder = self._claim()

    def load(self) -> dict[str, Any] | None:
        """Load the state after the last complete epoch.

        None means that no epoch was saved, or that the file is damaged, about which a warning is
        issued.
        """
        path = self.folder / FILE
        try:
            state: dict[str, Any] = from_bytes(read_sealed(path, self._key.encode()))
        except FileNotFoundError:
            return None
        except (OSError, BrokenSealError, RuntimeError, pickle.UnpicklingError) as error:
            warn_user(
                f"checkpoint must be a folder with files that fit wrote; {str(path)!r} cannot be "
                f"used, so the fit starts from the beginning: {error}."
            )
            return None
        return state

    def leave_out(self, backbone: Backbone, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """Leave the tensors of a network out of all files, as long as they do not change.

        Parameters
        ----------
        backbone : Backbone
            The network before anything in it is changed.
        state : dict or None
            The state that was loaded.

        Returns
        -------
        dict or None
            The state; None, with a warning, if it lacks the tensors of another network.
        """
        tensors = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
        self._original = Original.of(tensors, PREFIX)
        fingerprint = self._original.fingerprint
        if state is None or state["original"] == fingerprint:
            return state
        warn_user(
            "backbone must give the same weights in each call; those of the fit that was saved in "
            f"{str(self.folder)!r} had the fingerprint {state['original']}, and these have "
            f"{fingerprint}. The fit starts from the beginning."
        )
        return None

    def copy_weights(self, backbone: Backbone) -> dict[str, Tensor]:
        """Return a copy of the state of a network, with the tensors that files leave out."""
        original = Original({}) if self._original is None else self._original
        state = {f"{PREFIX}{name}": tensor for name, tensor in backbone.state_dict().items()}
        return {name.removeprefix(PREFIX): each for name, each in original.copy(state).items()}

    def complete(self, state: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """Return a state with the tensors that its file lacks; ``names`` are those of the tail."""
        return state if self._original is None else complete(state, self._original, names)

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state by that of a later epoch, atomically.

        If the disk does not take it, this warns once.
        """
        if self._original is not None:
            state = shorten(state, self._original) | {"original": self._original.fingerprint}
        callbacks = state.get("callbacks", {})
        parts = {name: part for name, part in state.items() if name != "callbacks"} | callbacks
        for name in parts.keys() - keep_plain(parts).keys():
            raise TypeError(
                f"checkpoint must be None if the state of {name!r} contains other values than "
                "tensors, arrays and plain values. If possible, return only these from state_dict."
            )
        content = to_bytes(state)
        path = self.folder / FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # someone may have deleted it
            write_sealed(path, content, key=self._key.encode(), durable=True)
        except OSError as error:
            self._warn(explained(error, "checkpoint must be a folder that can be written", path))

    def remove(self) -> None:
        """Delete the folder of a fit that is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def release(self) -> None:
        """Leave the folder, if any epoch was saved, to the next fit with this key."""
        released, _, owner = self.folder.name.rpartition(".")
        if owner == token():  # not in a fork of the owner
            with suppress(OSError):
                self.folder.rename(self.folder.with_name(released))

    def _claim(self) -> Path:
        """Take over a folder that no process uses, or return the path of a new one."""
        for folder in self._find_unused():
            with suppress(OSError):  # another process has just taken it
                claimed = folder.rename(self._dir / self._name(folder.name.split(".")[1]))
                remove_stale(claimed)
                return claimed
        return self._dir / self._name(uuid4().hex[:8])

    def _name(self, number: str) -> str:
        return f"{self._key}.{number}.{token()}"

    def _find_unused(self) -> list[Path]:
        """List the folders of this fit that no process uses, the last saved one first."""
        pattern = re.compile(rf"{self._key}\.[0-9a-f]{{8}}(\.({TOKEN.pattern}))?")
        unused = {}
        with suppress(OSError), os.scandir(self._dir) as entries:
            for entry in entries:
                name = pattern.fullmatch(entry.name)
                if name and entry.is_dir(follow_symlinks=False):
                    saved = entry.stat().st_mtime
                    if self._is_unused(name[2], saved):
                        unused[self._dir / entry.name] = saved
        return sorted(unused, key=lambda folder: unused[folder], reverse=True)

    def _is_unused(self, owner: str | None, saved: float) -> bool:
        alive = is_alive(owner) if owner else False
        if alive is None:
            return self._seeded or saved < time.time() - STALE_SECONDS
        return not alive

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warn_user(
                f"{error}. The fit continues. If it is killed, it can be resumed from the last "
                "epoch that could be saved."
            )


@contextmanager
def open_checkpoint(
    given: Mapping[str, Any], groups: Any, backbone: Backbone, data: Data
) -> Iterator[Checkpoint | None]:
    """Open the checkpoint of a fit, and leave it to other fits at the end; a context manager.

    It is None if the parameter ``checkpoint`` is None.  The arguments are those of
    :func:`compute_fit_key`.
    """
    if given["checkpoint"] is None:
        yield None
        return
    key = compute_fit_key(given, groups, backbone, data)
    checkpoint = Checkpoint(given["checkpoint"], key, is_seeded(given["random_state"]))
    try:
        yield checkpoint
    finally:
        checkpoint.release()


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
    versions = [__version__, torch.__version__, *describe_choice(given["engine"])]
    words = described([versions, sorted(parameters.items()), seed, data.task, data.n_own, groups])
    items = compute_digests(data.items, check_cache(given["cache"]))
    return hash_parts(
        "fit", words, network, *items, data.targets.content, data.targets.weight
    ).hex()


def _describe(name: str, value: Any) -> str:
    """Describe the value of a parameter for the key of a fit."""
    own: dict[str, Callable[[Any], Any]] = {
        "skorch_callbacks": describe_callbacks,
        "weights": describe_weights,
    }
    try:
        return described(own[name](value) if name in own else value)
    except TypeError as error:
        raise TypeError(
            f"checkpoint must be None if {name} holds an object that cannot be described, because "
            f"a fit is recognised by its parameters: {error}. Remove the object from {name}."
        ) from error
