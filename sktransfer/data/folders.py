"""Folders and tables of photos, as paths and labels.

Nothing is guessed and nothing is dropped in silence: what a folder holds beside photos is counted,
and a folder that is not laid out as one folder a class is an error that says what it looks like.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import Bunch

from .._support.validation import did_you_mean, first_ten, require

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
