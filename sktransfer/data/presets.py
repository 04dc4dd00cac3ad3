"""Presets turn raw items into the inputs of a backbone's first stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from .._support.geometry import Place, Placed, shifted
from .._support.validation import check_choice, check_int
from .decoding import decoded, decoders
from .image_sizes import ImageSizes
from .items import Items, check_items, is_image_shape
from .resizing import RESAMPLING, fit, resized

# Version of the rules by which an item becomes pixels.  It is part of fingerprints and has to be
# increased whenever an item gets other pixels.
RULES = 3

_SIZES = ImageSizes()


@runtime_checkable
class Preset(Protocol):
    """The preprocessing that turns raw items into the inputs of a network.

    These four methods are all that the rest of the package calls, whatever the items are.
    Augmentation and the parameters ``image_size`` and ``image_shape`` need an
    :class:`ImagePreset`.
    """

    def check(self, X: Any) -> Items:
        """Check ``X`` and return its items; the message about a bad item names it."""

    def __call__(self, item: Any) -> Tensor:
        """Return one item as a row; called from several threads at a time."""

    def collate(self, rows: Sequence[Tensor], size: int) -> Any:
        """Return rows as one batch, the input of the first stage.

        The batch has ``size`` rows.  Those that are missing are blank, and all of them are if
        ``rows`` is empty.
        """

    def fingerprint(self) -> str:
        """Return a text that is equal for two presets only if they give equal inputs."""


@dataclass(frozen=True)
class ImagePreset:
    """Resize, crop and normalise images as the weights of a network require.

    Parameters
    ----------
    size : int, default=224
        Side of the square that the network sees, in pixels.
    resize : int or None, default=None
        Length of the short side before the centre crop, in pixels.  None means ``size / crop``,
        rounded.
    crop : float in (0, 1] or None, default=0.875
        Fraction of the short side that the crop keeps.  None crops nothing: the whole image is
        resized to the square, which changes its aspect ratio.
    mean : tuple of 3 float, default=(0.485, 0.456, 0.406)
        Mean of the red, green and blue channels in [0, 1].  The default is that of ImageNet.
    std : tuple of 3 float, default=(0.229, 0.224, 0.225)
        Standard deviation of the same channels.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}, default="bilinear"
        Resampling filter for resizing.
    draft : bool, default=True
        If True, decode a JPEG file at a half, a quarter or an eighth of its size, as long as both
        sides stay at least twice ``resize``.  This is faster and changes the pixels only a little.
    image_shape : tuple of int or None, default=None
        Shape of an image in a table of flattened rows: (h, w), (h, w, c) or (c, h, w).
    sizes : ImageSizes, default=ImageSizes()
        The sizes that the network can take.

    Notes
    -----
    **Items** are paths (str or path-like), bytes of image files, PIL images, or arrays, all of one
    kind: in a list, an array, a pandas or polars column or one-column data frame.  Arrays are
    (n, h, w), (n, h, w, c) or (n, c, h, w), with 1 (grey), 2 (grey, alpha), 3 or 4 (RGB, alpha)
    channels.  If the last axis of an image has a length of at most 4, it is the channel axis.
    Otherwise the first axis is, if its length is 1, 3 or 4.

    **Values** are scaled by dtype, never by content: uint8 is divided by 255 and uint16 by 65535,
    bool is 0 or 1, and floats must lie in [0, 1].  Integers of another dtype are treated as uint8.

    **Flattened rows** are the rows of a two-dimensional table.  With ``image_shape=None``, a width
    of 3 * s * s is an image (s, s, 3).  Any other width is padded with zeros to the next square,
    and the image is grey.  Floats of a table are not scaled and may have any range.

    **Pixels** are rotated upright according to the EXIF orientation, and transparent pixels are
    blended with white.  Only the first frame of an animation is used.  Grey pixels of more
    than eight bits, and floats, keep their precision; a file's pixels are scaled by the number of
    bits that it names.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import ImagePreset
    >>> preset = ImagePreset(size=32)
    >>> row = preset(np.zeros((48, 64, 3), np.uint8))
    >>> row.shape, row.dtype
    (torch.Size([32, 32, 3]), torch.uint8)
    >>> preset.collate([row], 4).shape
    torch.Size([4, 3, 32, 32])
    """

    size: int = 224
    resize: int | None = None
    crop: float | None = 0.875
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    draft: bool = True
    image_shape: tuple[int, ...] | None = None
    sizes: ImageSizes = _SIZES

    def __post_init__(self) -> None:
        check_int("size", self.size, 1)
        check_choice("interpolation", self.interpolation, list(RESAMPLING))
        if self.crop is not None and not 0 < self.crop <= 1:
            raise ValueError(f"crop must be in (0, 1], or None; got {self.crop!r}.")
        if self.crop is None and self.resize is not None:
            raise ValueError(f"resize must be None if crop is None; got {self.resize!r}.")
        if self.resize is not None and check_int("resize", self.resize, 1) < self.size:
            raise ValueError(f"resize must be at least size, {self.size}; got {self.resize!r}.")
        # JSON files hold lists, which become tuples because presets are compared and hashed.
        object.__setattr__(self, "mean", _three("mean", self.mean, -np.inf))
        object.__setattr__(self, "std", _three("std", self.std, 0))
        if self.image_shape is not None:
            object.__setattr__(self, "image_shape", _shape(self.image_shape))

    @property
    def short_side(self) -> int:
        """The short side of an image before its centre is cut out, in pixels."""
        if self.crop is None:
            return self.size
        return self.resize if self.resize is not None else round(self.size / self.crop)

    def check(self, X: Any) -> Items:
        """Check that ``X`` holds images, and return them as items.

        Parameters
        ----------
        X : sequence of n items, array or table

        Returns
        -------
        Items
            Each is a str, bytes, a PIL image, or an ndarray (h, w) or (h, w, c).

        Raises
        ------
        ValueError, TypeError
            If items are missing, of different kinds or out of range; the message lists the first
            ten.
        """
        return check_items(X, self.image_shape)

    def __call__(self, item: Any) -> Tensor:
        """Decode an item, and rotate it upright, resize and crop it.

        Returns
        -------
        Tensor of shape (size, size, 3)
            uint8 in [0, 255], or float32 in [0, 1] if the item has more than eight bits per
            channel.  It is contiguous.

        Raises
        ------
        DecodeError
            If the item cannot be decoded.  The message names the file and the cause.
        """
        return self.placed(item).pixels

    def placed(self, item: Any) -> Placed:
        """Return the row of an item, and the map that took the pixels of the item to it.

        Returns
        -------
        Placed
            ``pixels`` is the row that a call of the preset returns.  ``place.matrix`` is the map,
            (3, 3), from positions (x, y) in the item as it is stored, without its EXIF
            orientation, to positions in the row.

        Raises
        ------
        DecodeError
            If the item cannot be decoded.  The message names the file and the cause.

        Examples
        --------
        >>> import numpy as np
        >>> from sktransfer import ImagePreset
        >>> placed = ImagePreset(size=32, crop=1.0).placed(np.zeros((64, 80, 3), np.uint8))
        >>> placed.place.matrix @ (39.5, 31.5, 1)  # the centre of the image
        array([15.5, 15.5,  1. ])
        """
        whole = self.placed_whole(item)
        top, left = self._find_centre(*whole.pixels.shape[:2])
        row = self.crop_centre(whole.pixels)
        # Without clone(), the row would keep the memory of the whole image.
        row = row.clone(memory_format=torch.contiguous_format)
        return Placed(row, whole.place and whole.place.then(shifted(-left, -top)))

    def locate(self, item: Any) -> Place:
        """Return the place of an item in its row; of a JPEG file, only the header is read."""
        with decoded(item, self._draft, pixels=False) as picture:
            window = fit(picture.size, self.short_side, self.crop is not None)
            place = window.place(picture.place)
        width, height = window.size
        top, left = self._find_centre(height, width)
        return place.then(shifted(-left, -top))

    def whole(self, item: Any) -> Tensor:
        """Decode an item, and rotate it upright and resize it, without the crop: (h, w, 3).

        The length of its short side is :attr:`short_side`.  A long strip is cut to its middle.

        Raises
        ------
        DecodeError
            If the item cannot be decoded.  The message names the file and the cause.
        """
        return self.placed_whole(item).pixels

    def placed_whole(self, item: Any) -> Placed:
        """Return the pixels that :meth:`whole` returns, and the place of the item in them."""
        with decoded(item, self._draft) as picture:
            window = fit(picture.size, self.short_side, self.crop is not None)
            return Placed(resized(picture, window, self.interpolation), window.place(picture.place))

    @property
    def _draft(self) -> int | None:
        """The length of both sides down to which a JPEG file may be decoded."""
        return 2 * self.short_side if self.draft else None

    def _find_centre(self, height: int, width: int) -> tuple[int, int]:
        """Return the top and the left of the centre of an image."""
        return round((height - self.size) / 2), round((width - self.size) / 2)

    def crop_centre(self, pixels: Tensor) -> Tensor:
        """Return the centre of a larger image (h, w, 3) as a view of shape (size, size, 3)."""
        top, left = self._find_centre(*pixels.shape[:2])
        return pixels[top : top + self.size, left : left + self.size]

    def collate(self, rows: Sequence[Tensor], size: int) -> Tensor:
        """Normalise rows and join them to one batch.

        Parameters
        ----------
        rows : sequence of at most ``size`` tensors (h, w, 3)
            As the preset returns them.  uint8 and float32 may be mixed.
        size : int
            Number of rows of the batch.  Missing rows are zero.

        Returns
        -------
        Tensor of shape (size, 3, h, w), float32
            Its memory format is channels last.
        """
        height, width = rows[0].shape[:2] if rows else (self.size, self.size)
        batch = torch.empty(size, height, width, 3)
        batch[len(rows) :] = 0
        # Broadcasting three numbers is several times slower than a whole line of an image.
        mean = torch.tensor(self.mean).repeat(width)  # (w * 3,)
        std = torch.tensor(self.std).repeat(width)
        for target, row in zip(batch, rows, strict=False):
            target.copy_(row)
            if row.dtype == torch.uint8:
                target.div_(255)
            target.view(height, -1).sub_(mean).div_(std)
        return batch.permute(0, 3, 1, 2)  # (size, 3, h, w)

    def example(self, size: int) -> Tensor:
        """Return a batch of noise, (size, 3, h, w), float32: the same in each call."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(size, 3, self.size, self.size, generator=generator)

    def fingerprint(self) -> str:
        """Return a text that is equal for two presets only if they give equal inputs."""
        return (
            f"image {RULES} {self.size} of {'all' if self.crop is None else self.short_side} "
            f"{self.interpolation} mean {self.mean} std {self.std} draft {self.draft} {decoders()}"
        )

    def at(self, image_size: int) -> ImagePreset:
        """Return the preset for images of another size, in pixels; ``resize`` is scaled too.

        Raises
        ------
        ValueError
            If the network does not accept that size.  The message lists the sizes it accepts.
        """
        size = self.sizes.check(image_size)
        resize = None if self.resize is None else round(self.resize * size / self.size)
        return replace(self, size=size, resize=resize)

    def with_metadata(self, metadata: Mapping[str, str]) -> ImagePreset:
        """Return the preset with the fields that the metadata of a weights file describe.

        Parameters
        ----------
        metadata : mapping of str to str
            Metadata of a safetensors file.  The keys are ``input_size`` or ``image_size`` ("224"
            or "3,224,224"), ``resize``, ``crop`` or ``crop_pct``, ``mean``, ``std`` (three numbers
            separated by commas) and ``interpolation``.  Others are ignored.

        Raises
        ------
        ValueError
            If a value cannot be read.  The message names its key.

        Examples
        --------
        >>> from sktransfer import ImagePreset
        >>> ImagePreset().with_metadata({"input_size": "160", "mean": "0.5,0.5,0.5"}).mean
        (0.5, 0.5, 0.5)
        """
        found: dict[str, Any] = {}
        for key, (field, read) in METADATA.items():
            if key in metadata:
                try:
                    found[field] = read(metadata[key])
                except ValueError as error:
                    raise ValueError(
                        f"metadata {key!r} must be a valid {field} of a preset; "
                        f"got {metadata[key]!r}."
                    ) from error
        preset = self.at(found.pop("size")) if "size" in found else self
        if "crop" in found:
            found.setdefault("resize", None)
        return replace(preset, **found)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.strip("()[] ").split(","))


