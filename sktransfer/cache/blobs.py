"""Blobs: content of any kind, kept by key in one file each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from .._support.files import (
    MARK,
    SEAL,
    BrokenSealError,
    read_sealed,
    remove_file,
    remove_stale,
    write_sealed,
)
from .._support.hashing import hash_parts

BLOB_NAME = re.compile(r"[0-9a-f]{32}\.blob")


class Blobs:
    """Content of any kind, kept by key in one file each.

    Files are written atomically.  The name of a file is a hash of its key, and its digest covers
    the name of the folder, the key and the content.  So a file that is damaged, or that belongs to
    another key or folder, reads as absent and is removed.  No error of the disk reaches the caller:
    content that cannot be kept is computed again by whoever needs it.

    Parameters
    ----------
    folder : Path
        It need not exist.
    keep : callable
        Called with a number of bytes and a function that writes them.  If they may be written, it
        makes the folder and calls the function.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sktransfer.cache.blobs import Blobs
    >>> with TemporaryDirectory() as folder:
    ...     blobs = Blobs(Path(folder), keep=lambda n_bytes, write: write())
    ...     blobs.put(b"key", b"content")
    ...     blobs.get(b"key"), blobs.get(b"another key")
    (b'content', None)
    """

    def __init__(self, folder: Path, keep: Callable[[int, Callable[[], None]], None]):
        self._folder = folder
        self._keep = keep

    def get(self, key: bytes) -> bytes | None:
        """Return the content kept under ``key``; None if it is missing or damaged."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            data = read_sealed(path, self._owner(key))
        except BrokenSealError:
            remove_file(path)
            return None
        except OSError:
            return None
        with suppress(OSError):  # a read-only folder works too
            os.utime(path)  # the least recently used files are removed first
        return data

    def put(self, key: bytes, data: bytes | memoryview) -> None:
        """Keep ``data`` if the disk and the limit of the cache allow it.

        Content that was kept under the same key is replaced.
        """
        path, owner = self._path(key), self._owner(key)
        with suppress(OSError):
            remove_stale(self._folder)
            self._keep(SEAL.size + len(data), lambda: write_sealed(path, data, key=owner))

    def _path(self, key: bytes) -> Path:
        return self._folder / f"{hash_parts('blob key', key).hex()}.blob"

    def _owner(self, key: bytes) -> bytes:
        """Return the key that the digest of a file covers."""
        return hash_parts("blob owner", self._folder.name, key)


def sort_blobs(paths: Iterable[Path]) -> tuple[list[int], list[Path]]:
    """Return the sizes of the files that are blobs of the right length, and the other files.

    Files that vanish or cannot be read are in neither list.  The content is not read;
    :meth:`Blobs.get` checks it.
    """
    sizes, torn = [], []
    for path in paths:
        with suppress(OSError), path.open("rb") as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(SEAL.size)
            if size >= SEAL.size and SEAL.unpack(head)[:2] == (MARK, size - SEAL.size):
                sizes.append(size)
            else:
                torn.append(path)
    return sizes, torn
