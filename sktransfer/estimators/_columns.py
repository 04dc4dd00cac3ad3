"""The columns of X, which scikit-learn records in ``fit`` and compares later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.utils.validation import validate_data

from ..data import Items, Preset

COLUMNS = ("n_features_in_", "feature_names_in_")


def check_items(estimator: Any, preset: Preset, X: Any, *, reset: bool = False) -> Items:
    """Check ``X`` with a preset, and record or compare its columns.

    An error leaves the estimator as it was.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_`` and ``feature_names_in_`` describe the columns of X.  They are
        missing after a fit to a list, and then a table of any width is accepted.
    preset : Preset
    X : sequence of n items, array or table
    reset : bool, default=False
        True in ``fit``: the columns of X replace those of an earlier fit, and input without
        columns deletes them.  False: they are compared.
    """
    is_frame = hasattr(X, "columns")
    if is_frame and not reset:  # a frame with other names may hold no valid items at all
        _compare_columns(estimator, X)
    items = preset.check(X)
    if reset:
        _record_columns(estimator, X if items.columns else None)
    elif items.columns and not is_frame:
        _compare_columns(estimator, X)
    return items


def _compare_columns(estimator: Any, X: Any) -> None:
    if hasattr(estimator, "n_features_in_"):
        validate_data(estimator, X, reset=False, skip_check_array=True)


def _record_columns(estimator: Any, X: Any) -> None:
    """Replace the columns of an earlier fit by those of ``X``, or by nothing if it is None."""
    before = columns_of(estimator)
    try:
        replace_columns(estimator, {})
        if X is not None:
            validate_data(estimator, X, reset=True, skip_check_array=True)
    except Exception:
        replace_columns(estimator, before)
        raise


def columns_of(estimator: Any) -> dict[str, Any]:
    """Return the attributes that describe the columns of X, by name."""
    return {name: vars(estimator)[name] for name in COLUMNS if name in vars(estimator)}


def replace_columns(estimator: Any, columns: Mapping[str, Any]) -> None:
    """Set the attributes that describe the columns of X, and delete those of an earlier fit."""
    for name in COLUMNS:
        vars(estimator).pop(name, None)
    vars(estimator).update(columns)
