"""Several columns of y, each with a task of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._support.validation import check_present
from .._support.warn import warn_user
from .base import Task
from .classification import Classification
from .labels import (
    BINARIZE,
    arrange_columns,
    as_array,
    check_labels,
    check_names,
    check_passed,
    is_indicators,
    is_matrix,
    keep_kinds,
    name_columns,
)
from .multi_label import MultiLabel
from .targets import Targets, weighted_mean


def find_classification(y: Any, n_items: int, estimator_name: str) -> Task:
    """Return the task of labels: ``Classification``, or ``MultiLabel`` or ``Columns`` for several.

    Parameters
    ----------
    y : array-like of shape (n_items,) or (n_items, n_columns)
        Labels: strings, bools or integers.  Several columns of only 0 and 1 are indicators of
        labels; any others are columns of labels.
    n_items : int
        The number of items of X.
    estimator_name : str
        The name of the estimator in messages.

    Raises
    ------
    ValueError
        If y is None or continuous, or its length differs from that of X.
    """
    check_passed(y, estimator_name)
    check_present(y, "y")
    array = as_array(y)
    if len(array.shape) not in (1, 2):
        advice = " For masks, use FineTuneSegmenter." if len(array.shape) == 3 else ""
        raise ValueError(
            f"y must be of shape ({n_items},) or ({n_items}, n_columns); got {array.shape}.{advice}"
        )
    if not is_matrix(array):
        labels = check_labels(array, n_items, "y", warn=False)
        return Classification(np.unique(labels), names=name_columns(y))
    if is_indicators(array):
        return MultiLabel(array.shape[1], names=name_columns(array))
    names: tuple[str | int, ...] = name_columns(array) or tuple(range(array.shape[1]))
    tasks = [
        Classification(np.unique(check_labels(column, n_items, f"column {name!r} of y")))
        for name, column in zip(names, split_columns(array), strict=True)
    ]
    if isinstance(y, (list, tuple)):
        _warn_of_label_lists([task.classes.tolist() for task in tasks])
    return Columns(tuple(tasks), names)


def _warn_of_label_lists(classes: list[list[Any]]) -> None:
    """Warn if a name is a label of two columns, as in lists of as many labels for each item."""
    names = [{each for each in column if isinstance(each, str)} for column in classes]
    shared = [name for name in sorted(set().union(*names)) if sum(name in s for s in names) > 1]
    if shared:
        warn_user(
            f"y has {shared[0]!r} in several columns, and each column is a task of its own. "
            f"{BINARIZE}"
        )


def split_columns(y: Any) -> list[np.ndarray]:
    """Return the columns of a table as arrays, each with a dtype of its own."""
    if hasattr(y, "columns"):
        columns = [np.asarray(y[name]) for name in check_names(y.columns, "y").values()]
    else:
        columns = list(np.asarray(y).T)
    return [keep_kinds(column.tolist()) if column.dtype == object else column for column in columns]


@dataclass(frozen=True, eq=False)
class Columns:
    """The task of predicting several columns of labels, each with its own classes.

    The outputs of the network, and the encoded targets, are those of the columns side by side.

    Parameters
    ----------
    tasks : tuple of Classification
        The task of each column.
    names : tuple of str or int
        The names of the columns in messages.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.tasks import find_classification
    >>> y = np.array([["ant", "red"], ["bee", "red"], ["ant", "blue"]])
    >>> task = find_classification(y, 3, "FineTuneClassifier")
    >>> task.encode(y[:1], 1)
    array([[1., 0., 0., 1.]])
    >>> task.decide(np.array([[0.2, 0.4, 0.3, 0.1]]))
    array([['bee', 'blue']], dtype='<U4')
    """

    tasks: tuple[Any, ...]
    names: tuple[str | int, ...]

    def __post_init__(self) -> None:
        if len(self.tasks) != len(self.names):
            raise ValueError(
                f"names must be as many as tasks, {len(self.tasks)}; got {len(self.names)}."
            )

    @property
    def n_outputs(self) -> int:
        """The number of outputs of all columns."""
        return sum(task.n_outputs for task in self.tasks)

    @property
    def classes(self) -> list[np.ndarray]:
        """The sorted labels of each column."""
        return [task.classes for task in self.tasks]

    def _split(self, values: Any) -> list[Any]:
        """Return the outputs or encoded targets of each column, (n, n_outputs of the column)."""
        ends = np.cumsum([task.n_outputs for task in self.tasks])
        return [
            values[:, end - task.n_outputs : end]
            for task, end in zip(self.tasks, ends, strict=True)
        ]

    def _each(self, method: str, *values: Any) -> list[Any]:
        """Call a method of the task of each column on its part of the values."""
        parts = zip(*map(self._split, values), strict=True)
        return [getattr(task, method)(*part) for task, part in zip(self.tasks, parts, strict=True)]

    def _parts(self, targets: Targets) -> list[tuple[Any, Targets]]:
        """Return the task and the targets of each column."""
        parts = self._split(targets.values)
        return [
            (task, replace(targets, values=part))
            for task, part in zip(self.tasks, parts, strict=True)
        ]

    def _joined(self, parts: list[tuple[Any, Targets]]) -> tuple[Task, Targets]:
        """Return the task and the targets whose columns are ``parts``."""
        values = np.concatenate([targets.values for _, targets in parts], axis=1)
        tasks = tuple(task for task, _ in parts)
        return replace(self, tasks=tasks), replace(parts[0][1], values=values)

    def _name(self, index: int, name: str) -> str:
        return f"column {self.names[index]!r} of {name}"

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:
        """Return the encoded columns side by side, (n, n_outputs)."""
        check_present(y, name)
        columns = self._columns(y, name)
        return np.concatenate(
            [
                task.encode(column, n_items, self._name(index, name))
                for index, (task, column) in enumerate(zip(self.tasks, columns, strict=True))
            ],
            axis=1,
        )

    def _columns(self, y: Any, name: str) -> list[np.ndarray]:
        """Return the columns of ``y``, which has as many as there are tasks, in their order."""
        array = as_array(y)
        shape = (len(array), len(self.tasks))
        if array.shape != shape:
            raise ValueError(f"{name} must be of shape {shape}, as y has; got {array.shape}.")
        return split_columns(arrange_columns(array, self.names, name))

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return the labels of encoded targets."""
        return _side_by_side(self._each("decode", values))

    def weigh(self, targets: Targets, class_weight: Any) -> Targets:
        """Return the targets unchanged; several columns have no class weights."""
        if class_weight is not None:
            raise ValueError(
                f"class_weight must be None if y has several columns; got {class_weight!r}. Pass "
                "sample_weight."
            )
        return targets

    def narrow(self, targets: Targets, name: str = "y") -> tuple[Task, Targets]:
        """Remove classes that only items of weight 0 have, in each column."""
        return self._joined(
            [
                task.narrow(part, self._name(index, name))
                for index, (task, part) in enumerate(self._parts(targets))
            ]
        )

    def scaled(self, targets: Targets, train: np.ndarray) -> tuple[Task, Targets]:
        """Scale the numbers of each column by the moments of the training items."""
        return self._joined([task.scaled(part, train) for task, part in self._parts(targets)])

    def strata(self, targets: Targets, n_most: int) -> np.ndarray | None:
        """Return the combination of labels of each item, or the labels of one column.

        The first of these that has at most ``n_most`` strata, each with two items or more, is
        returned: the combinations, and the columns, those with the most classes first.
        """
        found = [task.strata(part, n_most) for task, part in self._parts(targets)]
        codes = [np.unique(each, return_inverse=True)[1] for each in found if each is not None]
        return self._choose_strata(codes, n_most)

    def _choose_strata(self, codes: list[np.ndarray], n_most: int) -> np.ndarray | None:
        """Return the first of the combined and the single strata that is possible."""
        if not codes or not len(codes[0]):
            return None
        codes = sorted(codes, key=lambda code: -code.max())
        combined = np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1].ravel()
        for code in (combined, *codes):
            counts = np.bincount(code)
            if len(counts) <= n_most and counts.min() >= 2:
                return code
        return None

    def initial_bias(self, targets: Targets) -> np.ndarray:
        """Return the constant outputs of each column with the lowest loss."""
        return np.concatenate([task.initial_bias(part) for task, part in self._parts(targets)])

    def exact_model(self, gentle: bool) -> Any:
        """Return the linear model of the first column."""
        return self.tasks[0].exact_model(gentle)

    def exact_head(
        self, model: Any, features: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit a clone of a linear model to each column, and return all weights and biases."""
        heads = [task.exact_head(model, features, part) for task, part in self._parts(targets)]
        return np.concatenate([w for w, _ in heads]), np.concatenate([b for _, b in heads])

    def smooth(self, target: Tensor, amount: float) -> Tensor:
        """Return the smoothed targets of each column."""
        parts = zip(self.tasks, self._split(target), strict=True)
        return torch.cat([task.smooth(part, amount) for task, part in parts], 1)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each item, averaged over the columns."""
        return torch.stack(self._each("loss", outputs, target)).mean(0)

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return 1 for each item whose columns are all predicted correctly, otherwise 0."""
        return torch.stack(self._each("correct", outputs, target)).amin(0)

    def finish(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of the classes of all columns side by side."""
        return torch.cat(self._each("finish", outputs), 1)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the labels with the largest outputs, (n, n_columns)."""
        return _side_by_side(self._each("decide", outputs))

    def decision(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Return the logits of each column, as ``decision_function`` does."""
        return self._each("decision", outputs)

    def probabilities(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Return the probabilities of the classes of each column."""
        return self._each("probabilities", outputs)

    def decide_probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the most probable labels for the probabilities of all columns side by side."""
        return _side_by_side(self._each("decide_probabilities", probabilities))

    def compare(self, predicted: np.ndarray, y: Any, name: str = "y") -> np.ndarray:
        """Return True for each label that is predicted correctly, (n, n_columns)."""
        check_present(y, name)
        columns = self._columns(y, name)
        if len(columns[0]) != len(predicted):
            raise ValueError(
                f"{name} must have a row for each of {len(predicted)} items; got {len(columns[0])}."
            )
        return np.concatenate(
            [
                task.compare(predicted[:, index], column, self._name(index, name))
                for index, (task, column) in enumerate(zip(self.tasks, columns, strict=True))
            ],
            axis=1,
        )

    def score(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> float:
        """Return the fraction of items whose columns are all predicted correctly."""
        correct = self.compare(predicted, y).all(axis=1)  # (n,)
        return float(weighted_mean(correct, sample_weight))

    def score_columns(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Return the accuracy of each column, (n_columns,)."""
        correct = self.compare(predicted, y)
        accuracy: np.ndarray = weighted_mean(correct, sample_weight)
        return accuracy


def _side_by_side(columns: list[np.ndarray]) -> np.ndarray:
    """Return columns as one array, of objects if they have dtypes of several kinds."""
    kinds = {column.dtype.kind for column in columns}
    if len(kinds) > 1:
        columns = [column.astype(object) for column in columns]
    return np.column_stack(columns)
