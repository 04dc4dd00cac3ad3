"""Convert values to JSON and back: plain values, arrays, and objects of a few known classes.

A tag in the JSON is looked up in one table of classes.  Nothing is imported, and nothing outside of
the table is called, so a file cannot run code of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._support.plain import NotPlainError
from ..cache import ActivationCache
from ..data import ImagePreset, ImageSizes, Views
from ..extraction import Tap
from ..schedules import (
    SGDR,
    Constant,
    Cosine,
    Cyclic,
    OneCycle,
    OneCycleMomentum,
    SlantedTriangular,
    Warmup,
)
from ..tasks import Classification, LinearHead, MLPHead, MultiLabel
from ..training import History, Numerics, Report

TAG = "!"
DATACLASSES = (
    *(Constant, Cosine, Cyclic, OneCycle, OneCycleMomentum, SGDR, SlantedTriangular, Warmup),
    *(ImagePreset, ImageSizes, LinearHead, MLPHead, Numerics, Tap, Views),
    *(Classification, MultiLabel),
)
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
}
# Kinds of arrays: bool, integers, floats, text, and objects whose elements are plain.
KINDS = "biufUO"
MOST_BYTES = 2**30  # the maximum size of an array, so that a bad file cannot fill the memory


def pack(value: Any) -> Any:
    """Convert a value to types that JSON supports.

    Raises
    ------
    NotPlainError
        If the value, or a part of it, is neither plain nor of a known class.

    Examples
    --------
    >>> from sktransfer.persistence.codec import pack, unpack
    >>> pack({"size": (1, 2)})
    {'size': {'!': 'tuple', 'of': [1, 2]}}
    >>> unpack(pack({"size": (1, 2)}))
    {'size': (1, 2)}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in (bool, int, str, type(None)) or _is_finite(value):
        return value
    if type(value) is list:
        return [pack(part) for part in value]
    if type(value) is dict and TAG not in value and all(type(key) is str for key in value):
        return {key: pack(part) for key, part in value.items()}
    for tag, form in FORMS.items():
        if type(value) is form.kind:
            return {TAG: tag, "of": pack(form.take_apart(value))}
    raise NotPlainError(f"a value must be plain or of a known class; got {type(value).__name__}.")


def unpack(value: Any) -> Any:
    """Convert the result of :func:`pack` back to the value.

    Raises
    ------
    ValueError, TypeError, KeyError
        If ``value`` is not a result of :func:`pack`.
    """
    if isinstance(value, list):
        return [unpack(part) for part in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: unpack(part) for key, part in value.items()}
    return FORMS[value[TAG]].make(unpack(value["of"]))


def parts_of(thing: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, without copying them."""
    return {field.name: getattr(thing, field.name) for field in fields(thing)}


def _is_finite(value: Any) -> bool:
    return type(value) is float and isfinite(value)


@dataclass(frozen=True)
class Form:
    """How objects of one class are taken apart into values that ``pack`` knows, and rebuilt."""

    kind: type
    take_apart: Callable[[Any], Any]
    make: Callable[[Any], Any]


def _array_parts(array: np.ndarray) -> list[Any]:
    if array.dtype.kind not in KINDS:
        raise NotPlainError(f"an array must contain numbers or text; got dtype {array.dtype}.")
    return [array.dtype.str, list(array.shape), array.ravel().tolist()]


def _array(parts: Any) -> np.ndarray:
    text, shape, values = parts
    dtype = np.dtype(str(text))
    if dtype.kind not in KINDS or dtype.itemsize * len(values) > MOST_BYTES:
        raise ValueError(
            f"an array must contain numbers or text and be small; got {len(values)} of {text!r}."
        )
    flat = np.empty(len(values), dtype)
    flat[:] = values
    return flat.reshape(shape)


def _of_fields(kind: Any) -> Form:
    return Form(kind, parts_of, lambda parts: kind(**parts))


# The form of each class, by the tag that stands for it in JSON.
FORMS: dict[str, Form] = {
    "float": Form(float, repr, float),  # NaN and infinity, which JSON does not support
    "tuple": Form(tuple, list, tuple),
    "dict": Form(dict, lambda value: [list(pair) for pair in value.items()], dict),
    "array": Form(np.ndarray, _array_parts, _array),
    "path": Form(type(Path()), str, Path),
    "device": Form(torch.device, str, torch.device),
    "dtype": Form(torch.dtype, lambda dtype: str(dtype).removeprefix("torch."), DTYPES.__getitem__),
    "History": Form(History, list, History),
    "Report": Form(Report, list, Report),
    "ActivationCache": Form(
        ActivationCache, lambda cache: dict(vars(cache)), lambda parts: ActivationCache(**parts)
    ),
    **{kind.__name__: _of_fields(kind) for kind in DATACLASSES},
}
