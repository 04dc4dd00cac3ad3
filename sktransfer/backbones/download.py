"""Downloads: atomic, compared with a hash, one process at a time, and none in offline mode.

A download has a minimum speed, and so a time limit: a server that sends a byte now and then would
otherwise keep a process for ever.  The speed is measured where bytes leave the socket, so the limit
covers the connection, the headers and the body.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from http.client import HTTPException, HTTPMessage, HTTPResponse
from io import BufferedReader, RawIOBase
from pathlib import Path
from time import monotonic
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from .._support.files import REMEDIES, explained, open_whole, remove_stale
from .._support.progress import open_bar
from .._support.validation import check_choice

# The maximum size of a file of weights, in bytes, on disk or while it is downloaded.
LARGEST = 32 * 2**30

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 30  # seconds without an answer, or without a byte
_PERIOD = 60  # seconds in which the speed is measured
_SLOWEST = 1024  # bytes per second
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_offline: ContextVar[bool | None] = ContextVar("offline", default=None)


@contextmanager
def offline_mode(offline: bool | None) -> Iterator[None]:
    """Forbid or allow downloads in this thread; None changes nothing."""
    check_choice("offline", offline, [True, False, None])
    token = _offline.set(_offline.get() if offline is None else offline)
    try:
        yield
    finally:
        _offline.reset(token)


def is_offline() -> bool:
    """Return True if :func:`offline_mode` or the variable SKTRANSFER_OFFLINE forbids downloads."""
    offline = _offline.get()
    return os.environ.get("SKTRANSFER_OFFLINE", "") not in ("", "0") if offline is None else offline


def download(
    url: str,
    folder: str | os.PathLike[str],
    filename: str,
    *,
    address: str,
    tag: str | None = None,
    sha256_prefix: str | None = None,
    again: bool = False,
) -> Path:
    """Download a file unless it is in the folder already, and return its path.

    The hash of a file that is there already is compared by :func:`read_weights`, which reads the
    whole file in any case.

    Parameters
    ----------
    url : str
        An https address, or an http address on this machine.
    folder : str or path-like
        The folder of the file; it is created if it does not exist.
    filename : str
        The name of the file.  A file of this name in the folder is returned without reading it.
    address : str
        The address of the backbone, for error messages.
    tag : str or None, default=None
        The tag of the weights, for error messages; None for the default weights.
    sha256_prefix : str or None, default=None
        The first hexadecimal digits of the file's hash; None does not check it.
    again : bool, default=False
        If True, the file in the folder has another hash.  It is replaced, unless another process
        has just replaced it.

    Returns
    -------
    Path

    Raises
    ------
    ConnectionError
        If the file cannot be downloaded, if less than 1 kB per second arrives for a minute, or if
        :func:`offline_mode` forbids it.  The message names the file, its place, and how to copy it
        there.
    OSError
        If the file has another hash, is too large, or cannot be written.

    Notes
    -----
    If several processes need the file, one downloads it and the others wait.  An interrupted
    download leaves no file.  What a process that was killed left is removed by the next download.
    """
    target = Path(folder) / filename
    if target.exists() and not again:
        return target
    instructions = _instructions(url, target, address, tag)
    if is_offline():
        state = "damaged" if again else "not on this machine"
        raise ConnectionError(
            f"weights of {address} are {state}, and downloads are forbidden "
            f"(offline=True, or SKTRANSFER_OFFLINE). {instructions}"
        )
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            # Another process may have downloaded it meanwhile.
            if not target.exists() or (again and not _has_hash(target, sha256_prefix)):
                _download_to(url, target, sha256_prefix)
    except (OSError, ValueError, HTTPException) as error:
        unreachable = (URLError, HTTPException, TimeoutError, ConnectionError)
        kind = ConnectionError if isinstance(error, unreachable) else OSError
        raise kind(
            f"weights of {address} could not be downloaded from {url}: "
            f"{_describe(error, target)}. {instructions}"
        ) from error
    return target


def _describe(error: Exception, target: Path) -> str:
    """Describe an error; for one of the disk, the description contains the file and the remedy."""
    if isinstance(error, OSError) and error.errno in REMEDIES:
        return str(explained(error, "the folder must be one that can be written", target))
    return str(error)


def _instructions(url: str, target: Path, address: str, tag: str | None) -> str:
    option = f" --weights {tag}" if tag else ""
    return (
        f"The file needed is {target.name}, and its place is {target}. On a connected machine, "
        f"`sktransfer fetch {address}{option} --to DIR` writes a file: copy it to this machine and "
        f"pass weights=PATH; or copy {url} to that place."
    )


def _download_to(url: str, target: Path, sha256_prefix: str | None) -> None:
    """Download to a temporary file, check its hash, and rename it."""
    remove_stale(target.parent)
    with open_whole(target) as file:
        digest = _receive(url, file, target.name)
        if not _begins_with(digest, sha256_prefix):
            raise OSError(
                f"the sha256 of the download must begin with {sha256_prefix}; got {digest}. "
                "The file was removed; a proxy may have answered instead of the server"
            )


def _has_hash(path: Path, sha256_prefix: str | None) -> bool:
    """Return True if the file is known to have the right hash."""
    if sha256_prefix is None:
        return False
    with path.open("rb") as file:
        return _begins_with(hashlib.file_digest(file, "sha256").hexdigest(), sha256_prefix)


def _begins_with(digest: str, sha256_prefix: str | None) -> bool:
    return digest.startswith((sha256_prefix or "").lower())


def _receive(url: str, file: IO[bytes], label: str) -> str:
    """Download ``url`` to an open file, with a progress bar; return its sha256."""
    digest, received = hashlib.sha256(), 0
    with _open(url) as answer:
        declared = answer.headers.get("Content-Length")
        total = int(declared) if declared and declared.isdigit() else None
        _check_size(total or 0)
        with open_bar(total=total, desc=label, unit="B", unit_scale=True) as bar:
            for chunk in iter(partial(answer.read1, _CHUNK), b""):  # read() would wait for all
                received += len(chunk)
                _check_size(received)
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and received != total:
        raise ConnectionError(f"the connection ended after {received} of {total} bytes")
    return digest.hexdigest()


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise OSError(f"a file of weights must have at most {LARGEST} bytes; got {size}")


def _open(url: str) -> HTTPResponse:
    _check_url(url)
    request = Request(url, headers={"User-Agent": "sktransfer"})  # noqa: S310 - just checked
    try:
        meter = _Meter()
        opener = build_opener(_MeteredHTTP(meter), _MeteredHTTPS(meter), _Redirects)
        answer: HTTPResponse = opener.open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        raise
    return answer


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise OSError(f"the address of weights must begin with https://; got {url!r}")


class _Redirects(HTTPRedirectHandler):
    """A handler that follows encrypted redirects only."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Follow a redirect if :func:`download` would accept its address."""
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Meter:
    """The speed of a download, from before it is connected."""

    def __init__(self) -> None:
        self._start = monotonic()
        self._received = 0

    def count(self, n_bytes: int) -> None:
        """Count bytes that have arrived.

        Raises
        ------
        TimeoutError
            If fewer than _SLOWEST bytes per second arrived in the last _PERIOD.
        """
        self._received += n_bytes
        seconds = monotonic() - self._start
        if seconds > _PERIOD:
            if self._received < _SLOWEST * seconds:
                raise TimeoutError(
                    f"the connection is too slow: {self._received} bytes in {seconds:.0f} seconds"
                )
            self._start, self._received = monotonic(), 0


