"""Multi-label classification: any number of labels for each item, as columns of 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_array
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .._support.validation import check_present
from .base import Task
from .classification import LabelTask
from .heads import fit_linear
from .labels import arrange_columns, as_array, is_matrix
from .targets import Targets


@dataclass(frozen=True, eq=False)
class MultiLabel(LabelTask):
    """The task of predicting any number of labels for each item, as columns of 0 and 1.

    Parameters
    ----------
    n_outputs : int
        The number of labels.
    names : tuple of str, default=()
        The names of the columns of y, if they have names.
    """

    n_outputs: int
    names: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.names and len(self.names) != self.n_outputs:
            raise ValueError(
                f"names must be as many as labels, {self.n_outputs}; got {len(self.names)}."
            )

    @property
    def classes(self) -> np.ndarray:
        """The labels, which are the integers from 0 to n_outputs - 1."""
        return np.arange(self.n_outputs)

    def _as_predicted(self, y: Any) -> np.ndarray:
        return np.asarray(arrange_columns(y, self.names, "y"))

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:
        """Return the indicators as floats, (n, n_outputs)."""
        check_present(y, name)
        y = as_array(y)
        if not is_matrix(y):
            raise ValueError(
                f"{name} must have columns of 0 and 1 for each item, as y has; got one label."
            )
        y = arrange_columns(y, self.names, name)
        table = check_array(y, accept_sparse=False, dtype="numeric", input_name=name)
        if type_of_target(table) != "multilabel-indicator":
            raise ValueError(
                f"{name} must be one column of labels, or columns of 0 and 1, one for each label; "
                f"got {table.shape[1]} columns of other values."
            )
        if table.shape != (n_items, self.n_outputs):
            shape = (n_items, self.n_outputs)
            raise ValueError(f"{name} must be of shape {shape}; got {table.shape}.")
        encoded: np.ndarray = table.astype(float)
        return encoded

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return the indicators as integers."""
        return self.decide(values)

    def weigh(self, targets: Targets, class_weight: Any) -> Targets:
        """Return the targets unchanged; labels have no weights."""
        if class_weight is not None:
            raise ValueError(
                f"class_weight must be None if y is multi-label; got {class_weight!r}."
            )
        return targets

    def narrow(self, targets: Targets, name: str = "y") -> tuple[Task, Targets]:  # noqa: ARG002 - no message
        """Return the task and the targets unchanged; labels that no item has are kept."""
        return self, targets

    def strata(self, targets: Targets, n_most: int) -> np.ndarray | None:  # noqa: ARG002 - labels overlap
        """Return None, because the labels overlap and define no strata."""
        return None

    def initial_bias(self, targets: Targets) -> np.ndarray:
        """Return the logits of the label priors."""
        prior = self._compute_priors(targets)
        bias: np.ndarray = np.log(prior / (1 - prior))
        return bias

    def exact_head(
        self, model: Any, features: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit one linear classifier for each label, and return their weights and biases."""
        heads = []
        for column, prior in zip(targets.values.T > 0, self._compute_priors(targets), strict=True):
            if column.all() or not column.any():  # all items or no item: predict the prior
                weights = np.zeros((1, features.shape[1]))
                heads.append((weights, np.array([np.log(prior / (1 - prior))])))
            else:
                heads.append(fit_linear(model, features, column, targets.weight))
        return np.concatenate([w for w, _ in heads]), np.concatenate([b for _, b in heads])

    def _compute_priors(self, targets: Targets) -> np.ndarray:
        """Return the fraction of items that have each label, (n_outputs,)."""
        # Add 2 / k items of which half have each label, so that no prior is 0 or 1.
        n, k = targets.weight.sum(), self.n_outputs
        priors: np.ndarray = (targets.weight @ targets.values + 1 / k) / (n + 2 / k)
        return priors

    def smooth(self, target: Tensor, amount: float) -> Tensor:
        """Return targets moved towards 0.5 by the fraction ``amount`` of the distance."""
        return target + amount * (0.5 - target)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the binary cross-entropy of each item, averaged over the labels."""
        return binary_cross_entropy_with_logits(outputs, target, reduction="none").mean(1)

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return 1 for each item whose labels are all predicted correctly, otherwise 0."""
        return ((outputs > 0) == (target > 0.5)).all(1).to(target.dtype)

    def finish(self, outputs: Tensor) -> Tensor:
        """Return the probability of each label."""
        return outputs.sigmoid()

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return 1 for each label that is more likely than not, otherwise 0."""
        return (outputs > 0).astype(int)

    def decision(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits, as ``decision_function`` does."""
        return outputs

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each label; they need not sum to 1."""
        found: np.ndarray = expit(outputs)
        return found

    def decide_probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """Return 1 for each label that is more probable than not, otherwise 0."""
        return (probabilities > 0.5).astype(int)

    def likely(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the labels of one item that are more probable than not."""
        labels: np.ndarray = np.flatnonzero(self.decide_probabilities(probabilities))
        return labels

    def _check_scored(self, y: np.ndarray, name: str) -> None:
        if not np.isin(y, (0, 1)).all():
            raise ValueError(
                f"{name} must have columns of 0 and 1, as y of fit had; got other values. If they "
                "are classes of which the training part had two, pass them as texts: "
                "y.astype(str)."
            )
