"""Folders of photos as paths and labels, and what is wrong with photos before they are used.

Nothing is guessed and nothing is dropped in silence: what a folder holds beside photos is counted,
and a folder that is not laid out as one folder a class is an error that says what it looks like.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import cpu_count
from PIL import ExifTags, Image
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch

from ._callbacks import progress_bar
from ._check import check_int, did_you_mean, first_ten, require
from .decode import DecodeError, decode
from .digests import digest
from .items import check_items

if TYPE_CHECKING:
    import pandas as pd

# File names end so, in any case of letters.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"}
    | {".avif", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm"}
)

# Folders of a split; photos of one class never lie in folders of such names alone.
TRAIN, TEST = ("train", "training"), ("val", "valid", "validation", "test", "testing")

# A Mac leaves this folder in its archives; it repeats every photo as a file that is none.
HIDDEN = "__MACOSX"

# Two images are the same picture if the grey values of SIDE x SIDE cells, standardised, correlate
# so much.  Seen in six sets of 75,000 photos: every pair found was the same picture, some of them
# recoloured; one recompressed, halved or brightened stays above it nearly always, one cropped by
# 5 % does not.  Cells whose standard deviation, of 255 grey levels, is below FLAT hold no picture.
SIDE, ALIKE, FLAT = 16, 0.99, 2.0

# A photo whose channels differ by no more than this, of 255, in every cell, is grey.
GREY = 4

# Elements of one block of the matrix that compares all images with all.
BLOCK = 2**24


# Folders


def load_image_folder(
    dir: str | os.PathLike[str],  # noqa: A002 - the word that users know
    *,
    extensions: Collection[str] | None = None,
) -> Bunch:
    """Paths and labels of the images in a folder that holds one folder for each class.

    Parameters
    ----------
    dir : str or path-like
        The folder.  Each folder in it is a class; images may lie in folders within that.
    extensions : collection of str or None, default=None
        How the names of images end, in upper or lower case, such as ``[".jpg", ".png"]``; None is
        JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF, JPEG 2000 and netpbm files.

    Returns
    -------
    Bunch
        data : ndarray of str objects of shape (n_images,)
            Paths: what the estimators take as X.  Sorted by class, then by name.
        target : ndarray of int of shape (n_images,)
            Class of each image, an index of ``target_names``.
        target_names : ndarray of str objects of shape (n_classes,)
            Names of the class folders, sorted; ``target_names[target]`` are the labels as names.
        frame : DataFrame of shape (n_images, 2), or None where pandas is not installed
            Columns ``path`` and ``label``; the label is the name of the class.
        skipped : list of str
            Files that are not hidden and not images, by their extension.
        n_hidden : int
            Hidden files and folders, neither read nor entered.
        DESCR : str
            One sentence with these counts.

    Raises
    ------
    NotADirectoryError
        If ``dir`` is not a folder.
    ValueError
        If it holds no class folders, images beside them, a class without an image, classes that
        differ in case alone, or the folders of a split, such as train and val.

    Notes
    -----
    Links are followed, but for a link to a folder around itself.  No image is opened:
    :func:`check_images` does that.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from PIL import Image
    >>> from sktransfer import load_image_folder
    >>> folder = Path(mkdtemp())
    >>> for name in ["ants", "bees"]:
    ...     (folder / name).mkdir()
    ...     Image.new("RGB", (64, 48)).save(folder / name / "photo.png")
    >>> photos = load_image_folder(folder)
    >>> photos.target, photos.target_names
    (array([0, 1]), array(['ants', 'bees'], dtype=object))
    >>> photos.DESCR.partition(" in ")[0]
    '2 images of 2 classes'
    """
    folder = Path(dir)
    classes, beside = _class_folders(folder, _endings(extensions))
    paths = [str(path) for found in classes.values() for path in found.images]
    names = np.array(list(classes), dtype=object)
    target = np.repeat(np.arange(len(names)), [len(found.images) for found in classes.values()])
    skipped = [str(path) for found in (*classes.values(), beside) for path in found.foreign]
    n_hidden = sum(found.n_hidden for found in (*classes.values(), beside))
    data = np.array(paths, dtype=object)
    return Bunch(
        data=data,
        target=target,
        target_names=names,
        frame=_frame(data, names[target]),
        skipped=skipped,
        n_hidden=n_hidden,
        DESCR=(
            f"{len(paths)} images of {len(names)} classes in {folder}; skipped {len(skipped)} "
            f"files that are not images by their extension, and {n_hidden} hidden ones."
        ),
    )


@dataclass
class _Found:
    """What lies in a folder, folders within it included."""

    images: list[Path] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    n_hidden: int = 0


def _look(folder: Path, endings: Collection[str]) -> _Found:
    """What lies in ``folder``, not in folders within it; each list sorted by name."""
    found = _Found()
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(".") or path.name == HIDDEN:
            found.n_hidden += 1
        elif path.is_dir():
            found.folders.append(path)
        elif path.suffix.lower() in endings:
            found.images.append(path)
        else:
            found.foreign.append(path)
    return found


def _look_deep(folder: Path, endings: Collection[str], above: tuple[Path, ...] = ()) -> _Found:
    real = folder.resolve()
    if real in above:  # a link led back
        return _Found()
    found = _look(folder, endings)
    for inner in found.folders:
        below = _look_deep(inner, endings, (*above, real))
        found.images += below.images
        found.foreign += below.foreign
        found.n_hidden += below.n_hidden
    return found


def _class_folders(folder: Path, endings: Collection[str]) -> tuple[dict[str, _Found], _Found]:
    """What each class folder holds, and what lies beside them."""
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing"
        raise NotADirectoryError(f"dir must be a folder; got {str(folder)!r}, which is {what}.")
    beside = _look(folder, endings)
    names = [path.name for path in beside.folders]
    _check_layout(folder, names, beside.images)
    classes = {path.name: _look_deep(path, endings) for path in beside.folders}
    empty = [f"{name!r}: {_told(found)}" for name, found in classes.items() if not found.images]
    if empty:
        raise ValueError(
            f"dir must hold images in each class folder; in {str(folder)!r} these have none:\n"
            f"{first_ten(empty)}\nRemove them, or pass extensions=."
        )
    return classes, beside


def _check_layout(folder: Path, names: list[str], images: list[Path]) -> None:
    if not names:
        raise ValueError(
            f"dir must hold one folder for each class; {str(folder)!r} holds none, and "
            f"{len(images)} images."
        )
    if all(name.lower() in TRAIN + TEST for name in names):
        part = min(names, key=lambda name: name.lower() not in TRAIN)
        raise ValueError(
            f"dir must hold one folder for each class; {str(folder)!r} holds "
            f"{', '.join(map(repr, names))}, which look like the parts of a split. Load each part: "
            f"{str(folder / part)!r}."
        )
    if images:
        raise ValueError(
            f"dir must hold images within class folders only; {str(folder)!r} also holds "
            f"{len(images)} beside them:\n{first_ten([path.name for path in images])}"
        )
    cases = Counter(name.lower() for name in names)
    alike = [name for name in names if cases[name.lower()] > 1]
    if alike:
        raise ValueError(
            f"dir must hold class folders whose names differ in more than case; {str(folder)!r} "
            f"holds {', '.join(map(repr, alike))}. Join or rename them."
        )


def _told(found: _Found) -> str:
    """What a folder without an image holds instead."""
    if not found.foreign:
        return "empty"
    endings = Counter(path.suffix or "no extension" for path in found.foreign)
    return ", ".join(f"{n} of {ending}" for ending, n in endings.most_common(3))


def _endings(extensions: Collection[str] | None) -> Collection[str]:
    if extensions is None:
        return EXTENSIONS
    if isinstance(extensions, str) or not all(isinstance(e, str) and e for e in extensions):
        raise TypeError(
            f"extensions must be a collection of str, such as ('.jpg', '.png'); got {extensions!r}."
        )
    return {"." + extension.lower().lstrip(".") for extension in extensions}


def _frame(paths: np.ndarray, labels: np.ndarray) -> pd.DataFrame | None:
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return None
    return pd.DataFrame({"path": paths, "label": labels})


def image_table(source: str | os.PathLike[str], path_column: str = "path") -> pd.DataFrame:
    """The images that ``source`` names: a column ``path``, and what else is known of them.

    Parameters
    ----------
    source : str or path-like
        A folder of class folders (then with a column ``label``), a folder of images, or a CSV
        file with a column of paths, which start from the folder of the file; its other columns are
        kept.
    path_column : str, default="path"
        Name of that column.
    """
    pd = require("pandas", "cli")
    source = Path(source)
    if source.is_dir():
        found = _look(source, EXTENSIONS)
        if found.images and not found.folders:
            return pd.DataFrame({"path": [str(path) for path in found.images]})
        return load_image_folder(source).frame
    if source.suffix.lower() != ".csv":
        raise ValueError(f"source must be a folder or a .csv file; got {str(source)!r}.")
    table = pd.read_csv(source, dtype={path_column: str})
    if path_column not in table:
        raise ValueError(
            f"{str(source)!r} must have a column {path_column!r}; it has "
            f"{', '.join(map(repr, table.columns))}.{did_you_mean(path_column, table.columns)}"
        )
    if path_column != "path" and "path" in table:
        raise ValueError(
            f"{str(source)!r} must not have a column 'path' beside {path_column!r}; rename it."
        )
    if table[path_column].isna().any():
        raise ValueError(f"{str(source)!r} must hold a path in each row; some have none.")
    paths = [str(source.parent / path) for path in table.pop(path_column)]
    table.insert(0, "path", paths)
    return table


# Checks


def check_images(X: Any, y: Any = None, *, min_side: int = 32, verbose: int = 1) -> pd.DataFrame:
    """A table of the problems of images, one row for each, empty where there is none.

    Every image is decoded in full, in threads, as the estimators would decode it.

    Parameters
    ----------
    X : sequence of n_images paths, bytes, PIL images or arrays
    y : sequence of n_images labels or None, default=None
        Tells duplicates within a class from those across classes.
    min_side : int, default=32
        An image with a side of fewer pixels is tiny.
    verbose : int, default=1
        0 is silent; otherwise long work shows a progress bar, on terminals only.

    Returns
    -------
    DataFrame
        Sorted by ``index``, with the columns

        index : int
            Position in ``X``.
        path : str
            Path of the image, None where it came as something else.
        problem : str
            ``"unreadable"`` or ``"truncated"``: it cannot be used.
            ``"tiny"``: a side is shorter than ``min_side``.
            ``"rotated"``: its EXIF data turn it; estimators do so, other programs may not.
            ``"grey"``, ``"colour"``, ``"palette"``, ``"1-bit"``, ``"cmyk"``, ``"16-bit"``,
            ``"float"``, ``"transparent"``: it is, and most images of ``X`` are something else.
            ``"duplicate"``, or with ``y`` ``"duplicate within class"`` or
            ``"duplicate across classes"``: an earlier image shows the same picture.
        detail : str
            What was found.
        same_as : Int64
            Position of the first image that shows the same picture, missing for other problems.

        and ``attrs["n_images"]``, the length of ``X``.

    Raises
    ------
    ValueError
        If ``X`` holds something that is no image, or ``y`` is not as long as ``X``.
    ModuleNotFoundError
        If pandas is not installed.

    Notes
    -----
    Two images show the same picture if their bytes are equal, or if their grey values, averaged
    over 16 x 16 cells, correlate by at least 0.99: recompressed, resized, brightened or recoloured
    copies do, crops by more than a few per cent do not; of images of a few pixels, some do that
    are only alike.  All pairs are compared, which for 10,000 images takes a second.

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
    pd = require("pandas", "cli")
    check_int("min_side", min_side, 0)
    items = _listed(X)
    classes = _classes(y, len(items))
    looks = _looks(items, verbose)
    rows = [*_own_problems(looks, min_side), *_duplicates(looks, classes)]
    table = pd.DataFrame(rows, columns=["index", "problem", "detail", "same_as"])
    table = table.sort_values("index", kind="stable", ignore_index=True)
    paths = [str(x) if isinstance(x, (str, os.PathLike)) else None for x in items]
    table.insert(1, "path", [paths[index] for index in table["index"]])
    table["same_as"] = table["same_as"].astype("Int64")
    table.attrs["n_images"] = len(items)
    return table


