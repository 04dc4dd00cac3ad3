"""Tables of items, read in pieces: one piece is in memory, whatever the number of rows."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._support.validation import first_ten, require
from .output import as_utf8
from .sources import Columns

TABLES = (".csv", ".parquet")

# Bytes of a CSV file that are parsed at a time.  A row must fit into them.
BLOCK_BYTES = 1 << 22

# Bytes of a column of a Parquet file that are read at a time, and the rows that are decoded
BUFFER_BYTES, BATCH_ROWS = 1 << 18, 1 << 12


@dataclass(frozen=True)
class Piece:
    """Neighbouring rows of a table.

    Parameters
    ----------
    name : {"path", "text"}
        The name of the column of items.
    items : list of str
    others : pyarrow.Table
        The other columns.
    """

    name: str
    items: list[str]
    others: Any

    def digest(self) -> str:
        """Return a hash of the rows."""
        from .._support.hashing import hash_parts

        columns = [repr([name, self.others[name].to_pylist()]) for name in self.others.column_names]
        return hash_parts("rows", *self.items, *columns).hex()


def read_pieces(source: Path, columns: Columns, n_rows: int) -> Iterator[Piece]:
    """Yield the rows of a folder, or of a CSV or Parquet file, in pieces.

    Parameters
    ----------
    source : Path
        A folder is listed as a whole; a file is read in pieces.
    columns : Columns
        Paths in a file are relative to its folder.
    n_rows : int
        The number of rows of each piece; the last one may have less.

    Raises
    ------
    ValueError
        If the source is something else, is empty or lacks the column of items, or if a column has
        values of several types.
    """
    require("pyarrow", "cli")
    name, column = ("path", columns.path) if columns.text is None else ("text", columns.text)
    if source.suffix.lower() in TABLES and not source.is_dir():
        batches, top = _read_file(source, column, name), source.parent
    else:
        batches, top, column = _list_folder(source, columns), Path(), name
    start = 0
    for rows in _regroup(batches, n_rows):
        if start == 0:
            _check_names(source, rows.column_names, column, name)
        items = _as_items(source, rows[column], name, start)
        if name == "path":
            items = [str(top / item) for item in items]
        yield Piece(name, items, rows.drop_columns([column]))
        start += len(items)
    if start == 0:
        raise ValueError(f"source must hold at least one row; {str(source)!r} holds none.")


def read_whole(source: Path, columns: Columns) -> Any:
    """Return all rows of a CSV or Parquet file as a DataFrame, whose first column has the items."""
    import pandas as pd

    (piece,) = read_pieces(source, columns, sys.maxsize)
    items = pd.DataFrame({piece.name: piece.items}, dtype=object)
    return pd.concat([items, piece.others.to_pandas()], axis=1)


def _list_folder(source: Path, columns: Columns) -> Iterator[Any]:
    """Yield the items of a folder with their labels; paths are bytes."""
    import pyarrow as pa

    table = columns.read(source)
    items, *others = table.columns
    encode = os.fsencode if items == "path" else str
    found = {items: list(map(encode, table[items]))}
    found |= {name: list(map(as_utf8, table[name])) for name in others}
    yield from pa.table(found).to_batches()


def _read_file(source: Path, column: str, name: str) -> Iterator[Any]:
    """Yield the rows of a CSV or Parquet file in batches of any size."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    kind = pa.binary() if name == "path" else pa.string()  # names of files need not be UTF-8
    try:
        if source.suffix.lower() == ".csv":
            with csv.open_csv(
                source,
                read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(column_types={column: kind}),
            ) as reader:
                yield from reader
        else:
            with parquet.ParquetFile(source, buffer_size=BUFFER_BYTES) as file:
                yield from file.iter_batches(batch_size=BATCH_ROWS, use_threads=False)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{str(source)!r} must be a whole table whose columns have values of one type each: "
            f"{error}. The types of a CSV file are those of its first {BLOCK_BYTES >> 20} MB; a "
            "Parquet file states them."
        ) from error


def _regroup(batches: Iterator[Any], n_rows: int) -> Iterator[Any]:
    """Yield tables of ``n_rows`` rows, and a last one with the rest."""
    import pyarrow as pa

    held: list[Any] = []
    n_held = 0
    for batch in batches:
        held.append(batch)
        n_held += batch.num_rows
        while n_held >= n_rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, n_rows)
            held = table.slice(n_rows).to_batches()
            n_held -= n_rows
    if n_held:
        yield pa.Table.from_batches(held)


def _check_names(source: Path, names: list[str], column: str, name: str) -> None:
    """Raise an error unless a table has the column of items, and different names."""
    from ..data import check_column

    twice = [each for each, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{str(source)!r} must have columns with different names; several are called "
            f"{', '.join(map(repr, twice))}."
        )
    check_column(source, names, column, name)


def _as_items(source: Path, column: Any, name: str, start: int) -> list[str]:
    """Return a column of items as strings; row ``start`` of the source is its first one."""
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    if not (is_text or (name == "path" and types.is_binary(kind))):
        raise ValueError(
            f"{str(source)!r} must have a {name} in each row of its column of {name}s; they are "
            f"of the type {kind}."
        )
    cells = column.to_pylist()
    # an empty text is a text
    missing = [at for at, cell in enumerate(cells) if cell is None or (name == "path" and not cell)]
    if missing:
        rows = [f"row {start + at + 1}" for at in missing]
        raise ValueError(
            f"{str(source)!r} must hold a {name} in each row; {len(missing)} are missing, in\n"
            f"{first_ten(rows)}"
        )
    return [os.fsdecode(cell) if name == "path" else cell for cell in cells]
