"""Multi-label classification whose targets are collections of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validation import first_ten, list_cells
from .labels import COLLECTIONS, check_known
from .multi_label import MultiLabel
from .targets import weighted_mean

# The forms of the labels of one item, of which there may be any number.
FORMS = (*COLLECTIONS, np.ndarray)


def check_collections(values: Sequence[Any], name: str) -> None:
    """Raise an error unless each value is a list or a set of labels, all of one kind."""
    others = [(at,) for at, value in enumerate(values) if not isinstance(value, FORMS)]
    if others:
        raise ValueError(
            f"{name} must have a list or a set of labels for each item; {len(others)} are none:\n"
            f"{first_ten(list_cells(_as_objects(values), others, name))}"
        )
    kinds = (str, int, np.integer, bool, np.bool_)
    wrong = [
        (at,)
        for at, labels in enumerate(values)
        if not all(isinstance(label, kinds) for label in labels)
    ]
    if wrong:
        raise ValueError(
            f"{name} must have texts or integers as labels; {len(wrong)} items have others:\n"
            f"{first_ten(list_cells(_as_objects(values), wrong, name))}\n"
            "Several numbers of an item need a column each."
        )
    if len({isinstance(label, str) for labels in values for label in labels}) > 1:
        raise ValueError(f"{name} must have labels of one kind; got texts and integers.")


def _as_objects(values: Sequence[Any]) -> np.ndarray:
    """Return lists of labels as an array of one axis."""
    array = np.empty(len(values), dtype=object)
    array[:] = [tuple(v) if isinstance(v, np.ndarray) else v for v in values]
    return array


@dataclass(frozen=True, eq=False)
class LabelSets(MultiLabel):
    """The task of predicting any number of labels for each item, as a tuple of them.

    Parameters
    ----------
    n_outputs : int
        The number of labels.
    labels : ndarray of shape (n_outputs,)
        The sorted labels.
    """

    labels: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The sorted labels."""
        return self.labels

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:
        """Return indicators as floats, (n, n_outputs), for a collection of labels of each item."""
        check_collections(y, name)
        check_known(np.array([one for labels in y for one in labels]), self.labels, name)
        table = np.zeros((n_items, self.n_outputs))
        for row, labels in zip(table, y, strict=True):
            row[np.searchsorted(self.labels, list(labels))] = 1
        return table

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return a tuple of labels for each item, in an array of objects (n,)."""
        return self.decode(outputs > 0)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return the tuples of labels that indicators stand for."""
        found = np.empty(len(values), dtype=object)
        found[:] = [tuple(self.labels[row > 0].tolist()) for row in values]
        return found

    def score(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> float:
        """Return the fraction of items whose labels are all predicted correctly.

        An item without a prediction counts as wrong.
        """
        check_collections(y, "y")
        pairs = zip(predicted, y, strict=True)
        correct = [found is not None and set(found) == set(true) for found, true in pairs]
        return float(weighted_mean(correct, sample_weight))
