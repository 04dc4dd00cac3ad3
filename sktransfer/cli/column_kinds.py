"""Targets that are columns of a table: labels, numbers, or both."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from .kind import Kind, Parameters
from .options import class_weight_of, weights_by_name
from .output import as_objects, print_table
from .plots import plot_numbers, plot_predictions
from .reports import Row, measure_classes, measure_numbers, print_quality, print_rows
from .sources import Known, as_labels


def is_number(column: Any) -> bool:
    """Return True if a column of targets holds numbers, and not labels."""
    return bool(column.dtype.kind == "f")


class Labels(Kind):
    """One or several columns of labels; columns of 0 and 1 are several labels."""

    options = frozenset({"class_weight", "pooling", "max_length"})

    def estimator(self, table: Any, parameters: Parameters) -> Any:
        from ..estimators import FineTuneClassifier

        weights = parameters.get("class_weight")
        labels = self.known(table)[0].tolist() if weights else []
        return FineTuneClassifier(**parameters | {"class_weight": class_weight_of(weights, labels)})

    def known(self, table: Any) -> Known:
        import numpy as np

        return [np.unique(as_labels(table[name])) for name in table]

    def known_by(self, model: Any) -> Known:
        import numpy as np

        from ..tasks import MultiLabel

        if isinstance(model.task_, MultiLabel):
            return [np.arange(2)] * model.task_.n_outputs
        return model.classes_ if isinstance(model.classes_, list) else [model.classes_]

    def predict(self, model: Any, items: Sequence[str]) -> Any:
        return model.predict_proba(items)

    def targets(self, table: Any) -> Any:
        if table.shape[1] > 1:
            return table
        column = table.iloc[:, 0]
        labels = as_labels(column)
        return type(column)(labels, name=column.name, dtype=labels.dtype)

    def columns(self, model: Any, predicted: Any) -> Parameters:
        from ..tasks import MultiLabel

        if isinstance(predicted, list):
            return self._columns(model.task_, predicted)
        is_several = isinstance(model.task_, MultiLabel)
        names = (self.names(model) if is_several else ()) or list(map(str, model.classes_))
        known = dict(zip(model.classes_.tolist(), names, strict=True))
        labels = [
            None if isnan(row[0]) else " ".join(known[each] for each in model.task_.likely(row))
            for row in predicted
        ]
        shares = {f"p_{name}": part for name, part in zip(names, predicted.T, strict=True)}
        return {"label": as_objects(labels), **shares}

    def _columns(self, task: Any, probabilities: list[Any]) -> Parameters:
        columns: Parameters = {}
        for name, each, found in zip(task.names, task.tasks, probabilities, strict=True):
            labels = [None if isnan(row[0]) else str(each.likely(row)[0]) for row in found]
            columns[f"label_{name}"] = as_objects(labels)
            shares = zip(each.classes, found.T, strict=True)
            columns |= {f"p_{name}_{label}": part for label, part in shares}
        return columns

    def find_read(self, predicted: Any) -> Any:
        return super().find_read(predicted[0] if isinstance(predicted, list) else predicted)

    def report(self, model: Any, table: Any, predicted: Any, read: Any, things: str) -> None:
        if table.shape[1] == 1:
            decided = model.task_.decide_probabilities(predicted[read])
            print_quality(as_labels(table.iloc[:, 0])[read], decided, model.classes_, things)
            return
        if isinstance(predicted, list):
            pairs = zip(model.task_.tasks, predicted, strict=True)
            columns = [task.decide_probabilities(found[read]) for task, found in pairs]
        else:
            columns = model.task_.decide_probabilities(predicted[read]).T
        rows: list[Row] = []
        for name, decided in zip(table, columns, strict=True):
            rows += measure_classes(name, as_labels(table[name])[read], decided)
        print_rows(rows, things)

    def plot(self, folder: Path, model: Any, items: Sequence[str], y: Any, predicted: Any) -> None:
        if not isinstance(predicted, list) and y.ndim == 1:
            plot_predictions(folder, model, items, as_labels(y), predicted)


class Numbers(Kind):
    """One or several columns of numbers."""

    wanted = "a number for each item, by a column"
    options = frozenset({"loss", "pooling", "max_length"})

    def estimator(self, table: Any, parameters: Parameters) -> Any:
        from ..estimators import FineTuneRegressor

        return FineTuneRegressor(**parameters)

    def known_by(self, model: Any) -> Known:
        return [None] * model.task_.n_outputs

    def targets(self, table: Any) -> Any:
        return table.iloc[:, 0] if table.shape[1] == 1 else table

    def columns(self, model: Any, predicted: Any) -> Parameters:
        if predicted.ndim == 1:
            return {"prediction": predicted}
        names = model.task_.names or range(predicted.shape[1])
        return {f"prediction_{name}": part for name, part in zip(names, predicted.T, strict=True)}

    def report(self, model: Any, table: Any, predicted: Any, read: Any, things: str) -> None:
        columns = predicted.reshape(len(predicted), -1).T
        rows = [
            row
            for name, found in zip(table, columns, strict=True)
            for row in measure_numbers(name, as_labels(table[name])[read], found[read])
        ]
        if len(columns) > 1:
            print_rows(rows, things)
            return
        measures = [(measure, value) for _, measure, value, _ in rows]
        print_table(("measure", "value"), [*measures, (things, str(read.sum()))])

    def plot(self, folder: Path, model: Any, items: Sequence[str], y: Any, predicted: Any) -> None:
        if predicted.ndim == 1:
            plot_numbers(folder, model, items, as_labels(y), predicted)


class MixedColumns(Kind):
    """Columns of numbers and classes, in which labels may be missing."""

    sparse = True
    wanted = "the labels of the items, by columns such as"
    options = frozenset({"loss", "task_weights", "pooling", "max_length"})

    def estimator(self, table: Any, parameters: Parameters) -> Any:
        from ..estimators import FineTuneMultiTask

        given = dict(parameters)
        weights = given.pop("task_weights", ())
        if weights:
            how = "task_weights", weights, table, "the name of a column", "columns"
            given["task_weights"] = weights_by_name(*how)
        kinds = {name: "number" if is_number(table[name]) else "class" for name in table}
        return FineTuneMultiTask(tasks=kinds, **given)

    def known(self, table: Any) -> Known:
        import numpy as np

        columns = [table[name].dropna() for name in table]
        return [None if is_number(each) else np.unique(as_labels(each)) for each in columns]

    def known_by(self, model: Any) -> Known:
        return [model.classes_.get(name) for name in model.task_.names]

    def targets(self, table: Any) -> Any:
        return table

    def columns(self, model: Any, predicted: Any) -> Parameters:
        return {
            f"label_{name}" if name in model.classes_ else f"prediction_{name}": predicted[name]
            for name in predicted
        }

    def find_read(self, predicted: Any) -> Any:
        return ~predicted.isna().any(axis=1).to_numpy()

    def report(self, model: Any, table: Any, predicted: Any, read: Any, things: str) -> None:
        rows: list[Row] = []
        for name in table:
            kept = read & table[name].notna().to_numpy()
            true, found = as_labels(table[name])[kept], predicted[name].to_numpy()[kept]
            if not kept.any():
                continue
            if name in model.classes_:
                rows += measure_classes(name, true.astype(found.dtype), found)
            else:
                rows += measure_numbers(name, true.astype(float), found.astype(float))
        print_rows(rows, things)
