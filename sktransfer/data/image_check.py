"""Find problems of images before they are used: broken files, odd modes, duplicates."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .._support.progress import progress_bar
from .._support.threads import map_ahead
from .._support.validation import check_int, require
from ..exceptions import DecodeError
from .decoding import decoded
from .digests import digest
from .items import check_items, refuse_other_forms
from .naming import named_warnings
from .pictures import Picture, PixelArray, StoredImage, is_uint16
from .problems import Row, number_classes, tabulate

if TYPE_CHECKING:
    import pandas as pd

# Two images show the same picture if the mean grey values of SIDE x SIDE cells correlate by at
# least ALIKE.  In six data sets with 75,000 photos, every pair found this way was the same picture,
# sometimes recoloured.  A recompressed, halved or brightened copy nearly always stays above the
# threshold; a crop by 5 % does not.  Images whose cells have a standard deviation below FLAT, in
# grey levels of 0 to 255, are too uniform to be compared.
SIDE, ALIKE, FLAT = 16, 0.99, 2.0

# An image is grey if its channels differ by at most this, of 255, in every cell.
GREY = 4

# Number of elements of one block of the matrix of correlations, to bound the memory it takes.
BLOCK = 2**24

# Number of images that threads may examine ahead.
AHEAD = 100


def check_images(X: Any, y: Any = None, *, min_side: int = 32, verbose: int = 1) -> pd.DataFrame:
    """Return a table of the problems of images, with one row for each problem.

    Every image is decoded in full, in threads, as the estimators decode it.

    Parameters
    ----------
    X : sequence of n_images paths, bytes, PIL images or arrays
    y : sequence of n_images labels or None, default=None
        If given, duplicates within a class and across classes are different problems.
    min_side : int, default=32
        An image is tiny if one of its sides has fewer pixels.
    verbose : int, default=1
        0 shows nothing.  Otherwise a progress bar is shown if the check takes long and the output
        is a terminal or a notebook.

    Returns
    -------
    DataFrame
        Empty if there are no problems.  Sorted by ``index``, with the columns

        index : int
            Position in ``X``.
        path : str
            Path of the image, None if the item is not a path.
        problem : str
            ``"unreadable"`` or ``"truncated"``: the image cannot be used.
            ``"tiny"``: a side is shorter than ``min_side``.
            ``"rotated"``: its EXIF data rotate or flip it.  The estimators apply this; other
            programs may not.
            ``"grey"``, ``"colour"``, ``"palette"``, ``"1-bit"``, ``"cmyk"``, ``"12-bit"``,
            ``"16-bit"`` and other depths, ``"float"``, ``"transparent"``: the image is of this
            kind, and most images of ``X`` are of another one.
            ``"duplicate"``, or with ``y`` ``"duplicate within class"`` or
            ``"duplicate across classes"``: an earlier image shows the same picture.
        detail : str
            Description of the problem.
        same_as : Int64
            Position of the first image that shows the same picture, missing for other problems.

        ``attrs["n_images"]`` is the length of ``X``.

    Raises
    ------
    ValueError
        If ``X`` holds something that is not an image, or if ``y`` and ``X`` differ in length.
    ModuleNotFoundError
        If pandas is not installed.

    Notes
    -----
    Two images show the same picture if their bytes are equal, or if their grey values, averaged
    over 16 x 16 cells, correlate by at least 0.99.  This finds recompressed, resized, brightened
    and recoloured copies.  It does not find crops by more than a few per cent.  Among images of
    only a few pixels, some pairs are found that merely look alike.  All pairs are compared, which
    takes a second for 10,000 images.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import check_images
    >>> images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    >>> report = check_images([*images, images[1]], [0, 0, 1, 1])
    >>> report[["index", "problem", "same_as"]]
       index                   problem  same_as
    0      3  duplicate across classes        1
    """
    require("pandas", "cli")
    check_int("min_side", min_side, 0)
    items = _listed(X)
    classes = number_classes(y, len(items), "images")
    looks = _looks(items, verbose)
    rows = [*_own_problems(looks, min_side), *_duplicates(looks, classes)]
    paths = [str(x) if isinstance(x, (str, os.PathLike)) else None for x in items]
    table = tabulate(rows, "path", paths)
    table.attrs["n_images"] = len(items)
    return table


@dataclass(frozen=True)
class _Look:
    """The properties of an image, or only the error if it cannot be decoded."""

    error: str = ""
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    colour: str = ""
    mode: str = ""
    orientation: int = 1
    cells: np.ndarray | None = None  # (SIDE * SIDE,) standardised; None if uniform


def _listed(X: Any) -> Sequence[Any]:
    """Return the items of ``X``, without an error for missing files, which are reported."""
    refuse_other_forms(X)
    if len(getattr(X, "columns", ())) == 1:
        X = X[X.columns[0]]
    if hasattr(X, "to_list"):  # a pandas or polars column
        X = X.to_list()
    column = isinstance(X, (list, tuple)) or getattr(X, "ndim", 0) == 1
    if column and len(X) and all(isinstance(item, (str, os.PathLike, bytes)) for item in X):
        return list(X)
    return check_items(X)


def _looks(items: Sequence[Any], verbose: int) -> list[_Look]:
    """Examine all items, in threads."""
    looks = []
    with (
        closing(map_ahead(_examine, items, n_jobs=-1, ahead=AHEAD)) as results,
        progress_bar(len(items), "check_images", verbose) as advance,
    ):
        for look in results:
            looks.append(look)
            advance(1)
    return looks


def _examine(item: Any) -> _Look:
    """Examine one item; Pillow's warnings about it are shown once, with its name."""
    with named_warnings(item):
        return _look(item)


