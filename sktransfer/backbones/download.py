"""Downloads: atomic, compared with a hash, one process at a time, and none in offline mode."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from .._support.validation import check_choice

# The maximum size of a file of weights, in bytes, on disk or while it is downloaded.
LARGEST = 32 * 2**30

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 30  # seconds without an answer, or without a byte
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
) -> Path:
    """Download a file unless it is in the folder already, and return its path.

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

    Returns
    -------
    Path

    Raises
    ------
    ConnectionError
        If the file cannot be downloaded, or if :func:`offline_mode` forbids it.  The message names
        the file, its place, and how to copy it there.
    OSError
        If the file has another hash, is too large, or cannot be written.

    Notes
    -----
    If several processes need the file, one downloads it and the others wait.  An interrupted
    download leaves no file.
    """
    target = Path(folder) / filename
    if target.exists():
        return target
    instructions = _instructions(url, target, address, tag)
    if is_offline():
        raise ConnectionError(
            f"weights of {address} are not on this machine, and downloads are forbidden "
            f"(offline=True, or SKTRANSFER_OFFLINE). {instructions}"
        )
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.exists():  # another process may have downloaded it meanwhile
                _download_to(url, target, sha256_prefix)
    except (OSError, ValueError, HTTPException) as error:
        unreachable = (URLError, HTTPException, TimeoutError, ConnectionError)
        kind = ConnectionError if isinstance(error, unreachable) else OSError
        raise kind(
            f"weights of {address} could not be downloaded from {url}: {error}. {instructions}"
        ) from error
    return target


def _instructions(url: str, target: Path, address: str, tag: str | None) -> str:
    option = f" --weights {tag}" if tag else ""
    return (
        f"The file needed is {target.name}, and its place is {target}. On a connected machine, "
        f"`sktransfer fetch {address}{option} --to DIR` writes a file: copy it to this machine and "
        f"pass weights=PATH; or copy {url} to that place."
    )


def _download_to(url: str, target: Path, sha256_prefix: str | None) -> None:
    """Download to a temporary file, check its hash, and rename it.

    The caller holds a lock, so that no other process uses the temporary file.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            digest = _receive(url, file, target.name)
        if not digest.startswith((sha256_prefix or "").lower()):
            raise OSError(
                f"the sha256 of the download must begin with {sha256_prefix}; got {digest}. "
                "The file was removed; a proxy may have answered instead of the server"
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _receive(url: str, file: IO[bytes], label: str) -> str:
    """Download ``url`` to an open file, with a progress bar; return its sha256."""
    from tqdm import tqdm

    digest, received = hashlib.sha256(), 0
    with _open(url) as answer:
        declared = answer.headers.get("Content-Length")
        total = int(declared) if declared and declared.isdigit() else None
        _check_size(total or 0)
        with tqdm(total=total, desc=label, unit="B", unit_scale=True, disable=None) as bar:
            while chunk := answer.read(_CHUNK):
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
        answer: HTTPResponse = build_opener(_Redirects).open(request, timeout=_TIMEOUT)
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
