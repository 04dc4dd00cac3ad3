"""Record the columns of X in ``fit``, and compare them later, as scikit-learn does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.utils.validation import validate_data

from ..data import Items, Preset

COLUMNS = ("n_features_in_", "feature_names_in_")


def check_items(estimator: Any, preset: Preset, X: Any, *, reset: bool = False) -> Items:
    """Check ``X`` with a preset, and record or compare its columns.

    If an error is raised, the estimator is unchanged.

    Parameters
    ----------
    estimator : estimator
        Its attributes ``n_features_in_`` and ``feature_names_in_`` describe the columns of X.  If X
        was a list in ``fit``, they do not exist, and a table of any width is accepted.
    preset : Preset
        Checks the items.
    X : sequence of n items, array or table
    reset : bool, default=False
        If True, as in ``fit``, the columns of X replace those of an earlier fit; if X has no
        columns, those of the earlier fit are deleted.  If False, the columns are compared.
    """
    # A lazy frame of polars has no length, and warns if it has to find its columns.
    is_frame = hasattr(type(X), "columns") and hasattr(X, "__len__")
    if is_frame and not reset:  # wrong column names explain more than an error about their items
        _compare_columns(estimator, X)
    items = preset.check(X)
    if reset:
        _record_columns(estimator, X if items.columns else None)
    elif items.columns and not is_frame:
        _compare_columns(estimator, X)
    return items


def _compare_columns(estimator: Any, X: Any) -> None:
    """Raise an error if the columns of ``X`` differ from those in ``fit``."""
    if hasattr(estimator, "n_features_in_"):
        validate_data(estimator, X, reset=False, skip_check_array=True)


def _record_columns(estimator: Any, X: Any) -> None:
    """Replace the columns of an earlier fit by those of ``X``; None deletes them."""
    before = get_columns(estimator)
    try:
        replace_columns(estimator, {})
        if X is not None:
            validate_data(estimator, X, reset=True, skip_check_array=True)
    except Exception:
        replace_columns(estimator, before)
        raise


def get_columns(estimator: Any) -> dict[str, Any]:
    """Return the attributes that describe the columns of X, by name."""
    return {name: vars(estimator)[name] for name in COLUMNS if name in vars(estimator)}


def set_fitted(estimator: Any, columns: Mapping[str, Any], fitted: Any) -> None:
    """Set the result of a fit and the columns of its X in one step.

    Raises
    ------
    TypeError
        If ``columns`` has another name than the attributes that describe columns.
    """
    unknown = columns.keys() - set(COLUMNS)
    if unknown:
        raise TypeError(f"columns must be named {', '.join(COLUMNS)}; got {min(unknown)!r}.")
    kept = {name: value for name, value in vars(estimator).items() if name not in COLUMNS}
    estimator.__dict__ = kept | dict(columns) | {"_fitted": fitted}


def replace_columns(estimator: Any, columns: Mapping[str, Any]) -> None:
    """Replace the attributes that describe the columns of X by ``columns``."""
    for name in COLUMNS:
        vars(estimator).pop(name, None)
    vars(estimator).update(columns)
