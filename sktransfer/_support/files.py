"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

# What a killed writer left is removed after this time: no writer pauses for so long.
STALE_SECONDS = 3600

ASIDE = re.compile(r"[0-9a-f]{32}\.tmp")


def find_files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """The regular files of ``folder`` with such a name: no symbolic link; none without a folder."""
    try:
        with os.scandir(folder) as entries:
            return [
                folder / entry.name
                for entry in entries
                if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []


def write_file(path: Path, *parts: Any) -> None:
    """Write ``parts`` to a file that is there whole or not at all."""
    aside = path.with_name(f"{uuid4().hex}.tmp")
    try:
        with aside.open("xb") as file:
            file.writelines(parts)
        aside.replace(path)
    except BaseException:
        remove_file(aside)
        raise


def remove_file(path: Path) -> int:
    """Remove a file, where that can be done; returns the bytes freed."""
    try:
        size = path.lstat().st_size
        path.unlink()
    except OSError:
        return 0
    return size


def remove_stale(folder: Path) -> int:
    """Remove what killed writers left in ``folder``; returns the bytes freed."""
    before, freed = time.time() - STALE_SECONDS, 0
    for path in find_files(folder, ASIDE):
        with suppress(FileNotFoundError):
            freed += remove_file(path) if path.lstat().st_mtime < before else 0
    return freed
