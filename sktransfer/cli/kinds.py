"""The kinds of targets by their names, and that of a table or of a model."""

from collections.abc import Mapping
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


def named_kind(task: str, columns: Columns) -> Kind | None:
    """Return the kind of the targets that options name; None stands for that of their values."""
    check_choice("task", task, TASKS)
    if columns.masks is None:
        return KINDS.get(task)
    if task not in ("auto", "segmentation"):
        raise ValueError(
            f"task must be segmentation, or left out, if masks are in a folder; got {task!r}."
        )
    return KINDS["segmentation"]


def check_options(kind: Kind, given: Mapping[str, Any]) -> None:
    """Raise an error if an option is given that only other kinds of targets have.

    ``given`` has the values of options; None for one that is not given.
    """
    of_kinds = frozenset().union(*(each.options for each in KINDS.values()))
    for name, value in given.items():
        if not value or name in kind.options or name not in of_kinds:
            continue
        shown = value[0] if isinstance(value, list) else value
        tasks = [f"task={task}" for task, each in KINDS.items() if name in each.options]
        own = next(task for task, each in KINDS.items() if each is kind)
        raise ValueError(
            f"{name} must be left out for task={own}; got {shown!r}. It is an option of "
            f"{' and '.join(tasks)}."
        )


def find_kind(table: Any) -> Kind:
    """Return the kind of the targets in a table by their values.

    It is regression if all columns hold numbers with fractions, classification if none does and no
    label is missing, and mixed otherwise.
    """
    for name in table:
        if _holds_files(table[name]):
            raise ValueError(
                f"task must be given for the column {name!r}, which holds names of image files: "
                "segmentation if they are masks, or classification if they are labels."
            )
    numbers = [is_number(table[name]) for name in table]
    if table.shape[1] > 1 and (table.isna().any(axis=None) or len(set(numbers)) > 1):
        return KINDS["mixed"]
    return KINDS["regression" if all(numbers) else "classification"]


def _holds_files(column: Any) -> bool:
    """Return True if all values of a column are names of image files."""
    from ..data import EXTENSIONS

    values = column.dropna()
    return len(values) > 0 and all(
        isinstance(value, str) and Path(value).suffix.lower() in EXTENSIONS for value in values
    )


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
    if columns.masks is not None and kind is not KINDS["segmentation"]:
        raise ValueError(
            f"masks must be left out if the targets are not masks; got {str(columns.masks)!r}."
        )
    classes = None if len(known) > 1 or known[0] is None else list(map(str, known[0]))
    items, table = columns.targets(source, classes, kind.wanted)
    return items, kind.match(name, source, kind.prepare(source, items, table), known)
