"""Features of a table, written to a folder of Parquet files that is continued after a kill.

Each file has the features of one piece of the table, and gets its name when it is whole.  Its
metadata name its rows, the network and the options.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._support.files import find_files
from .._support.validation import first_ten
from .output import as_utf8, write_output
from .pieces import Piece

# The key of the metadata in the schema of a file
KEY = b"sktransfer"
ADVICE = "Choose another folder, or delete the file."
NAME = re.compile(r"part-(\d{5,})\.parquet")


class Parts:
    """The Parquet files in a folder, one for each piece of a table.

    Parameters
    ----------
    folder : Path
    source : str
        The name of the table.
    about : mapping of str to (str or int)
        The origin of the features: the same for all files, and another one if the features differ.

    Raises
    ------
    ValueError
        If a file has features of another origin, or was not written by this class.
    """

    def __init__(self, folder: Path, source: str, about: Mapping[str, Any]):
        self._folder = folder
        self._source = source
        self._about = dict(about)
        self._digests = {
            path: self._check(path, _metadata(path)) for path in sorted(find_files(folder, NAME))
        }

    def has(self, number: int, piece: Piece) -> bool:
        """Return True if the file of a piece is there.

        Raises
        ------
        ValueError
            If it has other rows.
        """
        path = self._path(number)
        if path not in self._digests:
            return False
        if self._digests[path] != piece.digest():
            raise ValueError(
                f"{str(path)!r} must have the features of the rows of the source in this place; it "
                f"has those of other rows. {ADVICE}"
            )
        return True

    def write(self, number: int, piece: Piece, features: Any, names: list[str]) -> Path:
        """Write the features of a piece, and return the path of the file."""
        import numpy as np
        import pyarrow as pa
        from pyarrow import parquet

        table = pa.table({piece.name: list(map(as_utf8, piece.items))})
        for name in piece.others.column_names:
            table = table.append_column(piece.others.field(name), piece.others[name])
        for name, column in zip(names, features.T, strict=True):
            table = table.append_column(name, pa.array(np.ascontiguousarray(column)))
        about = self._about | {"source": self._source, "rows": piece.digest()}
        table = table.replace_schema_metadata({KEY: json.dumps(about)})
        path = self._path(number)
        write_output("output", path, lambda file: parquet.write_table(table, file))
        return path

    def check_number(self, number: int) -> None:
        """Raise an error if there are files after the first ``number`` ones."""
        last = {self._path(each) for each in range(number)}
        others = [str(path) for path in self._digests if path not in last]
        if others:
            raise ValueError(
                f"output must have one file for each of the {number} pieces of the source; these "
                f"have features of other rows:\n{first_ten(others)}\n{ADVICE}"
            )

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:05}.parquet"

    def _check(self, path: Path, found: Mapping[str, Any]) -> str:
        """Return the digest of the rows of a file after a check of its origin."""
        for name, value in self._about.items():
            if found.get(name) != value:
                raise ValueError(
                    f"{str(path)!r} must have features with {name}={value!r}; it has those with "
                    f"{name}={found.get(name)!r}. {ADVICE}"
                )
        return str(found.get("rows"))


def _metadata(path: Path) -> dict[str, Any]:
    """Return the origin that a Parquet file names."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        found = json.loads((parquet.read_schema(path).metadata or {})[KEY])
        return dict(found)
    except (pa.ArrowInvalid, KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} must be a file that `sktransfer extract` wrote; it is not, or it is "
            f"damaged. {ADVICE}"
        ) from error