class _MeteredReader(RawIOBase):
    """The bytes of a socket, counted as they arrive."""

    def __init__(self, raw: Any, meter: _Meter):
        self._raw = raw
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        n_bytes: int | None = self._raw.readinto(buffer)
        self._meter.count(n_bytes or 0)
        return n_bytes

    def close(self) -> None:
        self._raw.close()
        super().close()


class _MeteredResponse(HTTPResponse):
    """The answer of a server or of a proxy, whose bytes are counted."""

    def __init__(self, meter: _Meter, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.fp = BufferedReader(_MeteredReader(self.fp.detach(), meter))


class _Metered:
    """A handler of requests whose answers are counted."""

    def __init__(self, meter: _Meter):
        super().__init__()
        self._meter = meter

    def do_open(self, http_class: Any, req: Request, **options: Any) -> Any:
        """Send a request over a new connection."""

        def connect(*args: Any, **how: Any) -> Any:
            connection = http_class(*args, **how)
            connection.response_class = partial(_MeteredResponse, self._meter)
            return connection

        return super().do_open(connect, req, **options)  # type: ignore[misc]  # of the handler


class _MeteredHTTP(_Metered, HTTPHandler):
    """A handler of http addresses, which are on this machine."""


class _MeteredHTTPS(_Metered, HTTPSHandler):
    """A handler of https addresses."""
