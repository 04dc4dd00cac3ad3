"""A skorch net that predicts labels and probabilities, so that scorers can use it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils.metaestimators import available_if
from skorch import NeuralNet
from torch import Tensor

from ..backbones import running
from ..tasks import Task
from .batches import Batch
from .tail import Entry, Tail


def _has(name: str) -> Any:
    """Return a decorator of a method that exists if the task has an attribute."""
    return available_if(lambda net: hasattr(net.task, name))


class ScorableNet(NeuralNet):
    """A skorch net of a tail, with the predictions of its task.

    Its methods take the samples of a fit, a batch of them, or inputs of the first stage as the
    preset makes them: an array or tensor with one row for each item.
    """

    task: Task
    precision: torch.dtype
    module_: Tail

    def get_dataset(self, X: Any, y: Any = None) -> Any:  # noqa: ARG002 - skorch's signature
        """Return ``X``, which needs no other form."""
        return X

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:  # noqa: ARG002 - skorch's signature
        """Return the batches of a batch or an array, without targets."""
        if isinstance(dataset, Batch):
            return [(dataset, None)]
        rows = self._check_rows(dataset)
        return [(Batch({"x": part}, 0), None) for part in torch.split(rows, self.batch_size)]

    def infer(self, x: Any, **_: Any) -> Tensor:
        """Return the outputs of a batch."""
        batch = x if isinstance(x, Batch) else Batch({"x": self._check_rows(x)}, 0)
        with running():
            return self._compute_outputs(self._move_to_device(batch)["x"], batch.entry)

    def predict(self, X: Any) -> np.ndarray:
        """Return the predictions in the form of the estimator's ``predict``."""
        return self.task.decide(self._outputs(X))

    @_has("probabilities")  # type: ignore[untyped-decorator]  # scikit-learn does not annotate it
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes."""
        found: np.ndarray = self.task.probabilities(self._outputs(X))  # type: ignore[attr-defined]  # _has checks it
        return found

    @_has("decision")  # type: ignore[untyped-decorator]  # scikit-learn does not annotate it
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores of the classes, as the estimator's ``decision_function`` does."""
        found: np.ndarray = self.task.decision(self._outputs(X))  # type: ignore[attr-defined]  # _has checks it
        return found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the score of the predictions, as the estimator's ``score`` does."""
        return self.task.score(self.predict(X), y, sample_weight)

    @property
    def classes_(self) -> np.ndarray:
        """The labels; only if the task has classes."""
        classes: np.ndarray = self.task.classes  # type: ignore[attr-defined]  # _has checks it
        return classes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if hasattr(self.task, "classes"):
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        else:
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        return tags

    def _outputs(self, X: Any) -> np.ndarray:
        """Return the outputs of the network, (n, n_outputs), float64."""
        outputs: np.ndarray = self.forward(X).double().numpy()
        return outputs

    def _check_rows(self, X: Any) -> Tensor:
        """Return inputs of the first stage as a tensor in the type of the weights."""
        rows = torch.from_numpy(X) if isinstance(X, np.ndarray) and X.dtype.kind in "iuf" else X
        if not isinstance(rows, Tensor) or rows.dtype == torch.uint8:
            raise TypeError(
                "X must be an array or tensor of inputs of the network, as its preset makes them; "
                f"got {getattr(X, 'dtype', type(X).__name__)}. Pass images to the estimator."
            )
        return rows.to(self.module_.mean.dtype) if rows.is_floating_point() else rows

    def _move_to_device(self, X: dict[str, Tensor]) -> dict[str, Tensor]:
        moved = {name: value.to(self.device, non_blocking=True) for name, value in X.items()}
        if moved["x"].ndim == 4:
            moved["x"] = moved["x"].contiguous(memory_format=torch.channels_last)
        return moved

    def _compute_outputs(self, x: Tensor, entry: Entry, tail: Tail | None = None) -> Tensor:
        """Return the outputs; the stages compute in ``precision``, the head in its own type."""
        tail = self.module_ if tail is None else tail
        low = self.precision not in (torch.float32, torch.float64)
        device = torch.device(self.device).type
        with torch.autocast(device, self.precision) if low else nullcontext():
            features = tail.features(x, entry)
        outputs: Tensor = tail.outputs(features)
        return outputs
