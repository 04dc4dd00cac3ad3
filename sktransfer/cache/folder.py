"""The folder of a cache: what is in it, and what it may hold."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np

from .._support.files import find_files, remove_file, remove_stale, write_file
from .._version import __version__
from .shard import FINISHED, whole_shards

# What is left free of a disk for others: a gigabyte, or a twentieth of a small one.
FREE_BYTES = 2**30

FOLDER = re.compile(r"[0-9a-f]{32}")
ABOUT = "about.json"


class Store:
    """A folder of folders, one for each fingerprint, of which each holds shards.

    Parameters
    ----------
    root : Path
        The folder; it need not exist.
    max_bytes : int or None, default=None
        What it may hold.
    """

    def __init__(self, root: Path, max_bytes: int | None = None):
        self.root = root
        self.max_bytes = max_bytes

    @property
    def n_bytes(self) -> int:
        """Bytes of all shards; 0 where the folder does not exist."""
        return sum(stat.st_size for stat in self._stats().values())

    def info(self) -> dict[str, dict[str, int]]:
        """Rows, bytes and shards by fingerprint."""
        told = {}
        for folder in self._folders():
            shards = list(whole_shards(_readable(folder)))
            told[_fingerprint(folder)] = {
                "rows": sum(len(shard.names) for shard in shards),
                "bytes": sum(shard.size for shard in shards),
                "shards": len(shards),
            }
        return told

    def prune(self, limit: int | None) -> int:
        """Remove what is of no use, then what was not used for longest; returns bytes freed."""
        folders = self._folders()
        freed = sum(_tidy(folder) for folder in folders)
        if limit is not None:
            freed += self._shrink(limit)
        for folder in folders:
            if not find_files(folder, FINISHED):
                remove_file(folder / ABOUT)
                with suppress(OSError):  # another process has just written into it
                    folder.rmdir()
        return freed

    def make_room(self, n_bytes: int, evict: bool) -> bool:
        """Whether ``n_bytes`` more can be had within the limit, now that others have gone.

        Raises
        ------
        OSError
            If the disk would be full but for the room that others need.
        """
        if self.max_bytes is not None:
            if n_bytes > self.max_bytes - (0 if evict else self.n_bytes):
                return False
            self._shrink(self.max_bytes - n_bytes)
        with suppress(FileNotFoundError):  # the folder is not there yet
            disk = shutil.disk_usage(self.root)
            if disk.free < n_bytes + min(FREE_BYTES, disk.total // 20):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.root))
        return True

    def _shrink(self, limit: int) -> int:
        """Remove the least recently used shards until the others fit in ``limit`` bytes."""
        stats = self._stats()
        excess, freed = sum(stat.st_size for stat in stats.values()) - limit, 0
        for path in sorted(stats, key=lambda path: stats[path].st_mtime_ns):
            if freed >= excess:
                break
            freed += remove_file(path)
        return freed

    def _stats(self) -> dict[Path, os.stat_result]:
        """What the system says of each shard."""
        stats = {}
        folders = self._folders() if self.root.is_dir() else []
        for path in (path for folder in folders for path in find_files(folder, FINISHED)):
            with suppress(FileNotFoundError):
                stats[path] = path.lstat()
        return stats

    def _folders(self) -> list[Path]:
        """The folders in it; what is not ours is passed over."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(
                    Path(entry)
                    for entry in entries
                    if FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except OSError as error:
            sentence = "cache must be a folder that exists and can be read"
            raise explained(error, sentence, self.root) from error


def describe(folder: Path, fingerprint: str) -> None:
    """Say in a folder what its rows are of; it is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ABOUT).exists():
        made = {"sktransfer": __version__, "numpy": np.__version__}
        about = {"fingerprint": fingerprint, "made with": made}
        write_file(folder / ABOUT, json.dumps(about, indent=2).encode())


def _fingerprint(folder: Path) -> str:
    """What the rows in ``folder`` are of; its name, where the file that says so is lost."""
    try:
        return str(json.loads((folder / ABOUT).read_bytes())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name


def _readable(folder: Path) -> list[Path]:
    """The shards in a folder that others have not kept for themselves."""
    return [path for path in find_files(folder, FINISHED) if os.access(path, os.R_OK)]


def _tidy(folder: Path) -> int:
    """Remove what is damaged, stored twice or left by killed writers; returns the bytes freed."""
    paths = _readable(folder)
    kept: set[Path | None] = set()
    seen: set[bytes] = set()
    for shard in sorted(whole_shards(paths), key=lambda shard: shard.used, reverse=True):
        if not seen.issuperset(shard.names):
            kept.add(shard.path)
            seen.update(shard.names)
    freed = sum(remove_file(path) for path in paths if path not in kept)
    return freed + remove_stale(folder)


def explained(error: OSError, sentence: str, folder: Path) -> OSError:
    """``error`` with a sentence of its own; its type and number stay."""
    return OSError(error.errno, f"{sentence}; {error.strerror}", str(folder))
