"""Print the result of a fit, and the quality of predictions."""

import sys
from collections.abc import Sequence
from math import isnan
from typing import Any

from .._support.validation import first_ten
from .output import print_table

# A column, a measure, its value and the number of items
Row = tuple[str, str, str, int]


def shown(cell: Any) -> str:
    """Return a cell of a table as text."""
    if isinstance(cell, float):
        return "" if isnan(cell) else f"{cell:.4f}"
    return "" if cell is None else str(cell)


def print_skipped(paths: Sequence[str]) -> None:
    """Print the number of images that cannot be read, and ten of their paths."""
    if paths:
        print(f"cannot be read: {len(paths)}\n{first_ten(paths)}", file=sys.stderr)


def print_fit(model: Any) -> None:
    """Print the report with a row for each stage, and the number of epochs."""
    columns = ("stage", "frozen", "batch_norm", "lr_min", "lr_max", "moved", "note")
    rows = []
    for row in model.report_:
        numbers = [
            "" if isnan(row[name]) else f"{row[name]:.3g}" for name in ("lr_min", "lr_max", "moved")
        ]
        frozen = "yes" if row["frozen"] else "no"
        rows.append((row["stage"], frozen, row["batch_norm"], *numbers, row["note"]))
    print_table(columns, rows)
    print(f"epochs: {model.n_iter_}")
    if model.best_epoch_ is None:
        return
    if model.best_epoch_ == 0:
        print("kept: the weights before the first epoch; no epoch lowered the validation loss")
        return
    score = model.history_[model.best_epoch_ - 1]["valid_score"]
    print(f"kept: the weights of epoch {model.best_epoch_}, validation score {score:.3f}")


def measure_numbers(column: str, numbers: Any, predicted: Any) -> list[Row]:
    """Return R2 and the mean absolute error of a column of numbers."""
    from sklearn.metrics import mean_absolute_error, r2_score

    measures = {
        "R2": r2_score(numbers, predicted),
        "mean absolute error": mean_absolute_error(numbers, predicted),
    }
    return [(column, name, f"{value:.4g}", len(numbers)) for name, value in measures.items()]


def measure_classes(column: str, labels: Any, predicted: Any) -> list[Row]:
    """Return the accuracy and the balanced accuracy of a column of labels."""
    from sklearn.metrics import accuracy_score, recall_score

    classes = sorted(set(labels))  # the mean over classes that have items
    balanced = recall_score(labels, predicted, labels=classes, average="macro", zero_division=0)
    measures = {"accuracy": accuracy_score(labels, predicted), "balanced accuracy": balanced}
    return [(column, name, f"{value:.3f}", len(labels)) for name, value in measures.items()]


def print_rows(rows: Sequence[Row], things: str, title: str = "column") -> None:
    """Print a table of measures."""
    print_table((title, "measure", "value", things), [(*row[:3], str(row[3])) for row in rows])


def print_quality(labels: Any, predicted: Any, classes: Any, things: str) -> None:
    """Print the accuracy, the scores of each class and the confusion matrix."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    names = [str(name) for name in classes]
    matrix = confusion_matrix(labels, predicted, labels=classes)
    each = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    recall, n = each[1], each[3]
    balanced = recall[n > 0].mean()  # the mean over classes that have images
    measures = [("accuracy", matrix.trace() / n.sum()), ("balanced accuracy", balanced)]
    print_table(("measure", "value"), [(name, f"{value:.3f}") for name, value in measures])
    print()
    rows = zip(names, *each, strict=True)
    print_table(
        ("class", "precision", "recall", "f1", things),
        [
            (name, *(f"{value:.3f}" for value in values), str(count))
            for name, *values, count in rows
        ],
    )
    print()
    print_table(
        ("label, predicted", *names),
        [(name, *map(str, row)) for name, row in zip(names, matrix, strict=True)],
    )