def _side(text: str) -> int:
    return int(_numbers(text)[-1])


METADATA: dict[str, tuple[str, Callable[[str], Any]]] = {
    "input_size": ("size", _side),
    "image_size": ("size", _side),
    "resize": ("resize", _side),
    "crop_pct": ("crop", float),
    "crop": ("crop", float),
    "mean": ("mean", _numbers),
    "std": ("std", _numbers),
    "interpolation": ("interpolation", str),
}


def _three(name: str, values: Any, lower: float) -> tuple[float, ...]:
    """Return three finite numbers greater than ``lower``."""
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(lower < number < np.inf for number in numbers):
        positive = "positive " if lower == 0 else ""
        raise ValueError(f"{name} must be three {positive}numbers; got {values!r}.")
    return numbers


def _shape(shape: Any) -> tuple[int, ...]:
    """Return ``shape`` as a tuple if it is one of an image."""
    sides = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    whole = all(isinstance(side, Integral) and int(side) > 0 for side in sides)
    if whole and (len(sides) == 2 or (len(sides) == 3 and is_image_shape(sides))):
        return tuple(map(int, sides))
    raise ValueError(
        f"image_shape must be (h, w), (h, w, c) or (c, h, w) of 1 to 4 channels; got {shape!r}."
    )


def input_info(preset: Preset) -> dict[str, Any]:
    """Return what ``weights_info`` records of a preset: input_size, mean and std.

    They are None for a preset of other items than images.
    """
    if not isinstance(preset, ImagePreset):
        return dict.fromkeys(("input_size", "mean", "std"))
    return {"input_size": preset.size, "mean": preset.mean, "std": preset.std}


def example_batch(preset: Any, size: int) -> Any:
    """Return a batch to try a network on: noise for images, and random ids for texts.

    It is that of the method ``example(size)`` of the preset; without one, its rows are blank.
    """
    return preset.example(size) if hasattr(preset, "example") else preset.collate([], size)
