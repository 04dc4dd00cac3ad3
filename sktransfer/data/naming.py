"""Names of items in messages, and Pillow's warnings with these names.

Pillow warns about odd metadata without the name of the file, and a filter that turns warnings into
errors would make it stop decoding a good image.  The filters belong to the whole process, while
items are decoded in threads, so ``warnings.catch_warnings`` cannot be used.  Instead, Pillow's
modules see a stand-in for the module ``warnings``.  It passes every warning on, except for those
of a thread that decodes an item here.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from PIL import Image

from .._support.forks import importing
from .._support.warn import warn_user

# Number of warnings that are remembered, so that each is shown once.
REMEMBERED = 10_000

_thread = threading.local()


def named(item: Any) -> str:
    """Describe an item for the start of a message."""
    if isinstance(item, (str, os.PathLike)):
        return repr(str(os.fspath(item)))  # NumPy's strings have a repr of their own
    if isinstance(item, bytes):
        return f"an image of {len(item)} bytes"
    if isinstance(item, Image.Image):
        return f"a PIL image of mode {item.mode}"
    return f"an array of {item.dtype} of shape {item.shape}"


@contextmanager
def named_warnings(item: Any) -> Iterator[None]:
    """Show Pillow's warnings about ``item`` as one warning that names it, once in a process.

    It is never an error, whatever the filters are: the image can be used.  An exception leaves out
    the warning.

    Examples
    --------
    >>> from PIL import Image
    >>> from sktransfer.data.naming import named_warnings
    >>> with named_warnings("a.jpg"):  # doctest: +SKIP
    ...     Image.open("a.jpg").load()
    UserWarning: 'a.jpg' is decoded, but Pillow warns: Tag data larger than file. Skipping tag 270
    """
    _replace_in_pillow()
    outer = getattr(_thread, "caught", None)
    caught: list[str] = []
    _thread.caught = caught
    try:
        yield
    finally:
        _thread.caught = outer
    if outer is not None:
        outer += caught
    elif caught:
        _show(f"{named(item)} is decoded, but Pillow warns: {'; '.join(dict.fromkeys(caught))}")


@lru_cache(REMEMBERED)
def _show(text: str) -> None:
    """Show a warning, even if the filters turn it into an error."""
    try:
        warn_user(text)
    except UserWarning as warning:
        warnings.showwarning(warning, UserWarning, __file__, 0)


class _Warnings:
    """A stand-in for the module ``warnings`` that collects what a decoding thread warns about."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    def warn(self, message: Any, category: Any = None, stacklevel: int = 1, **options: Any) -> None:
        caught = getattr(_thread, "caught", None)
        if caught is None:
            warnings.warn(message, category, stacklevel + 1, **options)
        else:
            caught.append(str(message))


@cache
def _replace_in_pillow() -> None:
    """Replace the module ``warnings`` in all modules of Pillow."""
    with importing():
        Image.init()  # imports the modules of all formats
    for name, module in list(sys.modules.items()):
        if name.startswith("PIL.") and getattr(module, "warnings", None) is warnings:
            module.warnings = _Warnings()  # type: ignore[attr-defined]  # these modules have it
