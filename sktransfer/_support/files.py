"""Files that are whole or absent, and the removal of what dead processes left.

The name of a temporary file or folder contains the token of the process that made it.  So it can be
removed as soon as that process has ended, and never before.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from .processes import TOKEN, is_alive, token

# Temporary files of other machines are removed at this age: no writer pauses this long.
STALE_SECONDS = 3600

# A file or folder that changed less than this ago may change again without a new time stamp.
RACY_SECONDS = 2

# Bytes of a file that takes space on any disk.
BLOCK = 4096

TEMPORARY = re.compile(rf"sktransfer-({TOKEN.pattern})-[0-9a-f]{{8}}(\.tmp|\.claim)?")
CLAIM = re.compile(r"sktransfer-.*\.claim")

# The errors of a full disk.
FULL = (errno.ENOSPC, errno.EDQUOT)

REMEDIES = {
    **dict.fromkeys(FULL, "free some space, or choose a folder on another disk"),
    errno.EFBIG: "raise the limit of the size of files, or choose a folder on another disk",
    errno.EACCES: "change the permissions, or choose another folder",
    errno.EPERM: "change the permissions, or choose another folder",
    errno.EROFS: "choose a folder on a disk that can be written",
}

# A sealed file begins with a mark, the length of its content and a digest.
SEAL = struct.Struct("<8sQ16s")
MARK = b"sktseal1"


class BrokenSealError(ValueError):
    """A file is not a whole sealed file, or it belongs to another key."""


def check_folder(name: str, path: str | os.PathLike[str]) -> None:
    """Raise an error if ``path`` is that of a file, or if one of its parents is a file.

    Parameters
    ----------
    name : str
        The name of the parameter.
    path : str or path-like
        The path of a folder, which need not exist.
    """
    if not _is_name(path):
        raise ValueError(
            f"{name} must be the path of a folder, without characters that no name of a file has; "
            f"got {os.fspath(path)!r}."
        )
    folder = Path(path).expanduser()
    # not Path.exists, which raises an error in a folder that is forbidden
    found = next((part for part in (folder, *folder.parents) if os.path.exists(part)), None)  # noqa: PTH110 - Path.exists fails there
    if found is not None and not found.is_dir():
        file = "which" if found == folder else f"and {str(found)!r}"
        raise NotADirectoryError(
            f"{name} must be the path of a folder, which need not exist; got {str(folder)!r}, "
            f"{file} is a file. Choose another path."
        )


def _is_name(path: str | os.PathLike[str]) -> bool:
    """Return True if a file can have this path: it has bytes, and none of them is zero."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False


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


def write_file(path: Path, *parts: Any, durable: bool = False) -> None:
    """Write ``parts`` to a file atomically, as :func:`open_whole` does.

    Parameters
    ----------
    path : Path
    *parts : bytes-like
    durable : bool, default=False
    """
    with open_whole(path, durable=durable) as file:
        file.writelines(parts)


