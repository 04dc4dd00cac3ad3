"""A small set of real photos for examples, cut from the pictures of scikit-image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image
from sklearn.utils import Bunch, check_random_state

from .._support.files import check_folder, explaining
from .._support.validation import check_choice, check_int, require

# Class -> the function of skimage.data that returns its picture, and a part of it in pixels.
PICTURES: dict[str, tuple[str, tuple[slice, slice]]] = {
    "brick": ("brick", np.s_[:, :]),
    "coins": ("coins", np.s_[:, :]),
    "fur": ("chelsea", np.s_[20:280, 120:400]),
    "grass": ("grass", np.s_[:, :]),
    "gravel": ("gravel", np.s_[:, :]),
    "moon": ("moon", np.s_[:, :]),
    "petals": ("flower.jpg", np.s_[100:340, 180:440]),  # a picture of scikit-learn
    "print": ("page", np.s_[:, :]),
    "stars": ("hubble_deep_field", np.s_[:, :]),
    "tissue": ("immunohistochemistry", np.s_[:, :]),
}

# Side of the photos in pixels, and range of the sides of the windows from which they are resized.
SIDE, LEAST, MOST = 64, 51, 80


def load_textures(
    subset: str = "train",
    *,
    n_per_class: int = 10,
    folder: str | os.PathLike[str] | None = None,
    random_state: Any = 0,
) -> Bunch:
    """Load small photos of ten materials, without a download.

    They are random windows of one picture for each class: of its left half for training, and of its
    right half for testing, so no pixel is in both.  The pictures come with scikit-image and
    scikit-learn.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        The half of the pictures.
    n_per_class : int, default=10
        Number of photos of each class, at least 1.
    folder : str, path-like or None, default=None
        Folder to which the photos are also written, as PNG files in a subfolder for each class.
    random_state : int, RandomState or None, default=0
        Seed of the positions and sizes of the windows.

    Returns
    -------
    Bunch
        data : ndarray of uint8 of shape (10 * n_per_class, 64, 64, 3)
            The photos, sorted by class.
        target : ndarray of int of shape (10 * n_per_class,)
            Class of each photo, an index of ``target_names``.
        target_names : ndarray of str objects of shape (10,)
            Sorted names of the classes.
        labels : ndarray of str objects of shape (10 * n_per_class,)
            Name of the class of each photo.
        DESCR : str
            A sentence that describes the photos.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    ModuleNotFoundError
        If scikit-image is not installed; it comes with the extra ``demo``.
    OSError
        If ``folder`` cannot be written.

    See Also
    --------
    load_image_folder : Find the photos of a folder with a subfolder for each class.

    Examples
    --------
    >>> from sktransfer import load_textures
    >>> photos = load_textures("train", n_per_class=5)
    >>> photos.data.shape, photos.labels[0]
    ((50, 64, 64, 3), 'brick')
    """
    check_choice("subset", subset, ("train", "test"))
    check_int("n_per_class", n_per_class, 1)
    random = check_random_state(random_state)
    names = np.array(sorted(PICTURES), dtype=object)
    if folder is not None:
        check_folder("folder", folder)
    photos = [
        _window(half, random)
        for half in (_half(name, subset) for name in names)
        for _ in range(n_per_class)
    ]
    target = np.repeat(np.arange(len(names)), n_per_class)
    if folder is not None:
        _write(photos, names[target], Path(folder))
    return Bunch(
        data=np.stack(photos),
        target=target,
        target_names=names,
        labels=names[target],
        DESCR=f"{len(photos)} photos of {len(names)} materials, windows of larger pictures.",
    )


def _half(name: str, subset: str) -> np.ndarray:
    """Return half of the picture of a class, (h, w, 3) or (h, w)."""
    source, part = PICTURES[name]
    if source.endswith(".jpg"):
        picture = load_sample_image(source)[part]
    else:
        require("skimage", "demo")
        from skimage import data

        picture = getattr(data, source)()[part]
    left, right = np.array_split(picture, 2, axis=1)
    return left if subset == "train" else right


def _window(picture: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return a random window of a picture, resized to (SIDE, SIDE, 3)."""
    side = random.randint(LEAST, MOST + 1)
    top, left = (random.randint(length - side + 1) for length in picture.shape[:2])
    window = Image.fromarray(picture[top : top + side, left : left + side]).convert("RGB")
    return np.asarray(window.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _write(photos: list[np.ndarray], labels: np.ndarray, folder: Path) -> None:
    for index, (photo, label) in enumerate(zip(photos, labels, strict=True)):
        path = folder / label / f"{index:04}.png"
        with explaining("folder must be a folder that can be written", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo).save(path)
