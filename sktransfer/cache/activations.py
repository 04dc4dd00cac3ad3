"""The activations of frozen stages on disk, shared by folds, candidates and processes.

A row is identified by the fingerprint of the prefix that computed it and by the digest of its item.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._support.files import check_folder
from .._support.validation import check_choice, check_int
from ..data import digest_or_none, file_key, file_state
from .blobs import Blobs
from .digest_memo import DigestMemo
from .folder import CacheFolder
from .table import Table


def check_cache(cache: Any) -> ActivationCache | None:
    """Return the cache that an estimator's parameter ``cache`` stands for.

    Parameters
    ----------
    cache : ActivationCache, str, path-like or None

    Raises
    ------
    TypeError, ValueError
        If it is something else, such as a joblib.Memory, or one of its parameters is invalid.
    NotADirectoryError
        If its folder is a file.

    Examples
    --------
    >>> from sktransfer.cache.activations import check_cache
    >>> check_cache("activations")
    ActivationCache('activations')
    """
    if cache is None:
        return None
    if isinstance(cache, (str, os.PathLike)):
        cache = ActivationCache(cache)
    if isinstance(cache, ActivationCache):
        cache.check()
        check_folder("cache", cache.dir)
        return cache
    is_memory = hasattr(cache, "store_backend")
    hint = " A joblib.Memory keys on whole arrays; pass its folder." if is_memory else ""
    raise TypeError(
        "cache must be None, the path of a folder, or an ActivationCache; "
        f"got {type(cache).__name__}.{hint}"
    )


class ActivationCache:
    """A folder that keeps the activations of frozen stages.

    Parameters
    ----------
    dir : str or path-like
        The folder; it is made when it is first used.
    max_bytes : int or None, default=None
        Maximum size of the folder in bytes; the least recently used activations are removed first.
        None sets no limit.
    dtype : {None, "float16", "bfloat16", "float32"}, default=None
        Type of the activations on disk; None keeps the type in which they are computed, float32.
        "float16" and "bfloat16" take half the space.  If the network computes in bfloat16,
        "bfloat16" keeps every bit of feature maps, but not of their means.
    cuts : int or None, default=None
        Number of the last cuts at which a fit of :class:`FineTuneClassifier` caches activations.
        None stands for 3, which serves ``unfreeze`` 0, 1 and 2.  With 1 only pooled features are
        cached, which serve the head.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from sktransfer import ActivationCache
    >>> folder = TemporaryDirectory()
    >>> cache = ActivationCache(folder.name)
    >>> digests = cache.digests([b"a photo", b"another"])
    >>> table = cache.table("fingerprint of a prefix")
    >>> table.missing(digests)
    [0, 1]
    >>> table.append(digests, np.eye(2, dtype="float32"))
    >>> cache.table("fingerprint of a prefix").rows(digests[::-1])[:]
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        dir: str | os.PathLike[str],  # noqa: A002 - users know it from joblib
        max_bytes: int | None = None,
        dtype: str | None = None,
        cuts: int | None = None,
    ):
        self.dir = dir
        self.max_bytes = max_bytes
        self.dtype = dtype
        self.cuts = cuts

    def __repr__(self) -> str:
        shown = str(self.dir) if isinstance(self.dir, os.PathLike) else self.dir
        names = ("max_bytes", "dtype", "cuts")
        given = [f"{n}={value!r}" for n in names if (value := getattr(self, n)) is not None]
        return f"ActivationCache({', '.join([repr(shown), *given])})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActivationCache) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def digests(
        self, items: Iterable[Any], keys: Sequence[bytes | None] | None = None
    ) -> list[bytes]:
        """Return the digest of each item; a file that has not changed is not read again.

        Parameters
        ----------
        items : iterable of n str, path-like, bytes, PIL image or array
        keys : sequence of n bytes or None, default=None
            The key of each file, which is None for other items.  If it is not given, it is computed
            from path, size and times.

        Returns
        -------
        list of bytes
            An item that cannot be read gets a random digest: nothing is found for it, and the error
            is reported when it is decoded.
        """
        items = list(items)
        if keys is None:
            keys = [file_key(item, file_state(item)) for item in items]
        known: dict[bytes, bytes] = {}
        if wanted := list(filter(None, keys)):
            memo = DigestMemo(self._folder())
            known = memo.get(wanted)
        digests, fresh = [], {}
        for key, item in zip(keys, items, strict=True):
            name = known.get(key) if key else None
            if name is None:
                name = digest_or_none(item)
                if key and name:  # a file that changes later has another key
                    known[key] = fresh[key] = name
            digests.append(name or os.urandom(16))
        if fresh:
            memo.put(fresh)
        return digests

    def table(
        self, fingerprint: str, spare: bool = False, about: Mapping[str, str] | None = None
    ) -> Table:
        """Return the activations of one prefix.

        Parameters
        ----------
        fingerprint : str
            A text that stands for the prefix: weights, preset and numerics.
        spare : bool, default=False
            If True, the activations are optional: no others are removed for them, and they are
            dropped without a warning if the disk does not take them.
        about : mapping of str to str or None, default=None
            A description of the prefix, which :meth:`info` returns.

        Returns
        -------
        Table

        Raises
        ------
        OSError
            If the folder cannot be made or read.  If that is forbidden, or the disk is full,
            ``append`` warns instead, and keeps the rows in memory.
        """
        return Table(self._folder(), fingerprint, self.dtype, spare, about)

    def blobs(self, name: str) -> Blobs:
        """Return content other than activations, which is kept by key if there is space.

        Parameters
        ----------
        name : str
            The kind of content, under which :meth:`info` counts it.
        """
        return self._folder().blobs(name)

    def keeps(self, dtype: Any) -> bool:
        """Return True if rows computed in ``dtype``, a torch.dtype, keep every bit on disk."""
        return self.dtype in (None, "float32", str(dtype).removeprefix("torch."))

    @property
    def n_bytes(self) -> int:
        """Bytes of all files that count towards the limit; 0 if the folder does not exist."""
        return self._folder().n_bytes

    def info(self) -> dict[str, dict[str, Any]]:
        """Count and describe what is on disk, by the fingerprint of the prefix.

        Heads that fits share, and the memo of the digests of files, are listed by name.

        Returns
        -------
        dict of str to dict
            For each fingerprint, the numbers of ``"rows"``, ``"bytes"`` and files (``"shards"``).
            Activations also have ``"about"``, a dict with the network, the weights, the layer, and
            the image size, or the maximum number of tokens of a text.

        Raises
        ------
        OSError
            If the folder does not exist or cannot be read.
        """
        return self._folder().info()

    def prune(self, max_bytes: int | None = None) -> int:
        """Remove files that are damaged or second copies, then the least recently used ones.

        Parameters
        ----------
        max_bytes : int or None, default=None
            Maximum size of the folder afterwards; None stands for the limit of the cache.

        Returns
        -------
        int
            Number of bytes freed.

        Raises
        ------
        OSError
            If the folder does not exist or cannot be read.
        """
        limit = check_int("max_bytes", max_bytes, 0, also=(None,))
        return self._folder().prune(self.max_bytes if limit is None else limit)

    def check(self) -> None:
        """Raise an error for the first invalid parameter, without access to the disk."""
        if not isinstance(self.dir, (str, os.PathLike)) or not os.fspath(self.dir):
            raise TypeError(f"cache must be the path of a folder; got {self.dir!r}.")
        check_int("max_bytes", self.max_bytes, 1, also=(None,))
        check_choice("dtype", self.dtype, (None, "float16", "bfloat16", "float32"))
        check_int("cuts", self.cuts, 1, also=(None,))

    def _folder(self) -> CacheFolder:
        """Return the folder, after a check of the parameters."""
        self.check()
        return CacheFolder(Path(self.dir).expanduser().absolute(), self.max_bytes)


def compute_digests(items: Sequence[Any], cache: ActivationCache | None) -> list[bytes]:
    """Return the digests of items; the cache remembers those of files that have not changed.

    Without a cache, an item that cannot be read gets its position.  Its error is raised when it is
    decoded.
    """
    if cache is not None:
        return cache.digests(items)
    return [digest_or_none(item) or b"%d" % at for at, item in enumerate(items)]
