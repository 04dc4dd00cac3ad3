"""The items of class folders, with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import Bunch

from .._support.text import printable
from .walk import Found

if TYPE_CHECKING:
    import pandas as pd


def files_of(contents: Mapping[str, Found]) -> list[Path]:
    """Return the files of all classes."""
    return [path for found in contents.values() for path in found.images]


def labelled(
    folder: Path,
    contents: Mapping[str, Found],
    outside: Found,
    items: Sequence[str],
    words: tuple[str, str],
) -> Bunch:
    """Return the items of the files of class folders, with their labels.

    Parameters
    ----------
    folder : Path
    contents : mapping of str to Found
        The content of each class, by name.
    outside : Found
        The content of ``folder`` itself.
    items : sequence of str
        One item for each of :func:`files_of`.
    words : (str, str)
        The name of the column of items, and the word for the items.
    """
    column, things = words
    names = np.array(list(contents), dtype=object)
    target = np.repeat(np.arange(len(names)), [len(found.images) for found in contents.values()])
    skipped = [str(path) for found in (*contents.values(), outside) for path in found.foreign]
    n_hidden = sum(found.n_hidden for found in (*contents.values(), outside))
    data, labels = np.array(items, dtype=object), names[target]
    return Bunch(
        data=data,
        labels=labels,
        target=target,
        target_names=names,
        frame=_frame(column, data, labels),
        skipped=skipped,
        n_hidden=n_hidden,
        DESCR=(
            f"{len(items)} {things} of {len(names)} classes in {printable(folder)}; skipped "
            f"{len(skipped)} files that are not {things} by their extension, and {n_hidden} hidden "
            "ones."
        ),
    )


def _frame(column: str, items: np.ndarray, labels: np.ndarray) -> pd.DataFrame | None:
    """Return a DataFrame of items and labels, or None if pandas is not installed."""
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return None
    # Columns of pandas' own strings cannot hold names that are not UTF-8.
    return pd.DataFrame({column: items, "label": labels}, dtype=object)
