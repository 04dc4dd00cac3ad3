"""Every sentence said about a wrong argument, and the door to optional packages."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from importlib import import_module
from numbers import Integral, Real
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")


def check_choice(name: str, value: T, choices: Collection[Any]) -> T:
    """Return ``value`` if it is one of ``choices``; otherwise list them, and guess."""
    for choice in choices:
        if _is_kind_of(value, choice) and value == choice:
            return value
    listed, guess = ", ".join(map(repr, choices)), did_you_mean(value, choices)
    raise ValueError(f"{name} must be one of {listed}; got {value!r}.{guess}")


def _is_kind_of(value: object, choice: object) -> bool:
    """Whether the types agree; NumPy's strings are strings, and True is no number."""
    return isinstance(value, type(choice)) and isinstance(value, bool) == isinstance(choice, bool)


def check_int(name: str, value: Any, low: int, *, also: Collection[Any] = ()) -> Any:
    """Return ``value`` if it is an integer of at least ``low``, or one of ``also``."""
    if any(value is other or (isinstance(value, str) and value == other) for other in also):
        return value
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if is_integer and value >= low:
        return int(value)
    others = "".join(f", or {other!r}" for other in also)
    raise ValueError(f"{name} must be an integer of at least {low}{others}; got {value!r}.")


def check_range(name: str, value: Any, span: str, *, also: Collection[Any] = ()) -> Any:
    """Return ``value`` if it is a number in ``span``, such as ``"[0, 1)"``, or one of ``also``."""
    if any(isinstance(value, type(other)) and value == other for other in also):
        return value
    low, high = map(float, span[1:-1].split(","))
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    is_within = is_number and low <= value <= high
    is_on_open_end = (value == low and span[0] == "(") or (value == high and span[-1] == ")")
    if is_within and not is_on_open_end:
        return value
    others = "".join(f", or {other!r}" for other in also)
    raise ValueError(f"{name} must be a number in {span}{others}; got {value!r}.")


def did_you_mean(value: object, choices: Iterable[object]) -> str:
    """One suggestion, as a sentence with a leading space; empty when nothing is near."""
    near = get_close_matches(str(value), list(map(str, choices)), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def first_ten(lines: Collection[str]) -> str:
    """At most ten of ``lines``, one below the other, and how many more there are."""
    shown = "\n".join(f"  {line}" for line in list(lines)[:10])
    return shown + (f"\n  ... and {len(lines) - 10} more" if len(lines) > 10 else "")


def require(package: str, extra: str) -> ModuleType:
    """Return the optional ``package``; where it is missing, say which extra brings it."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{package} is not installed; it comes with the extra {extra!r}: "
            f"pip install 'sktransfer[{extra}]'.",
            name=error.name,
        ) from None
