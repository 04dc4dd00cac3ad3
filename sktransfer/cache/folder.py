"""The folder of a cache: its content and its size limit."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .._support.files import (
    FULL,
    MARK,
    REMEDIES,
    TEMPORARY,
    explained,
    find_files,
    remove_file,
    remove_stale,
    write_file,
)
from .._support.hashing import hash_parts
from .._version import __version__
from .blobs import BLOB_NAME, Blobs, sort_blobs
from .columns import TornShardError
from .shard import SHARD_NAME, Shard

# Space left free on the disk: a gigabyte, or a twentieth of a small disk.
FREE_BYTES = 2**30

# How often a file is written if other processes remove its folder again and again.
N_ATTEMPTS = 10

SUBFOLDER = re.compile(r"[0-9a-f]{32}")
ABOUT = "about.json"

# A longer description is not one of ours.
ABOUT_BYTES = 2**16

# All files that count towards the limit.
CONTENT = re.compile(f"{SHARD_NAME.pattern}|{BLOB_NAME.pattern}")

T = TypeVar("T")


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

    def info(self) -> dict[str, dict[str, Any]]:
        """Return the number of rows, bytes and files by fingerprint; each blob counts as a row."""
        counts = {}
        for folder in self._subfolders():
            shards, _ = _sort_shards(find_files(folder, SHARD_NAME))
            sizes, _ = sort_blobs(find_files(folder, BLOB_NAME))
            fingerprint, about = _describe(folder)
            counts[fingerprint] = {
                "rows": sum(map(len, shards)) + len(sizes),
                "bytes": sum(shard.size for shard in shards) + sum(sizes),
                "shards": len(shards) + len(sizes),
                **({"about": about} if about else {}),
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
        folder = self.root / hash_parts("blobs", MARK, name).hex()

        def keep(n_bytes: int, write: Callable[[], None]) -> None:
            if self.make_space(n_bytes, evict=False):
                write_in(folder, name, write)

        return Blobs(folder, keep)

    def make_space(self, n_bytes: int, evict: bool) -> bool:
        """Return True if ``n_bytes`` more are within the limit, after removing old files for them.

        Parameters
        ----------
        n_bytes : int
        evict : bool
            If True, the least recently used files may be removed.

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

    def describe(self, error: OSError) -> str:
        """Describe an error of the disk that turned the cache off, with a remedy, for a warning."""
        if TEMPORARY.fullmatch(self.root.name):  # the user passed no cache
            return describe_temporary(error, self.root)
        remedy = "the folder must stay where it is, and be writable"
        if error.errno in FULL:
            limit = "set a limit: cache=ActivationCache(dir, max_bytes=...)"
            remedy = f"free some space, or {limit if self.max_bytes is None else 'lower max_bytes'}"
        elif error.errno == errno.EFBIG:
            remedy = REMEDIES[errno.EFBIG]
        return (
            f"cache is off for these rows, which stay in memory: {error.strerror} in {self.root}. "
            f"{remedy[0].upper()}{remedy[1:]}."
        )

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


def describe_temporary(error: OSError, path: str | Path | None) -> str:
    """Describe an error of the disk with the activations of a fit that has no cache.

    Parameters
    ----------
    error : OSError
    path : str, Path or None
        The temporary folder; None if this machine has no such folder.
    """
    cause = explained(error, "the folder of temporary files must be one that can be written", path)
    return (
        f"{cause}. The activations of this fit stay in memory. Pass cache=, or set the environment "
        "variable TMPDIR, to keep them in another folder."
    )


def make_folder(folder: Path) -> None:
    """Make a folder and its parents if they do not exist."""
    # Not with exist_ok: this raises an error if another process removes the folder meanwhile.
    with suppress(FileExistsError):
        folder.mkdir(parents=True)


def write_in(
    folder: Path,
    fingerprint: str,
    write: Callable[[], T],
    about: Mapping[str, str] | None = None,
) -> T:
    """Return ``write()``, which writes a file into a subfolder, and describe the subfolder there.

    Parameters
    ----------
    folder : Path
        It is made if it does not exist.
    fingerprint : str
        What the subfolder holds.
    write : callable
        Called again if another process removes the folder before the file is in it.
    about : mapping of str to str or None, default=None
        A description of the content.
    """
    for attempt in range(N_ATTEMPTS):
        make_folder(folder)
        try:
            written = write()
            break
        except FileNotFoundError:
            if attempt == N_ATTEMPTS - 1:
                raise
    with suppress(OSError):  # only info() needs it
        if not (folder / ABOUT).exists():
            made = {"sktransfer": __version__, "numpy": np.__version__}
            described = {"fingerprint": fingerprint, "about": about, "made with": made}
            write_file(folder / ABOUT, json.dumps(described, indent=2).encode())
    return written


def _sort_shards(paths: Iterable[Path]) -> tuple[list[Shard], list[Path]]:
    """Return the shards in files that are as long as they must be, and the other files.

    Files that vanish or cannot be read are in neither list.
    """
    shards, torn = [], []
    for path in paths:
        with suppress(OSError):
            try:
                shards.append(Shard.read(path))
            except TornShardError:
                torn.append(path)
    return shards, torn


def _describe(folder: Path) -> tuple[str, dict[str, str]]:
    """Return what ``folder`` holds and a description, or its name if they are lost or damaged."""
    try:
        (file,) = find_files(folder, re.compile(re.escape(ABOUT)))
        with file.open("rb") as opened:
            found = json.loads(opened.read(ABOUT_BYTES))
        fingerprint, about = found["fingerprint"], found.get("about") or {}
        texts = [fingerprint, *about, *about.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return folder.name, {}
    is_text = all(isinstance(text, str) and text.isprintable() for text in texts)
    return (fingerprint, about) if is_text else (folder.name, {})


def _tidy(folder: Path) -> int:
    """Remove damaged files, second copies and temporary files; return the bytes freed."""
    shards, torn_shards = _sort_shards(find_files(folder, SHARD_NAME))
    _, torn_blobs = sort_blobs(find_files(folder, BLOB_NAME))
    freed = sum(map(remove_file, torn_shards + torn_blobs))
    seen: set[bytes] = set()
    for shard in sorted(shards, key=lambda shard: shard.used, reverse=True):
        with suppress(OSError, TornShardError):  # it has just been removed, or cannot be read
            if seen.issuperset(shard.digests):
                freed += shard.remove()
            seen.update(shard.digests)
    return freed + remove_stale(folder)