# A row of the table: index, problem, detail, same_as
_Row = tuple[int, str, str, int | None]


@dataclass(frozen=True)
class _Look:
    """What one image looks like; of one that cannot be decoded, only why."""

    error: str = ""
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    colour: str = ""
    mode: str = ""
    orientation: int = 1
    cells: np.ndarray | None = None  # (SIDE * SIDE,) standardised; None where they are flat


def _listed(X: Any) -> Sequence[Any]:
    """The items of ``X``; files that are missing are a finding, not an error."""
    if len(getattr(X, "columns", ())) == 1:
        X = X[X.columns[0]]
    if hasattr(X, "to_list"):  # a pandas or polars column
        X = X.to_list()
    column = isinstance(X, (list, tuple)) or getattr(X, "ndim", 0) == 1
    if column and len(X) and all(isinstance(item, (str, os.PathLike, bytes)) for item in X):
        return list(X)
    return check_items(BaseEstimator(), X, reset=True)


def _classes(y: Any, n: int) -> np.ndarray | None:
    if y is None:
        return None
    classes = np.unique(np.asarray(y), return_inverse=True)[1]
    if classes.shape != (n,):
        raise ValueError(f"y must hold one label for each of {n} images; got shape {np.shape(y)}.")
    return classes


def _looks(items: Sequence[Any], verbose: int) -> list[_Look]:
    looks = []
    pool = ThreadPoolExecutor(cpu_count())
    try:
        with progress_bar(len(items), "check_images", verbose) as advance:
            for look in pool.map(_examine, items):
                looks.append(look)
                advance(1)
    finally:
        pool.shutdown(cancel_futures=True)
    return looks


