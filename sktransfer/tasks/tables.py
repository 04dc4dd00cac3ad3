"""Tables of labels: their columns, and the kinds of their values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .._support.validation import did_you_mean, first_ten, is_missing
from .label_sets import COLLECTIONS


def as_table(y: Any, n_items: int, name: str) -> dict[str, list[Any]]:
    """Return the columns of a table as lists, by name.

    Raises
    ------
    TypeError, ValueError
        If y is no table of n_items rows.
    """
    if hasattr(y, "columns"):
        columns = {str(column): list(y[column]) for column in y.columns}
    elif isinstance(y, Mapping):
        columns = {str(column): list(values) for column, values in y.items()}
    else:
        raise TypeError(
            f"{name} must be a DataFrame or a dict with a column for each task; got "
            f"{'None' if y is None else type(y).__name__}."
        )
    if not columns:
        raise ValueError(f"{name} must have a column for each task; it has none.")
    for column, values in columns.items():
        if len(values) != n_items:
            raise ValueError(
                f"column {column!r} of {name} must have a row for each of {n_items} items; got "
                f"{len(values)}."
            )
    return columns


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


def find_kind(name: str, known: Sequence[Any]) -> str:
    """Return the kind of a column: that of its values."""
    kinds = {_kind_of(value) for value in known}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if kinds == {"integer"}:
        raise ValueError(
            f"tasks must state the kind of column {name!r}, because its integers may be numbers or "
            f"classes: tasks={{{name!r}: 'number'}} or tasks={{{name!r}: 'class'}}."
        )
    if len(kinds) > 1:
        raise ValueError(
            f"column {name!r} of y must have values of one kind; got {', '.join(sorted(kinds))}. "
            f"State it: tasks={{{name!r}: 'class'}}."
        )
    return kinds.pop()


def _kind_of(value: Any) -> str:
    if isinstance(value, COLLECTIONS):
        return "labels"
    if isinstance(value, (bool, np.bool_)):
        return "class"
    if isinstance(value, (int, np.integer)):
        return "integer"
    return "number" if isinstance(value, (float, np.floating)) else "class"


def as_classes(values: Sequence[Any]) -> np.ndarray:
    """Return labels as an array; whole numbers, which are floats beside NaN, become integers."""
    if all(isinstance(v, (float, np.floating)) and float(v).is_integer() for v in values):
        return np.array([int(value) for value in values])
    return np.array(list(values))
