"""Classification: one label for each item."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn.functional import log_softmax

from .._support.validation import check_present
from .base import Task
from .heads import fit_linear
from .labels import (
    as_array,
    check_class_weight,
    check_known,
    check_labels,
    check_scored,
    is_matrix,
)
from .targets import Targets, weighted_mean

# The parameter C of the exact head.  It is low, because there are often fewer items than features,
# so strong regularisation is needed.
EXACT_C = 0.01
# That of a gentle start: a head that fits the training items too well leaves the stages little to
# learn.
GENTLE_C = 0.001


@dataclass(frozen=True, eq=False)
class LabelTask:
    """Base class of the tasks whose targets are labels."""

    def exact_model(self, gentle: bool) -> Any:
        """Return an unfitted logistic regression, whose coefficients are the initial head."""
        return LogisticRegression(C=GENTLE_C if gentle else EXACT_C, max_iter=1000, tol=1e-6)

    def scaled(self, targets: Targets, train: np.ndarray) -> tuple[Task, Targets]:  # noqa: ARG002 - labels have no units
        """Return the task and the targets unchanged; labels are not numbers."""
        return self, targets  # type: ignore[return-value]  # a subclass has all methods

    def score(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy.  With several labels, an item is correct if all of them are."""
        correct = self.compare(predicted, y).all(axis=1)  # (n,)
        return float(weighted_mean(correct, sample_weight))

    def score_columns(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Return the accuracy of each label, (n_columns,)."""
        correct = self.compare(predicted, y)
        accuracy: np.ndarray = weighted_mean(correct, sample_weight)
        return accuracy

    def compare(self, predicted: np.ndarray, y: Any, name: str = "y") -> np.ndarray:
        """Return True for each label that is predicted correctly, (n, n_columns)."""
        check_present(y, name)
        y = self._as_predicted(y)
        if y.shape != predicted.shape:
            shape = predicted.shape
            raise ValueError(
                f"{name} must be of shape {shape}, a row for each item; got {y.shape}."
            )
        self._check_scored(y, name)
        correct: np.ndarray = np.asarray(predicted == y).reshape(len(y), -1)
        return correct

    def _as_predicted(self, y: Any) -> np.ndarray:
        """Return ``y`` in the form of predictions."""
        return np.asarray(y)

    def _check_scored(self, y: np.ndarray, name: str) -> None:
        """Raise an error if ``y`` cannot be compared with predictions."""


@dataclass(frozen=True, eq=False)
class Classification(LabelTask):
    """The task of predicting one of several classes for each item.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The sorted labels.
    names : tuple of str, default=()
        The name of y, if it has one.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.tasks import Classification
    >>> task = Classification(np.array(["ant", "bee"]))
    >>> task.encode(["bee", "ant"], 2)
    array([[0., 1.],
           [1., 0.]])
    >>> task.decide(np.array([[0.2, 0.4]]))
    array(['bee'], dtype='<U3')
    """

    classes: np.ndarray
    names: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.classes, np.ndarray) or self.classes.ndim != 1:
            raise TypeError(f"classes must be an array of one axis; got {self.classes!r}.")

    @property
    def n_outputs(self) -> int:
        """The number of classes."""
        return len(self.classes)

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:
        """Return one-hot rows, (n, n_classes)."""
        check_present(y, name)
        y = as_array(y)
        if is_matrix(y):
            raise ValueError(
                f"{name} must have one label for each item, as y has; got columns of 0 and 1."
            )
        labels = check_labels(y, n_items, name)
        check_known(labels, self.classes, name)
        table = np.zeros((n_items, self.n_outputs))
        table[np.arange(n_items), np.searchsorted(self.classes, labels)] = 1
        return table

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return the labels of one-hot rows."""
        return self.decide(values)

    def weigh(self, targets: Targets, class_weight: Any) -> Targets:
        """Multiply the weights of the items by those of their classes."""
        if class_weight is None:
            return targets
        check_class_weight(class_weight, self.classes)
        counted = targets.weight > 0
        index = targets.values.argmax(axis=1)
        present = np.unique(index[counted])
        factor = np.ones(self.n_outputs)
        factor[present] = compute_class_weight(
            class_weight,
            classes=self.classes[present],
            y=self.classes[index[counted]],
            sample_weight=targets.weight[counted],
        )
        weight = targets.weight * factor[index]
        if not weight.any():
            raise ValueError(
                "class_weight must give at least two classes of y a weight above 0; got "
                f"{class_weight!r}."
            )
        # Keep the sum of the weights, because only the ratios between the classes matter.
        weight *= targets.weight.sum() / weight.sum()
        return replace(targets, weight=weight)

    def narrow(self, targets: Targets, name: str = "y") -> tuple[Task, Targets]:
        """Remove classes that only items of weight 0 have."""
        present = targets.values[targets.weight > 0].any(axis=0)
        if present.sum() < 2:
            raise ValueError(
                f"{name} must have at least 2 classes; got only one class: "
                f"{self.classes[present].tolist()[0]!r}."
            )
        remaining = replace(targets, values=targets.values[:, present])
        return replace(self, classes=self.classes[present]), remaining

    def strata(self, targets: Targets, n_most: int) -> np.ndarray | None:  # noqa: ARG002 - one for each class
        """Return the label of each item."""
        labels: np.ndarray = self.classes[targets.values.argmax(axis=1)]
        return labels

    def initial_bias(self, targets: Targets) -> np.ndarray:
        """Return the logarithms of the class priors."""
        # Add one item that belongs equally to all classes, so that no prior is 0.
        counts = targets.weight @ targets.values + 1 / self.n_outputs
        bias: np.ndarray = np.log(counts / (targets.weight.sum() + 1))
        return bias

    def exact_head(
        self, model: Any, features: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit a clone of a linear classifier, and return its weights and biases for each class.

        A class without items, which is possible if y has several columns, gets its prior.
        """
        index = targets.values.argmax(axis=1)
        coef, bias = fit_linear(model, features, index, targets.weight)
        if len(coef) == 1:
            # The single score of two classes is the difference of two outputs.
            coef, bias = np.concatenate([-coef, coef]) / 2, np.concatenate([-bias, bias]) / 2
        if len(coef) == self.n_outputs:
            return coef, bias
        present, prior = np.unique(index), self.initial_bias(targets)
        weights = np.zeros((self.n_outputs, features.shape[1]))
        biases = prior - prior[present].mean() + bias.mean()
        weights[present], biases[present] = coef, bias
        return weights, biases

    def smooth(self, target: Tensor, amount: float) -> Tensor:
        """Return targets of which the fraction ``amount`` is distributed over all classes."""
        return target + amount * (1 / self.n_outputs - target)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of each item."""
        return -(target * log_softmax(outputs, dim=1)).sum(1)

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return 1 for each item whose class has the largest output, otherwise 0."""
        return (outputs.argmax(1) == target.argmax(1)).to(target.dtype)

    def finish(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of the classes."""
        return outputs.softmax(1)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the label with the largest output for each item."""
        labels: np.ndarray = self.classes[outputs.argmax(axis=1)]
        return labels

    def decision(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits in the form of ``decision_function``: one column for two classes."""
        return outputs[:, 1] - outputs[:, 0] if self.n_outputs == 2 else outputs

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return rows of probabilities that sum to 1."""
        found: np.ndarray = softmax(outputs, axis=1)
        return found

    def decide_probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the most probable label of each item."""
        return self.decide(probabilities)

    def likely(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the most probable label of one item, as an array with one element."""
        return self.decide(probabilities[None])

    def _as_predicted(self, y: Any) -> np.ndarray:
        labels: np.ndarray = column_or_1d(np.asarray(y))
        return labels

    def _check_scored(self, y: np.ndarray, name: str) -> None:
        check_scored(y, self.classes, name)
