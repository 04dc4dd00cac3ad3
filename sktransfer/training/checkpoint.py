"""A fit on disk: killed at any instant and run again, it goes on from its last epoch.

A checkpoint is one file, written aside and renamed; nothing in it is code.  All that a fit draws is
a function of its seed, the epoch and the step, so that no generator has to be kept.
"""

from __future__ import annotations

import io
import os
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._support.files import remove_stale, write_file

FILE = "last.pt"
PLAIN = (bool, int, float, str, type(None))


class Checkpoint:
    """The folder of one fit.

    Parameters
    ----------
    dir : str or path-like
        Where fits keep their folders.
    key : str
        Of the fit: its parameters and its data.
    """

    def __init__(self, dir: str | os.PathLike[str], key: str):  # noqa: A002 - as in ActivationCache
        self.folder = Path(dir).expanduser() / key

    def load(self) -> dict[str, Any] | None:
        """The last epoch that was written whole; None where there is none."""
        path = self.folder / FILE
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
        except Exception as error:  # torch raises nearly anything for a damaged file
            raise ValueError(
                f"checkpoint must hold what a fit wrote; {str(path)!r} cannot be read: {error} "
                "Remove it, and the fit starts anew."
            ) from error

    def save(self, state: dict[str, Any]) -> None:
        """Replace the last epoch by this one, whole or not at all."""
        callbacks = state.get("callbacks", {})
        for name, part in [*state.items(), *callbacks.items()]:
            if name != "callbacks" and plain(part) is NotImplemented:
                raise TypeError(
                    f"checkpoint must be None where the state of {name!r} holds more than tensors "
                    "and plain values."
                )
        buffer = io.BytesIO()
        torch.save(plain(state), buffer)
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale(self.folder)
        write_file(self.folder / FILE, buffer.getbuffer())

    def remove(self) -> None:
        """Forget the fit, which is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def callback_states(callbacks: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """What each callback has learned: its ``state_dict()``, or plain attributes that end in _.

    Warns of a callback that has learned more.
    """
    states = {}
    for name, callback in callbacks:
        if hasattr(callback, "state_dict"):
            states[name] = callback.state_dict()
            continue
        learned = {k: v for k, v in vars(callback).items() if k.endswith("_")}
        kept = {k: plain(v) for k, v in learned.items()}
        states[name] = {k: v for k, v in kept.items() if v is not NotImplemented}
        lost = [k for k in kept.keys() - states[name].keys() if not _is_made_again(learned[k])]
        if lost:
            warnings.warn(
                f"checkpoint keeps tensors and plain values; {', '.join(sorted(lost))} of the "
                f"callback {name!r} will be lost where a fit is killed and goes on. Give the "
                "callback state_dict and load_state_dict.",
                UserWarning,
                stacklevel=2,
            )
    return states


def _is_made_again(value: Any) -> bool:
    """Whether ``value`` is nothing learned, but a function or a class that a callback looked up."""
    return callable(value) and not hasattr(value, "state_dict")


def restore_callbacks(callbacks: Iterable[tuple[str, Any]], states: dict[str, Any]) -> None:
    """Give the callbacks what they had learned."""
    for name, callback in callbacks:
        if hasattr(callback, "load_state_dict"):
            callback.load_state_dict(states[name])
        else:
            vars(callback).update(states[name])


def plain(value: Any) -> Any:
    """``value`` without NumPy's types; NotImplemented where a checkpoint cannot hold it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (*PLAIN, Tensor)):
        return value
    if isinstance(value, (list, tuple)):
        parts = [plain(part) for part in value]
        return NotImplemented if NotImplemented in parts else type(value)(parts)
    if isinstance(value, dict):
        entries = {key: plain(part) for key, part in value.items()}
        return NotImplemented if NotImplemented in entries.values() else entries
    return NotImplemented
