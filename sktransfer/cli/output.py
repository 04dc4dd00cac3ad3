"""Print results, and write tables that programs and spreadsheets read.

Names of files and classes may contain any character.  They are printed as plain text: a name never
controls the terminal, and never begins a row or a column of its own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .._support.text import printable
from .._support.validation import require

# A spreadsheet computes a cell that begins with one of these.
FORMULA = re.compile(r"[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", re.IGNORECASE)


def print_line(text: object, *, error: bool = False) -> None:
    """Print a text in one line, on stdout or stderr."""
    print(printable(text), file=sys.stderr if error else sys.stdout)


def printable_lines(text: object) -> str:
    """Return a message of several lines, with other characters escaped that cannot be printed."""
    return "\n".join(map(printable, str(text).split("\n")))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, tab-separated in a pipe."""
    lines = [[printable(cell) for cell in row] for row in (columns, *rows)]
    if not sys.stdout.isatty():
        print(*("\t".join(line) for line in lines), sep="\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Texts, because rich reads brackets in strings as markup.
    table = Table(box=box.SIMPLE_HEAD)
    for cell in lines[0]:
        table.add_column(Text(cell))
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    Console().print(table)


def safe_path(path: str) -> str:
    """Return another form of a relative path that a spreadsheet would compute."""
    return f"./{path}" if FORMULA.match(path) else path


def safe_name(name: Any) -> Any:
    """Return a name with a quote before it if a spreadsheet would compute it."""
    is_formula = isinstance(name, str) and FORMULA.match(name) and not NUMBER.fullmatch(name)
    return f"'{name}" if is_formula else name


def as_objects(values: Iterable[Any]) -> Any:
    """Return a column of objects: one of text cannot contain names that are not UTF-8."""
    return require("pandas", "cli").Series(list(values), dtype=object)


def write_csv(table: Any, output: Path) -> None:
    """Write a DataFrame to a CSV file, or to stdout if the path is "-".

    Bytes of names that are not UTF-8 are written as they are.
    """
    names = table.select_dtypes(exclude="number")
    safe = {name: as_objects(map(safe_name, names[name])) for name in names}
    content = table.assign(**safe).to_csv(index=False).encode(errors="surrogateescape")
    if str(output) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    else:
        output.write_bytes(content)
