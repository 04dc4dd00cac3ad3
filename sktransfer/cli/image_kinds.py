"""Targets in the pixels of images: points and masks."""

from collections.abc import Sequence
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any, BinaryIO

from .._support.validation import first_ten
from .kind import Kind, Parameters, check_no_class_weight
from .options import class_weight_of
from .output import print_table, write_output
from .plots import plot_masks, plot_points
from .reports import Row, print_rows
from .sources import Known


class Points(Kind):
    """Pairs of columns, the positions x and y of points."""

    sparse = True

    def estimator(
        self, table: Any, class_weight: Sequence[str] | None, parameters: Parameters
    ) -> Any:
        from ..estimators import FineTuneRegressor

        check_no_class_weight(class_weight, "points")
        if table.shape[1] % 2:
            raise ValueError(
                "label_column must name two columns for each point, x and y; got "
                f"{', '.join(map(repr, table.columns))}."
            )
        # A head needs the positions of the features, of the whole image.
        how = {"pooling": "flatten", "preset": {"crop": None}}
        return FineTuneRegressor(points=True, **how, **parameters)

    def known_by(self, model: Any) -> Known:
        return [None] * model.task_.n_outputs

    def targets(self, table: Any) -> Any:
        return table.to_numpy(float, na_value=float("nan"))

    def columns(self, model: Any, predicted: Any) -> Parameters:
        points = predicted.reshape(len(predicted), -1)
        return {f"{'xy'[at % 2]}_{at // 2}": column for at, column in enumerate(points.T)}

    def report(self, model: Any, table: Any, predicted: Any, read: Any, things: str) -> None:
        import numpy as np

        gaps = (predicted - self.targets(table).reshape(predicted.shape))[read].reshape(
            read.sum(), -1, 2
        )
        distances = np.hypot(gaps[..., 0], gaps[..., 1])
        rows: list[Row] = [
            (str(at), "mean distance in pixels", f"{np.nanmean(each):.4g}", np.sum(~np.isnan(each)))
            for at, each in enumerate(distances.T)
            if not np.isnan(each).all()
        ]
        print_rows(rows, things, "point")

    def plot(self, folder: Path, model: Any, items: Sequence[str], y: Any, predicted: Any) -> None:
        plot_points(folder, items, y, predicted)


class PixelMasks(Kind):
    """A column of paths of masks, in a CSV file relative to its folder."""

    def estimator(
        self, table: Any, class_weight: Sequence[str] | None, parameters: Parameters
    ) -> Any:
        from ..estimators import FineTuneSegmenter

        given = {key: value for key, value in parameters.items() if key != "max_length"}
        weights = class_weight_of(class_weight, range(256))
        return FineTuneSegmenter(class_weight=weights, **given)

    def ignored(self, labels: Sequence[int] | None) -> Parameters:
        return {"ignore_label": labels} if labels else {}

    def prepare(self, source: Path, items: Sequence[str], table: Any) -> Any:
        table = super().prepare(source, items, table)
        return table.map(lambda path: str(source.parent / path))

    def known_by(self, model: Any) -> Known:
        return [None]

    def match(self, name: str, table: Any, known: Known) -> Any:
        if table.shape[1] > 1:
            raise ValueError(
                "label_column must name one column, of masks; got "
                f"{', '.join(map(repr, table.columns))}."
            )
        return table

    def targets(self, table: Any) -> Any:
        return table.iloc[:, 0].tolist()

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
        masks = check_masks(self.targets(table), "y")[rows]
        scores = model.task_.score_columns([predicted[at] for at in rows], masks)
        measures = [("mean", np.nanmean(scores)), *zip(model.classes_, scores, strict=True)]
        print_table(
            ("class", "IoU"),
            [(str(name), "" if isnan(value) else f"{value:.3f}") for name, value in measures],
        )
        print(f"{things}: {len(rows)}")

    def plot(self, folder: Path, model: Any, items: Sequence[str], y: Any, predicted: Any) -> None:
        plot_masks(folder, model, items, y, predicted)


def write_masks(folder: Path, items: Sequence[str], masks: Sequence[Any]) -> None:
    """Write each mask to a PNG file in a folder, with the name of its image."""
    import numpy as np

    from ..data import encode_mask

    names = [Path(item).stem for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            "files must have different names, which those of their masks are; these occur more "
            f"than once:\n{first_ten(twice)}"
        )
    folder.mkdir(exist_ok=True)
    for name, mask in zip(names, masks, strict=True):
        if np.ndim(mask):
            content = encode_mask(mask)
            write_output("output", folder / f"{name}.png", partial(_write, content))


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