@contextmanager
def open_whole(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a file that is written atomically: a reader sees the whole file or no file.

    This is a context manager.  After an error, a file that was there before is unchanged.

    Parameters
    ----------
    path : Path
    durable : bool, default=False
        If True, wait until the file is on the disk, so that it survives a power cut.
    """
    temporary = path.with_name(f"{temporary_name()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        remove_file(temporary)
        raise
    if durable:
        with suppress(OSError):  # Windows and some network file systems cannot do this
            _sync_folder(path.parent)


def check_place(path: Path) -> None:
    """Raise an OSError if no file can be written in the folder of ``path``.

    The temporary files that dead processes left in the folder are removed.
    """
    remove_stale(path.parent)
    temporary = path.with_name(f"{temporary_name()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(bytes(BLOCK))
    finally:
        remove_file(temporary)


def _sync_folder(folder: Path) -> None:
    """Wait until the names of the files in ``folder`` are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_sealed(path: Path, *parts: Any, key: bytes, durable: bool = False) -> None:
    """Write ``parts`` to a file atomically, with a digest that :func:`read_sealed` compares.

    Parameters
    ----------
    path : Path
    *parts : bytes-like
    key : bytes
        The digest covers the key, so that the file cannot be taken for a file of another key.
    durable : bool, default=False
        See :func:`open_whole`.
    """
    write_file(path, _seal(key, parts), *parts, durable=durable)


def read_sealed(path: Path, key: bytes) -> bytes:
    """Return the content of a file that :func:`write_sealed` wrote with the same key.

    Raises
    ------
    BrokenSealError
        If the file is damaged, or was written with another key or by another function.
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        head, content = file.read(SEAL.size), file.read()
    if head != _seal(key, [content]):
        raise BrokenSealError(
            f"{str(path)!r} must be a complete file that sktransfer wrote in this place; its "
            "content does not have the digest that it had when it was written"
        )
    return content


def _seal(key: bytes, parts: Any) -> bytes:
    """Return the head of a sealed file."""
    state, length = blake2b(struct.pack("<Q", len(key)) + key, digest_size=16), 0
    for part in parts:
        content = memoryview(part).cast("B")
        state.update(content)
        length += len(content)
    return SEAL.pack(MARK, length, state.digest())


def temporary_name() -> str:
    """Return a new name for a temporary file or folder of this process."""
    return f"sktransfer-{token()}-{uuid4().hex[:8]}"


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Make a temporary folder, and delete it at the end; a context manager.

    The folders and files that dead processes left in the same place are deleted first.

    Parameters
    ----------
    parent : Path or None, default=None
        The folder in which it is made; None stands for that of :mod:`tempfile`.

    Raises
    ------
    OSError
        If the folder cannot be made.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_stale(parent)
    folder, pid = parent / temporary_name(), os.getpid()
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        if os.getpid() == pid:  # not in a fork of the process that uses the folder
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Claim a folder; a context manager.

    Its value is False if another process or thread has a claim on the folder.  If two claim it at
    the same moment, the value can be False for both.  Claims of dead processes do not count.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    OSError
        If the disk fails.
    """
    remove_stale(folder)
    claim = folder / f"{temporary_name()}.claim"
    claim.touch(exist_ok=False)
    try:
        # First the claim, then the list: of two processes, at least one sees both claims.
        yield find_files(folder, CLAIM) == [claim]
    finally:
        remove_file(claim)


def remove_file(path: Path) -> int:
    """Remove a file and return the bytes freed; 0 if it cannot be removed."""
    try:
        size = path.lstat().st_size
        path.unlink()
    except OSError:
        return 0
    return size


def remove_stale(folder: Path) -> int:
    """Remove the temporary files and folders of dead processes; return the bytes of the files.

    Nothing is known about processes on other machines, so only their old files are removed.  No
    error is raised for a file that cannot be removed.
    """
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry, made)
                for entry in entries
                if (made := TEMPORARY.fullmatch(entry.name)) is not None
            ]
    except OSError:
        return 0
    freed = 0
    for entry, made in found:
        alive = is_alive(made[1])
        if entry.is_dir(follow_symlinks=False):
            if alive is False:
                shutil.rmtree(entry.path, ignore_errors=True)
        elif alive is False or (alive is None and _is_old(entry)):
            freed += remove_file(folder / entry.name)
    return freed


def _is_old(entry: os.DirEntry[str]) -> bool:
    """Return True if nobody has written to a file for STALE_SECONDS."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime < time.time() - STALE_SECONDS
    except OSError:  # it has just been renamed or removed
        return False


@contextmanager
def explaining(sentence: str, path: Path) -> Iterator[None]:
    """Explain the errors of the disk in a block with :func:`explained`; a context manager."""
    try:
        yield
    except OSError as error:
        raise explained(error, sentence, path) from error


def explained(error: OSError, sentence: str, path: str | Path | None) -> OSError:
    """Return an error of the same type and number that names the path and, if known, a remedy.

    Parameters
    ----------
    error : OSError
    sentence : str
        States what must be the case, without a full stop.
    path : str, Path or None
        None names no path.
    """
    remedy = REMEDIES.get(error.errno or 0)
    cause = f"{sentence}; {error.strerror or error}" + (f" ({remedy})" if remedy else "")
    if error.errno is None:
        return OSError(cause if path is None else f"{cause}: {str(path)!r}")
    return OSError(error.errno, cause, None if path is None else str(path))
