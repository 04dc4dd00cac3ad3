"""The command that writes features of items to a file, or to a folder of files in pieces."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from typer import Argument, Option

from .._support.files import check_folder
from .._support.paths import check_source
from .._support.validation import check_int, require
from .options import (
    Backbone,
    Device,
    Engine,
    ImageSize,
    Jobs,
    MaxLength,
    Pooling,
    Precision,
    TextColumn,
    Weights,
    columns_of,
    weights_of,
)
from .output import as_utf8, check_output, make_folder, print_line, write_output
from .parts import Parts
from .pieces import TABLES, read_pieces, read_whole
from .sources import Columns

SUFFIXES = (".parquet", ".npz")

# Rows of a file of a folder.  1000 features of as many rows are 40 MB.
ROWS = 10_000

# Options that change features; the fingerprint of the network covers others
OPTIONS = ("backbone", "pooling", "precision", "engine", "batch_size")


def extract(
    source: Annotated[
        Path,
        Argument(
            metavar="FOLDER_OR_TABLE",
            help="A folder of images or texts, or a CSV or Parquet file.",
        ),
    ],
    *,
    output: Annotated[
        Path,
        Option(
            "--output",
            "-o",
            help="A .parquet or .npz file, replaced if it exists; or a folder for Parquet files, "
            "which are written one after the other. The same command continues such a folder.",
        ),
    ],
    rows_per_file: Annotated[
        int | None,
        Option(help=f"Rows of each file of a folder, which are in memory; default: {ROWS}."),
    ] = None,
    path_column: Annotated[str, Option(help="The column of paths in a table.")] = "path",
    text_column: TextColumn = None,
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
    layer: Annotated[
        list[str] | None, Option(help="A stage, last, logits or probabilities; can be repeated.")
    ] = None,
    pooling: Pooling = "auto",
    batch_norm: Annotated[
        str, Option(help="stored, data (statistics of these images), or both side by side.")
    ] = "stored",
    image_size: ImageSize = None,
    max_length: MaxLength = None,
    cache: Annotated[Path | None, Option(help="Folder of cached features.")] = None,
    precision: Precision = "float32",
    engine: Engine = "auto",
    batch_size: Annotated[
        int | None, Option(help="Items in a forward pass; default: depends on the device.")
    ] = None,
    device: Device = "auto",
    n_jobs: Jobs = None,
    decode_error: Annotated[
        str, Option(help="raise, or give unreadable images a row of NaN: warn or ignore.")
    ] = "raise",
) -> None:
    """Write the features of images or texts, with their paths and labels, to a file or a folder."""
    in_parts = output.is_dir() or not output.suffix
    _check(output, in_parts, rows_per_file, batch_norm)
    check_source(source, TABLES)
    require("pandas", "cli")
    require("pyarrow", "cli")
    from ..estimators import PretrainedFeatureExtractor

    extractor = PretrainedFeatureExtractor(
        backbone,
        weights=weights_of(weights),
        layer=layer or "last",
        pooling=pooling,
        image_size=image_size,
        max_length=max_length,
        batch_norm=batch_norm,
        cache=cache,
        precision=precision,
        engine=engine,
        batch_size="auto" if batch_size is None else batch_size,
        device=device,
        n_jobs=n_jobs,
        decode_error=decode_error,
    )
    columns = columns_of(path_column, text_column)
    if in_parts:
        n_rows = ROWS if rows_per_file is None else rows_per_file
        _write_parts(extractor, source, columns, output, n_rows)
    else:
        _write_file(extractor, source, columns, output)


def _check(output: Path, in_parts: bool, rows_per_file: int | None, batch_norm: str) -> None:
    """Raise an error if features cannot be written as options ask."""
    if not in_parts and (output.suffix not in SUFFIXES or not output.parent.is_dir()):
        raise ValueError(
            f"output must be a {' or '.join(SUFFIXES)} file in an existing folder, or a folder; "
            f"got {str(output)!r}."
        )
    if not in_parts:
        if rows_per_file is not None:
            raise ValueError(
                f"rows_per_file must be left out unless output is a folder; got {rows_per_file}."
            )
        check_output("output", output)
        return
    if rows_per_file is not None:
        check_int("rows_per_file", rows_per_file, 1)
    if batch_norm != "stored":
        raise ValueError(
            f"batch_norm must be stored if output is a folder, because its files are written "
            f"before the statistics of all images are known; got {batch_norm!r}. Write a "
            f"{' or '.join(SUFFIXES)} file."
        )
    check_folder("output", output)
    make_folder("output", output)
    check_output("output", output / "part")


def _write_file(extractor: Any, source: Path, columns: Columns, output: Path) -> None:
    """Write the features of all items to one file."""
    if source.suffix.lower() == ".parquet" and not source.is_dir():
        table = read_whole(source, columns)
    else:
        table = columns.read(source)
    items = table[table.columns[0]]
    names = extractor.fit(items).get_feature_names_out()
    taken = ("features", "feature_names", "file") if output.suffix == ".npz" else names
    _check_columns(output, table, taken)
    features = extractor.transform(items)
    write_output("output", output, _writer(output, table, features, names))
    print_line(f"{output}: {len(features)} rows of {features.shape[1]} features")


def _write_parts(extractor: Any, source: Path, columns: Columns, output: Path, n_rows: int) -> None:
    """Write the features of a table to a folder, in pieces of some rows."""
    pieces = read_pieces(source, columns, n_rows)
    first = next(pieces)
    names = extractor.fit(first.items).get_feature_names_out().tolist()
    _check_columns(output, first.others.column_names, names)
    parameters = extractor.get_params(deep=False)
    layers = parameters["layer"]
    about = {name: parameters[name] for name in OPTIONS} | {
        "rows_per_file": n_rows,
        "layer": layers if isinstance(layers, str) else ", ".join(layers),
        "fingerprint": extractor.backbone_.fingerprint(),
    }
    parts = Parts(output, source.name, about)
    n_files = n_items = 0
    for piece in chain([first], pieces):
        if not parts.has(n_files, piece):
            path = parts.write(n_files, piece, extractor.transform(piece.items), names)
            print_line(f"{path}: {len(piece.items)} rows")
        n_files += 1
        n_items += len(piece.items)
    parts.check_number(n_files)
    print_line(f"{output}: {n_items} rows of {len(names)} features in {n_files} files")


def _check_columns(output: Path, columns: Sequence[str], taken: Sequence[str]) -> None:
    """Raise an error if a table has a column whose name the output needs."""
    for column in columns:
        if column in taken:
            raise ValueError(
                f"a column must not be called {column!r}, which {output.name} needs; rename it."
            )


def _writer(
    output: Path, table: Any, features: Any, names: Sequence[str]
) -> Callable[[BinaryIO], object]:
    """Return a function that writes features in the format that the suffix names."""
    import numpy as np
    import pandas as pd

    if output.suffix == ".npz":
        # Text is stored as text, not as objects, so that loading the file cannot run code.
        columns = {name: table[name].to_numpy() for name in table}
        columns = {k: v.astype(str) if v.dtype == object else v for k, v in columns.items()}
        columns |= {"features": features, "feature_names": np.array(names, str)}
        return lambda file: np.savez(file, **columns)
    frame = pd.DataFrame(features, columns=list(names))
    # Text in a parquet file is UTF-8, so bytes of names that are not are escaped.
    write: Callable[[BinaryIO], object] = pd.concat([table.map(as_utf8), frame], axis=1).to_parquet
    return write
