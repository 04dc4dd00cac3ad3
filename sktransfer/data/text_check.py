"""Find problems of texts before they are used: missing, empty, long, repeated, unreadable ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .._support.validation import require
from .problems import Row, number_classes, tabulate
from .text_preset import TextPreset
from .texts import Text, check_items_are_texts, fill_missing

if TYPE_CHECKING:
    import pandas as pd

# A text is unreadable for a network if more than this part of its tokens are unknown.
UNKNOWN = 0.5

# Number of characters of a text in the table.
SHOWN = 60


def check_texts(X: Any, y: Any = None, *, preset: TextPreset | None = None) -> pd.DataFrame:
    """Return a table of the problems of texts, with one row for each problem.

    Parameters
    ----------
    X : sequence of n_texts str, or a column of them
    y : sequence of n_texts labels or None, default=None
        If given, duplicates within a class and across classes are different problems.
    preset : TextPreset or None, default=None
        The preset of a network, ``get_backbone(address).preset``.  Its tokens show which texts are
        too long, or in another language.  With None, tokens are not checked.

    Returns
    -------
    DataFrame
        Empty if there are no problems.  Sorted by ``index``, with the columns

        index : int
            Position in ``X``.
        text : str
            The beginning of the text.
        problem : str
            ``"missing"``: there is no text, such as None or NaN.  Estimators refuse it.
            ``"empty"``: it has no characters other than white space.
            ``"too long"``: it has more tokens than the network reads.
            ``"unknown tokens"``: more than half of its tokens are not in the vocabulary.
            ``"duplicate"``, or with ``y`` ``"duplicate within class"`` or
            ``"duplicate across classes"``: an earlier text has the same words, in upper or lower
            case.
        detail : str
            Description of the problem.
        same_as : Int64
            Position of the first text with the same words, missing for other problems.

        ``attrs["n_texts"]`` is the length of ``X``.

    Raises
    ------
    ValueError, TypeError
        If ``X`` holds something else than texts and missing values, ``y`` and ``X`` differ in
        length, or ``preset`` is not that of texts.
    ModuleNotFoundError
        If pandas is not installed.

    See Also
    --------
    load_text_folder : Texts and labels of a folder.

    Examples
    --------
    >>> from sktransfer import check_texts
    >>> report = check_texts(["A fine film.", "", "a fine  film."], ["good", "good", "bad"])
    >>> report[["index", "problem", "same_as"]]
       index                   problem  same_as
    0      1                     empty     <NA>
    1      2  duplicate across classes        0
    """
    require("pandas", "cli")
    if preset is not None and not isinstance(preset, TextPreset):
        raise TypeError(f"preset must be a TextPreset or None; got {type(preset).__name__}.")
    column, missing = fill_missing(X)
    items = check_items_are_texts(column)
    classes = number_classes(y, len(items), "texts")
    rows = [*_empty(items, missing), *_tokens(items, preset), *_duplicates(items, classes)]
    table = tabulate(rows, "text", [item.text[:SHOWN] for item in items])
    table.attrs["n_texts"] = len(items)
    return table


def _empty(items: Sequence[Text], missing: Collection[int]) -> Iterator[Row]:
    """Iterate over the texts that are missing or have no characters."""
    for index in missing:
        yield index, "missing", "leave it out, or replace it by an empty text", None
    absent = set(missing)
    for index, item in enumerate(items):
        if index not in absent and not item.text.strip():
            n = len(item.text)
            yield index, "empty", f"{n} characters of white space" if n else "no characters", None


def _tokens(items: Sequence[Text], preset: TextPreset | None) -> Iterator[Row]:
    """Iterate over the texts that have too many tokens, or too many unknown ones."""
    if preset is None:
        return
    tokenizer = preset.tokenizer
    most = preset.max_length - len(tokenizer.prefix) - len(tokenizer.suffix)
    for index, item in enumerate(items):
        ids = item.ids(tokenizer.encode)
        if len(ids) > most:
            yield index, "too long", f"{len(ids):,} tokens, of which {most} are read", None
        n_unknown = sum(id_ == tokenizer.unknown for id_ in ids)
        if n_unknown > UNKNOWN * len(ids):
            detail = f"{n_unknown} of {len(ids)} tokens are not in the vocabulary"
            yield index, "unknown tokens", detail, None


def _duplicates(items: Sequence[Text], classes: Sequence[int] | None) -> Iterator[Row]:
    """Iterate over the texts that repeat an earlier one; empty texts are a problem of their own.

    With classes, the first such text within the class and the first one of another class are two
    problems.
    """
    first: dict[str, dict[Any, int]] = {}  # words -> class -> index
    for index, item in enumerate(items):
        words = " ".join(item.text.casefold().split())
        if not words:
            continue
        label = None if classes is None else classes[index]
        earlier = first.setdefault(words, {})
        others = [at for other, at in earlier.items() if other != label]
        if label in earlier:
            kind = "duplicate" if classes is None else "duplicate within class"
            yield index, kind, _likeness(items, index, earlier[label]), earlier[label]
        if others:
            at = min(others)
            yield index, "duplicate across classes", _likeness(items, index, at), at
        earlier.setdefault(label, index)


def _likeness(items: Sequence[Text], index: int, other: int) -> str:
    same = items[index].text == items[other].text
    return "equal texts" if same else "equal but for case and white space"
