"""A memo of the digests of files, so that a file that has not changed is not read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from .columns import as_array
from .folder import CacheFolder
from .table import Table

# The name under which ActivationCache.info counts the files.
NAME = "digests of files by path, size and time"


class DigestMemo:
    """Digests of files, by keys that stand for their path, size and time of change.

    The pairs are stored in shards, as activations are: a digest is a row of 16 bytes.  So the memo
    is safe under concurrent writes and counts towards the limit of the cache, each digest has a
    checksum, and a lookup takes about the same time whether a thousand or a million files are
    known.

    Parameters
    ----------
    folder : CacheFolder

    Raises
    ------
    OSError
        If the folder cannot be made or read.
    """

    def __init__(self, folder: CacheFolder):
        self._table = Table(folder, NAME, None)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the digest of each of the ``keys`` that is known."""
        known, rows = self._table.find(keys)
        if rows.nbytes != 16 * len(known):  # the file was made by another program
            return {}
        return dict(zip(known, rows.view("V16").reshape(-1).tolist(), strict=True))

    def put(self, digests: Mapping[bytes, bytes]) -> None:
        """Remember the digest of each key.

        If the disk does not take them, the files are read again next time.
        """
        if digests:
            with suppress(OSError, ValueError):  # rows of another shape are there
                self._table.store(list(digests), as_array(digests.values()))
