"""Several tasks on the same items, of one kind or another, for which labels may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor

from .._support.validation import check_choice, check_range, is_missing
from .base import Task
from .classification import Classification
from .columns import Columns
from .label_sets import LabelSets, check_collections
from .regression import Regression, check_numbers
from .tables import as_classes, as_table, check_columns, check_kind, check_labelled, find_kind
from .targets import Targets, check_weight

KINDS = ("number", "class", "labels")


def find_mixed(
    y: Any,
    n_items: int,
    *,
    tasks: Mapping[str, str] | None,
    task_weights: Mapping[str, float] | None,
    loss: str,
) -> Mixed:
    """Return the tasks of the columns of a table.

    Parameters
    ----------
    y : DataFrame or dict of sequences
        A column for each task.  None and NaN are missing labels.
    n_items : int
        The number of items of X.
    tasks : mapping of str to {"number", "class", "labels"}, or None
        The kind of a column, if it is not that of its values.
    task_weights : mapping of str to float, or None
        The weight of the loss of a column; 1 for each that is not named.
    loss : {"squared_error", "absolute_error", "huber"}
        The loss of numbers.

    Raises
    ------
    TypeError, ValueError
        If y is no table, a column has no labels, or its kind is not known.
    """
    table = as_table(y, n_items, "y")
    check_labelled(table, n_items, "y")
    tasks = check_columns("tasks", tasks, table)
    for name, kind in tasks.items():
        check_choice(f"tasks[{name!r}]", kind, KINDS)
    weights = dict.fromkeys(table, 1.0) | check_columns("task_weights", task_weights, table)
    for name, weight in weights.items():
        check_range(f"task_weights[{name!r}]", weight, "[0, inf)")
    if not any(weights.values()):
        raise ValueError(f"task_weights must have a weight above 0; got {task_weights!r}.")
    found = []
    for name, column in table.items():
        known = [value for value in column if not is_missing(value)]
        if not known:
            raise ValueError(f"column {name!r} of y must have labels; all of them are missing.")
        kind = tasks.get(name) or find_kind(name, column)
        check_kind(name, kind, column)
        found.append(_make_task(kind, column, name, loss))
    levels = (1.0,) * len(found)
    return Mixed(tuple(found), tuple(table), tuple(map(float, weights.values())), levels)


def _make_task(kind: str, column: Sequence[Any], name: str, loss: str) -> Any:
    known = [value for value in column if not is_missing(value)]
    if kind == "number":
        return Regression(loss, np.zeros(1), np.ones(1), True, names=(name,))
    if kind == "class":
        return Classification(np.unique(as_classes(known)), names=(name,))
    name = f"column {name!r} of y"
    check_collections([() if is_missing(value) else value for value in column], name)
    labels = np.unique([label for labels in known for label in labels])
    if not len(labels):
        raise ValueError(f"{name} must have labels; those of all items are empty.")
    return LabelSets(len(labels), labels)


@dataclass(frozen=True, eq=False)
class Mixed(Columns):
    """The tasks of several columns, in which labels may be missing.

    A missing label is encoded as NaN in all values of its column.  It has no loss, and it does not
    count in the moments of the column, in its initial head and in its score.

    Parameters
    ----------
    tasks : tuple of Classification, LabelSets or Regression
        The task of each column.
    names : tuple of str
        The names of the columns.
    weights : tuple of float
        The weight of the loss of each column.
    levels : tuple of float
        The loss of the best constant prediction of each column, by which its loss is divided.

    Examples
    --------
    >>> from sktransfer.tasks.mixed import find_mixed
    >>> y = {"age": [20.5, None, 40.5], "sex": ["f", "m", None]}
    >>> task = find_mixed(y, 3, tasks=None, task_weights=None, loss="squared_error")
    >>> task.encode(y, 3)
    array([[20.5,  1. ,  0. ],
           [ nan,  0. ,  1. ],
           [40.5,  nan,  nan]])
    """

    weights: tuple[float, ...]
    levels: tuple[float, ...]

    def _labelled(self, targets: Targets) -> list[tuple[Any, Targets, np.ndarray]]:
        """Return the task of each column, the targets of its labelled items, and their rows."""
        parts = []
        for task, block in zip(self.tasks, self._split(targets.values), strict=True):
            rows = np.flatnonzero(~np.isnan(block[:, 0]))
            parts.append((task, replace(targets, values=block)[rows], rows))
        return parts

    def _rejoined(self, parts: list[tuple[Any, Targets, np.ndarray]], whole: Targets) -> Any:
        """Return the task and the targets whose labelled parts are ``parts``."""
        blocks = []
        for task, targets, rows in parts:
            block = np.full((len(whole), task.n_outputs), np.nan)
            block[rows] = targets.values
            blocks.append(block)
        tasks = tuple(task for task, _, _ in parts)
        return replace(self, tasks=tasks), replace(whole, values=np.concatenate(blocks, axis=1))

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:
        """Return the encoded columns side by side, (n, n_outputs), with NaN for missing labels."""
        table = as_table(y, n_items, name)
        if tuple(table) != self.names:
            raise ValueError(
                f"{name} must have the columns {', '.join(map(repr, self.names))}; got "
                f"{', '.join(map(repr, table))}."
            )
        check_labelled(table, n_items, name)
        blocks = []
        for index, (task, column) in enumerate(zip(self.tasks, table.values(), strict=True)):
            rows = [row for row, value in enumerate(column) if not is_missing(value)]
            block = np.full((n_items, task.n_outputs), np.nan)
            if rows:
                filled = _filled(task, column)
                block[rows] = task.encode(filled, n_items, self._name(index, name))[rows]
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return the labels of encoded targets, (n, n_columns); None for a missing one."""
        return self._side_by_side("decode", values)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the predictions for outputs, (n, n_columns) of objects; None for NaN."""
        return self._side_by_side("decide", outputs)

    def _side_by_side(self, method: str, values: np.ndarray) -> np.ndarray:
        found = np.full((len(values), len(self.tasks)), None, dtype=object)
        for column, (task, block) in enumerate(zip(self.tasks, self._split(values), strict=True)):
            rows = np.flatnonzero(~np.isnan(block[:, 0]))
            if len(rows):
                found[rows, column] = list(getattr(task, method)(block[rows]))
        return found

    def narrow(self, targets: Targets, name: str = "y") -> tuple[Task, Targets]:
        """Remove classes that only items of weight 0 have, in each column."""
        parts = []
        for index, (task, part, rows) in enumerate(self._labelled(targets)):
            column = self._name(index, name)
            n_counted = int((part.weight > 0).sum())
            if n_counted < 2:
                raise ValueError(
                    f"{column} must have at least 2 labelled items with a weight above 0; got "
                    f"{n_counted}."
                )
            parts.append((*task.narrow(part, column), rows))
        task, narrowed = self._rejoined(parts, targets)
        return task, narrowed

    def scaled(self, targets: Targets, train: np.ndarray) -> tuple[Task, Targets]:
        """Scale numbers by the moments of the training items, and find the level of each loss."""
        parts, levels = [], []
        for index, (task, part, rows) in enumerate(self._labelled(targets)):
            own = np.flatnonzero(np.isin(rows, train))
            if not len(own):
                raise ValueError(
                    f"{self._name(index, 'y')} must have a labelled item in the training part; "
                    "none is left. Pass X_val and y_val, or early_stopping=False."
                )
            task, part = task.scaled(part, own)  # noqa: PLW2901 - in the units of the training part
            parts.append((task, part, rows))
            levels.append(_constant_loss(task, part[own]))
        task, scaled = self._rejoined(parts, targets)
        return replace(task, levels=tuple(levels)), scaled

    def strata(self, targets: Targets, n_most: int) -> np.ndarray | None:
        """Return the combination of labels of each item, or the labels of one column.

        A missing label is a stratum of its own.
        """
        codes = []
        for task, part, rows in self._labelled(targets):
            found = task.strata(part, n_most)
            if found is not None:
                code = np.zeros(len(targets), int)
                code[rows] = 1 + np.unique(found, return_inverse=True)[1]
                codes.append(code)
        return self._choose_strata(codes, n_most)

    def initial_bias(self, targets: Targets) -> np.ndarray:
        """Return the constant outputs of each column with the lowest loss."""
        return np.concatenate(
            [task.initial_bias(part) for task, part, _ in self._labelled(targets)]
        )

    def exact_model(self, gentle: bool) -> Any:  # noqa: ARG002 - not measured for mixed columns
        """Return the linear model of each column, that of stages that are not tuned."""
        return [task.exact_model(gentle=False) for task in self.tasks]

    def exact_head(
        self, model: Any, features: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit a clone of the linear model of each column to its labelled items."""
        heads = [
            task.exact_head(own, features[rows], part)
            for own, (task, part, rows) in zip(model, self._labelled(targets), strict=True)
        ]
        return np.concatenate([w for w, _ in heads]), np.concatenate([b for _, b in heads])

    def smooth(self, target: Tensor, amount: float) -> Tensor:
        """Return the smoothed targets of each column; missing ones stay missing."""
        parts = [
            task.smooth(block, amount)  # NaN stays NaN
            for task, block in zip(self.tasks, self._split(target), strict=True)
        ]
        return torch.cat(parts, 1)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each item: the weighted mean over the columns."""
        shares = [w / level for w, level in zip(self.weights, self.levels, strict=True)]
        losses = self._each_known("loss", outputs, target)
        total = sum(share * loss for share, (loss, _) in zip(shares, losses, strict=True))
        mean: Tensor = total / sum(self.weights)  # type: ignore[assignment]  # not the int 0
        return mean

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the mean of the scores of the labels that each item has."""
        scores = self._each_known("correct", outputs, target)
        n_known = torch.stack([known for _, known in scores]).sum(0)
        return torch.stack([score for score, _ in scores]).sum(0) / n_known.clamp(min=1)

    def _each_known(
        self, method: str, outputs: Tensor, target: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Call a method of each task, and return its values, 0 for missing labels, and a mask."""
        found = []
        parts = (self._split(outputs), self._split(target))
        for task, given, wanted in zip(self.tasks, *parts, strict=True):
            known = (~wanted[:, 0].isnan()).to(given.dtype)
            found.append((getattr(task, method)(given, wanted.nan_to_num()) * known, known))
        return found

    def probabilities(self, outputs: np.ndarray) -> dict[str, np.ndarray]:  # type: ignore[override]  # by name
        """Return the probabilities of the classes of each column that has classes."""
        parts = zip(self.names, self.tasks, self._split(outputs), strict=True)
        return {
            str(name): task.probabilities(part)
            for name, task, part in parts
            if not isinstance(task, Regression)
        }

    def average(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """Return the outputs that mean the average numbers and probabilities of several networks.

        Parameters
        ----------
        outputs : sequence of ndarray of shape (n, n_outputs)
        """
        columns = zip(*map(self._split, outputs), strict=True)
        parts = [_average(task, found) for task, found in zip(self.tasks, columns, strict=True)]
        return np.concatenate(parts, axis=1)

    def score(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> float:
        """Return the mean of the scores of all columns."""
        return float(self.score_columns(predicted, y, sample_weight).mean())

    def score_columns(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Return the accuracy or R2 of each column, over the items that are labelled in y."""
        if isinstance(y, np.ndarray) and y.shape == predicted.shape:  # in the form of predictions
            y = dict(zip(self.names, y.T, strict=True))
        table = as_table(y, len(predicted), "y")
        weights = check_weight(sample_weight, len(predicted))
        scores = []
        for index, task in enumerate(self.tasks):
            column = table.get(str(self.names[index]))
            if column is None:
                raise ValueError(f"y must have the column {self.names[index]!r}; it has not.")
            rows = [row for row, value in enumerate(column) if not is_missing(value)]
            if not rows:
                raise ValueError(f"{self._name(index, 'y')} must have labels to compute a score.")
            filled, found = _filled(task, column), predicted[:, index]
            self._check_scored(index, filled, found, rows)
            true = [filled[row] for row in rows]
            weight = None if weights is None else weights[rows]
            scores.append(task.score(_of_one_kind(task, found[rows]), true, weight))
        return np.array(scores)

    def _check_scored(self, index: int, column: Any, found: np.ndarray, rows: list[int]) -> None:
        """Raise an error that names the column and the rows if a column cannot be scored."""
        task, name = self.tasks[index], self._name(index, "y")
        if isinstance(task, LabelSets):
            check_collections(column, name)
        if isinstance(task, Regression):
            check_numbers(column, len(column), name)
            predicted = np.zeros((len(found), 1))
            predicted[rows, 0] = found[rows]
            task.check_found(predicted)


def _filled(task: Any, column: Sequence[Any]) -> Any:
    """Return a column with a valid value in place of missing ones, so that rows keep their number.

    Whole numbers, which are floats beside NaN, become integers if they are classes.
    """
    rows = [row for row, value in enumerate(column) if not is_missing(value)]
    known: Any = [column[row] for row in rows]
    if isinstance(task, Classification):
        filled = np.full(len(column), task.classes[0], dtype=object)
        filled[rows] = as_classes(known)
        return np.array(filled.tolist())
    blank: Any = () if isinstance(task, LabelSets) else 0.0
    return [blank if is_missing(value) else value for value in column]


def _of_one_kind(task: Any, predicted: np.ndarray) -> np.ndarray:
    """Return predictions of one column in the form in which its task returns them."""
    if isinstance(task, LabelSets):
        return predicted
    if isinstance(task, Regression):
        return predicted.astype(float)
    return np.array(predicted.tolist())


def _average(task: Any, outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Return the average of several outputs for one column."""
    is_number = isinstance(task, Regression)
    values = outputs if is_number else [task.probabilities(each) for each in outputs]
    mean: np.ndarray = np.mean(values, axis=0)
    if is_number:
        return mean
    with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf, which means 0 again
        found: np.ndarray = logit(mean) if isinstance(task, LabelSets) else np.log(mean)
    return found


def _constant_loss(task: Any, targets: Targets) -> float:
    """Return the loss of the best constant prediction, or 1 if it is 0."""
    outputs = np.broadcast_to(task.initial_bias(targets), targets.values.shape)
    losses = task.loss(torch.from_numpy(outputs.copy()), torch.from_numpy(targets.values)).numpy()
    level = float(np.average(losses, weights=targets.weight))
    return level if level > 0 else 1.0
