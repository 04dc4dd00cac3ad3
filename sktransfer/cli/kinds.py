"""The estimator and the predictions for one kind of label: classes or numbers."""

from collections.abc import Sequence
from math import isnan
from typing import Any

from .._support.validation import check_choice, require
from .options import class_weight_of, weights_of
from .output import as_objects

TASKS = ("auto", "classification", "regression")


def find_task(task: str, labels: Any) -> str:
    """Return the task of labels; "auto" is regression if there are numbers with a fraction."""
    import numpy as np

    check_choice("task", task, TASKS)
    if task != "auto":
        return task
    is_number = labels.dtype.kind == "f" and bool((labels != np.floor(labels)).any())
    return "regression" if is_number else "classification"


def make_estimator(
    task: str,
    labels: Any,
    *,
    weights: str,
    unfreeze: str,
    augment: str,
    class_weight: Sequence[str] | None,
    **options: Any,
) -> Any:
    """Return an estimator with the parameters that the options give.

    Parameters
    ----------
    task : {"classification", "regression"}
    labels : ndarray of shape (n_items,)
        The labels, to which class weights refer.
    weights, unfreeze, augment : str
    class_weight : sequence of str or None
    **options : dict
        Other parameters of the estimator.
    """
    import numpy as np

    from ..estimators import FineTuneClassifier, FineTuneRegressor

    options |= {
        "weights": weights_of(weights),
        "unfreeze": int(unfreeze) if unfreeze.isdecimal() else unfreeze,
        "augment": None if augment.lower() == "none" else augment,
    }
    if task == "classification":
        balance = class_weight_of(class_weight, np.unique(labels).tolist())
        return FineTuneClassifier(class_weight=balance, **options)
    if class_weight and [each.lower() for each in class_weight] != ["none"]:
        raise ValueError(
            "class_weight must be none for numbers, which have no classes; got "
            f"{class_weight[0]!r}."
        )
    return FineTuneRegressor(**options)


def is_regressor(model: Any) -> bool:
    """Return True if a model predicts numbers."""
    from sklearn.base import is_regressor as predicts_numbers

    return bool(predicts_numbers(model))


def compute_predictions(model: Any, items: Sequence[str]) -> Any:
    """Return the numbers or the probabilities that a model predicts, with NaN for unread items."""
    return model.predict(items) if is_regressor(model) else model.predict_proba(items)


def prediction_columns(model: Any, items: Sequence[str]) -> dict[str, Any]:
    """Return the predictions for items as columns of a table, by name."""
    predicted = compute_predictions(model, items)
    if is_regressor(model):
        numbers = predicted.reshape(len(items), -1)
        if numbers.shape[1] == 1:
            return {"prediction": numbers[:, 0]}
        return {f"prediction_{place}": column for place, column in enumerate(numbers.T)}
    if isinstance(predicted, list):
        return _label_columns(model.task_, predicted)
    labels = [
        None if isnan(row[0]) else " ".join(map(str, model.task_.likely(row))) for row in predicted
    ]
    shares = {f"p_{name}": part for name, part in zip(model.classes_, predicted.T, strict=True)}
    return {"label": as_objects(labels), **shares}


def _label_columns(task: Any, probabilities: list[Any]) -> dict[str, Any]:
    """Return the labels and probabilities of several columns, whose names follow "label_"."""
    columns: dict[str, Any] = {}
    for name, each, found in zip(task.names, task.tasks, probabilities, strict=True):
        labels = [None if isnan(row[0]) else str(each.likely(row)[0]) for row in found]
        columns[f"label_{name}"] = as_objects(labels)
        shares = zip(each.classes, found.T, strict=True)
        columns |= {f"p_{name}_{label}": part for label, part in shares}
    return columns


def prediction_table(model: Any, items: Sequence[str], name: str) -> Any:
    """Return a DataFrame of items, in the column ``name``, and the predictions for them."""
    pd = require("pandas", "cli")
    return pd.DataFrame({name: as_objects(items), **prediction_columns(model, items)})
