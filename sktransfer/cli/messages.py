"""Messages of the library in the words of the command line."""

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from .._support.text import short
from .output import printable_lines

# Errors about wrong input; other errors are bugs, and are shown as such.
WRONG_INPUT = (ValueError, OSError, ModuleNotFoundError)

# Parameters of functions that a command calls with the value of another argument or option: the
# names of those that may be meant.
OTHERS = {
    "dir": ("source", "validation", "folders", "images"),
    "source": ("source", "validation", "folders"),
    "path": ("model", "source"),
    "cache": ("cache", "folder"),
    "validation_fraction": ("validation",),
    "X": ("source", "files"),
    "y": ("source",),
    "masks": ("masks", "validation_masks"),
}

# The names of the rows of parameters such as X and y, of the command that runs
_rows: ContextVar[dict[str, Sequence[str]]] = ContextVar("_rows")
# The most characters of the name of a row
MOST = 200
ROW = re.compile(r"(?<![\w./\-'])(X_val|y_val|X|y)\[(\d+)((?:, [^\]]*)?)\]")

# Phrases about Python, and what they are on the command line.
PHRASES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"X_val and y_val", "--validation FOLDER_OR_CSV"),
        (r"set early_stopping=False", "leave out --validation"),
        (r"early_stopping=False", "no --validation"),
        (r"pass it as weights= of an estimator", "pass it as --weights of `sktransfer fit`"),
        (r"(?<=\.pt file, or )None\b", "none"),
        (r"(?<='auto', )None\b", "none"),
        (r", or a callable that [^;]*(?=; got )", ""),
        (r"\b(class_weight|task_weights)\[('[^']*'|\d+)\](?= must\b)", r"\1 of \2"),
        (r"such as \[\(0, 1\)\]", "such as 0,1"),
        (
            r"\Aa key of preset must be one of [^;]*; got 'crop'\.",
            "crop must be left out for a network whose items are not images.",
        ),
        (
            r"\bIncrease max_epochs, lower batch_size, or use lr_schedule='constant'\.",
            "Increase --max-epochs, or lower --batch-size.",
        ),
        (
            r"\bIncrease freeze_epochs, lower batch_size, or use lr_schedule='constant'\.",
            "Lower --batch-size.",
        ),
        (r" In a search, the next fit begins: press Ctrl-C again to stop the program\.", ""),
        (r", which load reads, or joblib\.dump for a pickle", ""),
        (r"ignore_label=None\b", "--ignore-label none"),
        (r"ignore_label=\[([\d, ]+)\]", r"--ignore-label \1"),
        (r"offline=True, or (?=SKTRANSFER_OFFLINE)", ""),
        (r"list_backbones\(pattern=('[^']*')\)", r"`sktransfer backbones \1`"),
        (r"list_backbones\('([^']*)'\)", r"`sktransfer backbones --provider \1`"),
        # the position before the path of an image, or before a text
        (r"\b(?:X|y|X_val|y_val)\[\d+\]: (?=['\"])", ""),
        (r"\A(\[Errno \d+\] )?path(?= must be a file that can be written)", r"\1output"),
        (r", or cache=None(?=\.)", ", or leave out --cache"),
        (
            r"\bset a limit: cache=ActivationCache\(dir, max_bytes=\.\.\.\)",
            "delete rows by `sktransfer cache prune`",
        ),
        (r"\baugment must be None\b", "augment must be none"),
        (r"\b(image_size|max_length) must be None\b", r"\1 must be left out"),
        (r"\bwith unfreeze=1 or more\b", "with --unfreeze 1 of `sktransfer fit`"),
        (r"(?<=\bTo predict numbers), use FineTuneRegressor\.", ", use --task regression."),
        (r"(?<=\bTo predict labels), use FineTuneClassifier\.", ", use --task classification."),
        (r" ?\bTo (?:keep|load) [^.=]*\b(?:classes|extensions)=[^.]*\.", ""),  # no such options
    )
]

