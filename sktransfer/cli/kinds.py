"""The kinds of targets by their names, and that of a table or of a model."""

from pathlib import Path
from typing import Any

from .._support.validation import check_choice
from .column_kinds import Labels, MixedColumns, Numbers, is_number
from .image_kinds import PixelMasks, Points
from .kind import Kind
from .sources import Columns, Known

KINDS: dict[str, Kind] = {
    "classification": Labels(),
    "regression": Numbers(),
    "mixed": MixedColumns(),
    "points": Points(),
    "segmentation": PixelMasks(),
}
TASKS = ("auto", *KINDS)


def find_kind(task: str, table: Any) -> Kind:
    """Return the kind of the targets in a table.

    "auto" is regression if all columns hold numbers with fractions, classification if none does and
    no label is missing, and mixed otherwise.
    """
    check_choice("task", task, TASKS)
    if task != "auto":
        return KINDS[task]
    numbers = [is_number(table[name]) for name in table]
    if table.shape[1] > 1 and (table.isna().any(axis=None) or len(set(numbers)) > 1):
        return KINDS["mixed"]
    return KINDS["regression" if all(numbers) else "classification"]


def kind_of(model: Any, name: str) -> Kind:
    """Return the kind of the targets of a fitted model; ``name`` is that of its file."""
    from ..estimators import (
        FineTuneClassifier,
        FineTuneMultiTask,
        FineTuneRegressor,
        FineTuneSegmenter,
    )

    if isinstance(model, FineTuneRegressor):
        return KINDS["points" if model.points else "regression"]
    known = {
        FineTuneClassifier: "classification",
        FineTuneMultiTask: "mixed",
        FineTuneSegmenter: "segmentation",
    }
    if type(model) not in known:
        raise ValueError(
            f"model must predict labels, numbers, points or masks; {name!r} holds a "
            f"{type(model).__name__}."
        )
    return KINDS[known[type(model)]]


def read_known(
    name: str, source: Path, columns: Columns, kind: Kind, known: Known
) -> tuple[list[str], Any]:
    """Return items, and a table of targets as a model or other training data has them.

    Parameters
    ----------
    name : str
        The name of ``source`` in messages.
    source : Path
    columns : Columns
    kind : Kind
    known : sequence of array or None
        The classes of each column, or None for numbers.
    """
    classes = None if len(known) > 1 or known[0] is None else list(map(str, known[0]))
    items, table = columns.targets(source, classes)
    return items, kind.match(name, kind.prepare(source, items, table), known)
