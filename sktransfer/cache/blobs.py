"""Blobs: content of any kind, kept by key in one file each."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from .._support.files import remove_file, remove_stale, write_file
from .._support.hashing import hash_parts

BLOB_NAME = re.compile(r"[0-9a-f]{32}\.blob")

# A blob begins with a mark, the length of its content and a checksum.
HEAD = struct.Struct("<8sQ16s")
MARK = b"sktblob1"


class Blobs:
    """Content of any kind, kept by key in one file each.

    Files are written atomically.  The name of a file is a hash of its key, and its checksum covers
    the key and the content.  So a file that is damaged, or that belongs to another key, reads as
    absent and is removed.  No error of the disk reaches the caller: content that cannot be kept is
    computed again by whoever needs it.

    Parameters
    ----------
    folder : Path
        It need not exist.
    admit : callable
        Called with a number of bytes before they are written.  Makes the folder and returns whether
        they may be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sktransfer.cache.blobs import Blobs
    >>> with TemporaryDirectory() as folder:
    ...     blobs = Blobs(Path(folder), admit=lambda n_bytes: True)
    ...     blobs.put(b"key", b"content")
    ...     blobs.get(b"key"), blobs.get(b"another key")
    (b'content', None)
    """

    def __init__(self, folder: Path, admit: Callable[[int], bool]):
        self._folder = folder
        self._admit = admit

    def get(self, key: bytes) -> bytes | None:
        """Return the content kept under ``key``; None if it is missing or damaged."""
        name = _name(key)
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        data = content[HEAD.size :]
        if content[: HEAD.size] != _head(name, data):
            remove_file(path)
            return None
        with suppress(OSError):  # a read-only folder works too
            os.utime(path)  # the least recently used files are removed first
        return data

    def put(self, key: bytes, data: bytes | memoryview) -> None:
        """Keep ``data`` if the disk and the limit of the cache allow it.

        Content that was kept under the same key is replaced.
        """
        name = _name(key)
        with suppress(OSError):
            if self._admit(HEAD.size + len(data)):
                remove_stale(self._folder)
                write_file(self._path(name), _head(name, data), data)

    def _path(self, name: bytes) -> Path:
        return self._folder / f"{name.hex()}.blob"


def _name(key: bytes) -> bytes:
    return hash_parts("blob key", key)


def _head(name: bytes, data: bytes | memoryview) -> bytes:
    return HEAD.pack(MARK, len(data), hash_parts("blob", name, data))


def whole_blobs(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Yield the path and size of the files that are blobs of the right length.

    Their content is not read; :meth:`Blobs.get` checks it.
    """
    for path in paths:
        with suppress(OSError, struct.error), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            mark, length, _ = HEAD.unpack(file.read(HEAD.size))
            if (mark, HEAD.size + length) == (MARK, size):
                yield path, size