def _examine(item: Any) -> _Look:
    try:
        planes = decode(item)
    except DecodeError as error:
        return _Look(error=str(error))
    cells = _cells(planes)  # (SIDE, SIDE, c)
    colour, mode, orientation = _stored(item)
    if colour == "colour" and np.ptp(cells, axis=2).max() <= GREY:
        colour, mode = "grey", f"{mode} of equal channels"
    grey = cells.mean(axis=2).ravel()  # (SIDE * SIDE,)
    grey -= grey.mean()
    flat = grey.std() < FLAT
    return _Look(
        digest=digest(item),
        size=planes[0].size,
        colour=colour,
        mode=mode,
        orientation=orientation,
        cells=None if flat else grey / np.linalg.norm(grey),
    )


def _cells(planes: list[Image.Image]) -> np.ndarray:
    """The mean values of SIDE x SIDE cells, (SIDE, SIDE, c) of 0 to 255."""
    small = [
        np.asarray(plane.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0))
        for plane in planes
    ]
    cells = np.dstack(small).astype(np.float32)
    return cells * 255 if planes[0].mode == "F" else cells


def _stored(item: Any) -> tuple[str, str, int]:
    """Colour, mode and EXIF orientation of an item that can be decoded, as it is stored."""
    if isinstance(item, np.ndarray):
        channels = item.shape[2] if item.ndim == 3 else 1
        deep = {np.dtype(np.uint16): "16-bit", np.dtype(bool): "1-bit"}
        name = deep.get(item.dtype, "grey" if channels < 3 else "colour")
        return name, f"{item.dtype}, {channels} channels", 1
    if isinstance(item, Image.Image):
        return _colour(item), item.mode, _orientation(item)
    with Image.open(BytesIO(item) if isinstance(item, bytes) else item) as image:
        return _colour(image), image.mode, _orientation(image)


