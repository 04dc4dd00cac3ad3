"""Plain values: what a checkpoint can store without code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

# Scalars that JSON and torch's restricted files store as they are.
PLAIN = (bool, int, float, str, type(None))


class NotPlainError(TypeError):
    """Raised if a value, or a part of it, has a class that cannot be stored without code."""


def to_plain(value: Any) -> Any:
    """Return ``value`` without NumPy's types.

    Plain values are scalars, tensors, and lists, tuples and dicts of plain values.

    Raises
    ------
    NotPlainError
        If the value, or a part of it, is not plain.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer._support.plain import to_plain
    >>> to_plain({"loss": np.float64(0.5), "steps": (1, 2)})
    {'loss': 0.5, 'steps': (1, 2)}
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (*PLAIN, Tensor)):
        return value
    if isinstance(value, (list, tuple)):
        return type(value)([to_plain(part) for part in value])
    if isinstance(value, dict):
        return {key: to_plain(part) for key, part in value.items()}
    raise NotPlainError(f"a value must be plain; got {type(value).__name__}.")


def keep_plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are plain, by name."""
    kept = {}
    for name, value in values.items():
        try:
            kept[name] = to_plain(value)
        except NotPlainError:
            continue
    return kept
