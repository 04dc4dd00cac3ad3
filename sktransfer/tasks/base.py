"""A task: what a target is, and what a network learns of it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from .targets import Targets


class Task(Protocol):
    """Everything about a kind of target, in one place.

    A task knows what it has learned of ``y``, such as the classes; it never changes.  Its values
    are frozen dataclasses.  ``n`` is the number of items, ``b`` that of a batch, ``k`` the number
    of outputs of the network.
    """

    @property
    def n_outputs(self) -> int:
        """The number of outputs of the network, at least 1."""

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:
        """Return ``y`` as numbers (n, ...) that the loss compares outputs with.

        Raises
        ------
        ValueError
            If ``y``, which messages call ``name``, is not a target of this task.
        """

    def weigh(self, targets: Targets, class_weight: Any) -> Targets:
        """Return the targets with the weights of the classes, if the task has classes.

        Raises
        ------
        ValueError
            If ``class_weight`` does not suit the task.
        """

    def narrow(self, targets: Targets) -> tuple[Task, Targets]:
        """Return the task and the targets without what no item with a weight above 0 has.

        Raises
        ------
        ValueError
            If nothing is left to learn.
        """

    def strata(self, targets: Targets) -> np.ndarray | None:
        """Return the stratum of each item (n,), to hold out a part of each; None for no strata."""

    def initial_bias(self, targets: Targets) -> np.ndarray:
        """Return the outputs (k,) that are best if features are ignored."""

    def exact_model(self) -> Any:
        """Return a linear scikit-learn estimator whose solution is a good start for the head."""

    def exact_head(
        self, model: Any, features: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (k, d) and biases (k,) of ``model``, fitted to features (n, d).

        Raises
        ------
        ValueError
            If the fitted model is not linear.
        """

    def smooth(self, target: Tensor, amount: float) -> Tensor:
        """Return the targets of a batch moved by ``amount`` in [0, 1) towards no information."""

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row (b,) of outputs (b, k)."""

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the score of each row (b,); their weighted mean is the validation score."""

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the predictions of outputs (n, k), as ``predict`` gives them."""

    def score(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> float:
        """Return the score of predictions.

        Raises
        ------
        ValueError
            If ``y`` does not have the shape of the predictions.
        """
