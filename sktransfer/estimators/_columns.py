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
        Its ``n_features_in_`` and ``feature_names_in_`` describe the columns of X.  An estimator
        that was fitted to a list has none, and accepts a table of any width.
    preset : Preset
    X : sequence of n items, array or table
    reset : bool, default=False
        True in ``fit``: the columns of X replace those of an earlier fit, and input without
        columns deletes them.  False: they are compared.
    """
    items = preset.check(X)
    before = {name: vars(estimator)[name] for name in COLUMNS if name in vars(estimator)}
    try:
        if reset:
            _replace_columns(estimator, {})
        if items.columns and (reset or before):
            validate_data(estimator, X, reset=reset, skip_check_array=True)
    except Exception:
        _replace_columns(estimator, before)
        raise
    return items


def _replace_columns(estimator: Any, columns: Mapping[str, Any]) -> None:
    for name in COLUMNS:
        vars(estimator).pop(name, None)
    vars(estimator).update(columns)
