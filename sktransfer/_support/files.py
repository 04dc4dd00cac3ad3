"""Atomic writes, and the removal of files that killed processes left."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

# Temporary files older than this were left by a killed process: no writer pauses this long.
STALE_SECONDS = 3600

TEMPORARY = re.compile(r"[0-9a-f]{32}\.tmp")


def find_files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """List the regular files in ``folder`` whose names match ``pattern``.

    Symbolic links are left out.  The list is empty if the folder does not exist.
    """
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
    """Write ``parts`` to a file atomically: a reader sees the whole file or no file."""
    temporary = path.with_name(f"{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.writelines(parts)
        temporary.replace(path)
    except BaseException:
        remove_file(temporary)
        raise


def remove_file(path: Path) -> int:
    """Remove a file and return the bytes freed; 0 if it cannot be removed."""
    try:
        size = path.lstat().st_size
        path.unlink()
    except OSError:
        return 0
    return size


def remove_stale(folder: Path) -> int:
    """Remove old temporary files from ``folder`` and return the bytes freed."""
    oldest, freed = time.time() - STALE_SECONDS, 0
    for path in find_files(folder, TEMPORARY):
        with suppress(FileNotFoundError):
            freed += remove_file(path) if path.lstat().st_mtime < oldest else 0
    return freed
