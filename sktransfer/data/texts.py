"""Texts as items: checks of X, and items that name themselves."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._support.hashing import hash_parts
from .._support.text import short
from .._support.validation import is_missing
from .items import TEXT_OR_OBJECT, Items, is_frame, refuse

SEQUENCE = "X must be a sequence of texts: a list, an array, or one column of a table"

# The endings of files that are probably passed by mistake, in place of their content.
FILES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".txt", ".webp"}

IMAGES = "For images, pass a backbone for images, such as backbone='builtin/mini'."


class Text:
    """A text that names itself, so that it is never taken for the path of a file.

    Parameters
    ----------
    text : str

    Attributes
    ----------
    text : str
    digest : bytes
        The name of the text in the cache.

    Examples
    --------
    >>> from sktransfer.data import Text
    >>> str(Text("a lovely film")), len(Text("a lovely film").digest)
    ('a lovely film', 16)
    """

    __slots__ = ("_ids", "digest", "text")

    def __init__(self, text: str):
        self.text = text
        self.digest = hash_parts("text", text)
        self._ids: tuple[Any, Sequence[int]] | None = None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Text({short(self.text)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[Any, ...]:
        return Text, (self.text,)

    def ids(self, encode: Callable[[str], Iterable[int]]) -> Sequence[int]:
        """Return the ids that ``encode`` gives; the last ones are kept for the next call.

        A fit asks for them several times: for the length of a text, and for the batch.
        """
        kept = self._ids
        if kept is None or kept[0] != encode:
            kept = self._ids = (encode, array("i", encode(self.text)))
        return kept[1]


def check_items_are_texts(X: Any) -> Items:
    """Check that ``X`` holds texts, and return them as items of the class :class:`Text`.

    Parameters
    ----------
    X : sequence of n str
        A list, a tuple, an array of texts or objects, a column of pandas, polars or pyarrow, or a
        table or array of one column.

    Raises
    ------
    ValueError
        If X is empty, has several columns, or holds anything else than texts.  The message lists
        the first ten of these items.
    TypeError
        If X is a single text, or not a sequence.
    """
    column, columns = _column(X)
    if not column:
        raise ValueError(
            "Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is required."
        )
    refuse(
        "X must hold strings",
        ((i, short(x)) for i, x in enumerate(column) if not isinstance(x, str)),
        lambda: _instead_of([x for x in column if not isinstance(x, str)], X),
    )
    refuse(
        "X must hold texts of valid characters",
        ((i, f"{short(x)} has a lone surrogate") for i, x in enumerate(column) if _is_broken(x)),
        lambda: "Replace them: text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace').",
    )
    _refuse_files(column)
    return Items([Text(str(text)) for text in column], "text", columns)


def fill_missing(X: Any) -> tuple[list[Any], list[int]]:
    """Return the items of ``X`` with empty texts for missing ones, and the indices of these."""
    column, _ = _column(X)
    missing = [index for index, item in enumerate(column) if is_missing(item)]
    for index in missing:
        column[index] = ""
    return column, missing


def _column(X: Any) -> tuple[list[Any], bool]:
    """Return the items of ``X`` as a list, and if it is a table or array of one column."""
    if isinstance(X, str):
        raise TypeError(f"{SEQUENCE}; got one text. Pass a list of one: [{short(X)}].")
    if hasattr(X, "column_names") or (hasattr(X, "collect") and hasattr(X, "lazy")):
        remedy = "X.collect()" if hasattr(X, "lazy") else "its column of texts: list(X['text'])"
        raise TypeError(f"{SEQUENCE}; got {type(X).__name__}. Pass {remedy}.")
    if is_frame(X):
        names = list(X.columns)
        if len(names) != 1:
            example = f" Select one, as in X[[{names[0]!r}]]." if names else ""
            raise ValueError(f"X must be one column of texts; got {len(names)} columns.{example}")
        return _as_list(X[names[0]]), True
    shape: tuple[int, ...] = getattr(X, "shape", (0,))
    if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
        is_text = isinstance(X, np.ndarray) and X.dtype.kind in TEXT_OR_OBJECT
        remedy = "Select one column, as in X[:, [0]]." if is_text else IMAGES
        raise ValueError(f"X must be one column of texts; got an array of shape {shape}. {remedy}")
    is_table = isinstance(X, np.ndarray) and X.ndim == 2
    return _as_list(X.ravel() if is_table else X), is_table


def _as_list(X: Any) -> list[Any]:
    if isinstance(X, (list, tuple)):
        return list(X)
    for method in ("to_pylist", "to_list", "tolist"):  # pyarrow; pandas and polars; NumPy
        values = getattr(X, method, lambda: None)()
        if isinstance(values, list):
            return values
    raise TypeError(f"{SEQUENCE}; got {type(X).__name__}. Pass a list of its texts.")


def _is_broken(text: str) -> bool:
    """Return True if a text cannot be encoded, because it contains a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _instead_of(items: list[Any], X: Any) -> str:
    """Return what to pass instead of items of X that are no texts, in a sentence."""
    if all(map(is_missing, items)):
        filled = next(
            (f"X.{method}('')" for method in ("fillna", "fill_null") if hasattr(X, method)),
            "[text if isinstance(text, str) else '' for text in X]",
        )
        return f"Leave these items out, or replace them by empty texts: {filled}."
    if any(isinstance(item, bytes) for item in items):
        return "Decode bytes: [item.decode() for item in X]."
    if any(isinstance(item, os.PathLike) for item in items):
        return "Pass the content of the files: [path.read_text() for path in X]."
    if any(np.ndim(item) > 1 or hasattr(item, "getpixel") for item in items):
        return IMAGES
    if any(isinstance(item, (list, tuple)) for item in items):
        return "Join the words of each text: [' '.join(words) for words in X]."
    return ""


def _refuse_files(texts: list[str]) -> None:
    """Raise an error if all texts are paths of existing files, as images and text files have."""
    first = texts[:10]
    if not all(Path(text[-9:]).suffix.lower() in FILES and os.path.isfile(text) for text in first):  # noqa: PTH113 - a name that is too long is False, not an error
        return
    raise ValueError(
        f"X must hold texts; got paths of files, such as {short(first[0])}. Pass the content of "
        f"text files: [Path(path).read_text() for path in X]. {IMAGES}"
    )
