"""Input checking: whatever the user passed as X becomes a sequence of items.

Every error names the items it is about, lists at most ten of them, and leaves the estimator as it
was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from .._support.validation import first_ten
from .decoding import CHANNELS, TOLERANCE, channels_last, is_uint16
from .tables import unflattened

COLUMNS = ("n_features_in_", "feature_names_in_")
KINDS = {
    "path": (str, os.PathLike),
    "bytes": (bytes, bytearray, memoryview),
    "PIL image": (Image.Image,),
    "array": (np.ndarray, torch.Tensor),
}
CHANNELS_FIRST = (1, 3, 4)
TEXT_OR_OBJECT = "OUST"  # kinds of NumPy's dtypes

SEQUENCE = (
    "X must be a sequence of images: paths, bytes, PIL images or arrays, a column of them, an "
    "array (n, h, w), (n, h, w, c) or (n, c, h, w), or a table of flattened rows"
)


def check_items(
    estimator: Any, X: Any, image_shape: tuple[int, ...] | None = None, *, reset: bool = False
) -> Sequence[Any]:
    """The items of ``X``: a list, or an array whose first axis counts them.

    Parameters
    ----------
    estimator : estimator
        Tables and one-column frames set its ``n_features_in_`` and ``feature_names_in_`` where
        ``reset`` is true, and are compared with them otherwise; other input deletes or ignores
        them.
    X : sequence of n paths, bytes, PIL images or arrays, or an array or table of them
        As :class:`~sktransfer.ImagePreset` lists them.
    image_shape : tuple of int or None, default=None
        Shape of each flattened row: (h, w), (h, w, c) or (c, h, w).
    reset : bool, default=False
        Whether this is the input of ``fit``.

    Returns
    -------
    sequence of length n
        Each item is a str, bytes, PIL image, or ndarray (h, w) or (h, w, c).

    Raises
    ------
    ValueError
        If X is empty, mixed, missing, out of range, or no images at all.
    TypeError
        If X is sparse, or a single image.
    """
    before = {name: vars(estimator)[name] for name in COLUMNS if name in vars(estimator)}
    try:
        return cast("Sequence[Any]", _items(estimator, X, image_shape, reset))
    except Exception:
        _forget_columns(estimator)
        vars(estimator).update(before)
        raise


def _items(
    estimator: Any, X: Any, image_shape: tuple[int, ...] | None, reset: bool
) -> list[Any] | np.ndarray:
    if (kind := _kind(X)) and kind != "array":
        raise TypeError(f"{SEQUENCE}; got one {kind}. Pass a list of one: [{_short(X)}].")
    X = X if _is_frame(X) or issparse(X) else _array_or_list(X)
    column = _frame_column(X) if _is_frame(X) else _column(X)
    two_axes = _is_frame(X) or issparse(X) or (isinstance(X, np.ndarray) and X.ndim < 3)
    if column is not None and two_axes and len(X.shape) == 2:
        _count_columns(estimator, X, reset)
    elif reset:
        _forget_columns(estimator)
    if column is not None:
        return _check_column(column)
    if not two_axes:
        return _check_images(X)
    table = validate_data(estimator, X, reset=reset, dtype="numeric")
    return unflattened(table, image_shape)


def _forget_columns(estimator: Any) -> None:
    for name in COLUMNS:
        vars(estimator).pop(name, None)


def _count_columns(estimator: Any, X: Any, reset: bool) -> None:
    # An estimator that was fitted to a list has no columns to compare with.
    if reset or hasattr(estimator, "n_features_in_"):
        validate_data(estimator, X, reset=reset, skip_check_array=True)


# What X is


def _numpy(x: Any) -> Any:
    """``x``; a tensor as an array."""
    if not isinstance(x, torch.Tensor):
        return x
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def _kind(item: Any) -> str:
    """The kind of an item, "" for none."""
    kind = _kind_of(type(item))  # type: ignore[arg-type]  # mypy holds classes for unhashable
    return kind if kind != "array" or item.ndim > 1 else ""


@cache  # a hundred thousand paths are of one type
def _kind_of(cls: type) -> str:
    return next((kind for kind, types in KINDS.items() if issubclass(cls, types)), "")


def _is_frame(X: Any) -> bool:
    return hasattr(X, "columns") and not hasattr(X, "column_names")  # pyarrow's becomes an array


def _frame_column(X: Any) -> list[Any] | None:
    """The items of a one-column frame; None where a frame holds numbers."""
    for name in X.columns:
        cells = np.asarray(X[name])
        if cells.dtype.kind in TEXT_OR_OBJECT and any(map(_kind, cells)):
            if len(X.columns) > 1:
                raise ValueError(
                    "X must be one column of images, or a table of numbers; got "
                    f"{len(X.columns)} columns, and {name!r} holds no numbers. Select one, as in "
                    f"X[[{name!r}]]."
                )
            return list(cells)
    return None


def _array_or_list(X: Any) -> Any:
    """``X`` as a list of items where it is one, as an array otherwise."""
    if hasattr(X, "to_list"):  # a pandas or polars column
        X = X.to_list()
    if isinstance(X, (list, tuple)) and (not X or any(map(_kind, X))):
        return list(X)
    try:
        array = np.asarray(_numpy(X))
    except ValueError as error:
        raise ValueError(f"{SEQUENCE}; got lists of unequal lengths: {error}") from error
    if array.ndim == 0 and array.dtype == object:
        raise TypeError(f"{SEQUENCE}; got {type(X).__name__}.")
    return array


def _column(X: Any) -> list[Any] | None:
    """The items of a list, or of an object or text array of one column; None for numbers."""
    if isinstance(X, list):
        return X
    if not isinstance(X, np.ndarray) or X.dtype.kind not in TEXT_OR_OBJECT or X.ndim > 2:
        return None
    if X.dtype.kind == "S":
        raise ValueError(
            f"X must hold bytes in an array of dtype object; got {X.dtype}, which loses "
            "trailing zero bytes. Pass a list."
        )
    cells = list(X.ravel())
    if X.ndim == 1:
        return cells
    if not any(map(_kind, cells)):
        return None
    if X.shape[1] != 1:
        raise ValueError(
            f"X must be one column of images, or a table of numbers; got {X.shape[1]} columns. "
            "Select one, as in X[:, [0]]."
        )
    return cells


# Items one by one


def _check_column(column: list[Any]) -> list[Any]:
    if not column:
        raise ValueError(
            "Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is required."
        )
    kinds = list(map(_kind, column))
    _refuse(
        "X must hold a path, bytes, a PIL image or an array (h, w) or (h, w, c) in each row",
        (
            (i, _short(item))
            for i, (item, kind) in enumerate(zip(column, kinds, strict=True))
            if not kind or (isinstance(item, (str, bytes)) and not item)
        ),
    )
    other = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise ValueError(
            f"X must hold items of one kind; X[0] is of kind {kinds[0]}, "
            f"X[{other}] of kind {kinds[other]}. Convert one of them."
        )
    return CHECKS[kinds[0]](column)


def _check_paths(items: list[Any]) -> list[str]:
    paths = [os.fsdecode(item) for item in items]
    missing = [
        (i, repr(path) + " is a folder" * os.path.isdir(path))  # noqa: PTH112 - as below
        for i, path in enumerate(paths)
        if not os.path.isfile(path)  # noqa: PTH113 - of a million paths, objects take seconds
    ]
    _refuse(
        "X must hold paths of files that are there",
        missing,
        advice=f"Relative paths start from {str(Path.cwd())!r}; web addresses are not downloaded.",
    )
    return paths


def _check_pil(items: list[Image.Image]) -> list[Image.Image]:
    _refuse(
        "X must hold images of at least one pixel",
        ((i, f"{x.width} x {x.height}") for i, x in enumerate(items) if 0 in x.size),
    )
    return items


def _check_arrays(items: list[Any]) -> list[np.ndarray]:
    items = list(map(_numpy, items))
    _refuse(
        "X must hold arrays (h, w), (h, w, c) or (c, h, w) of at least one pixel and of 1 to 4 "
        "channels",
        ((i, f"shape {x.shape}") for i, x in enumerate(items) if not is_image_shape(x.shape)),
    )
    items = [channels_last(item, item.shape) for item in items]
    _check_pixels(items)
    return [_eight_bits(item) for item in items]


CHECKS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "path": _check_paths,
    "bytes": lambda items: [bytes(item) for item in items],
    "PIL image": _check_pil,
    "array": _check_arrays,
}


# Arrays of images


def _check_images(X: np.ndarray) -> np.ndarray:
    """The images of an array (n, h, w), (n, h, w, c) or (n, c, h, w), channels last."""
    if X.ndim == 3 and X.shape[-1] in CHANNELS:
        raise ValueError(
            f"X must be a sequence of images; got one image of shape {X.shape}: pass X[None]. "
            f"Grey images {X.shape[-1]} pixels wide are passed as X[..., None]."
        )
    if X.shape[0] == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 is required."
        )
    if not is_image_shape(X.shape[1:]):
        raise ValueError(
            "X must be an array (n, h, w), (n, h, w, c) or (n, c, h, w) of at least one pixel and "
            f"of 1 to 4 channels; got shape {X.shape}."
        )
    X = channels_last(X, X.shape[1:])
    if _fault(X):
        _check_pixels(X)
    return _eight_bits(X)


def is_image_shape(shape: tuple[int, ...]) -> bool:
    """Whether ``shape`` is (h, w), (h, w, c) or (c, h, w), with 1 to 4 channels and a pixel."""
    if 0 in shape or len(shape) not in (2, 3):
        return False
    return len(shape) == 2 or shape[-1] in CHANNELS or shape[0] in CHANNELS_FIRST


def _check_pixels(images: Iterable[np.ndarray]) -> None:
    faults = ((i, _fault(image)) for i, image in enumerate(images))
    _refuse(
        "X must hold pixels of 0 to 255 (integers), 0 to 65535 (uint16) or 0 to 1 (floats)",
        ((i, fault) for i, fault in faults if fault),
        advice="Divide floats of 0 to 255 by 255.",
    )


def _fault(pixels: np.ndarray) -> str:
    """What is wrong with pixels of this dtype; "" for nothing."""
    if pixels.dtype in (np.bool_, np.uint8) or is_uint16(pixels):
        return ""
    if pixels.dtype.kind not in "iuf":
        return f"dtype {pixels.dtype}"
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return "NaN or infinity"
    floats = pixels.dtype.kind == "f"
    top = 1 + TOLERANCE if floats else 255
    if low >= (-TOLERANCE if floats else 0) and high <= top:
        return ""
    return f"{pixels.dtype} from {low:g} to {high:g}"


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """``pixels``; integers of other dtypes, known to lie in 0 to 255, as uint8."""
    integers = pixels.dtype.kind in "iu" and not is_uint16(pixels)
    return pixels.astype(np.uint8, copy=False) if integers else pixels


# Sentences


def _refuse(rule: str, faults: Iterable[tuple[int, str]], *, advice: str = "") -> None:
    lines = [f"X[{index}]: {fault}" for index, fault in faults]
    if lines:
        raise ValueError(f"{rule}; {len(lines)} do not:\n{first_ten(lines)}\n{advice}".rstrip())


def _short(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 80 else f"{text[:77]}..."
