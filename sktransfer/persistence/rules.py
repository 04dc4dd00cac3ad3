"""Rules that state which values a part of a saved model may have.

A rule takes the name of a part and its value, and raises a ``ValueError`` or a ``TypeError`` if
:func:`sktransfer.save` does not write that value.  Rules of parts form the rule of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Rule = Callable[[str, Any], None]

INFINITY = float("inf")


def anything(name: str, value: Any) -> None:
    """Accept every value that the codec can read."""


def is_a(kind: type) -> Rule:
    """Return a rule for objects of a class."""

    def rule(name: str, value: Any) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be of type {kind.__name__}; got {_short(value)}")

    return rule


def one_of(*choices: Any) -> Rule:
    """Return a rule for a fixed set of values."""

    def rule(name: str, value: Any) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            listed = ", ".join(map(repr, choices))
            raise ValueError(f"{name} must be one of {listed}; got {_short(value)}")

    return rule


def integer(low: float = -INFINITY, high: float = INFINITY) -> Rule:
    """Return a rule for integers in a closed interval."""

    def rule(name: str, value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{name} must be an integer in [{low}, {high}]; got {_short(value)}")

    return rule


def number(name: str, value: Any) -> None:
    """Accept integers and floats, also NaN and infinity."""
    if type(value) not in (int, float):
        raise ValueError(f"{name} must be a number; got {_short(value)}")


# Strings.
text = is_a(str)


def matching(pattern: str) -> Rule:
    """Return a rule for strings that match a regular expression as a whole."""

    def rule(name: str, value: Any) -> None:
        if type(value) is not str or not re.fullmatch(pattern, value):
            raise ValueError(f"{name} must match {pattern}; got {_short(value)}")

    return rule


def any_of(*rules: Rule) -> Rule:
    """Return a rule for values that one of several rules accepts; the error is that of the last."""

    def rule(name: str, value: Any) -> None:
        for each in rules[:-1]:
            try:
                return each(name, value)
            except (ValueError, TypeError):
                continue
        return rules[-1](name, value)

    return rule


def optional(accepted: Rule) -> Rule:
    """Return a rule that accepts None, too."""
    return any_of(one_of(None), accepted)


def list_of(accepted: Rule, kind: type = list, high: float = INFINITY) -> Rule:
    """Return a rule for lists, or another sequence, of at most ``high`` values."""

    def rule(name: str, value: Any) -> None:
        is_a(kind)(name, value)
        if len(value) > high:
            raise ValueError(f"{name} must have at most {high} entries; got {len(value)}")
        for index, part in enumerate(value):
            accepted(f"{name}[{index}]", part)

    return rule


def dict_of(accepted: Rule) -> Rule:
    """Return a rule for dicts whose keys are strings."""

    def rule(name: str, value: Any) -> None:
        is_a(dict)(name, value)
        for key, part in value.items():
            text(f"a key of {name}", key)
            accepted(f"{name}[{_short(key)}]", part)

    return rule


def record(
    required: Mapping[str, Rule],
    may: Mapping[str, Rule] | None = None,
    others: Rule | None = None,
) -> Rule:
    """Return a rule for dicts with given keys.

    Parameters
    ----------
    required : mapping of str to Rule
        The keys that a dict must have.
    may : mapping of str to Rule or None, default=None
        The keys that it may have.
    others : Rule or None, default=None
        The rule of all other keys.  With None, there must not be others.
    """
    known = {**required, **(may or {})}

    def rule(name: str, value: Any) -> None:
        is_a(dict)(name, value)
        missing = [key for key in required if key not in value]
        if missing:
            raise ValueError(f"{name} must have {missing[0]!r}; it is missing")
        for key, part in value.items():
            if key not in known and others is None:
                raise ValueError(f"{name} must not have {_short(key)}")
            known.get(key, others or anything)(f"{name}.{key}" if key in known else name, part)

    return rule


def array(kinds: str) -> Rule:
    """Return a rule for arrays of one axis whose dtype is of one of the kinds."""

    def rule(name: str, value: Any) -> None:
        is_a(np.ndarray)(name, value)
        if value.dtype.kind not in kinds:
            raise ValueError(f"{name} must have a dtype of kind {kinds}; got {value.dtype}")

    return rule


def attributes(rules: Mapping[str, Rule]) -> Rule:
    """Return a rule for the attributes of an object."""

    def rule(name: str, value: Any) -> None:
        for key, accepted in rules.items():
            accepted(f"{key} of {name}", getattr(value, key))

    return rule


def _short(value: Any) -> str:
    """Return a representation of a value that fits into a message."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
