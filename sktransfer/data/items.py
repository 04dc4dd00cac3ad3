"""Input checking: whatever the user passed as X becomes a sequence of items.

Every error lists the items that caused it, ten at most.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from scipy.sparse import issparse
from sklearn.utils.validation import check_array

from .._support.text import short
from .._support.validation import first_ten
from .advice import (
    instead_of,
    instead_of_items,
    instead_of_paths,
    instead_of_texts,
    is_accepted_form,
)
from .decoding import CHANNELS, channels_last
from .pictures import TOLERANCE, is_uint16
from .tables import unflattened
from .walk import listed_files

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


@dataclass(frozen=True, eq=False)
class Items(Sequence[Any]):
    """Checked input: a sequence of items of one kind.

    Parameters
    ----------
    values : list or ndarray
        The items.  The first axis of an array counts them.
    kind : str
        "path", "bytes", "PIL image", "array" or "table" for images; a row of a "table" is a
        flattened image.  A preset for other items uses a name of its own.
    columns : bool, default=False
        True if X was a table or a single column with two axes, so that scikit-learn's
        ``n_features_in_`` and ``feature_names_in_`` apply to it.

    Examples
    --------
    >>> from sktransfer.data import Items
    >>> items = Items(["a.jpg", "b.jpg", "c.jpg"], "path")
    >>> items[1], len(items), list(items.take([2, 0]))
    ('b.jpg', 3, ['c.jpg', 'a.jpg'])
    """

    values: list[Any] | np.ndarray
    kind: str
    columns: bool = False

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Items: ...

    def __getitem__(self, index: int | slice) -> Any:
        part = self.values[index]
        return Items(part, self.kind, self.columns) if isinstance(index, slice) else part

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def take(self, positions: Iterable[int]) -> Items:
        """Return the items at some positions; those of an array are views, not copies."""
        return Items([self.values[index] for index in positions], self.kind, self.columns)

    def followed_by(self, other: Items) -> Items:
        """Return these items and then those of ``other``; two different kinds become "mixed"."""
        kind = self.kind if other.kind == self.kind else "mixed"
        return Items([*self.values, *other.values], kind, self.columns and other.columns)


def check_items(X: Any, image_shape: tuple[int, ...] | None = None) -> Items:
    """Check that ``X`` holds images, and return them as items.

    Parameters
    ----------
    X : sequence of n paths, bytes, PIL images or arrays, or an array or table of them
        As described for :class:`~sktransfer.ImagePreset`.
    image_shape : tuple of int or None, default=None
        Shape of each flattened row of a table: (h, w), (h, w, c) or (c, h, w).

    Returns
    -------
    Items
        Each is a str, bytes, a PIL image, or an ndarray (h, w) or (h, w, c).

    Raises
    ------
    ValueError
        If X is empty, holds different kinds or no images at all, or if an item is missing or out
        of range.
    TypeError
        If X is sparse, or a single image.
    """
    refuse_other_forms(X)
    X = X if is_frame(X) or issparse(X) else _array_or_list(X)
    column = _frame_column(X) if is_frame(X) else _column(X)
    two_axes = is_frame(X) or issparse(X) or (isinstance(X, np.ndarray) and X.ndim < 3)
    if column is not None:
        return _check_column(column, columns=two_axes and len(X.shape) == 2)
    if not two_axes:
        return Items(_check_images(X), "array")
    table = check_array(X, dtype="numeric", input_name="X")
    return Items(unflattened(table, image_shape), "table", columns=True)


def refuse_other_forms(X: Any) -> None:
    """Raise an error if ``X`` is one image, or an object that holds images in another form."""
    kind = _kind(X)
    if kind == "path":
        raise TypeError(f"{SEQUENCE}; got one path. {instead_of(X)}")
    if kind and kind != "array":
        raise TypeError(f"{SEQUENCE}; got one {kind}. Pass a list of one: [{short(X)}].")
    if isinstance(X, (list, tuple)) and X and _is_pair(X[0]):
        raise TypeError(
            f"{SEQUENCE}; got pairs of an image and a label. Pass the images, [image for image, _ "
            "in X], and as y the labels, [label for _, label in X]."
        )
    if not kind and not issparse(X) and not is_accepted_form(X):  # some sparse arrays are mappings
        raise TypeError(f"{SEQUENCE}; got {type(X).__name__}. {instead_of(X)}")


def _is_pair(item: Any) -> bool:
    """Return True for an item of a data set of torch, which is an image and its label."""
    is_pair = isinstance(item, tuple) and len(item) == 2
    return is_pair and bool(_kind(item[0])) and np.ndim(item[1]) == 0


# The kind of X


def _numpy(x: Any) -> Any:
    """Return a tensor as an array, and anything else as it is."""
    if not isinstance(x, torch.Tensor):
        return x
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def _kind(item: Any) -> str:
    """Return the kind of an item, or "" if it is not an image."""
    kind = _kind_of(type(item))  # type: ignore[arg-type]  # mypy holds classes for unhashable
    return kind if kind != "array" or item.ndim > 1 else ""


@cache  # of a hundred thousand paths, only the first is compared
def _kind_of(cls: type) -> str:
    return next((kind for kind, types in KINDS.items() if issubclass(cls, types)), "")


def is_frame(X: Any) -> bool:
    """Return True for a table with named columns, as those of pandas and polars are."""
    # pyarrow's tables and dask's series have columns too, but become an array
    is_series = getattr(X, "ndim", 2) == 1
    return hasattr(X, "columns") and not hasattr(X, "column_names") and not is_series


def _frame_column(X: Any) -> list[Any] | None:
    """Return the items of a one-column frame, or None for a frame of numbers."""
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
    """Return a list of items as a list, and anything else as an array."""
    if hasattr(X, "to_list"):  # a pandas or polars column
        X = X.to_list()
    if isinstance(X, (list, tuple)) and (not X or any(map(_kind, X))):
        return list(X)
    try:
        array = np.asarray(_numpy(X))
    except ValueError as error:
        raise ValueError(f"{SEQUENCE}; got lists of unequal lengths: {error}") from error
    if array.ndim == 0 and array.dtype == object:
        raise TypeError(f"{SEQUENCE}; got {type(X).__name__}. {instead_of(X)}".rstrip())
    return array


def _column(X: Any) -> list[Any] | None:
    """Return the items of a list, or of a column of objects or text; None for numbers."""
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


def _check_column(column: list[Any], columns: bool) -> Items:
    """Check that all items are images of one kind, then what is special to that kind."""
    if not column:
        raise ValueError(
            "Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is required."
        )
    kinds = list(map(_kind, column))
    refuse(
        "X must hold a path, bytes, a PIL image or an array (h, w) or (h, w, c) in each row",
        (
            (i, short(item))
            for i, (item, kind) in enumerate(zip(column, kinds, strict=True))
            if not kind or (isinstance(item, (str, bytes)) and not item)
        ),
        lambda: instead_of_items(
            item for item, kind in zip(column, kinds, strict=True) if not kind
        ),
    )
    other = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise ValueError(
            f"X must hold items of one kind; X[0] is of kind {kinds[0]}, "
            f"X[{other}] of kind {kinds[other]}. Convert one of them."
        )
    return Items(CHECKS[kinds[0]](column), kinds[0], columns)


def _check_paths(items: list[Any]) -> list[str]:
    paths = [os.fsdecode(item) for item in items]
    # A list of the folder and os.path are faster than pathlib, by seconds for a million paths.
    found = listed_files(paths)
    missing = [
        (i, f"{path!r} is a folder" if os.path.isdir(path) else short(path, 300))  # noqa: PTH112 - faster than pathlib
        for i, path in enumerate(paths)
        if path not in found and not os.path.isfile(path)  # noqa: PTH113 - faster than pathlib
    ]
    if missing:
        advice = instead_of_paths(paths[i] for i, _ in missing[:10])
        if len(missing) == len(paths) and not advice:
            advice = instead_of_texts(paths)
        advice = advice or f"Relative paths start from {str(Path.cwd())!r}."
        refuse("X must hold paths of existing files", missing, lambda: advice)
    return paths


def _check_pil(items: list[Image.Image]) -> list[Image.Image]:
    refuse(
        "X must hold images of at least one pixel",
        ((i, f"{x.width} x {x.height}") for i, x in enumerate(items) if 0 in x.size),
    )
    return items


def _check_arrays(items: list[Any]) -> list[np.ndarray]:
    items = list(map(_numpy, items))
    refuse(
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
    """Check an array (n, h, w), (n, h, w, c) or (n, c, h, w) of images; put channels last."""
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
    if _fault(X):  # found at once in the whole array; the message needs each image
        _check_pixels(X)
    return _eight_bits(X)


def is_image_shape(shape: tuple[int, ...]) -> bool:
    """Return True for the shape of an image: (h, w), (h, w, c) or (c, h, w), 1 to 4 channels."""
    if 0 in shape or len(shape) not in (2, 3):
        return False
    return len(shape) == 2 or shape[-1] in CHANNELS or shape[0] in CHANNELS_FIRST


def _check_pixels(images: Iterable[np.ndarray]) -> None:
    faults = ((i, _fault(image)) for i, image in enumerate(images))
    refuse(
        "X must hold pixels of 0 to 255 (integers), 0 to 65535 (uint16) or 0 to 1 (floats)",
        ((i, fault) for i, fault in faults if fault),
    )


def _fault(pixels: np.ndarray) -> str:
    """Describe why pixels are out of the range of their dtype; return "" if they are not."""
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
    advice = "divide floats of 0 to 255 by 255" if low >= 0 else "pass pixels without normalising"
    return f"{pixels.dtype} from {low:g} to {high:g}" + (f"; {advice}" if floats else "")


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Convert checked integers to uint8, except uint16; leave other dtypes as they are."""
    integers = pixels.dtype.kind in "iu" and not is_uint16(pixels)
    return pixels.astype(np.uint8, copy=False) if integers else pixels


# Messages


def refuse(rule: str, faults: Iterable[tuple[int, str]], advice: Callable[[], str] = str) -> None:
    """Raise ValueError if there are faults, each with the position of an item in X."""
    lines = [f"X[{index}]: {fault}" for index, fault in faults]
    if lines:
        verb = "does" if len(lines) == 1 else "do"
        raise ValueError(
            f"{rule}; {len(lines)} {verb} not:\n{first_ten(lines)}\n{advice()}".rstrip()
        )
