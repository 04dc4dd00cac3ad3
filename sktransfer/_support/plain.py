"""Plain values: what a checkpoint can store without code."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Scalars that JSON and torch's restricted files store as they are.
PLAIN = (bool, int, float, str, type(None))

# The key of a dict that stands for an array, and the kinds of arrays: numbers, text and dates.
ARRAY = "numpy.ndarray"
KINDS = "biufcUSmM"


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
        kind = list if isinstance(value, list) else tuple  # not the class of a named tuple
        return kind([to_plain(part) for part in value])
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


def to_bytes(value: Any) -> memoryview:
    """Return a plain value as bytes, from which :func:`from_bytes` rebuilds it without code.

    Raises
    ------
    NotPlainError
        If the value, or a part of it, is not plain.

    Examples
    --------
    >>> from sktransfer._support.plain import from_bytes, to_bytes
    >>> from_bytes(to_bytes({"loss": 0.5}))
    {'loss': 0.5}
    """
    buffer = io.BytesIO()
    torch.save(to_plain(value), buffer)
    return buffer.getbuffer()


def from_bytes(content: bytes | memoryview) -> Any:
    """Rebuild a value from the bytes that :func:`to_bytes` returned; tensors are on the CPU."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def pack_arrays(value: Any) -> Any:
    """Replace the arrays in a value by plain values; :func:`unpack_arrays` restores them.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer._support.plain import pack_arrays, unpack_arrays
    >>> unpack_arrays(pack_arrays({"counts": np.array([1, 2])}))
    {'counts': array([1, 2])}
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
        content = torch.frombuffer(bytearray(value.tobytes()) or bytearray(1), dtype=torch.uint8)
        return {ARRAY: (value.dtype.str, value.shape, content[: value.nbytes])}
    return _convert_parts(value, pack_arrays)


def unpack_arrays(value: Any) -> Any:
    """Restore the arrays that :func:`pack_arrays` replaced."""
    if isinstance(value, dict) and value.keys() == {ARRAY}:
        dtype, shape, content = value[ARRAY]
        return np.frombuffer(content.numpy().tobytes(), np.dtype(dtype)).reshape(shape).copy()
    return _convert_parts(value, unpack_arrays)


def _convert_parts(value: Any, convert: Callable[[Any], Any]) -> Any:
    """Return ``value``, a list, tuple or dict, with converted parts; other values unchanged."""
    if type(value) in (list, tuple):
        return type(value)([convert(part) for part in value])
    if type(value) is dict:
        return {key: convert(part) for key, part in value.items()}
    return value
