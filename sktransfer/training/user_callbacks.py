"""The callbacks that the user passed: their checks, copies, description and state."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from typing import Any

from skorch.callbacks import (
    BatchScoring,
    Callback,
    EpochScoring,
    Freezer,
    InputShapeSetter,
    LoadInitState,
    Unfreezer,
)

from .._support.hashing import described
from .._support.plain import keep_plain, pack_arrays, unpack_arrays
from .._support.warn import warn_user

# Callbacks of skorch that cannot work in a fit, and the reason.
REFUSED: dict[type[Callback], str] = {
    **dict.fromkeys((Freezer, Unfreezer), "unfreeze and unfreeze_every choose what trains"),
    InputShapeSetter: "the network is built for its input before training begins",
    LoadInitState: "a fit begins with pretrained weights; checkpoint resumes one that was killed",
}

# Callbacks that predict for the validation data
SCORING = (BatchScoring, EpochScoring)

# Values in the history that are recorded only with validation data.
VALIDATED = ("valid_loss", "valid_loss_best", "valid_score")

# Attributes that the callbacks of skorch make when a fit, its training or an epoch begins.
REBUILT = {"y_trues_", "y_preds_", "pbar_", "keys_ignored_", "checkpoint_", "run_", "client_"}


def check_callbacks(name: str, callbacks: Any) -> None:
    """Raise an error if ``callbacks`` is no list of callbacks, or one of them cannot work.

    Parameters
    ----------
    name : str
        The name of the parameter.
    callbacks : object
        The value of the parameter.
    """
    wrong = [callbacks]
    if isinstance(callbacks, (list, tuple)):
        wrong = [each for each in _without_names(callbacks) if not hasattr(each, "on_train_begin")]
    if callbacks is not None and wrong:
        raise TypeError(f"{name} must be a list of skorch callbacks, or None; got {wrong[0]!r}.")
    for kind, reason in REFUSED.items():
        refuse(callbacks, (kind,), f": {reason}.", name)


def refuse(
    callbacks: Any, kinds: Iterable[type[Callback]], why: str, name: str = "skorch_callbacks"
) -> None:
    """Raise an error if a callback is of one of some classes.

    Parameters
    ----------
    callbacks : list or None
    kinds : iterable of classes
    why : str
        The end of the message, after the name of the class.
    name : str, default="skorch_callbacks"
        The name of the parameter.
    """
    for kind in kinds:
        if contains(callbacks, kind):
            raise ValueError(f"{name} must not contain {kind.__name__}{why}")


def contains(callbacks: Any, kind: type[Callback]) -> bool:
    """Return True if one of the callbacks is of a class, or is this class."""
    return any(
        issubclass(each if isinstance(each, type) else type(each), kind)
        for each in _without_names(callbacks)
    )


def check_validation(callbacks: Any, validates: bool) -> None:
    """Raise an error if a callback cannot work with validation data, or without.

    Parameters
    ----------
    callbacks : list or None
        The value of the parameter ``skorch_callbacks``.
    validates : bool
        True if the fit has validation data.
    """
    for callback in _without_names(callbacks):
        kind = callback.__name__ if isinstance(callback, type) else type(callback).__name__
        monitor = getattr(callback, "monitor", None)
        if not validates and isinstance(monitor, str) and monitor in VALIDATED:
            raise ValueError(
                f"skorch_callbacks must not contain {kind}(monitor={monitor!r}) without validation "
                "data. Pass X_val and y_val to fit, or set early_stopping=True."
            )
        if validates and getattr(callback, "load_best", False) is True:
            raise ValueError(
                f"skorch_callbacks must not contain {kind}(load_best=True) with validation data: "
                "the fit keeps the weights of the epoch with the lowest validation loss."
            )


def _without_names(callbacks: Any) -> list[Any]:
    """Return the callbacks without the names that some of them have."""
    return [each[-1] if isinstance(each, tuple) and each else each for each in callbacks or ()]


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
    """Return the state of each callback by name, as plain values.

    The state is the result of ``state_dict()``, or else the attributes that end in ``_``: those
    that hold tensors, arrays or plain values, and the state of those that have one, such as a
    learning-rate scheduler.  A warning names other attributes that end in ``_``.
    """
    states = {}
    for name, callback in callbacks:
        if hasattr(callback, "state_dict"):
            states[name] = pack_arrays(callback.state_dict())
            continue
        learned = {
            key: value
            for key, value in vars(callback).items()
            if key.endswith("_") and key not in REBUILT
        }
        inner = {key: value.state_dict() for key, value in learned.items() if _has_state(value)}
        kept = {
            "inner": keep_plain(pack_arrays(inner)),
            "plain": keep_plain(pack_arrays(learned)),
        }
        lost = learned.keys() - kept["inner"].keys() - kept["plain"].keys()
        warn_of_loss([key for key in lost if not _is_found(learned[key])], f"the callback {name!r}")
        states[name] = kept
    return states


def warn_of_loss(names: Collection[str], owner: str) -> None:
    """Warn that a checkpoint does not contain some values of ``owner``."""
    if names:
        warn_user(
            "checkpoint saves only tensors, arrays and plain values; "
            f"{', '.join(sorted(names))} of {owner} will be lost if the fit is killed and resumed. "
            "In a callback, define state_dict and load_state_dict."
        )


def _is_found(value: Any) -> bool:
    """Return True for a function or a class, which a callback looks up when training begins."""
    return isinstance(value, type) or (callable(value) and not hasattr(value, "state_dict"))


def _has_state(value: Any) -> bool:
    return hasattr(value, "load_state_dict") and not isinstance(value, type)


def restore_callbacks(callbacks: Iterable[tuple[str, Any]], states: dict[str, Any]) -> None:
    """Load the states that :func:`collect_callback_states` returned into the callbacks."""
    for name, callback in callbacks:
        state = unpack_arrays(states[name])
        if hasattr(callback, "load_state_dict"):
            callback.load_state_dict(state)
            continue
        attributes = vars(callback)
        attributes.update(state["plain"])
        for key, inner in state["inner"].items():
            if _has_state(attributes.get(key)):  # it is made when training begins
                attributes[key].load_state_dict(inner)