def _colour(image: Image.Image) -> str:
    if image.has_transparency_data and _alpha(image) < 255:
        return "transparent"
    if image.mode.startswith("I"):
        return "16-bit"
    kinds = {"1": "1-bit", "F": "float", "L": "grey", "P": "palette", "CMYK": "cmyk"}
    plain = image.mode.rstrip("Aa")  # transparent pixels aside
    return kinds.get(image.mode) or kinds.get(plain, "colour")


def _alpha(image: Image.Image) -> int:
    """The least opacity of ``image``, of 255."""
    least = image.convert("RGBA").getchannel("A").getextrema()[0]
    return int(least)  # type: ignore[arg-type]  # one channel, one number


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - broken metadata, of which Pillow raises nearly anything
        return 1


def _own_problems(looks: list[_Look], min_side: int) -> Iterator[_Row]:
    """What is wrong with each image by itself."""
    counts = Counter(look.colour for look in looks if not look.error)
    common = counts.most_common(1)[0][0] if counts else ""
    for index, look in enumerate(looks):
        if look.error:
            # The words of decode.DecodeError
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


def _duplicates(looks: list[_Look], classes: np.ndarray | None) -> Iterator[_Row]:
    """For each image, the first before it that shows the same picture, in and across classes."""
    kept = np.array([i for i, look in enumerate(looks) if not look.error], dtype=int)
    if len(kept) == 0:
        return
    digests = np.unique([looks[i].digest.hex() for i in kept], return_inverse=True)[1]
    blank = np.zeros(SIDE * SIDE, np.float32)
    cells = np.stack([blank if (c := looks[i].cells) is None else c for i in kept])
    step = max(1, BLOCK // len(kept))
    for start in range(0, len(kept), step):
        stop = min(start + step, len(kept))
        likeness = cells[start:stop] @ cells[:stop].T  # (rows, stop)
        equal = digests[start:stop, None] == digests[:stop]
        before = np.arange(stop) < np.arange(start, stop)[:, None]
        same = ((likeness >= ALIKE) | equal) & before
        for problem, pairs in _by_class(same, None if classes is None else classes[kept], start):
            for row in np.flatnonzero(pairs.any(axis=1)):
                first = int(pairs[row].argmax())
                detail = f"looks alike: correlation {likeness[row, first]:.3f}"
                if equal[row, first]:
                    detail = "equal bytes"
                yield int(kept[start + row]), problem, detail, int(kept[first])


def _by_class(
    same: np.ndarray, classes: np.ndarray | None, start: int
) -> list[tuple[str, np.ndarray]]:
    if classes is None:
        return [("duplicate", same)]
    rows, stop = same.shape
    within = classes[start : start + rows, None] == classes[:stop]
    return [
        ("duplicate within class", same & within),
        ("duplicate across classes", same & ~within),
    ]
