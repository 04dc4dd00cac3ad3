"""Labels: checks of y, and labels that a classifier does not know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite

from .._support.text import short
from .._support.validation import (
    check_choice,
    check_range,
    did_you_mean,
    find_name,
    first_ten,
    list_cells,
)
from .._support.warn import warn_user

# Values of y that hold several labels
COLLECTIONS = (list, tuple, set, frozenset)

BINARIZE = (
    "If items have several labels, pass columns of 0 and 1: "
    "sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
)


def check_passed(y: Any, estimator_name: str) -> None:
    """Raise an error if ``y`` is None, in the words of scikit-learn, or no sequence."""
    if y is None:
        raise ValueError(f"{estimator_name} requires y to be passed, but the target y is None.")
    if isinstance(y, (str, bytes, Set, Iterator)):
        advice = " Pass list(y)." if isinstance(y, Iterator) else ""
        kind = type(y).__name__
        raise TypeError(f"y must be a sequence with a value for each item; got {kind}.{advice}")


def as_array(y: Any) -> Any:
    """Convert ``y`` to an array, unless it has two axes, as a DataFrame has.

    Raises
    ------
    ValueError
        If ``y`` holds lists of several lengths, or sets.
    """
    try:
        array = y if len(getattr(y, "shape", ())) == 2 else np.asarray(y)
    except ValueError as error:  # lists of several lengths
        raise ValueError(
            f"y must have one label for each item; got lists of several lengths. {BINARIZE}"
        ) from error
    if isinstance(array, np.ndarray) and array.dtype == object and array.ndim == 1:
        kinds = {type(each).__name__ for each in array if isinstance(each, COLLECTIONS)}
        if kinds:
            raise ValueError(
                f"y must have one label for each item; got {' and '.join(sorted(kinds))} objects. "
                f"{BINARIZE}"
            )
    if isinstance(y, (list, tuple)) and array.dtype.kind == "U":
        return np.asarray(y, dtype=object) if is_matrix(array) else keep_kinds(y)
    return array


def keep_kinds(labels: Sequence[Any]) -> np.ndarray:
    """Convert labels to an array of objects if some are not texts, which NumPy makes texts of."""
    array = np.asarray(labels)
    is_mixed = array.dtype.kind == "U" and not all(isinstance(each, str) for each in labels)
    return np.asarray(labels, dtype=object) if is_mixed else array


def check_names(columns: Any, name: str) -> dict[str, Any]:
    """Return the columns of a table by their names, which must be different as texts."""
    found = {str(column): column for column in columns}
    if len(found) < len(columns):
        texts = [str(column) for column in columns]
        twice = sorted({text for text in texts if texts.count(text) > 1})
        raise ValueError(
            f"{name} must have columns of different names; these occur more than once:\n"
            f"{first_ten([repr(text) for text in twice])}"
        )
    return found


def name_columns(y: Any) -> tuple[str, ...]:
    """Return the names of the columns of a table, or the name of a Series; none for an array."""
    if hasattr(y, "columns"):
        return tuple(check_names(y.columns, "y"))
    name = find_name(y)
    return () if name is None else (name,)


def arrange_columns(y: Any, names: tuple[str | int, ...], name: str) -> Any:
    """Return a table with its columns in the order of ``names``; an array has an order already.

    Raises
    ------
    ValueError
        If a table has columns of other names.
    """
    is_named = names and all(isinstance(each, str) for each in names)
    if not is_named or not hasattr(y, "columns"):
        return y
    found = check_names(y.columns, name)
    if tuple(found) == names:
        return y
    if sorted(found) != sorted(map(str, names)):
        raise ValueError(
            f"{name} must have the columns {', '.join(map(repr, names))}; got "
            f"{', '.join(map(repr, found))}."
        )
    return y[[found[str(each)] for each in names]]


def is_matrix(y: Any) -> bool:
    """Return True if ``y`` has several columns."""
    return len(y.shape) == 2 and y.shape[1] > 1


def is_indicators(y: Any) -> bool:
    """Return True if the values of a matrix are 0 and 1, so that its columns stand for labels."""
    if issparse(y):
        return True
    array = np.asarray(y)
    if array.dtype == object:
        return all(not isinstance(value, str) and value in (0, 1) for value in array.flat)
    return array.dtype.kind in "biuf" and bool(np.isin(array, (0, 1)).all())


def check_labels(y: Any, n_items: int, name: str, warn: bool = True) -> np.ndarray:
    """Check labels, and return them as an array of shape (n_items,)."""
    labels: np.ndarray = column_or_1d(y, warn=warn)
    assert_all_finite(labels, input_name=name)
    _check_one_kind(labels, name)
    try:
        check_classification_targets(labels)
    except ValueError as error:
        others = [(at,) for at, value in enumerate(labels.tolist()) if not _is_label(value)]
        if not others:
            raise ValueError(
                f"Unknown label type: {name} must have labels of one type, such as int; got an "
                f"array of objects. Convert it, such as {name}.astype(int)."
            ) from error
        raise ValueError(
            f"{error} {len(others)} values of {name} are no labels:\n"
            f"{first_ten(list_cells(labels, others, name))}\n"
            f"{_advice_on(labels, others)}"
        ) from error
    if len(labels) != n_items:
        raise ValueError(
            f"{name} must have one label for each of {n_items} items; got {len(labels)}."
        )
    return labels


def _advice_on(labels: np.ndarray, others: Sequence[tuple[int]]) -> str:
    """Return what to do about values that are no labels."""
    if any(isinstance(labels[at], (float, np.floating)) for (at,) in others):
        return "To predict numbers, use FineTuneRegressor."
    return "Convert them to texts, such as [str(label) for label in y]."


def _check_one_kind(labels: np.ndarray, name: str) -> None:
    """Raise an error if some labels are texts and others are not; it lists the rarer ones."""
    if labels.dtype != object:
        return
    is_text = np.array([isinstance(label, str) for label in labels], bool)
    if is_text.all() or not is_text.any():
        return
    odd = [(at,) for at in np.flatnonzero(is_text == (is_text.mean() <= 0.5)).tolist()]
    raise ValueError(
        f"{name} must have labels of one kind, texts or integers; {len(odd)} of {len(labels)} are "
        f"of another kind than the others:\n{first_ten(list_cells(labels, odd, name))}\n"
        "Convert them, such as [str(label) for label in y]."
    )


def _is_label(value: Any) -> bool:
    """Return True if a value can be a label: a text, a bool or a whole number."""
    return isinstance(value, (str, int)) or (isinstance(value, float) and value.is_integer())


def check_class_weight(class_weight: Any, classes: np.ndarray) -> None:
    """Raise an error unless a value is "balanced", None, or a dict with weights of ``classes``."""
    if not isinstance(class_weight, dict):
        also = "or a dict with a number of at least 0 for each class"
        check_choice("class_weight", class_weight, ("balanced", None), also)
        return
    known = classes.tolist()
    for label, weight in class_weight.items():
        if label not in known:
            raise ValueError(
                f"class_weight must have classes of y as keys; got {label!r}, which is not in y. "
                f"y has {_listed(known)}.{did_you_mean(label, known)}"
            )
        check_range(f"class_weight[{label!r}]", weight, "[0, inf)")


def check_known(labels: np.ndarray, classes: np.ndarray, name: str) -> None:
    """Raise an error if a label is not one of ``classes``."""
    unknown = _unknown(labels, classes)
    if unknown:
        raise ValueError(
            f"{name} must contain only labels that the classifier knows; got {_listed(unknown)}. "
            f"It knows {_listed(classes.tolist())}.{_likely_cause(unknown, classes.tolist())}"
        )


def check_scored(labels: np.ndarray, classes: np.ndarray, name: str = "y") -> None:
    """Raise an error if no label is one of ``classes``, and warn if only some are.

    In cross-validation and in halving searches, a class may be missing from the training part.
    scikit-learn scores these folds too, and counts the items of the class as wrong.
    """
    unknown = _unknown(labels, classes)
    if len(unknown) == len(set(labels.tolist())):
        check_known(labels, classes, name)
    elif unknown:
        warn_user(
            f"{name} contains labels that the classifier does not know, and their items count as "
            f"wrong: {_listed(unknown)}. It knows {_listed(classes.tolist())}."
            f"{_likely_cause(unknown, classes.tolist())} In cross-validation, a class may be "
            "missing from the training part."
        )


def _unknown(labels: np.ndarray, classes: np.ndarray) -> list[Any]:
    """Return the distinct labels that are not classes, sorted."""
    # NumPy would compare numbers and text as text.
    return sorted(set(labels.tolist()) - set(classes.tolist()), key=str)


def _listed(labels: list[Any]) -> str:
    """Join the first ten labels, and count the others."""
    shown = ", ".join(map(short, labels[:10]))
    return shown + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")


def _likely_cause(unknown: list[Any], classes: list[Any]) -> str:
    """Suggest why labels are unknown, in a sentence with a leading space."""
    knows_names, has_names = (
        any(isinstance(label, str) for label in labels) for labels in (classes, unknown)
    )
    if knows_names and has_names:
        guess = did_you_mean(unknown[0], classes)
        return guess or " Perhaps they come from a folder whose classes have other names."
    if knows_names:
        return (
            " It was fitted to names, and these are numbers: pass names, such as the labels of "
            "load_image_folder."
        )
    if has_names:
        return (
            " It was fitted to numbers, and these are names: fit it to names, such as the labels "
            "of load_image_folder."
        )
    return (
        " Perhaps they come from another folder, which numbers its own classes: use names, such "
        "as the labels of load_image_folder."
    )
