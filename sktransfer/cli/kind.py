"""The base class of the kinds of targets."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .sources import WANTED, Known, as_labels, check_complete, match_columns

Parameters = dict[str, Any]


class Kind(ABC):
    """A kind of target.  Its targets are the columns of a table."""

    # True if labels may be missing
    sparse = False

    # The targets, and how a source gives them, in messages; the name of a column follows
    wanted = WANTED

    # The options that other kinds lack
    options: frozenset[str] = frozenset()

    @abstractmethod
    def estimator(self, table: Any, parameters: Parameters) -> Any:
        """Return an unfitted estimator with some parameters, for the targets in a table.

        The parameters are those of ``parameters_of``.
        """

    def known(self, table: Any) -> Known:
        """Return the classes of each column of training targets, or None for numbers."""
        return [None] * table.shape[1]

    @abstractmethod
    def known_by(self, model: Any) -> Known:
        """Return the classes of each column that a model predicts, or None for numbers."""

    def names(self, model: Any) -> Sequence[str]:
        """Return the columns of the training targets that a model knows by name."""
        return [name for name in getattr(model.task_, "names", ()) if isinstance(name, str)]

    def prepare(self, source: Path, items: Sequence[str], table: Any) -> Any:
        """Return the targets of a source, after a check that none is missing that must be there."""
        if not self.sparse:
            check_complete(source, items, table)
        return table

    def match(self, name: str, source: Path, table: Any, known: Known) -> Any:
        """Return targets as ``known`` has them; ``name`` is that of their source in messages."""
        return match_columns(name, source, table, known)

    def targets(self, table: Any) -> Any:
        """Return the targets in a table as the estimator takes them."""
        return as_labels(table.iloc[:, 0]) if table.shape[1] == 1 else table

    def rows(self, items: Sequence[str], table: Any) -> Sequence[str]:  # noqa: ARG002 - masks have it
        """Return the names of the rows of targets in messages."""
        return items

    def read(self, table: Any) -> Any:
        """Return a table with the content of files, which are read before long computations."""
        return table

    def predict(self, model: Any, items: Sequence[str]) -> Any:
        """Return the predictions from which all tables, scores and plots are made."""
        return model.predict(items)

    @abstractmethod
    def columns(self, model: Any, predicted: Any) -> Parameters:
        """Return predictions as the columns of a table, by name."""

    def find_read(self, predicted: Any) -> Any:
        """Return a mask of the items that have predictions because they can be read."""
        import numpy as np

        numbers = predicted.reshape(len(predicted), -1).astype(float)
        return ~np.isnan(numbers).any(axis=1)

    @abstractmethod
    def report(self, model: Any, table: Any, predicted: Any, read: Any, things: str) -> None:
        """Print how good the predictions are for the items in the mask ``read``."""

    def plot(  # noqa: B027 - mixed columns have no plot
        self, folder: Path, model: Any, items: Sequence[str], y: Any, predicted: Any
    ) -> None:
        """Write plots of the predictions to a folder."""
