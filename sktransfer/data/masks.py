"""Masks: images whose pixels are classes, read when they are needed."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from .._support.geometry import Place
from .._support.hashing import hash_parts
from .._support.text import short
from .._support.threads import map_ahead
from .._support.validation import find_name, first_ten
from .._support.warn import warn_user

# Modes of images with one number for each pixel; of a palette, the number is the index.
MODES = ("1", "L", "P", "I", "I;16", "I;16B")

# The value of a pixel that is ignored, in a mask in pixels of a row
IGNORED = -1

# Formats that change the values of pixels
LOSSY = ("JPEG", "MPO")

# Values below this one are counted without sorting them.
MOST_COUNTED = 2**16

# Width and height of a mask, and the number of pixels of each value
Summary = tuple[tuple[int, int], dict[int, int]]

# The largest value with a colour in a PNG file; hues at this distance differ for all values.
MOST_COLOURS, GOLDEN = 255, 0.618


def read_mask(source: Any) -> np.ndarray:
    """Return a mask as an array (h, w) of integers.

    Parameters
    ----------
    source : str, path-like, PIL image, or ndarray of shape (h, w)

    Raises
    ------
    ValueError
        If it is not a mask.  The message is a part of a sentence.
    """
    return _read(source)[0]


def _read(source: Any) -> tuple[np.ndarray, str | None]:
    """Return a mask, and the format of its file."""
    if isinstance(source, (str, os.PathLike)):
        try:
            with Image.open(source) as image:
                return _read_image(image)
        except OSError as error:
            raise ValueError(f"cannot be read: {error}") from error
    if isinstance(source, Image.Image):
        return _read_image(source)
    array = source.numpy() if isinstance(source, Tensor) else np.asarray(source)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"is of shape {array.shape}, not (h, w)")
    if array.dtype.kind not in "bui":
        raise ValueError(f"holds {array.dtype}, not integers")
    return array, None


def _read_image(image: Image.Image) -> tuple[np.ndarray, str | None]:
    if image.mode not in MODES:
        raise ValueError(f"has the mode {image.mode}, not one number for each pixel")
    return np.asarray(image), image.format


def check_masks(y: Any, name: str) -> Masks:
    """Return ``y`` as masks, of which none is read yet.

    Parameters
    ----------
    y : sequence of n_items paths, PIL images or arrays, or array of shape (n_items, h, w)
    name : str
        The name of ``y`` in messages.

    Raises
    ------
    ValueError, TypeError
        If it is something else.
    """
    if isinstance(y, Masks):
        return y
    if y is None or isinstance(y, (str, bytes, os.PathLike)) or not hasattr(y, "__len__"):
        raise TypeError(f"{name} must be a list of masks, one for each item; got {short(y)}.")
    if hasattr(y, "columns"):
        raise TypeError(
            f"{name} must be a list of masks, or a column of their paths; got a table with the "
            f"columns {', '.join(map(repr, y.columns))}. Pass one of them, such as "
            f"{name}[{next(iter(y.columns), 'mask')!r}]."
        )
    sources = list(y)
    kinds = (str, os.PathLike, Image.Image, Tensor)
    bad = [
        f"{name}[{at}]: {short(source)}"
        for at, source in enumerate(sources)
        if not isinstance(source, kinds) and np.ndim(source) != 2
    ]
    if bad:
        raise ValueError(
            f"{name} must have a mask of shape (h, w), or the path of one, for each item; "
            f"{len(bad)} entries are something else:\n{first_ten(bad)}"
        )
    masks = tuple(Mask(each, f"{name}[{at}]") for at, each in enumerate(sources))
    return Masks(masks, name, find_name(y))


@dataclass(eq=False)
class Mask:
    """A mask that is read when it is needed.

    Parameters
    ----------
    source : path, PIL image or array
    name : str
        Its name in messages, such as "y[3]".
    """

    source: Any
    name: str
    file_format: str | None = field(default=None, init=False)
    kept: np.ndarray | None = field(default=None, init=False)

    def read(self) -> np.ndarray:
        """Return the mask, (h, w)."""
        if self.kept is not None:
            return self.kept
        try:
            mask, self.file_format = _read(self.source)
        except ValueError as error:
            raise ValueError(f"{self.name} {error}") from error
        return mask

    @cached_property
    def summary(self) -> Summary:
        """The width and height of the mask, and the number of pixels of each value."""
        mask = self.read()
        return mask.shape[::-1], _count_values(mask)

    def keep(self) -> None:
        """Read the mask, and keep it in memory."""
        self.kept = self.read()


def _count_values(mask: np.ndarray) -> dict[int, int]:
    """Return the number of pixels of each value."""
    if mask.min() < 0 or mask.max() >= MOST_COUNTED:
        values, counts = np.unique(mask, return_counts=True)
    else:
        all_counts = np.bincount(mask.ravel().astype(np.intp, copy=False))
        values = np.flatnonzero(all_counts)
        counts = all_counts[values]
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks in pixels of their items.

    Parts of them share what was read.

    Parameters
    ----------
    masks : tuple of n Mask
    name : str, default="y"
        Their name in messages.
    column : str or None, default=None
        The column of a table that they come from, if it has a name.
    """

    masks: tuple[Mask, ...]
    name: str = "y"
    column: str | None = None

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, rows: np.ndarray) -> Masks:
        """Return some of the masks."""
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        return replace(self, masks=tuple(self.masks[at] for at in chosen))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Read the masks one by one."""
        return map(self.read, range(len(self)))

    def read(self, at: int) -> np.ndarray:
        """Return one mask, (h, w); the error of one that cannot be read names it."""
        try:
            return self.masks[at].read()
        except ValueError as error:
            raise ValueError(self._refusal([str(error)])) from error

    @property
    def summaries(self) -> list[Summary]:
        """The width and height of each mask, and the number of pixels of each value."""
        self.check()
        return [mask.summary for mask in self.masks]

    def check(self, keep: bool = False) -> None:
        """Read the masks that were not read yet; a warning lists files of lossy formats.

        Parameters
        ----------
        keep : bool, default=False
            If True, they stay in memory, and are not read again.

        Raises
        ------
        ValueError
            If a source is not a mask; the message lists the first ten.
        """

        def find_error(mask: Mask) -> str | None:
            try:
                if keep:
                    mask.keep()
                _ = mask.summary
            except ValueError as error:
                return str(error)
            return None

        unread = [mask for mask in self.masks if "summary" not in vars(mask)]
        bad = [each for each in map_ahead(find_error, unread, None, ahead=64) if each is not None]
        if bad:
            raise ValueError(self._refusal(bad))
        lossy = [f"{mask.name}: {mask.file_format}" for mask in unread if mask.file_format in LOSSY]
        if lossy:
            warn_user(
                f"{self.name} has masks of a format that changes the values of pixels, which look "
                f"like further classes; write PNG files. They are {len(lossy)}:\n"
                f"{first_ten(lossy)}"
            )

    def _refusal(self, bad: Sequence[str]) -> str:
        """Return the message about masks that cannot be used."""
        return (
            f"{self.name} must have masks of integers, one for each pixel of an item; {len(bad)} "
            f"cannot be used:\n{first_ten(bad)}"
        )

    def counts(self, classes: Sequence[int]) -> np.ndarray:
        """Return the number of pixels of each class in each mask, (n, n_classes)."""
        rows = [[values.get(each, 0) for each in classes] for _, values in self.summaries]
        return np.array(rows, float).reshape(len(self), -1)

    def digest(self) -> bytes:
        """Return a digest of the content of all masks."""
        return hash_parts("masks", *(hash_parts("mask", mask) for mask in self))

    def followed_by(self, other: Masks) -> Masks:
        """Append other masks."""
        return replace(self, masks=self.masks + other.masks)

    def placed(self, places: Sequence[Place], size: int, classes: np.ndarray) -> PlacedMasks:
        """Return the masks in pixels of the rows of their items; see :class:`PlacedMasks`."""
        return PlacedMasks(self, places, size, classes)


@dataclass(frozen=True, eq=False)
class PlacedMasks:
    """Masks in pixels of the rows of their items, made when they are needed.

    Parameters
    ----------
    masks : Masks
    places : sequence of n Place
    size : int
        The side of a row.
    classes : ndarray of int of shape (n_classes,)
        The sorted values of the classes.  Other values are ignored.
    """

    masks: Masks
    places: Sequence[Place]
    size: int
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, rows: np.ndarray) -> PlacedMasks:
        """Return some of the masks."""
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        places = [self.places[at] for at in chosen]
        return PlacedMasks(self.masks[chosen], places, self.size, self.classes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the masks as numbers of classes, (n, size, size), or ``IGNORED``."""
        found = np.empty((len(self), self.size, self.size), np.int16)
        for at, place in enumerate(self.places):
            found[at] = self._place(self.masks.read(at), place)
        return found if dtype is None else found.astype(dtype)

    def _place(self, mask: np.ndarray, place: Place) -> np.ndarray:
        """Return one mask in pixels of its row; pixels outside of the item are ignored."""
        back = np.linalg.inv(place.matrix)
        axis = np.arange(self.size)
        x = np.rint(back[0, 0] * axis[None] + back[0, 1] * axis[:, None] + back[0, 2]).astype(int)
        y = np.rint(back[1, 0] * axis[None] + back[1, 1] * axis[:, None] + back[1, 2]).astype(int)
        height, width = mask.shape
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        values = mask[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)].astype(int)
        numbers = np.searchsorted(self.classes, values).clip(max=len(self.classes) - 1)
        known = inside & (self.classes[numbers] == values)
        return np.where(known, numbers, IGNORED)


def encode_mask(mask: np.ndarray) -> bytes:
    """Return a mask of integers from 0 to 65,535 as a PNG file.

    Up to 255, each value has a colour, so that viewers of images show the classes.

    Parameters
    ----------
    mask : ndarray of shape (h, w)

    Raises
    ------
    ValueError
        If a value is not in this range.
    """
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high >= 2**16:
        raise ValueError(
            f"mask must have integers from 0 to 65535, as PNG files have; got {low} to {high}. "
            "Give the classes other numbers, or write the arrays of predict in another format."
        )
    buffer = BytesIO()
    if mask.max() > MOST_COLOURS:
        Image.fromarray(mask.astype(np.uint16)).save(buffer, format="PNG")
        return buffer.getvalue()
    picture = Image.fromarray(mask.astype(np.uint8), mode="P")
    picture.putpalette(_palette())
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


@cache
def _palette() -> list[int]:
    """Return the red, green and blue of each value from 0, which is black."""
    hues = [colorsys.hsv_to_rgb(at * GOLDEN % 1, 0.8, 0.9) for at in range(MOST_COLOURS)]
    return [0, 0, 0, *(round(255 * part) for hue in hues for part in hue)]
