"""Docstrings of estimators that share parameters and attributes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

SECTION = re.compile(r"^(\w[\w ]+)\n-+\n", re.MULTILINE)
ENTRY = re.compile(r"^(?=\w+ : )", re.MULTILINE)

Class = TypeVar("Class", bound=type)


def share_entries(source: Any, without: tuple[str, ...] = ()) -> Callable[[Class], Class]:
    """Return a decorator that adds entries of another class to the docstring of a class.

    The decorated class describes the parameters and attributes that differ.  Those that it does not
    describe get the text of ``source``.  The parameters have the order of its signature.

    Parameters
    ----------
    source : type
        The class with the other entries.
    without : tuple of str, default=()
        Attributes of ``source`` that the class does not have.
    """

    def decorate(kind: Class) -> Class:
        if kind.__doc__ and source.__doc__:  # python -OO removes them
            own, others = _split(kind.__doc__), _split(source.__doc__)
            parameters = list(inspect.signature(kind).parameters)
            own["Parameters"] = _merge(own, others, "Parameters", parameters)
            attributes = [n for n in _entries(others["Attributes"]) if n not in without]
            own["Attributes"] = _merge(own, others, "Attributes", attributes)
            kind.__doc__ = _join(own)
        return kind

    return decorate


def _split(doc: str) -> dict[str, str]:
    """Return the sections of a docstring by title, which is "" for the text before the first."""
    first, *rest = SECTION.split(inspect.cleandoc(doc))
    return {"": first, **dict(zip(rest[::2], rest[1::2], strict=True))}


def _join(sections: dict[str, str]) -> str:
    """Return the docstring that consists of sections."""
    parts = [
        f"{title}\n{'-' * len(title)}\n{text}" if title else text
        for title, text in sections.items()
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _entries(text: str) -> dict[str, str]:
    """Return the entries of a section by name."""
    parts = [part for part in ENTRY.split(text) if part.strip()]
    return {part.partition(" :")[0]: part.strip() for part in parts}


def _merge(own: dict[str, str], others: dict[str, str], title: str, names: list[str]) -> str:
    """Return a section with an entry for each name: the own one, or that of the other class."""
    entries = _entries(others[title]) | _entries(own.get(title, ""))
    return "\n".join(entries[name] for name in names)
