"""The callbacks that the user passed: their copies, their description, and their state."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from typing import Any

from .._support.hashing import described
from .._support.plain import keep_plain


def copy_callbacks(callbacks: Any) -> list[Any]:
    """Copy skorch callbacks, so that a fit does not change those that the user passed.

    The copies share the objects that the callbacks hold, such as a list, a lock, a file or a study.
    skorch assigns the attributes of its own callbacks, so the copies have their own.

    Parameters
    ----------
    callbacks : list or None
        Callbacks, their classes, or pairs of a name and one of both.
    """
    return [_copy(each) for each in callbacks or ()]


def _copy(callback: Any) -> Any:
    if isinstance(callback, tuple):
        return tuple(map(_copy, callback))
    kind: Any = type(callback)
    if hasattr(kind, "__copy__") or kind.__new__ is not object.__new__:
        return copy.copy(callback)
    # copy.copy would call __getstate__, which may leave out a file or a lock for pickles.
    twin = object.__new__(kind)
    vars(twin).update(vars(callback))
    return twin


def describe_callbacks(callbacks: Any) -> list[Any]:
    """Describe skorch callbacks for the key of a checkpoint: their classes and parameters.

    An object that cannot be described, such as a lock, a file or a logger, counts by its class.
    Attributes that end in ``_`` are results of a fit, and do not count.

    Parameters
    ----------
    callbacks : list or None
        As for :func:`copy_callbacks`.
    """
    return [_describe_callback(each) for each in callbacks or ()]


def _describe_callback(callback: Any) -> Any:
    if isinstance(callback, tuple):
        return [_describe_callback(part) for part in callback]
    if isinstance(callback, (type, str)):
        return _described_or_class(callback)
    parameters = {
        name: _described_or_class(value)
        for name, value in vars(callback).items()
        if not name.endswith("_")
    }
    return [_described_or_class(type(callback)), parameters]


def _described_or_class(value: Any) -> str:
    """Describe a value; if it cannot be described, return the name of its class, or its own."""
    try:
        return described(value)
    except TypeError:
        kind = value if isinstance(value, type) else type(value)
        return f"{kind.__module__}.{kind.__qualname__}"


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
