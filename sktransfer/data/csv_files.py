"""Read CSV files; errors name the file and tell how to correct it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._support.validation import did_you_mean, require

if TYPE_CHECKING:
    from pandas import DataFrame, Series

# Characters that some programs write between columns instead of commas
SEPARATORS = {";": "semicolons", "\t": "tabs"}

# The most names of columns in a message
MOST_NAMES = 20


def read_csv(source: Path, *, exempt: str = "", **options: Any) -> DataFrame:
    """Return the table of a CSV file.

    Parameters
    ----------
    source : Path
    exempt : str, default=""
        What of the file may have another encoding than UTF-8, for the message.
    **options : Any
        Passed to ``pandas.read_csv``.

    Raises
    ------
    ValueError
        If the file is not encoded in UTF-8, has other separators than commas, rows with more cells
        than the header, or no row.
    """
    pd = require("pandas", "cli")
    try:
        table: DataFrame = pd.read_csv(source, **options)
    except UnicodeError as error:
        raise ValueError(
            f"{str(source)!r} must be encoded in UTF-8{exempt}: {error}. Save it as UTF-8."
        ) from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(
            f"{str(source)!r} must begin with the names of its columns; it has no line."
        ) from error
    except pd.errors.ParserError as error:
        cause = str(error).replace("Error tokenizing data. C error: ", "").strip()
        raise ValueError(
            f"{str(source)!r} must be a CSV file, with commas between its columns and quotes "
            f"around cells that hold commas; {cause}.{_separator_advice(source)}"
        ) from error
    if len(table.columns) == 1 and any(sign in str(table.columns[0]) for sign in SEPARATORS):
        raise ValueError(
            f"{str(source)!r} must have commas between its columns.{_separator_advice(source)}"
        )
    if not len(table):
        raise ValueError(f"{str(source)!r} must have a row below the names of its columns.")
    # pandas takes the first column for names of rows if rows have more cells than the header
    has_more_cells = not isinstance(table.index, pd.RangeIndex)
    if has_more_cells:
        raise ValueError(
            f"{str(source)!r} must have at most as many cells in a row as names of columns, which "
            f"are {len(table.columns)}; it has more. Put cells that hold commas in quotes."
        )
    return table


def _separator_advice(source: Path) -> str:
    """Return how to convert a file with other separators; "" for commas."""
    with source.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    sign = max(SEPARATORS, key=first.count)
    if first.count(sign) <= first.count(","):
        return ""
    path = str(source)
    return (
        f" Its first line has {SEPARATORS[sign]}: pandas.read_csv({path!r}, sep={sign!r})"
        f".to_csv({path!r}, index=False) writes commas."
    )


def check_column(source: Path, names: list[str], column: str, name: str) -> None:
    """Raise an error if a table lacks a column, or has another one that has its new name."""
    if column not in names:
        listed = ", ".join(map(repr, names[:MOST_NAMES]))
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        texts = " If its items are texts, pass text_column=NAME." if name == "path" else ""
        raise ValueError(
            f"{str(source)!r} must have a column {column!r}; it has {listed}{more}."
            f"{did_you_mean(column, names) or texts}"
        )
    if column != name and name in names:
        raise ValueError(
            f"{str(source)!r} must not have a column {name!r} in addition to {column!r}. Rename it."
        )


def with_first(name: str, values: Series, others: DataFrame) -> DataFrame:
    """Return a table with a column before the others.

    pandas warns if a column is inserted into a table of more than a hundred.
    """
    pd = require("pandas", "cli")
    table: DataFrame = pd.concat([values.rename(name), others], axis=1)
    return table
