"""Text for messages and tables, from names that may hold any character, and from other values."""

from __future__ import annotations

import re
from typing import Any

# Control characters, line and paragraph separators, characters that reverse the direction of the
# text, and surrogates, which stand for bytes of a file name that are not UTF-8.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(name: object) -> str:
    r"""Return ``str(name)`` with the escapes of Python for characters that cannot be printed.

    The result is a single line that every UTF-8 stream accepts.  Letters of all languages stay as
    they are, and so do backslashes.

    Examples
    --------
    >>> from sktransfer._support.text import printable
    >>> print(printable("ants/caf\udce9\n1.jpg"))
    ants/caf\udce9\n1.jpg
    """
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], str(name))


def short(value: Any, most: int = 80) -> str:
    """Return the repr of a value, cut to ``most`` characters; images are named by their sizes.

    The repr of a PIL image has an address, which is another one in each run, and that of an array
    of two axes or more has several lines of numbers.
    """
    shape = getattr(value, "shape", ())
    if any(kind.__module__ == "PIL.Image" for kind in type(value).__mro__):
        text = "image of {} x {}".format(*value.size)
    elif isinstance(shape, tuple) and len(shape) > 1:
        text = f"{type(value).__name__} of shape {tuple(shape)}"
    else:
        text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def is_number(text: str) -> bool:
    """Return True if a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
