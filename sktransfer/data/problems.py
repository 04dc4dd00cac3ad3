"""The table of problems that ``check_images`` and ``check_texts`` return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validation import check_present, require

if TYPE_CHECKING:
    import pandas as pd

# One row of the table: index, problem, detail, same_as
Row = tuple[int, str, str, int | None]


def number_classes(y: Any, n: int, things: str) -> list[int] | None:
    """Return the number of the class of each of ``n`` items, or None without labels.

    ``things`` is the word for the items in messages: "images" or "texts".
    """
    if y is None:
        return None
    check_present(y, "y")
    numbers = np.unique(np.asarray(y), return_inverse=True)[1]
    if numbers.shape != (n,):
        raise ValueError(
            f"y must hold one label for each of {n} {things}; got shape {np.shape(y)}."
        )
    classes: list[int] = numbers.tolist()
    return classes


def tabulate(rows: Sequence[Row], column: str, names: Sequence[str | None]) -> pd.DataFrame:
    """Return problems as a table, sorted by the position of the item.

    Parameters
    ----------
    rows : sequence of tuple
    column : str
        The name of the column with the names of the items.
    names : sequence of n_items str or None
    """
    pd = require("pandas", "cli")
    table = pd.DataFrame(rows, columns=["index", "problem", "detail", "same_as"])
    table = table.sort_values("index", kind="stable", ignore_index=True)
    # Columns of pandas' own strings cannot hold names that are not UTF-8.
    table.insert(1, column, pd.Series([names[index] for index in table["index"]], dtype=object))
    table["same_as"] = table["same_as"].astype("Int64")
    return table
