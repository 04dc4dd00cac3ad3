"""List the files of folders, following links."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

# macOS adds this folder to archives, with a file for each image that is not an image itself.
HIDDEN = "__MACOSX"

# A folder is listed to find this many paths of files or more.
MANY = 100

# The device and the number of a folder
Identity = tuple[int, int]


@dataclass
class Found:
    """The content of a folder."""

    images: list[Path] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)
    n_hidden: int = 0


def look(folder: Path, endings: Collection[str]) -> Found:
    """List the content of ``folder``, without that of its subfolders, sorted by name.

    A link to a folder is in ``folders`` and in ``links``.
    """
    found = Found()
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path = folder / entry.name
        if entry.name.startswith(".") or entry.name == HIDDEN:
            found.n_hidden += 1
        elif path.is_dir():
            found.folders.append(path)
            if entry.is_symlink():
                found.links.append(path)
        elif path.suffix.lower() in endings:
            found.images.append(path)
        else:
            found.foreign.append(path)
    return found


def look_deep(
    top: Path, endings: Collection[str], seen: set[Identity], barred: Collection[str]
) -> Found:
    """List the content of ``top`` and of all its subfolders, each real folder once.

    ``seen`` holds the folders that are left out, and takes up those that are listed.  Links into
    the folders of ``barred``, which are real paths, are not followed.
    """
    total, stack, links = Found(), [top], deque[Path]()
    while stack or links:
        # Links come last, so that a folder inside of ``top`` keeps its own path.
        folder = stack.pop() if stack else links.popleft()
        own = identity(folder)
        if own in seen:
            continue
        seen.add(own)
        found = look(folder, endings)
        total.images += found.images
        total.foreign += found.foreign
        total.n_hidden += found.n_hidden
        total.links += found.links
        linked = set(found.links)
        stack += [inner for inner in reversed(found.folders) if inner not in linked]
        links += [link for link in found.links if not _leads_away(link, barred)]
    if total.links:
        total.images.sort(key=_position)
        total.foreign.sort(key=_position)
    return total


def listed_files(paths: Sequence[str]) -> set[str]:
    """Return those of many paths that are files, if they were found without asking for each.

    To list a folder takes half the time of asking the system for the state of each of its files,
    and less on a disk in a network.  A folder that holds many other files is not read to the end.
    """
    found: set[str] = set()
    for folder, n in Counter(path.rpartition(os.sep)[0] for path in paths).items():
        if folder and n >= MANY:
            with suppress(OSError, ValueError), os.scandir(folder) as entries:
                found.update(entry.path for entry in islice(entries, 2 * n) if entry.is_file())
    return found


def identity(folder: Path) -> Identity:
    """Return numbers that are equal for two paths of the same folder."""
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _leads_away(link: Path, barred: Collection[str]) -> bool:
    """Return True for a link to a folder that contains it, or into a barred one."""
    real = Path(os.path.realpath(link))
    leads_up = Path(os.path.realpath(link.parent)).is_relative_to(real)
    return leads_up or any(real.is_relative_to(folder) for folder in barred)


def _position(path: Path) -> list[tuple[bool, str]]:
    """Return a key that sorts the files of a folder before those of its subfolders."""
    return [*((True, part) for part in path.parts[:-1]), (False, path.name)]
