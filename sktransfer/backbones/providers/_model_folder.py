"""Folders of networks: found by path or by name, and read without leaving them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..._support.text import printable
from ..._support.validation import did_you_mean

# The environment variable with a directory of folders that are found by name.
VARIABLE = "SKTRANSFER_MODELS"

# The file that makes a folder one of a network.
MARK = "config.json"

# The model card, and the number of bytes at its beginning that may state the licence.
CARD = "README.md"
CARD_START = 2**16

# The maximum size of a file, in bytes; only weights are larger.
MOST_JSON = 2**24
MOST_TOKENIZER = 2**26

REMEDY = (
    "Names are not downloaded. On a connected machine, `sktransfer fetch transformers/NAME --to "
    f"DIR` writes such a folder; {VARIABLE}=DIR finds it by its name"
)


class ModelFolder:
    """The files of a network in a folder.

    Parameters
    ----------
    root : Path
    label : str
        The address of the network, for messages.
    top : Path or None, default=None
        The folder that its files must not leave; None stands for ``root``.
    """

    def __init__(self, root: Path, label: str, top: Path | None = None):
        self.root = root
        self.label = label
        self.top = (top or root).resolve()

    def __contains__(self, name: str) -> bool:
        return (self.root / name).is_file()

    def inner(self, path: str) -> ModelFolder:
        """Return a folder inside this one; "" stands for itself."""
        if not path:
            return self
        self.check_plain(path)
        return ModelFolder(self.root / path, self.label, self.top)

    def check_plain(self, name: object) -> None:
        """Raise an error unless ``name`` is the plain name of something in this folder."""
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            raise ValueError(f"files of {self.label} must be in its folder; it names {name!r}.")

    def path(self, name: str) -> Path:
        """Return the path of a file.

        Raises
        ------
        ValueError
            If it is a link to a place outside the folder.  The cache of the hub is one folder.
        """
        path = self.root / name
        found, top = path.resolve(), self.top
        blobs = top.parent.parent / "blobs" if top.parent.name == "snapshots" else top
        if not any(found.is_relative_to(place) for place in (top, blobs)):
            raise ValueError(
                f"files of {self.label} must be in its folder; {printable(name)} is a link to "
                f"{str(found)!r}. Copy that file into the folder if you trust it."
            )
        return path

    def read(self, name: str, most_bytes: int = MOST_TOKENIZER) -> bytes:
        """Return the content of a file.

        Raises
        ------
        ValueError
            If the file is too large, or a link to a place outside the folder.
        OSError
            If it cannot be read.
        """
        path = self.path(name)
        size = path.stat().st_size
        if size > most_bytes:
            raise ValueError(
                f"{name} of {self.label} must have at most {most_bytes} bytes; it has {size}."
            )
        with path.open("rb") as file:
            return file.read(most_bytes)

    def licence(self) -> str:
        """Return the licence that the model card states between two lines ``---``."""
        card = ModelFolder(self.top, self.label).path(CARD)
        if not card.is_file():
            return "not stated"
        with card.open("rb") as file:
            start = file.read(CARD_START).decode(errors="replace")
        metadata = re.match(r"---\s*\n(.*?)^---", start, re.DOTALL | re.MULTILINE)
        stated = metadata and re.search(r"^license:[ \t]*(\S.*)$", metadata[1], re.MULTILINE)
        return printable(stated[1].strip(" \t\r'\"")) if stated else "not stated"

    def json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file; it is empty if there is no such file.

        Raises
        ------
        ValueError
            If the file contains something else.
        """
        found = self.values(name, {})
        if not isinstance(found, dict):
            raise ValueError(  # noqa: TRY004 - the content of a file is a value
                f"{name} of {self.label} must contain an object of JSON; it contains a "
                f"{type(found).__name__}."
            )
        return found

    def values(self, name: str, default: Any) -> Any:
        """Return the values in a JSON file, or ``default`` if there is no such file."""
        if name not in self:
            return default
        try:
            return json.loads(self.read(name, MOST_JSON))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(
                f"{name} of {self.label} must contain JSON; it does not: {error}. Use another copy "
                "of the file."
            ) from error


def find(name: str, provider: str) -> ModelFolder:
    """Return the folder with a path, or with a name below the directory of SKTRANSFER_MODELS.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    label = f"{provider}/{name}"
    places = [Path(name).expanduser(), *(top / name for top in models())]
    for place in places:
        if (place / MARK).is_file():
            return ModelFolder(place, label)
    if not places[0].is_dir() and places[0].exists():
        parent = f"'{provider}/{places[0].parent}'"
        raise FileNotFoundError(
            f"{label} must be a folder; {str(places[0])!r} is a file. Pass its folder: {parent}."
        )
    found = next((place for place in places if place.is_dir()), None)
    if found is not None:
        inside = ", ".join(sorted(printable(path.name) for path in found.iterdir())[:10])
        raise FileNotFoundError(
            f"{label} must be a folder with {MARK}; {str(found.resolve())!r} contains "
            f"{inside or 'nothing'}. Is the folder of the network inside it?"
        )
    looked = " and ".join(repr(str(place.absolute())) for place in places)
    near = did_you_mean(name, _siblings(places[0], name))
    raise FileNotFoundError(
        f"{label} must be a folder with {MARK}; there is none at {looked}.{near} {REMEDY}."
    )


def names() -> list[str]:
    """List the folders of networks below the directory of SKTRANSFER_MODELS, two levels deep."""
    return sorted(
        str(folder.relative_to(top))
        for top in models()
        for folder in (*_folders(top), *(b for a in _folders(top) for b in _folders(a)))
        if (folder / MARK).is_file()
    )


def models() -> list[Path]:
    """Return the directory of the variable, in a list, which is empty if it is not set."""
    value = os.environ.get(VARIABLE)
    return [Path(value).expanduser()] if value else []


def _folders(parent: Path) -> Iterator[Path]:
    try:
        entries = sorted(parent.iterdir())
    except OSError:
        return
    yield from (entry for entry in entries if entry.is_dir())


def _siblings(place: Path, name: str) -> list[str]:
    """Return the names of networks in the same folder, and of those that are found by name."""
    start = name.removesuffix(place.name)
    beside = [f"{start}{each.name}" for each in _folders(place.parent) if (each / MARK).is_file()]
    return [*beside, *names()]
