"""Validation of arguments with uniform error messages, and imports of optional packages."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from numbers import Integral, Real
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from .text import printable, short

T = TypeVar("T")


def check_choice(name: str, value: T, choices: Collection[Any], also: str = "") -> T:
    """Return ``value`` if it is one of ``choices``; raise an error that lists them otherwise.

    ``also`` describes other values that the caller accepts, for the error message.
    """
    for choice in choices:
        if _has_type_of(value, choice) and value == choice:
            return value
    raise ValueError(no_choice(name, value, choices, also))


def no_choice(name: str, value: object, choices: Collection[Any], also: str = "") -> str:
    """Return the message about a value that is not one of ``choices``.

    ``also`` describes other values that are accepted, such as "or a callable".
    """
    listed = ", ".join([*map(repr, choices), *filter(None, [also])])
    return f"{name} must be one of {listed}; got {value!r}.{did_you_mean(value, choices)}"


def _has_type_of(value: object, choice: object) -> bool:
    """Return True if ``value`` has the type of ``choice``; a bool is not accepted as a number."""
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


def check_range(name: str, value: Any, interval: str, *, also: Collection[Any] = ()) -> Any:
    """Return ``value`` if it is a number in ``interval``, or one of ``also``.

    The interval is written as in mathematics: ``"[0, 1)"`` includes 0 and excludes 1.
    """
    if any(isinstance(value, type(other)) and value == other for other in also):
        return value
    low, high, excluded = _parse_interval(interval)
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if is_number and low <= value <= high and value not in excluded:
        return value
    others = "".join(f", or {other!r}" for other in also)
    raise ValueError(f"{name} must be a number in {interval}{others}; got {value!r}.")


@cache
def _parse_interval(interval: str) -> tuple[float, float, tuple[float, ...]]:
    """Return the bounds of an interval, and those bounds that are excluded from it."""
    low, high = map(float, interval[1:-1].split(","))
    excluded = (low,) * (interval[0] == "(") + (high,) * (interval[-1] == ")")
    return low, high, excluded


def check_present(values: Any, name: str, kind: str = "label") -> None:
    """Raise an error if an item has no label: None, NaN, or the missing value of pandas.

    Parameters
    ----------
    values : array-like of shape (n_items,) or (n_items, n_columns)
    name : str
        The name of the parameter.
    kind : str, default="label"
        A word for one of the values.
    """
    if values is None:
        raise ValueError(f"{name} must have a {kind} for each item; got None.")
    if isinstance(values, (list, tuple)):  # NumPy would turn NaN among texts into the text "nan"
        values = np.fromiter(values, dtype=object, count=len(values))
    array = np.asarray(values)
    if array.dtype.kind not in "Of" or not array.ndim:
        return
    missing = find_positions(array, is_missing)
    if missing:
        n_rows = len({position[0] for position in missing})
        raise ValueError(
            f"{name} must have a {kind} for each item; {n_rows} of {len(array)} have none:\n"
            f"{first_ten(list_cells(values, missing, name))}\n"
            f"Give these items a {kind}, or leave them out."
        )


def find_positions(array: np.ndarray, test: Callable[[Any], bool]) -> list[tuple[int, ...]]:
    """Return the positions of the values of an array that pass a test, row by row."""
    found = np.fromiter(map(test, array.ravel().tolist()), bool, array.size)
    return list(zip(*np.nonzero(found.reshape(array.shape)), strict=True))


def list_cells(values: Any, positions: Iterable[tuple[int, ...]], name: str) -> list[str]:
    """Describe values, each by its row, its column if there are several, and itself.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, k)
        The columns of a DataFrame are named, others are numbered.
    positions : iterable of tuple of int
    name : str
        The name of the parameter.
    """
    names = list(getattr(values, "columns", ()))
    array = np.asarray(values, dtype=object)
    cells = []
    for row, *column in positions:
        value = array[(row, *column)]
        value = value.item() if isinstance(value, np.generic) else value
        places = [str(row), *(repr(names[at]) if names else str(at) for at in column)]
        cells.append(f"{name}[{', '.join(places)}]: {short(value)}")
    return cells


def find_name(y: Any) -> str | None:
    """Return the name of a Series; None without one, and for arrays."""
    name = getattr(y, "name", None)
    is_series = hasattr(y, "to_numpy") and np.ndim(y) == 1  # arrays of dask and HDF5 have names
    return name if is_series and name and isinstance(name, str) else None


def is_missing(value: Any) -> bool:
    """Return True for None, NaN and the missing values of pandas."""
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # of pandas


def did_you_mean(value: object, choices: Iterable[object]) -> str:
    """Suggest the nearest of ``choices`` in a sentence with a leading space, if one is near."""
    texts = {str(choice): choice for choice in choices}
    near = find_nearest(str(value), texts)
    return "" if near is None else f" Did you mean {texts[near]!r}?"


def find_nearest(text: str, choices: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the choice that a text most likely means, without regard to case; None without one.

    It is the only choice that begins with the text.  If there are none or several, it is the most
    similar choice, at least as similar as ``cutoff``, which is in [0, 1].
    """
    lower = {choice.lower(): choice for choice in choices}
    begun = [each for each in lower if text and each.startswith(text.lower())]
    near = begun if len(begun) == 1 else get_close_matches(text.lower(), lower, 1, cutoff)
    return lower[near[0]] if near else None


def first_ten(lines: Collection[str]) -> str:
    """Join the first ten of ``lines``, indented, and count the others in one more line.

    Characters that cannot be printed are escaped, because the lines may contain names of files.
    """
    shown = "\n".join(f"  {printable(line)}" for line in list(lines)[:10])
    return shown + (f"\n  ... and {len(lines) - 10} more" if len(lines) > 10 else "")


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package, or raise an error that names the extra to install."""
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
