"""The folder of a cache: its content and its size limit."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np

from .._support.files import explained, find_files, remove_file, remove_stale, write_file
from .._support.hashing import hash_parts
from .._version import __version__
from .blobs import BLOB_NAME, Blobs, whole_blobs
from .shard import SHARD_NAME, TornShardError, whole_shards

# Space left free on the disk: a gigabyte, or a twentieth of a small disk.
FREE_BYTES = 2**30

SUBFOLDER = re.compile(r"[0-9a-f]{32}")
ABOUT = "about.json"

# All files that count towards the limit.
CONTENT = re.compile(f"{SHARD_NAME.pattern}|{BLOB_NAME.pattern}")


class CacheFolder:
    """A folder of subfolders, each of which holds shards of one fingerprint, or blobs.

    Parameters
    ----------
    root : Path
        The folder; it need not exist.
    max_bytes : int or None, default=None
        Maximum size of all files; None sets no limit.
    """

    def __init__(self, root: Path, max_bytes: int | None = None):
        self.root = root
        self.max_bytes = max_bytes

    @property
    def n_bytes(self) -> int:
        """Bytes of all shards and blobs; 0 if the folder does not exist."""
        return sum(stat.st_size for stat in self._stats().values())

    def info(self) -> dict[str, dict[str, int]]:
        """Return the number of rows, bytes and files by fingerprint; each blob counts as a row."""
        counts = {}
        for folder in self._subfolders():
            shards = list(whole_shards(_readable(folder, SHARD_NAME)))
            blobs = list(whole_blobs(_readable(folder, BLOB_NAME)))
            counts[_fingerprint(folder)] = {
                "rows": sum(map(len, shards)) + len(blobs),
                "bytes": sum(shard.size for shard in shards) + sum(size for _, size in blobs),
                "shards": len(shards) + len(blobs),
            }
        return counts

    def prune(self, limit: int | None) -> int:
        """Remove useless files, then the least recently used; return the number of bytes freed."""
        folders = self._subfolders()
        freed = sum(_tidy(folder) for folder in folders)
        if limit is not None:
            freed += self._shrink(limit)
        for folder in folders:
            if not find_files(folder, CONTENT):
                remove_file(folder / ABOUT)
                with suppress(OSError):  # another process has just written into it
                    folder.rmdir()
        return freed

    def blobs(self, name: str) -> Blobs:
        """Return the blobs of one kind; keeping one never removes other files.

        Parameters
        ----------
        name : str
            Name of the kind, under which :meth:`info` counts them.
        """
        folder = self.root / hash_parts("blobs", name).hex()

        def admit(n_bytes: int) -> bool:
            if not self.make_space(n_bytes, evict=False):
                return False
            describe(folder, name)
            return True

        return Blobs(folder, admit)

    def make_space(self, n_bytes: int, evict: bool) -> bool:
        """Return whether ``n_bytes`` more are within the limit, after removing old files for them.

        Parameters
        ----------
        n_bytes : int
        evict : bool
            Whether the least recently used files may be removed.

        Raises
        ------
        OSError
            If too little of the disk would be left free.
        """
        if self.max_bytes is not None:
            if n_bytes > self.max_bytes - (0 if evict else self.n_bytes):
                return False
            self._shrink(self.max_bytes - n_bytes)
        with suppress(FileNotFoundError):  # the folder does not exist yet
            disk = shutil.disk_usage(self.root)
            if disk.free < n_bytes + min(FREE_BYTES, disk.total // 20):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.root))
        return True

    def _shrink(self, limit: int) -> int:
        """Remove the least recently used files until the others fit in ``limit`` bytes."""
        stats = self._stats()
        excess, freed = sum(stat.st_size for stat in stats.values()) - limit, 0
        for path in sorted(stats, key=lambda path: stats[path].st_mtime_ns):
            if freed >= excess:
                break
            freed += remove_file(path)
        return freed

    def _stats(self) -> dict[Path, os.stat_result]:
        """Return the status of each shard and blob."""
        stats = {}
        folders = self._subfolders() if self.root.is_dir() else []
        for path in (path for folder in folders for path in find_files(folder, CONTENT)):
            with suppress(FileNotFoundError):
                stats[path] = path.lstat()
        return stats

    def _subfolders(self) -> list[Path]:
        """Return the subfolders of the cache, without folders that other programs made."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(
                    Path(entry)
                    for entry in entries
                    if SUBFOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except OSError as error:
            sentence = "cache must be a folder that exists and can be read"
            raise explained(error, sentence, self.root) from error


def describe(folder: Path, fingerprint: str) -> None:
    """Make a subfolder if it does not exist, and write down what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ABOUT).exists():
        made = {"sktransfer": __version__, "numpy": np.__version__}
        about = {"fingerprint": fingerprint, "made with": made}
        write_file(folder / ABOUT, json.dumps(about, indent=2).encode())


def _fingerprint(folder: Path) -> str:
    """Return what ``folder`` holds, or its name if the file that describes it is lost."""
    try:
        return str(json.loads((folder / ABOUT).read_bytes())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name


def _readable(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the files in ``folder`` that this user may read."""
    return [path for path in find_files(folder, pattern) if os.access(path, os.R_OK)]


def _tidy(folder: Path) -> int:
    """Remove damaged files, second copies and temporary files; return the bytes freed."""
    shards, blobs = _readable(folder, SHARD_NAME), _readable(folder, BLOB_NAME)
    kept: set[Path | None] = {path for path, _ in whole_blobs(blobs)}
    seen: set[bytes] = set()
    for shard in sorted(whole_shards(shards), key=lambda shard: shard.used, reverse=True):
        with suppress(FileNotFoundError, TornShardError):  # another process has just removed it
            if not seen.issuperset(shard.digests):
                kept.add(shard.path)
                seen.update(shard.digests)
    freed = sum(remove_file(path) for path in (*shards, *blobs) if path not in kept)
    return freed + remove_stale(folder)
