"""Targets in the pixels of images: points and masks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any, BinaryIO

from .._support.validation import first_ten
from .kind import Kind, Parameters
from .options import class_weight_of
from .output import as_objects, print_table, write_output
from .plots import plot_masks, plot_points
from .reports import Row, print_rows
from .sources import LABEL, Known


class Points(Kind):
    """Pairs of columns, the positions x and y of points."""

    sparse = True
    wanted = "the position of each point, by columns such as"
    options = frozenset({"loss", "flip_pairs", "pooling"})

    def estimator(self, table: Any, parameters: Parameters) -> Any:
        from ..estimators import FineTuneRegressor

        if table.shape[1] % 2:
            raise ValueError(
                "label_column must name two columns for each point, x and y; got "
                f"{', '.join(map(repr, table.columns))}."
            )
        # A head needs the positions of the features, of the whole image.
        how = {"pooling": "flatten", "preset": {"crop": None}}
        return FineTuneRegressor(points=True, **how | parameters)

    def known_by(self, model: Any) -> Known:
        return [None] * model.task_.n_outputs

    def targets(self, table: Any) -> Any:
        return table

    def columns(self, model: Any, predicted: Any) -> Parameters:
        points = predicted.reshape(len(predicted), -1).T
        names = [f"prediction_{name}" for name in model.task_.names] or [
            f"{'xy'[at % 2]}_{at // 2}" for at in range(len(points))
        ]
        return dict(zip(names, points, strict=True))

    def report(self, model: Any, table: Any, predicted: Any, read: Any, things: str) -> None:
        import numpy as np

        true = _positions(table).reshape(predicted.shape)
        gaps = (predicted - true)[read].reshape(read.sum(), -1, 2)
        distances = np.hypot(gaps[..., 0], gaps[..., 1])  # (n, n_points)
        names = [model.task_.name_point(at) for at in range(model.task_.n_points)]
        parts = [(name, distances[:, [at]]) for at, name in enumerate(names)]
        if len(names) > 1:
            parts.insert(0, ("all", distances))
        rows = [_measure(*part) for part in parts if not np.isnan(part[1]).all()]
        print_rows(rows, things, "point")

    def plot(self, folder: Path, model: Any, items: Sequence[str], y: Any, predicted: Any) -> None:
        plot_points(folder, items, _positions(y), predicted)


def _measure(name: str, distances: Any) -> Row:
    """Return the mean of distances, (n, n_points); NaN for a point that is not visible."""
    import numpy as np

    seen = ~np.isnan(distances)
    mean = f"{distances[seen].mean():.4g}"
    return name, "mean distance in pixels", mean, seen.any(axis=1).sum()


def _positions(table: Any) -> Any:
    """Return the positions in a table as floats; NaN for a missing one."""
    return table.to_numpy(float, na_value=float("nan"))


class PixelMasks(Kind):
    """A column of paths of masks, in a CSV file relative to its folder."""

    wanted = "the mask of each item, by masks=DIR or a column"
    options = frozenset({"class_weight", "ignore_label"})

    def estimator(self, table: Any, parameters: Parameters) -> Any:
        from ..estimators import FineTuneSegmenter

        ignored = parameters.get("ignore_label", [FineTuneSegmenter().ignore_label])
        classes = self._classes(table, ignored or ())
        weights = class_weight_of(parameters.get("class_weight"), classes)
        return FineTuneSegmenter(**parameters | {"class_weight": weights})

    def _classes(self, table: Any, ignored: Sequence[int]) -> Iterator[int]:
        """Yield the values of the pixels; the masks are read when the first one is needed."""
        from ..data import check_masks

        masks = check_masks(self.targets(table), "y")
        found = {value for _, counts in masks.summaries for value in counts}
        yield from sorted(found - set(ignored))

    def prepare(self, source: Path, items: Sequence[str], table: Any) -> Any:
        if source.is_dir() and LABEL in table:
            raise ValueError(
                f"source must give the mask of each item, by masks=DIR; {str(source)!r} has only "
                "the names of class folders."
            )
        table = super().prepare(source, items, table)
        return table.map(lambda path: str(source.parent / path))

    def known_by(self, model: Any) -> Known:
        return [None]

    def match(self, name: str, source: Path, table: Any, known: Known) -> Any:
        if table.shape[1] > 1:
            raise ValueError(
                "label_column must name one column, of masks; got "
                f"{', '.join(map(repr, table.columns))}."
            )
        return table

    def targets(self, table: Any) -> Any:
        return table.iloc[:, 0]

    def rows(self, items: Sequence[str], table: Any) -> Sequence[str]:
        masks: Sequence[str] = self.targets(table).tolist()
        return masks

    def read(self, table: Any) -> Any:
        from ..data import check_masks

        masks = check_masks(self.targets(table), "y")
        masks.check(keep=True)
        return as_objects(masks).to_frame(table.columns[0])

    def columns(self, model: Any, predicted: Any) -> Parameters:
        """Return the share of each class among the pixels."""
        import numpy as np

        shares = np.array(
            [
                [np.mean(mask == each) if np.ndim(mask) else np.nan for each in model.classes_]
                for mask in predicted
            ]
        )
        return {f"share_{each}": part for each, part in zip(model.classes_, shares.T, strict=True)}

    def find_read(self, predicted: Any) -> Any:
        import numpy as np

        return np.array([np.ndim(mask) == 2 for mask in predicted])

    def report(self, model: Any, table: Any, predicted: Any, read: Any, things: str) -> None:
        import numpy as np

        from ..data import check_masks

        rows = np.flatnonzero(read)
        masks = check_masks(self.targets(table).iloc[rows], "y")
        scores = model.task_.score_columns([predicted[at] for at in rows], masks)
        values = {value for _, counts in masks.summaries for value in counts}
        unknown = sorted(values - set(model.classes_.tolist()) - set(model.task_.ignored))
        shares = [*scores, *([0.0] * len(unknown))]
        rows_of = zip([*model.classes_, *unknown], shares, strict=True)
        measures = [("mean", np.nanmean(shares)), *rows_of]
        print_table(
            ("class", "IoU"),
            [(str(name), "" if isnan(value) else f"{value:.3f}") for name, value in measures],
        )
        print(f"{things}: {len(rows)}")

    def plot(self, folder: Path, model: Any, items: Sequence[str], y: Any, predicted: Any) -> None:
        plot_masks(folder, model, items, y.tolist(), predicted)


def write_masks(folder: Path, model: Any, items: Sequence[str], names: Sequence[Path]) -> int:
    """Predict masks, write each to a PNG file in a folder, and return their number.

    A few masks are predicted at a time, so that they need little memory, and those before an error
    stay.  ``names`` are the paths of the files in the folder, without suffix.
    """
    import numpy as np

    from ..data import encode_mask

    twice = [str(name) for name, count in sorted(Counter(names).items()) if count > 1]
    if twice:
        raise ValueError(
            "files must have different names without their suffixes, because a mask gets the name "
            f"of its image; these occur more than once:\n{first_ten(twice)}\n"
            "If there are masks among the images, list the images alone in a CSV file."
        )
    n_written = 0
    for name, mask in zip(names, model._each_mask(items), strict=True):
        if np.ndim(mask):
            file = folder / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_output("output", file, partial(_write, encode_mask(mask)))
            n_written += 1
    return n_written


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
