"""The commands that use models: predict, evaluate, adapt and export."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from .._support.files import check_folder
from .._support.paths import GRAPH_SUFFIXES, check_model, check_new_model
from .._support.validation import require
from .image_kinds import PixelMasks, write_masks
from .kind import Kind
from .kinds import kind_of, read_known
from .messages import name_rows
from .options import (
    DecodeError,
    Jobs,
    LabelColumns,
    MaskFolder,
    Model,
    NumberColumns,
    PathColumn,
    Plots,
    Source,
    TextColumn,
    columns_of,
)
from .output import (
    as_objects,
    check_output,
    print_line,
    print_table,
    safe_path,
    save_output,
    write_csv,
)
from .plots import check_plots
from .reports import print_skipped, shown
from .sources import names_below

Files = Annotated[
    list[Path],
    Argument(metavar="FILES...", help="Images, folders of images or texts, or CSV files."),
]


def predict(
    model: Model,
    files: Files,
    *,
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            help="A .csv file, replaced if it exists, - for CSV on stdout, or a folder for masks.",
        ),
    ] = None,
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
) -> None:
    """Predict labels with their probabilities, numbers, points or masks."""
    _check_predictions(output)
    check_model(model)
    columns = columns_of(path_column, text_column)
    columns.check_files(files)
    require("pandas", "cli")
    found = [(each, columns.items(each)) for each in files]
    items = [item for _, part in found for item in part]
    loaded, kind = _loaded(model, n_jobs, decode_error)
    is_folder = output is not None and _is_folder(output)
    if is_folder and not isinstance(kind, PixelMasks):
        raise ValueError(
            f"output must be a .csv file, or -, because {str(model)!r} predicts no masks; got "
            f"{str(output)!r}."
        )
    if output is not None and is_folder:
        names = [name for each, part in found for name in names_below(each, part)]
        print_line(f"{output}: {write_masks(output, loaded, items, names)} masks")
        return
    predicted = kind.predict(loaded, items)
    name = "path" if text_column is None else "text"
    _print_predictions(output, name, items, kind.columns(loaded, predicted))


def evaluate(
    model: Model,
    source: Source,
    *,
    label_column: LabelColumns = None,
    number_column: NumberColumns = None,
    masks: MaskFolder = None,
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
    plots: Plots = None,
) -> None:
    """Compare predictions with labels, numbers, points or masks."""
    check_plots(plots)
    check_model(model)
    columns = columns_of(path_column, text_column, label_column, number_column, masks)
    columns.check(source)
    loaded, kind = _loaded(model, n_jobs, decode_error)
    known = kind.known_by(loaded)
    columns = columns.naming(kind.names(loaded))
    items, table = read_known("source", source, columns, kind, known)
    rows = kind.rows(items, table)
    name_rows(X=items, y=rows)
    table = kind.read(table)
    predicted = kind.predict(loaded, items)
    read = kind.find_read(predicted)
    print_skipped([item for item, is_read in zip(items, read, strict=True) if not is_read])
    if not read.any():
        raise ValueError(
            f"source must contain images that can be read; {str(source)!r} has no such image."
        )
    name_rows(y=[row for row, is_read in zip(rows, read, strict=True) if is_read])
    kind.report(loaded, table, predicted, read, columns.things)
    if plots is not None:
        kind.plot(plots, loaded, items, kind.targets(table), predicted)


def adapt(
    model: Model,
    files: Files,
    *,
    output: Annotated[
        Path, Option("--output", "-o", help="File for the new model; replaced if it exists.")
    ],
    stages: Annotated[
        str, Option(help="tail: the stages that trained; all: the whole network.")
    ] = "tail",
    path_column: PathColumn = "path",
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
) -> None:
    """Write a copy of a model with the batch-norm statistics of images of another domain.

    No labels are needed. It helps most if the model was fitted with --freeze-bn own.
    """
    check_output("output", check_new_model(output, "output"))
    check_model(model)
    columns = columns_of(path_column)
    columns.check_files(files)
    from ..persistence import save

    items = [item for each in files for item in columns.items(each)]
    loaded, _ = _loaded(model, n_jobs, decode_error)
    save_output(output, partial(save, loaded.adapt(items, stages)))
    print_line(f"model: {output}")


def export(
    model: Model,
    *,
    output: Annotated[
        Path, Option("--output", "-o", help="A .onnx or .pt2 file; replaced if it exists.")
    ],
) -> None:
    """Write a model as a graph of ONNX or torch.export, which runs without this package."""
    check_model(model)
    if output.suffix.lower() not in GRAPH_SUFFIXES:
        raise ValueError(f"output must be a .onnx or .pt2 file; got {str(output)!r}.")
    check_output("output", output)
    from ..persistence import export as write_graph
    from ..persistence import load

    write_graph(load(model), output)
    print_line(f"{output}: {output.stat().st_size:,} bytes")


def _is_folder(output: Path) -> bool:
    return str(output) != "-" and not output.suffix


def _check_predictions(output: Path | None) -> None:
    """Raise an error if predictions cannot be written to ``output``."""
    if output is None or str(output) == "-":
        return
    is_csv = output.suffix.lower() == ".csv"
    if not (is_csv or _is_folder(output)) or not output.parent.is_dir():
        raise ValueError(
            "output must be a .csv file in an existing folder, a folder for masks, or -; got "
            f"{str(output)!r}."
        )
    if is_csv:
        check_output("output", output)
    else:
        check_folder("output", output)


def _print_predictions(
    output: Path | None, name: str, items: list[str], columns: dict[str, Any]
) -> None:
    """Write a table of predictions to a file, or print it."""
    import pandas as pd

    table = pd.DataFrame({name: as_objects(items), **columns})
    if output is None:
        print_table(list(table), [[shown(cell) for cell in row] for row in table.to_numpy()])
        return
    if name == "path":
        table["path"] = as_objects(map(safe_path, items))
    write_csv(table, output)


def _loaded(path: Path, n_jobs: int | None, decode_error: str) -> tuple[Any, Kind]:
    """Load a model, set its parameters for reading images, and return its kind, too."""
    from ..persistence import load

    model = load(path)
    kind = kind_of(model, str(path))
    return model.set_params(n_jobs=n_jobs, decode_error=decode_error), kind
