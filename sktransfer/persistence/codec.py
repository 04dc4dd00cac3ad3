"""Convert values to JSON and back: plain values, arrays, and objects of a few known classes.

A tag in the JSON is looked up in one table of classes.  Nothing is imported, and nothing outside of
the table is called, so a file cannot run code of its own.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._support.plain import PLAIN, NotPlainError
from ..backbones import check_pooling
from ..data import (
    ImagePreset,
    ImageSizes,
    JsonTokenizer,
    TextPreset,
    Views,
    WordPiece,
    WordTokenizer,
    read_tokenizer,
)
from ..estimators import LanguageModelTuner
from ..extraction import LOGITS, Tap
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
from ..tasks import (
    Classification,
    Columns,
    FPNHead,
    LabelSets,
    LanguageModel,
    LinearHead,
    LinearMapHead,
    Mixed,
    MLPHead,
    MultiLabel,
    Points,
    Regression,
    Segmentation,
)
from ..training import History, Numerics, Report, check_parameters
from .rules import (
    INFINITY,
    Rule,
    any_of,
    anything,
    array,
    attributes,
    integer,
    is_a,
    list_of,
    matching,
    number,
    one_of,
    optional,
)

TAG = "!"

# Limits, so that a small file cannot fill the memory: the size of all arrays in bytes, the depth to
# which values are nested, the short side of an image in pixels, and the hidden layers of a head.
MOST_BYTES, MOST_DEPTH, MOST_PIXELS, MOST_LAYERS = 2**25, 40, 2**13, 100
# The number of tokens of a text, and the size of the description of a tokenizer in bytes.
MOST_TOKENS, MOST_DESCRIPTION = 2**16, 2**26

# Parameters that name folders of the author's machine, and texts, are not part of a file.
NOT_SAVED = ("cache", "checkpoint", "texts")

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float64, torch.float32, torch.bfloat16)
}
# Arrays contain bools, integers, floats, text, or objects whose elements are plain.
ARRAY_DTYPE = re.compile(r"\|b1|[<>|][iu][1248]|[<>]f[248]|[<>]U[0-9]{1,8}|\|O")


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

    The memory of the result is at most a small multiple of the size of the JSON text.

    Raises
    ------
    ValueError, TypeError, LookupError
        If ``value`` is not a result of :func:`pack`, or one of its parts is too large.
    """
    n_bytes = _count_bytes(value, 0)
    if n_bytes > MOST_BYTES:
        raise ValueError(f"arrays must have at most {MOST_BYTES} bytes in total; got {n_bytes}")
    return _unpacked(value)


def _count_bytes(value: Any, depth: int) -> int:
    """Return the size of all arrays, and check the depth of the nesting and the integers."""
    if depth > MOST_DEPTH:
        raise ValueError(f"values must be nested at most {MOST_DEPTH} times")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("integers must have at most 64 bits")
    if isinstance(value, dict):
        if value.get(TAG) == "array":
            dtype, values = value["of"]
            return _dtype(dtype).itemsize * len(values)
        value = value.values()
    elif not isinstance(value, list):
        return 0
    return sum(_count_bytes(part, depth + 1) for part in value)


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(part) for part in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: _unpacked(part) for key, part in value.items()}
    if value.keys() != {TAG, "of"}:
        raise ValueError(f"an object must have the keys {TAG!r} and 'of'; got {list(value)}")
    form = FORMS[value[TAG]]
    made = form.make(_unpacked(value["of"]))
    form.rule(f"a {value[TAG]}", made)
    return made


