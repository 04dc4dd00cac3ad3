"""Advice on what to pass instead of an object that is not accepted as X or as an item."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

# The beginning of an address, such as "https://" or "s3://"
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# The end of a name of a file, such as ".jpeg"
SUFFIX = re.compile(r"\.\w{1,5}$")


def _has(*names: str) -> Callable[[Any], bool]:
    """Return a function that tests for attributes."""
    return lambda thing: all(hasattr(thing, name) for name in names)


def _is(*classes: type) -> Callable[[Any], bool]:
    """Return a function that tests for classes."""
    return lambda thing: isinstance(thing, classes)


def _maps(*keys: str) -> Callable[[Any], bool]:
    """Return a function that tests for a mapping with some keys."""
    return lambda thing: isinstance(thing, Mapping) and all(key in thing for key in keys)


def _is_set(*names: str) -> Callable[[Any], bool]:
    """Return a function that tests for a data set of torch with some attributes."""
    has = _has(*names)
    return lambda thing: isinstance(thing, Dataset) and has(thing)


# Objects that hold images but are not a sequence of them, and what to pass instead.  The first
# test that holds decides.
INSTEAD: list[tuple[Callable[[Any], bool], str]] = [
    (_maps("data", "labels"), "Pass its paths, X['data'], and as y its labels, X['labels']."),
    (_maps("data", "target"), "Pass its data, X['data'], and as y its target, X['target']."),
    (_maps("data"), "Pass its data: X['data']."),
    (_is(Mapping), "Pass the images that it contains: one of its values."),
    (_has("collect", "lazy"), "Pass X.collect()."),  # polars
    (_has("column_names", "features"), "Pass its column of images: list(X['image'])."),  # datasets
    (
        _is_set("samples", "classes"),
        (
            "Pass its paths, [path for path, _ in X.samples], and as y their labels, [X.classes[i] "
            "for _, i in X.samples]. The preset does the work of transforms."
        ),
    ),
    (
        _is_set("data", "targets"),
        "Pass its images, X.data, and as y X.targets. The preset does the work of transforms.",
    ),
    (
        _is_set("dataset", "indices"),
        "Pass those images of X.dataset whose positions are in X.indices, and as y their labels.",
    ),
    (
        _is(Dataset),
        (
            "Pass its images, [image for image, _ in X], and as y their labels, [label for _, "
            "label in X], without transforms: the preset does their work."
        ),
    ),
    (_has("namelist", "read"), "Pass the bytes of its files: [X.read(name) for name in names]."),
    (_has("read"), "Pass its bytes: [X.read()]."),
    (_has("read_bytes"), "Pass its bytes: [X.read_bytes()]."),
    (_is(Iterable), "Pass list(X)."),
]


def instead_of(X: Any) -> str:
    """Return what to pass instead of ``X``, in a sentence; "" if nothing is known.

    Examples
    --------
    >>> import io
    >>> from sktransfer.data.advice import instead_of
    >>> instead_of(io.BytesIO(b"the bytes of a photo"))
    'Pass its bytes: [X.read()].'
    """
    if isinstance(X, (str, os.PathLike)):
        path = os.fsdecode(X)
        if path.lower().endswith(".csv"):
            return f"Pass its column of paths, such as pandas.read_csv({path!r})['path']."
        return instead_of_paths([path]) or f"Pass a list of one: [{X!r}]."
    if isinstance(X, DataLoader):  # batches of a data set
        return re.sub(r"\bX\b", "X.dataset", instead_of(X.dataset)) or "Pass list(X.dataset)."
    return next((advice for holds, advice in INSTEAD if holds(X)), "")


def is_accepted_form(X: Any) -> bool:
    """Return False for an object that would be read in the wrong way, or with a poor message."""
    if isinstance(X, (list, tuple, np.ndarray)):
        return True
    return not (isinstance(X, DataLoader) or any(holds(X) for holds, _ in INSTEAD[:-1]))


def instead_of_items(items: Iterable[Any]) -> str:
    """Return what to pass instead of items that are no images, in a sentence; "" if not known."""
    items = list(items)
    if any(hasattr(item, "read") for item in items):
        return "Pass the bytes of an opened file: file.read()."
    if any(hasattr(item, "read_bytes") for item in items):
        return "Pass the bytes of a file in an archive: path.read_bytes()."
    return ""


def instead_of_paths(paths: Iterable[str]) -> str:
    """Return what to pass instead of paths that are not those of files; "" if not known."""
    return next(filter(None, map(_instead_of_path, paths)), "")


def instead_of_texts(paths: list[str]) -> str:
    """Return what to do with paths half of which look like texts; "" if they do not."""
    n_texts = sum(" " in path.strip() and not SUFFIX.search(path) for path in paths)
    if 2 * n_texts < len(paths):
        return ""
    return "If these are texts, pass a backbone for texts, such as backbone='builtin/text'."


def _instead_of_path(path: str) -> str:
    if ADDRESS.match(path):
        return (
            "Web addresses are not downloaded: pass the bytes of the files, such as "
            f"urllib.request.urlopen({path!r}).read()."
        )
    if os.path.isdir(path):  # noqa: PTH112 - a name that is too long is False, not an error
        if any(child.is_dir() for child in Path(path).glob("*")):
            return (
                f"Pass the paths of its images, load_image_folder({path!r}).data, and as y its "
                "labels, load_image_folder(...).labels, if it has a folder for each class."
            )
        return f"Pass the paths of its images: list(pathlib.Path({path!r}).iterdir())."
    archive = next((str(part) for part in Path(path).parents if os.path.isfile(part)), None)  # noqa: PTH113 - a name that is too long is False, not an error
    if archive is None:
        return ""
    inside = Path(path).relative_to(archive).as_posix()
    return (
        "Paths inside of a file cannot be opened: pass the bytes of the files, such as "
        f"zipfile.ZipFile({archive!r}).read({inside!r})."
    )
