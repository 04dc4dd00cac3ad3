"""Print results, and write tables that programs and spreadsheets read.

Names of files and classes may contain any character.  They are printed as plain text: a name never
controls the terminal, and never begins a row or a column of its own.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, BinaryIO

from .._support.files import check_place, explaining, open_whole
from .._support.text import printable
from .._support.validation import require

# Parents of a folder for a result that cannot be written to its place: that of the system, and one
# in memory on Linux, because both places may be on the same full disk.
PLACES = (None, "/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it

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


def as_utf8(cell: Any) -> Any:
    """Return a cell of a table; a text that is not UTF-8 is escaped."""
    try:
        str(cell).encode()
    except UnicodeEncodeError:
        return printable(cell)
    return cell


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
        write_output("output", output, lambda file: file.write(content))


def check_output(name: str, output: Path) -> None:
    """Raise an OSError if the file of an option cannot be written, before long computations."""
    with explaining(f"{name} must be a file that can be written", output):
        check_place(output.resolve())


def make_folder(name: str, folder: Path) -> None:
    """Make the folder of an option, which may exist."""
    with explaining(f"{name} must be a folder that can be written", folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_output(name: str, output: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write the file of an option atomically, through links; see :func:`save_output`."""

    def write_to(path: Path) -> None:
        with (
            explaining(f"{name} must be a file that can be written", path),
            open_whole(path.resolve()) as file,
        ):
            write(file)

    save_output(output, write_to)


def save_output(output: Path, write: Callable[[Path], object]) -> None:
    """Write a file, or keep the result elsewhere.

    Parameters
    ----------
    output : Path
    write : callable
        Writes the result to a path.

    Raises
    ------
    OSError
        If the file cannot be written.  The message names a file in another folder that has the
        result, which may have taken hours to compute.
    """
    try:
        write(output)
    except OSError as error:
        raise OSError(f"{error}. {_keep_elsewhere(output.name, write)}") from error


def _keep_elsewhere(name: str, write: Callable[[Path], object]) -> str:
    """Write a file to a folder for temporary files, and return a sentence with its path."""
    for parent in PLACES:
        with suppress(OSError), ExitStack() as undo:
            folder = Path(mkdtemp(prefix="sktransfer-", dir=parent))
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            write(folder / name)
            undo.pop_all()
            return f"The result was written to {str(folder / name)!r} instead."
    return "The result could not be written to a folder for temporary files either."


def save_figure(name: str, output: Path, figure: Any, **options: Any) -> None:
    """Write a figure of matplotlib to the file of an option; without a suffix, ".png" is added."""
    output = output if output.suffix else output.with_suffix(".png")
    kind = output.suffix.removeprefix(".")
    write_output(name, output, lambda file: figure.savefig(file, format=kind, **options))