def parts_of(thing: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, without copying them."""
    return {field.name: getattr(thing, field.name) for field in fields(thing)}


def _is_finite(value: Any) -> bool:
    return type(value) is float and isfinite(value)


@dataclass(frozen=True)
class Form:
    """A way to take objects of one class apart into values that ``pack`` knows.

    Parameters
    ----------
    kind : type
    take_apart : callable
        Returns a value that ``pack`` knows.
    make : callable
        Rebuilds the object from this value, which may be any value that ``unpack`` returns.
    rule : Rule, default=anything
        States which objects a file may contain, beyond the checks of their class.
    """

    kind: type
    take_apart: Callable[[Any], Any]
    make: Callable[[Any], Any]
    rule: Rule = anything


def _array_parts(array: np.ndarray) -> list[Any]:
    values: Any = array.tolist()
    # Arrays have one axis, and the elements of an array of objects are plain.
    is_plain = array.ndim == 1 and all(type(part) in PLAIN for part in values)
    if not is_plain or not ARRAY_DTYPE.fullmatch(array.dtype.str):
        raise NotPlainError(
            "an array must have one axis, and contain numbers or text; got shape "
            f"{array.shape} and dtype {array.dtype}."
        )
    return [array.dtype.str, values]


def _array(parts: Any) -> np.ndarray:
    text, values = parts
    if not isinstance(values, list) or not all(type(part) in PLAIN for part in values):
        raise ValueError("an array must contain a list of numbers or texts")
    array = np.empty(len(values), _dtype(text))
    array[:] = values
    return array


def _dtype(text: Any) -> np.dtype[Any]:
    if not isinstance(text, str) or not ARRAY_DTYPE.fullmatch(text):
        raise ValueError(
            f"the dtype of an array must match {ARRAY_DTYPE.pattern}; got {str(text)[:80]!r}"
        )
    return np.dtype(text)


def _list(parts: Any) -> list[Any]:
    if not isinstance(parts, list):
        raise TypeError(f"the parts of an object must be a list; got {type(parts).__name__}")
    return parts


def _dict_parts(value: dict[Any, Any]) -> list[list[Any]]:
    if not all(type(key) in PLAIN for key in value):
        raise NotPlainError("the keys of a dict must be numbers or texts.")
    return [list(pair) for pair in value.items()]


def _dict(pairs: Any) -> dict[Any, Any]:
    # Keys are scalars: a file can contain many tuples with the same hash.
    if not all(type(key) in PLAIN for key, _ in _list(pairs)):
        raise TypeError("the keys of a dict must be numbers or texts")
    return dict(pairs)


def _of_fields(kind: Any, **rules: Rule) -> Form:
    return Form(kind, parts_of, lambda parts: kind(**parts), attributes(rules))


def _compressed(tokenizer: Any) -> str:
    return base64.b64encode(zlib.compress(tokenizer.to_bytes())).decode()


def _tokenizer(text: Any) -> Any:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(base64.b64decode(text, validate=True), MOST_DESCRIPTION)
    except zlib.error as error:
        raise ValueError(f"the description of a tokenizer is damaged: {error}") from error
    if not unpacker.eof:
        raise ValueError(
            f"the description of a tokenizer must have at most {MOST_DESCRIPTION} bytes"
        )
    return read_tokenizer(content, "the description of a tokenizer")


def _tuner_parts(tuner: LanguageModelTuner) -> dict[str, Any]:
    given = tuner.get_params(deep=False)
    return {name: given[name] for name in given if name not in NOT_SAVED}


def _tuner(parts: Any) -> LanguageModelTuner:
    """Return an unfitted tuner: the parameter ``weights`` of another estimator."""
    kind: Any = LanguageModelTuner
    unknown = set(parts) - set(kind().get_params(deep=False)) | set(parts) & set(NOT_SAVED)
    if unknown:
        raise ValueError(f"a tuner must not have the parameter {min(unknown)!r}")
    check_parameters(parts)
    return kind(**parts)  # type: ignore[no-any-return]  # the class has no annotations


def device(name: str, value: Any) -> None:
    """Accept the devices that the library knows, as an object or a string."""
    matching("auto|(cpu|cuda|mps)(:[0-9]{1,3})?")(name, str(value))


def pooling(name: str, value: Any) -> None:  # noqa: ARG001 - the message of check_pooling names it
    """Accept the names of poolings."""
    check_pooling(value)


def _numerics(name: str, value: Numerics) -> None:
    """Accept the types with which a fit can compute."""
    device(f"device of {name}", value.device)
    double, single, half = torch.float64, torch.float32, torch.bfloat16
    pair = (value.precision, value.dtype)
    one_of((single, single), (half, single), (double, double))(f"the types of {name}", pair)


# The form of each class, by the tag that stands for it in JSON.  Classes without a rule check
# their fields when they are created.
FORMS: dict[str, Form] = {
    "float": Form(float, repr, {repr(x): x for x in (np.nan, INFINITY, -INFINITY)}.__getitem__),
    "tuple": Form(tuple, list, lambda parts: tuple(_list(parts))),
    "dict": Form(dict, _dict_parts, _dict),
    "array": Form(np.ndarray, _array_parts, _array),
    "path": Form(type(Path()), str, Path),
    "device": Form(torch.device, str, torch.device, device),
    "dtype": Form(torch.dtype, lambda dtype: str(dtype).removeprefix("torch."), DTYPES.__getitem__),
    "History": Form(History, list, lambda parts: History(_list(parts))),
    "Report": Form(Report, list, lambda parts: Report(_list(parts))),
    "Numerics": Form(Numerics, parts_of, lambda parts: Numerics(**parts), _numerics),
    **{
        kind.__name__: _of_fields(kind)
        for kind in (Constant, Cosine, Cyclic, OneCycle, OneCycleMomentum, SGDR)
    },
    **{kind.__name__: _of_fields(kind) for kind in (SlantedTriangular, Warmup, LinearHead, Views)},
    "ImagePreset": _of_fields(
        ImagePreset,
        short_side=integer(1, MOST_PIXELS),
        draft=is_a(bool),
        sizes=is_a(ImageSizes),
    ),
    "TextPreset": _of_fields(TextPreset, max_length=integer(1, MOST_TOKENS)),
    "WordPiece": Form(WordPiece, _compressed, _tokenizer, is_a(WordPiece)),
    "WordTokenizer": Form(WordTokenizer, _compressed, _tokenizer, is_a(WordTokenizer)),
    "JsonTokenizer": Form(JsonTokenizer, _compressed, _tokenizer, is_a(JsonTokenizer)),
    "ImageSizes": _of_fields(
        ImageSizes, minimum=integer(1), multiple=integer(1), only=list_of(integer(1), tuple)
    ),
    "MLPHead": _of_fields(MLPHead, hidden_sizes=list_of(integer(1), tuple, MOST_LAYERS)),
    "Classification": _of_fields(Classification, names=list_of(is_a(str), tuple)),
    "MultiLabel": _of_fields(MultiLabel, n_outputs=integer(1), names=list_of(is_a(str), tuple)),
    "LabelSets": _of_fields(LabelSets, n_outputs=integer(1), labels=array("biufUO")),
    "Mixed": _of_fields(
        Mixed,
        tasks=list_of(any_of(is_a(Classification), is_a(LabelSets), is_a(Regression)), tuple),
        names=list_of(is_a(str), tuple),
        weights=list_of(number, tuple),
        levels=list_of(number, tuple),
    ),
    "Columns": _of_fields(
        Columns,
        tasks=list_of(is_a(Classification), tuple),
        names=list_of(any_of(is_a(str), integer(0)), tuple),
    ),
    "Regression": _of_fields(Regression, is_flat=is_a(bool), names=list_of(is_a(str), tuple)),
    "LanguageModel": _of_fields(
        LanguageModel,
        objective=one_of("causal", "masked"),
        n_outputs=integer(1),
        mask_token=optional(integer(0)),
    ),
    "Points": _of_fields(Points, is_flat=is_a(bool), names=list_of(is_a(str), tuple)),
    "LanguageModelTuner": Form(LanguageModelTuner, _tuner_parts, _tuner),
    "Segmentation": _of_fields(Segmentation, names=list_of(is_a(str), tuple)),
    "FPNHead": _of_fields(FPNHead, width=integer(1, MOST_PIXELS)),
    "LinearMapHead": _of_fields(LinearMapHead),
    "Tap": _of_fields(Tap, cut=integer(1), reduce=any_of(one_of(*LOGITS), pooling)),
}
