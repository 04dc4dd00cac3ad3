"""Load the paths and labels of images from folders and CSV files.

No file is ignored silently: files that are not images are counted.  A folder that does not hold
one folder for each class is an error that describes what it holds instead.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import Bunch

from .._support.paths import check_existing_folder, check_path, check_source
from .._support.validation import did_you_mean, first_ten, require
from .._support.warn import warn_user
from .csv_files import check_column, read_csv, with_first
from .labelled import files_of, labelled
from .walk import Found, identity, look, look_deep

if TYPE_CHECKING:
    import pandas as pd

# Extensions of image files, in lower case
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"}
    | {".avif", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm"}
)

# Usual names of the folders of a split.  A data set whose classes all have such names is unlikely.
TRAIN, TEST = ("train", "training"), ("val", "valid", "validation", "test", "testing")


def load_image_folder(
    dir: str | os.PathLike[str],  # noqa: A002 - the word that users know
    *,
    classes: Sequence[str] | None = None,
    extensions: Collection[str] | None = None,
) -> Bunch:
    """Load the paths and labels of images from a folder with one subfolder for each class.

    Parameters
    ----------
    dir : str or path-like
        The folder.  Each folder in it is a class, and may hold images in folders of its own.
    classes : sequence of str or None, default=None
        Names of all classes, such as ``target_names`` of the training images.  Their order is that
        of the integers in ``target``.  The folder of a class may be empty or missing.  None stands
        for the sorted names of the folders, each of which must hold an image.
    extensions : collection of str or None, default=None
        File name extensions of images, such as ``[".jpg", ".png"]``, in upper or lower case.
        None stands for JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF, JPEG 2000 and netpbm files.

    Returns
    -------
    Bunch
        data : ndarray of str objects of shape (n_images,)
            Paths of the images, the input X of the estimators.  Sorted by class, then by name.
            Bytes of a name that are not UTF-8 are surrogates, as in :func:`os.fsdecode`.
        labels : ndarray of str objects of shape (n_images,)
            Label of each image, the name of its class.  It means the same in every folder, so it
            is the target y to use.
        target : ndarray of int of shape (n_images,)
            Class of each image, an index of ``target_names``.  Another folder may have other
            classes, and then other integers.
        target_names : ndarray of str objects of shape (n_classes,)
            ``classes``, or the sorted names of the class folders.
        frame : DataFrame of shape (n_images, 2), or None if pandas is not installed
            Columns ``path`` and ``label``.
        skipped : list of str
            Paths of files whose extension is not that of an image, without hidden files.
        n_hidden : int
            Number of hidden files and folders.  They are not read.
        DESCR : str
            A sentence with these counts.

    Raises
    ------
    NotADirectoryError
        If ``dir`` is not a folder.
    ValueError
        If it holds no class folders, images outside of them, a class without images or, with
        ``classes``, a folder that is not one of them.  Without ``classes``, also if the only class
        folder holds nothing but folders, as if it held the classes.  Also if class names differ
        only in upper and lower case, or are those of the parts of a split, such as train and val.

    Warns
    -----
    UserWarning
        Without ``classes``, if all class folders hold folders of the same names, as the folders of
        domains do: photos and sketches of the same classes.

    Notes
    -----
    Links to folders are followed, except for those that lead to a folder that contains them, or
    into the folder of another class.  In each class, a folder is listed once, however many links
    lead to it.  No image is opened; use :func:`check_images` to find broken ones.

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
    >>> photos.labels, photos.target
    (array(['ants', 'bees'], dtype=object), array([0, 1]))
    >>> photos.DESCR.partition(" in ")[0]
    '2 images of 2 classes'
    """
    folder = check_path(dir, "dir")
    endings = endings_of(extensions, EXTENSIONS)
    contents, outside = class_folders(folder, names_of(classes), endings, "images")
    paths = [str(path) for path in files_of(contents)]
    return labelled(folder, contents, outside, paths, ("path", "images"))


def class_folders(
    folder: Path, classes: list[str] | None, endings: Collection[str], things: str
) -> tuple[dict[str, Found], Found]:
    """Return the content of each class, by name, and that of ``folder`` itself.

    ``things`` is the word for the files in messages: "images" or "texts".
    """
    check_existing_folder(folder)
    outside = look(folder, endings)
    names = [path.name for path in outside.folders]
    _check_layout(folder, names, outside.images, classes or (), things)
    # A link must not bring the images of one class into another one.
    tops = {os.path.realpath(path): identity(path) for path in outside.folders}
    contents = {}
    for path in outside.folders:
        others = {real: top for real, top in tops.items() if top != identity(path)}
        seen = {identity(folder), *others.values()}
        contents[path.name] = look_deep(path, endings, seen, others)
    if classes is None:
        _check_depth(folder, outside.folders, endings)
        _check_full(folder, contents, things)
        _warn_of_domains(folder, contents)
        return contents, outside
    _check_among(folder, contents, classes, things)
    return {name: contents.get(name, Found()) for name in classes}, outside


def _check_depth(folder: Path, classes: list[Path], endings: Collection[str]) -> None:
    """Raise an error if the only class folder seems to hold the class folders."""
    if len(classes) != 1:
        return
    inner = look(classes[0], endings)
    if len(inner.folders) > 1 and not inner.images:
        names = [repr(path.name) for path in inner.folders]
        raise ValueError(
            f"dir must hold one folder for each class; {str(folder)!r} holds one folder, which "
            f"holds {len(names)} folders:\n{first_ten(names)}\nIf these are the classes, load "
            f"{str(classes[0])!r}. If {classes[0].name!r} is a class, pass "
            f"classes=[{classes[0].name!r}]."
        )


def _check_full(folder: Path, contents: dict[str, Found], things: str) -> None:
    """Raise an error if a class folder holds no image."""
    empty = [f"{name!r}: {_content(found)}" for name, found in contents.items() if not found.images]
    if empty:
        raise ValueError(
            f"dir must hold {things} in each class folder; in {str(folder)!r} these have no "
            f"{things}:\n{first_ten(empty)}\n"
            "To keep these classes, pass the names of all classes as classes=, such as "
            "target_names of the training data. To load other files, pass extensions=."
        )


def _warn_of_domains(folder: Path, contents: dict[str, Found]) -> None:
    """Warn if the folders seem to be domains, such as photos and sketches of the same classes."""
    inner = [_folders_of(found.images, folder / name) for name, found in contents.items()]
    shared = sorted(set.intersection(*inner))
    if len(inner) > 1 and len(shared) > 1:
        first = folder / next(iter(contents))
        warn_user(
            f"dir must hold one folder for each class; each of the {len(inner)} folders in "
            f"{str(folder)!r} holds folders of the same names:\n"
            f"{first_ten([repr(name) for name in shared])}\nIf these are the classes, load each "
            f"folder by itself, such as {str(first)!r}. If they are not, pass the names of the "
            f"classes, {', '.join(map(repr, list(contents)[:3]))}, ..., as classes=."
        )


def _folders_of(images: list[Path], top: Path) -> set[str]:
    """Return the names of the folders of ``top`` that hold all its images, or an empty set."""
    if images[0].parent == top:  # the images outside of these folders come first
        return set()
    return {folder.relative_to(top).parts[0] for folder in {image.parent for image in images}}


def _check_among(folder: Path, contents: dict[str, Found], classes: list[str], things: str) -> None:
    """Raise an error if a class folder is not one of ``classes``, or if there are no images."""
    others = [f"{name!r}.{did_you_mean(name, classes)}" for name in contents if name not in classes]
    if others:
        raise ValueError(
            f"dir must hold folders of the given classes only, {', '.join(map(repr, classes))}; "
            f"{str(folder)!r} also holds:\n{first_ten(others)}"
        )
    if not any(found.images for found in contents.values()):
        raise ValueError(
            f"dir must hold {things}; the class folders in {str(folder)!r} hold none. To load "
            "other files, pass extensions=."
        )


def _check_layout(
    folder: Path, names: list[str], images: list[Path], classes: Collection[str], things: str
) -> None:
    """Raise an error if ``folder`` does not hold one folder for each class, and only those."""
    if not names:
        raise ValueError(
            f"dir must hold one folder for each class; {str(folder)!r} holds no folder and "
            f"{len(images)} {things}."
        )
    if all(name.lower() in TRAIN + TEST and name not in classes for name in names):
        part = min(names, key=lambda name: name.lower() not in TRAIN)
        raise ValueError(
            f"dir must hold one folder for each class; {str(folder)!r} holds "
            f"{', '.join(map(repr, names))}, which look like the parts of a split. Load each part "
            f"by itself, such as {str(folder / part)!r}."
        )
    if images:
        raise ValueError(
            f"dir must hold {things} in class folders only; {str(folder)!r} holds {len(images)} "
            f"{things} outside of them:\n{first_ten([path.name for path in images])}"
        )
    cases = Counter(name.lower() for name in names)
    alike = [name for name in names if cases[name.lower()] > 1]
    if alike:
        raise ValueError(
            f"dir must hold class folders whose names differ in more than case; {str(folder)!r} "
            f"holds {', '.join(map(repr, alike))}. Merge or rename them."
        )


def _content(found: Found) -> str:
    """Describe the content of a folder without images, for an error message."""
    if not found.foreign:
        return "empty"
    endings = Counter(path.suffix or "no extension" for path in found.foreign)
    return ", ".join(f"{n} of {ending}" for ending, n in endings.most_common(3))


def names_of(classes: Sequence[str] | None) -> list[str] | None:
    """Return the names of classes as a list, after checks."""
    if classes is None:
        return None
    names = [] if isinstance(classes, str) else list(classes)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise TypeError(
            "classes must be a sequence of str, such as target_names of the training data; got "
            f"{classes!r}."
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"classes must hold each name once; got {', '.join(map(repr, twice))} twice."
        )
    return [str(name) for name in names]  # NumPy's strings have a repr of their own


def endings_of(extensions: Collection[str] | None, default: Collection[str]) -> Collection[str]:
    """Return the extensions in lower case, with a dot; None stands for ``default``."""
    if extensions is None:
        return default
    if isinstance(extensions, str) or not all(isinstance(e, str) and e for e in extensions):
        raise TypeError(
            f"extensions must be a collection of str, such as ('.jpg', '.png'); got {extensions!r}."
        )
    return {"." + extension.lower().lstrip(".") for extension in extensions}


def list_images(folder: Path) -> list[Path]:
    """Return the paths of the images in a folder and in its subfolders, sorted by name."""
    return look_deep(folder, EXTENSIONS, set(), ()).images


def image_table(
    source: str | os.PathLike[str],
    path_column: str = "path",
    classes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return a table of the images of a folder or a CSV file, with their paths and labels.

    Parameters
    ----------
    source : str or path-like
        A folder with one subfolder for each class, a folder of images, or a CSV file.  Paths in
        a CSV file are relative to its folder.
    path_column : str, default="path"
        Name of the column of paths in a CSV file.
    classes : sequence of str or None, default=None
        Names of the class folders, which may then be empty or missing.

    Returns
    -------
    DataFrame
        The first column is ``path``.  For class folders, the second one is ``label``.  For a CSV
        file, its other columns follow.

    Raises
    ------
    ValueError
        If ``source`` is neither a folder nor a CSV file that exists, or if the file has no such
        column, a column ``path`` besides it, or missing paths.
    ModuleNotFoundError
        If pandas is not installed.
    """
    pd = require("pandas", "cli")
    source = Path(source)
    check_source(source)
    if source.is_dir():
        found = look(source, EXTENSIONS)
        if found.images and not found.folders:
            return pd.DataFrame({"path": [str(path) for path in found.images]}, dtype=object)
        return load_image_folder(source, classes=classes).frame
    # paths may contain bytes that are not UTF-8, as names of files may
    table = read_csv(
        source,
        exempt=", except for its paths",
        dtype={path_column: object},
        encoding_errors="surrogateescape",
    )
    check_column(source, list(table.columns), path_column, "path")
    missing = np.flatnonzero(table[path_column].isna())
    if len(missing):
        raise ValueError(
            f"{str(source)!r} must hold a path in each row; {len(missing)} are missing, in\n"
            f"{first_ten([f'row {index + 1}' for index in missing])}"
        )
    paths = [str(source.parent / path) for path in table[path_column]]
    others = table.drop(columns=path_column)
    return with_first("path", pd.Series(paths, dtype=object), others)