# The hint on paths of items, and what it is for those that come from a CSV file
CWD_HINT = re.compile(r"(must hold paths of existing files;(?s:.*))Relative paths start .*\.\Z")
CSV_HINT = r"\1Relative paths in a CSV file start from its folder."


class InputError(Exception):
    """The input of a command is wrong; the message is the one to print."""


class Command(TyperCommand):
    """A command whose errors and warnings name its options."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""

        def translate(message: object) -> str:
            named = with_rows(str(message), _rows.get())
            return with_options(named, *_spellings(self.params, ctx.params))

        _rows.set({})
        try:
            with _printed_warnings(translate):
                return super().invoke(ctx)
        except WRONG_INPUT as error:
            raise InputError(translate(error)) from error


@contextmanager
def _printed_warnings(translate: Callable[[object], str]) -> Iterator[None]:
    """Print warnings without the line of code that issued them; a context manager."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(
            f"warning: {printable_lines(translate(message))}", file=sys.stderr
        )
        yield


def _spellings(
    parameters: Any, values: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the spelling of each parameter on the command line, and the paths that it has."""
    spelled, paths = {}, {}
    for parameter in parameters:
        is_argument = parameter.param_type_name == "argument"
        spelled[parameter.name] = (
            parameter.metavar or parameter.name.upper()
            if is_argument
            else max(parameter.opts, key=len)
        )
        value = values.get(parameter.name)
        several = value if isinstance(value, (list, tuple)) else [value]
        paths[parameter.name] = [str(each) for each in several if isinstance(each, (str, Path))]
    return spelled, paths


def name_rows(**names: Sequence[str]) -> None:
    """Set the names of the rows of X, y, X_val or y_val in messages of the command that runs."""
    _rows.get().update(names)


def with_rows(message: str, names: Mapping[str, Sequence[str]]) -> str:
    """Replace rows such as ``y[3]`` in a message by their names.

    Parameters
    ----------
    message : str
    names : mapping of str to sequence of str
        The names of the rows of each parameter.
    """

    def name(found: re.Match[str]) -> str:
        rows, at = names.get(found[1], ()), int(found[2])
        if at >= len(rows):
            return found[0]
        # A message may have the name already, as that of a path, or a part of it.
        is_there = message.startswith(f": {repr(rows[at])[:60]}", found.end())
        return found[0] if is_there else f"{short(rows[at], MOST)}{found[3]}"

    return ROW.sub(name, message)


def with_options(message: str, spelled: Mapping[str, str], paths: Mapping[str, list[str]]) -> str:
    """Replace names of parameters in a message by those of arguments and options.

    Parameters
    ----------
    message : str
    spelled : mapping of str to str
        The spelling of each parameter on the command line, by its name in Python.
    paths : mapping of str to list of str
        The paths among the values of the parameters.  They show which argument is meant if several
        may be.
    """
    for pattern, replacement in PHRASES:
        message = pattern.sub(replacement, message)
    if any(path.lower().endswith(".csv") for each in paths.values() for path in each):
        message = CWD_HINT.sub(CSV_HINT, message)
    names = dict(spelled)
    for name, others in OTHERS.items():
        known = [other for other in others if other in spelled]
        # The path that the message names first decides which of them is meant.
        places = {
            message.index(repr(path)): other
            for other in known
            for path in paths[other]
            if repr(path) in message
        }
        if known and (name not in spelled or places):
            names[name] = spelled[places[min(places)] if places else known[0]]
    listed = "|".join(map(re.escape, names))

    def spell(found: re.Match[str]) -> str:
        value = found[2] or found[3]
        return f"{names[found[1]]} {value}" if value else names[found[1]]

    # A name stands before "=", with a value in quotes or not, or before "must".
    message = re.sub(
        rf"(?<![\w.'/\-])({listed})(?:=(?:'([^']*)'|(\w[\w./]*))?|(?= must\b))", spell, message
    )
    return re.sub(rf"\A({listed})(?= of\b)", lambda found: names[found[1]], message)
