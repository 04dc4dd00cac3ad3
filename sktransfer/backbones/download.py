"""Downloads: one at a time, compared with their hash, whole or not at all, or forbidden."""

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

# Bytes that a file of weights, here or on its way here, may have.
LARGEST = 32 * 2**30

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 30  # seconds without an answer, or without a byte
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_offline: ContextVar[bool | None] = ContextVar("offline", default=None)


@contextmanager
def offline_mode(offline: bool | None) -> Iterator[None]:
    """Forbid downloads within, in this thread, or allow them; None leaves it as it is."""
    check_choice("offline", offline, [True, False, None])
    token = _offline.set(_offline.get() if offline is None else offline)
    try:
        yield
    finally:
        _offline.reset(token)


def is_offline() -> bool:
    """Whether downloads are forbidden: by :func:`offline_mode`, or else by SKTRANSFER_OFFLINE."""
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
    """The path of ``filename`` in ``folder``, brought there from ``url`` if need be.

    Parameters
    ----------
    url : str
        https, or http from this very machine.
    folder : str or path-like
        Made where it is missing.
    filename : str
        A file of this name that is there already is returned unread.
    address : str
        Of the backbone, for the errors.
    tag : str or None, default=None
        The name of the weights, if not the default ones, for the errors.
    sha256_prefix : str or None, default=None
        With which the file's hash must begin, hexadecimal.

    Returns
    -------
    Path

    Raises
    ------
    ConnectionError
        If the file cannot be had, or must not (see :func:`offline_mode`); it names the file,
        where it would be kept, and how to bring it there.
    OSError
        If the file has another hash, is too large, or cannot be kept.

    Notes
    -----
    Of several processes one downloads and the others wait.  The file appears whole or not at all.
    """
    target = Path(folder) / filename
    if target.exists():
        return target
    wanted = _wanted(url, target, address, tag)
    if is_offline():
        raise ConnectionError(
            f"weights of {address} are not here, and downloads are forbidden (offline=True, or "
            f"SKTRANSFER_OFFLINE). {wanted}"
        )
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.exists():  # another process may have brought it meanwhile
                _bring(url, target, sha256_prefix)
    except (OSError, ValueError, HTTPException) as error:
        unreachable = (URLError, HTTPException, TimeoutError, ConnectionError)
        kind = ConnectionError if isinstance(error, unreachable) else OSError
        raise kind(
            f"weights of {address} could not be had from {url}: {error}. {wanted}"
        ) from error
    return target


def _wanted(url: str, target: Path, address: str, tag: str | None) -> str:
    option = f" --weights {tag}" if tag else ""
    return (
        f"The file wanted is {target.name}; it would be kept as {target}. On a connected machine, "
        f"`sktransfer fetch {address}{option} --to DIR` makes a file: bring it here and pass "
        f"weights=PATH; or put a copy of {url} where it would be kept."
    )


def _bring(url: str, target: Path, sha256_prefix: str | None) -> None:
    """Download aside, compare, rename; the caller holds the lock, so the name aside is free."""
    aside = target.with_name(f"{target.name}.part")
    try:
        with aside.open("wb") as file:
            digest = _receive(url, file, target.name)
        if not digest.startswith((sha256_prefix or "").lower()):
            raise OSError(
                f"the sha256 of what came must begin with {sha256_prefix}; got {digest}. "
                "It was removed; a proxy may have answered in the place of the address"
            )
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _receive(url: str, file: IO[bytes], label: str) -> str:
    """Write what ``url`` gives to ``file``; returns its sha256."""
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
        raise OSError(f"an address of weights must begin with https://; got {url!r}")


class _Redirects(HTTPRedirectHandler):
    """Redirects that stay encrypted."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """The request of ``newurl``, if it is an address that :func:`download` would take."""
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
