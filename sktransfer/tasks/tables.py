"""Tables of labels: their columns, and the kinds of their values."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from .._support.text import is_number, short
from .._support.validation import did_you_mean, first_ten, is_missing
from .label_sets import FORMS
from .labels import check_names


def as_table(y: Any, n_items: int, name: str) -> dict[str, list[Any]]:
    """Return the columns of a table as lists, by name.

    Raises
    ------
    TypeError, ValueError
        If y is no table of n_items rows.
    """
    if hasattr(y, "columns"):
        given = {text: y[column] for text, column in check_names(y.columns, name).items()}
    elif isinstance(y, Mapping):
        given = {text: y[column] for text, column in check_names(list(y), name).items()}
    else:
        raise TypeError(
            f"{name} must be a DataFrame or a dict with a column for each task; got "
            f"{'None' if y is None else type(y).__name__}."
        )
    if not given:
        raise ValueError(f"{name} must have a column for each task; it has none.")
    columns = {}
    for column, values in given.items():
        shape = tuple(getattr(values, "shape", ()))  # of an array, a tensor or a Series
        if isinstance(values, (str, bytes)) or not hasattr(values, "__len__") or len(shape) > 1:
            form = f"an array of shape {shape}" if len(shape) > 1 else short(values)
            raise ValueError(
                f"column {column!r} of {name} must have one value for each of {n_items} items; got "
                f"{form}. Several numbers of an item need a column each, and several labels a list."
            )
        # The items of a tensor are tensors, and those of its list are numbers.
        columns[column] = values.tolist() if isinstance(values, Tensor) else list(values)
    for column, values in columns.items():
        if len(values) != n_items:
            raise ValueError(
                f"column {column!r} of {name} must have a row for each of {n_items} items; got "
                f"{len(values)}."
            )
        _check_values(values, f"column {column!r} of {name}")
    return columns


def _check_values(values: Sequence[Any], name: str) -> None:
    """Raise an error that lists the values of a column that are no numbers, labels or lists."""
    others = [row for row, value in enumerate(values) if not _is_value(value)]
    if others:
        lines = [f"{name}[{row}]: {short(values[row])}" for row in others]
        raise ValueError(
            f"{name} must have a number, a text, or a list or a set of labels for each item; "
            f"{len(others)} of {len(values)} items have something else:\n{first_ten(lines)}\n"
            "Convert them to numbers or to texts. Images belong to X, and masks to "
            "FineTuneSegmenter."
        )


def _is_value(value: Any) -> bool:
    """Return True for a number, a text, several labels, or a missing value."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return is_missing(value) or isinstance(value, (str, bytes, Real, np.bool_, *FORMS))


def check_labelled(table: Mapping[str, list[Any]], n_items: int, name: str) -> None:
    """Raise an error that lists the items without a label in any column."""
    empty = [row for row in range(n_items) if all(is_missing(c[row]) for c in table.values())]
    if empty:
        raise ValueError(
            f"{name} must have a label for each item in at least one column; {len(empty)} of "
            f"{n_items} items have none:\n{first_ten([f'{name}[{row}]' for row in empty])}\n"
            "Leave these items out."
        )


def check_columns(
    parameter: str, given: Mapping[str, Any] | None, table: Collection[str]
) -> dict[str, Any]:
    """Return a parameter with a value for some of the columns, whose names are checked."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{parameter} must be a dict by the columns of y, or None; got {given!r}.")
    for name in given:
        if name not in table:
            raise ValueError(
                f"{parameter} must have columns of y as keys; got {name!r}, and y has "
                f"{', '.join(map(repr, table))}.{did_you_mean(name, table)}"
            )
    return dict(given)


def find_kind(name: str, column: Sequence[Any]) -> str:
    """Return the kind of a column: that of its values, which may be missing."""
    examples: dict[str, str] = {}  # the first value of each kind
    for row, value in enumerate(column):
        if not is_missing(value):
            examples.setdefault(_kind_of(value), f"{_kind_of(value)} in y[{row}]: {short(value)}")
    kinds = set(examples)
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    # Beside a missing label, pandas makes floats of integers.
    known = [value for value in column if not is_missing(value)]
    is_float = kinds == {"number"} and len(known) < len(column) and is_whole(known)
    if is_float or kinds == {"integer"}:
        values = "whole numbers, floats beside missing labels," if is_float else "integers"
        raise ValueError(
            f"tasks must state the kind of column {name!r}, because its {values} may be numbers or "
            f"classes: tasks={{{name!r}: 'number'}} or tasks={{{name!r}: 'class'}}."
        )
    if len(kinds) > 1:
        raise ValueError(
            f"column {name!r} of y must have values of one kind; got\n"
            f"{first_ten([examples[kind] for kind in sorted(kinds)])}\n"
            f"State it: tasks={{{name!r}: 'class'}}."
        )
    return kinds.pop()


def check_kind(name: str, kind: str, column: Sequence[Any]) -> None:
    """Raise an error if the stated kind of a column cannot be that of its values."""
    known = [value for value in column if not is_missing(value)]
    others = {
        "class": ("number", "numbers with fractions", [v for v in known if _has_fraction(v)]),
        "number": ("class", "texts", [v for v in known if isinstance(v, str) and not is_number(v)]),
    }
    right, things, wrong = others.get(kind, ("", "", []))
    if wrong:
        raise ValueError(
            f"tasks[{name!r}] must be {right!r} for a column with {things}, such as "
            f"{short(wrong[0])}; got {kind!r}."
        )


def _has_fraction(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) and math.isfinite(value) and value % 1 != 0


def _kind_of(value: Any) -> str:
    if isinstance(value, FORMS):
        return "labels"
    if isinstance(value, (bool, np.bool_)):
        return "class"
    if isinstance(value, (int, np.integer)):
        return "integer"
    return "number" if isinstance(value, (float, np.floating)) else "class"


def is_whole(values: Sequence[Any]) -> bool:
    """Return True if all numbers are whole."""
    return all(float(value).is_integer() for value in values)


def as_classes(values: Sequence[Any]) -> np.ndarray:
    """Return labels as an array; whole numbers, which are floats beside NaN, become integers."""
    if all(isinstance(v, (float, np.floating)) for v in values) and is_whole(values):
        return np.array([int(value) for value in values])
    return np.array(list(values))