def _look(item: Any) -> _Look:
    """Decode one item and measure its properties."""
    try:
        with decoded(item) as picture:
            cells = _cells(picture)  # (SIDE, SIDE, c)
            colour, mode, orientation = _stored(picture)
            size, name = picture.size, digest(item)
    except DecodeError as error:
        return _Look(error=str(error))
    if colour == "colour" and np.ptp(cells, axis=2).max() <= GREY:
        colour, mode = "grey", f"{mode} of equal channels"
    grey = cells.mean(axis=2).ravel()  # (SIDE * SIDE,)
    grey -= grey.mean()
    flat = grey.std() < FLAT
    return _Look(
        digest=name,
        size=size,
        colour=colour,
        mode=mode,
        orientation=orientation,
        cells=None if flat else grey / np.linalg.norm(grey),
    )


def _cells(picture: Picture) -> np.ndarray:
    """Return the mean values of SIDE x SIDE cells, (SIDE, SIDE, c) in [0, 255]."""
    planes = picture.planes()
    small = [
        np.asarray(plane.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0))
        for plane in planes
    ]
    cells = np.dstack(small).astype(np.float32)
    return cells * 255 if planes[0].mode == "F" else cells


def _stored(picture: StoredImage | PixelArray) -> tuple[str, str, int]:
    """Return the kind of colour, the mode and the EXIF orientation of a stored image."""
    if isinstance(picture, StoredImage):
        return _colour(picture), picture.image.mode, picture.orientation
    pixels = picture.pixels
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    name = "grey" if channels < 3 else "colour"
    if is_uint16(pixels) or pixels.dtype == bool:
        name = "1-bit" if pixels.dtype == bool else "16-bit"
    return name, f"{pixels.dtype}, {channels} channels", 1


def _colour(picture: StoredImage) -> str:
    """Return the kind of colour of an image, one of the problems of :func:`check_images`."""
    if picture.opacity() < 255:
        return "transparent"
    mode = picture.image.mode
    if mode.startswith("I"):
        return f"{picture.n_bits}-bit"
    kinds = {"1": "1-bit", "F": "float", "L": "grey", "P": "palette", "CMYK": "cmyk"}
    plain = mode.rstrip("Aa")  # the mode without its alpha channel
    return kinds.get(mode) or kinds.get(plain, "colour")


def _own_problems(looks: list[_Look], min_side: int) -> Iterator[Row]:
    """Iterate over the problems of single images."""
    counts = Counter(look.colour for look in looks if not look.error)
    common = counts.most_common(1)[0][0] if counts else ""
    for index, look in enumerate(looks):
        if look.error:
            # The message of DecodeError is the only record of the cause.
            kind = "truncated" if " is truncated: " in look.error else "unreadable"
            yield index, kind, look.error, None
            continue
        if min(look.size) < min_side:
            yield index, "tiny", "{} x {} pixels".format(*look.size), None
        if look.orientation in range(2, 9):
            yield index, "rotated", f"EXIF orientation {look.orientation}", None
        if look.colour != common:
            share = counts[common] / counts.total()
            yield index, look.colour, f"{look.mode}; {share:.1%} are {common}", None


def _duplicates(looks: list[_Look], classes: Sequence[int] | None) -> Iterator[Row]:
    """Iterate over the images that show the same picture as an earlier one.

    With classes, the first such image within the class and the first one of another class are
    two problems.
    """
    kept = np.array([i for i, look in enumerate(looks) if not look.error], dtype=int)
    if len(kept) == 0:
        return
    # Digests become integers, so that equal ones can be found by comparing arrays.
    digests = np.unique([looks[i].digest.hex() for i in kept], return_inverse=True)[1]
    kinds = None if classes is None else np.array(classes)[kept]
    blank = np.zeros(SIDE * SIDE, np.float32)
    cells = np.stack([blank if (c := looks[i].cells) is None else c for i in kept])
    # The matrix of all pairs is computed in blocks of rows, and only up to the diagonal.
    step = max(1, BLOCK // len(kept))
    for start in range(0, len(kept), step):
        stop = min(start + step, len(kept))
        likeness = cells[start:stop] @ cells[:stop].T  # (rows, stop)
        equal = digests[start:stop, None] == digests[:stop]
        before = np.arange(stop) < np.arange(start, stop)[:, None]
        same = ((likeness >= ALIKE) | equal) & before
        for problem, pairs in _by_class(same, kinds, start):
            for row in np.flatnonzero(pairs.any(axis=1)):
                first = int(pairs[row].argmax())
                detail = f"looks alike: correlation {likeness[row, first]:.3f}"
                if equal[row, first]:
                    detail = "equal bytes"
                yield int(kept[start + row]), problem, detail, int(kept[first])


def _by_class(
    same: np.ndarray, classes: np.ndarray | None, start: int
) -> list[tuple[str, np.ndarray]]:
    """Split a block of equal pairs, whose first row is ``start``, by problem."""
    if classes is None:
        return [("duplicate", same)]
    rows, stop = same.shape
    within = classes[start : start + rows, None] == classes[:stop]
    return [
        ("duplicate within class", same & within),
        ("duplicate across classes", same & ~within),
    ]
