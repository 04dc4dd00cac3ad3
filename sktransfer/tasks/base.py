"""The protocol of a task, which is a kind of target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from .._support.geometry import Place
from .targets import Targets


class Task(Protocol):
    """The protocol of a task: it encodes targets, and defines the loss and the predictions.

    A task contains what ``fit`` learned from ``y`` alone, such as the classes.  Tasks are frozen
    dataclasses.  In the shapes below, ``n`` is the number of items, ``b`` the number of items of a
    batch, ``d`` the number of features, and ``k`` the number of outputs of the network.

    Encoded targets have one column for each output, so that tasks of single columns can be put
    next to each other.

    A task with labels also has ``classes``, ``decision`` and ``probabilities``; see
    :class:`~sktransfer.tasks.Classification`.  For scorers, every other task is a regression.
    """

    @property
    def n_outputs(self) -> int:
        """The number of outputs of the network, at least 1."""

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:
        """Encode ``y`` as an array of numbers, (n, k), which the loss compares with outputs.

        Parameters
        ----------
        y : array-like of n_items targets
        n_items : int
        name : str, default="y"
            The name of ``y`` in messages.

        Raises
        ------
        ValueError
            If ``y`` is not a target of this task.
        """

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return encoded targets, (n, k), in the form of ``predict``."""

    def weigh(self, targets: Targets, class_weight: Any) -> Targets:
        """Multiply the weights of the items by those of their classes, if the task has classes.

        Parameters
        ----------
        targets : Targets
        class_weight : dict, "balanced" or None

        Raises
        ------
        ValueError
            If ``class_weight`` is invalid for the task.
        """

    def narrow(self, targets: Targets, name: str = "y") -> tuple[Task, Targets]:
        """Remove classes that only items of weight 0 have; return the new task and targets.

        Parameters
        ----------
        targets : Targets
        name : str, default="y"
            The name of ``y`` in messages.

        Raises
        ------
        ValueError
            If too few classes remain.
        """

    def scaled(self, targets: Targets, train: np.ndarray) -> tuple[Task, Targets]:
        """Scale numbers by the moments of the training items; return the new task and targets.

        Parameters
        ----------
        targets : Targets
            The targets of all items, training items and others.
        train : ndarray of int
            The positions of the training items.
        """

    def strata(self, targets: Targets, n_most: int) -> np.ndarray | None:
        """Return the stratum of each item, (n,), for a stratified split; None without strata.

        Parameters
        ----------
        targets : Targets
        n_most : int
            Maximum number of strata, if the strata are not classes.
        """

    def initial_bias(self, targets: Targets) -> np.ndarray:
        """Return the constant outputs, (k,), with the lowest loss; they ignore the features."""

    def exact_model(self, gentle: bool) -> Any:
        """Return an unfitted linear model whose coefficients are good initial weights of a head.

        Parameters
        ----------
        gentle : bool
            True for a model with a stronger penalty, which leaves stages that train more to learn.
        """

    def exact_head(
        self, model: Any, features: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit a clone of ``model``, and return its weights (k, d) and biases (k,).

        Parameters
        ----------
        model : estimator
            A linear model of scikit-learn.
        features : ndarray of shape (n, d)
        targets : Targets

        Raises
        ------
        ValueError
            If the fitted model is not linear.
        """

    def smooth(self, target: Tensor, amount: float) -> Tensor:
        """Return the smoothed targets of a batch; ``amount`` is in [0, 1)."""

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each item, (b,), for outputs of shape (b, k)."""

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the score of each item, (b,); the weighted mean is the validation score."""

    def finish(self, outputs: Tensor) -> Tensor:
        """Return the values of an exported network, (b, k): probabilities, or numbers as in y."""

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the predictions for outputs of shape (n, k), in the form of ``predict``."""

    def score(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> float:
        """Return the score of predictions, as the estimator's ``score`` does.

        Raises
        ------
        ValueError
            If the shape of ``y`` differs from that of the predictions.
        """

    def score_columns(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Return the score of each column of ``y``, as the estimator's ``score_columns`` does."""


@runtime_checkable
class Placing(Protocol):
    """The further methods of a task whose targets have positions in the pixels of an item.

    Such targets have to follow the pixels: ``encode`` returns them in pixels of the items, and
    ``place`` in pixels of the rows, which the preset and augmentation make of the items.
    """

    @property
    def flips(self) -> bool:
        """False if augmentation must not flip images."""

    def check_sizes(
        self, values: Any, sizes: Sequence[tuple[int, int]], name: Callable[[int], str]
    ) -> None:
        """Raise an error if encoded targets do not suit the widths and heights of their items.

        Parameters
        ----------
        values : sequence of n encoded targets
        sizes : sequence of n pairs of int
        name : callable
            Returns the name of a target in messages, such as "y[3]".
        """

    def place(self, values: Any, places: Sequence[Place], size: int) -> Any:
        """Return encoded targets of items in pixels of their rows, as the loss takes them.

        ``size`` is the side of a row.
        """
