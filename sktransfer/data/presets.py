"""Presets: how a raw item becomes the input of a backbone's first stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import numpy as np
import PIL
import torch
from PIL import Image, features
from torch import Tensor

from .._support.validation import check_choice, check_int
from .decoding import decode
from .image_sizes import ImageSizes
from .items import Items, check_items, is_image_shape

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# Of the rules by which an item becomes pixels; raised whenever an item gets other bits.
RULES = 1

# Of a strip longer than this many times its width, only the middle is looked at: resized whole, it
# would take gigabytes.
LONGEST = 32

_SIZES = ImageSizes()


@runtime_checkable
class Preset(Protocol):
    """How raw items become the inputs of a network.

    These four methods are all that the rest of the package calls, whatever the items are.
    Augmentation and the parameters ``image_size`` and ``image_shape`` need an
    :class:`ImagePreset`.
    """

    def check(self, X: Any) -> Items:
        """Return the items of ``X``; the message about a bad item names it."""

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
    """Images as a network wants them: resized, cropped at the centre, normalised.

    Parameters
    ----------
    size : int, default=224
        Side of the square that the network sees, in pixels.
    resize : int or None, default=None
        Short side before the centre crop, in pixels; None is ``size / crop``, rounded.
    crop : float in (0, 1], default=0.875
        Share of the short side that the crop keeps.
    mean : tuple of 3 float, default=(0.485, 0.456, 0.406)
        Of the channels red, green, blue in [0, 1]; ImageNet's by default.
    std : tuple of 3 float, default=(0.229, 0.224, 0.225)
        The same.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}, default="bilinear"
    draft : bool, default=True
        Decode a JPEG file at a half, a quarter or an eighth of its size, as long as both sides
        stay at least twice ``resize``: faster, and different by little.
    image_shape : tuple of int or None, default=None
        Shape of an image in a table of flattened rows: (h, w), (h, w, c) or (c, h, w).
    sizes : ImageSizes, default=ImageSizes()
        The sizes that the network can take.

    Notes
    -----
    **Items** are paths (str or path-like), bytes of image files, PIL images, or arrays, all of one
    kind: in a list, an array, a pandas or polars column or one-column data frame.  Arrays are
    (n, h, w), (n, h, w, c) or (n, c, h, w), with 1 (grey), 2 (grey, alpha), 3 or 4 (RGB, alpha)
    channels.  The last axis of an image counts its channels where it is at most 4 long; otherwise
    the first one does, where it is 1, 3 or 4 long.

    **Values** are scaled by dtype, never by content: uint8 is divided by 255, uint16 by 65535,
    bool is 0 or 1, floats lie in [0, 1]; integers of another dtype are those of uint8.

    **Flattened rows** are the rows of a two-dimensional table.  With ``image_shape=None``, a width
    of 3 * s * s is an image (s, s, 3); any other is zero-padded to the next square and is
    grey.  Floats of a table are taken as they are, whatever their range.

    **Pixels** are turned upright by their EXIF orientation; transparent ones are laid on white; of
    an animation the first frame is taken; 16-bit and float pixels stay as deep as they are.

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
    crop: float = 0.875
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    draft: bool = True
    image_shape: tuple[int, ...] | None = None
    sizes: ImageSizes = _SIZES

    def __post_init__(self) -> None:
        check_int("size", self.size, 1)
        check_choice("interpolation", self.interpolation, list(RESAMPLING))
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be in (0, 1]; got {self.crop!r}.")
        if self.resize is not None and check_int("resize", self.resize, 1) < self.size:
            raise ValueError(f"resize must be at least size, {self.size}; got {self.resize!r}.")
        # Lists, as a JSON file brings them, become tuples: presets are compared and hashed.
        object.__setattr__(self, "mean", _three("mean", self.mean, -np.inf))
        object.__setattr__(self, "std", _three("std", self.std, 0))
        if self.image_shape is not None:
            object.__setattr__(self, "image_shape", _shape(self.image_shape))

    @property
    def short_side(self) -> int:
        """The short side of an image before its centre is cut out, in pixels."""
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
        """One item decoded, upright, resized and cropped: (size, size, 3), contiguous.

        uint8 in [0, 255], or float32 in [0, 1] where the item is deeper than eight bits.

        Raises
        ------
        DecodeError
            Naming the file and the cause.
        """
        # without clone(), the row would keep the memory of the whole image
        return self.crop_centre(self.whole(item)).clone(memory_format=torch.contiguous_format)

    def whole(self, item: Any) -> Tensor:
        """One item decoded, upright and resized, as it is before its centre is cut out: (h, w, 3).

        Its short side is :attr:`short_side`; of a strip the middle is seen.

        Raises
        ------
        DecodeError
            Naming the file and the cause.
        """
        planes = decode(item, 2 * self.short_side if self.draft else None)
        resample = RESAMPLING[self.interpolation]
        planes = [_fitted(plane, self.short_side, resample) for plane in planes]
        if planes[0].mode != "F":
            return torch.from_numpy(np.array(planes[0].convert("RGB")))
        bands = [np.asarray(plane) for plane in planes]
        return torch.from_numpy(np.stack(bands * (3 // len(bands)), axis=-1))  # (h, w, 3)

    def crop_centre(self, pixels: Tensor) -> Tensor:
        """The centre of an image (h, w, 3) that is large enough: (size, size, 3), a view."""
        height, width = pixels.shape[:2]
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return pixels[top : top + self.size, left : left + self.size]

    def collate(self, rows: Sequence[Tensor], size: int) -> Tensor:
        """Rows normalised, as one batch (size, 3, h, w), float32, channels last in memory.

        Parameters
        ----------
        rows : sequence of at most ``size`` tensors (h, w, 3)
            As the preset made them; uint8 and float32 may be mixed.
        size : int
            Rows of the batch; those that are missing are zero.
        """
        height, width = rows[0].shape[:2] if rows else (self.size, self.size)
        batch = torch.empty(size, height, width, 3)
        batch[len(rows) :] = 0
        # As long as a line of an image: to broadcast three numbers is several times slower.
        mean = torch.tensor(self.mean).repeat(width)  # (w * 3,)
        std = torch.tensor(self.std).repeat(width)
        for target, row in zip(batch, rows, strict=False):
            target.copy_(row)
            if row.dtype == torch.uint8:
                target.div_(255)
            target.view(height, -1).sub_(mean).div_(std)
        return batch.permute(0, 3, 1, 2)  # (size, 3, h, w)

    def fingerprint(self) -> str:
        """A text that is equal for two presets only if they give equal inputs."""
        return (
            f"image {RULES} {self.size} of {self.short_side} {self.interpolation} mean {self.mean} "
            f"std {self.std} draft {self.draft} pillow {PIL.__version__} "
            f"jpeg {features.version('libjpeg_turbo')}"
        )

    def at(self, image_size: int) -> ImagePreset:
        """The preset for images of another size, in pixels; ``resize`` scales along.

        Raises
        ------
        ValueError
            If the network cannot take that size; the message says which it can.
        """
        size = self.sizes.check(image_size)
        resize = None if self.resize is None else round(self.resize * size / self.size)
        return replace(self, size=size, resize=resize)

    def with_metadata(self, metadata: Mapping[str, str]) -> ImagePreset:
        """The preset with what the metadata of a weights file says about its input.

        Parameters
        ----------
        metadata : mapping of str to str
            Of a safetensors file.  Known keys: ``input_size`` or ``image_size`` ("224" or
            "3,224,224"), ``resize``, ``crop`` or ``crop_pct``, ``mean``, ``std`` (three numbers
            with commas between) and ``interpolation``; others are passed over.

        Raises
        ------
        ValueError
            Naming the key whose value cannot be read.

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
                        f"metadata {key!r} must be what a preset's {field} is; "
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


def _three(name: str, values: Any, least: float) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(least < number < np.inf for number in numbers):
        positive = "positive " if least == 0 else ""
        raise ValueError(f"{name} must be three {positive}numbers; got {values!r}.")
    return numbers


def _shape(shape: Any) -> tuple[int, ...]:
    sides = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    whole = all(isinstance(side, Integral) and int(side) > 0 for side in sides)
    if whole and (len(sides) == 2 or (len(sides) == 3 and is_image_shape(sides))):
        return tuple(map(int, sides))
    raise ValueError(
        f"image_shape must be (h, w), (h, w, c) or (c, h, w) of 1 to 4 channels; got {shape!r}."
    )


def _fitted(image: Image.Image, short: int, resample: Image.Resampling) -> Image.Image:
    """``image`` resized so that its short side is ``short``, a long strip after a cut.

    The bits are those of torchvision's Resize.
    """
    image = _middle(image)
    return image.resize(_resized(image.size, short), resample)


def _middle(image: Image.Image) -> Image.Image:
    long, short = max(image.size), min(image.size)
    if long <= LONGEST * short:
        return image
    cut = (long - LONGEST * short) // 2
    if image.width == long:
        return image.crop((cut, 0, long - cut, short))
    return image.crop((0, cut, short, long - cut))


def _resized(size: tuple[int, int], short: int) -> tuple[int, int]:
    width, height = size
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def input_info(preset: Preset) -> dict[str, Any]:
    """Return what ``weights_info`` records of a preset: input_size, mean and std.

    They are None for a preset of other items than images.
    """
    if not isinstance(preset, ImagePreset):
        return dict.fromkeys(("input_size", "mean", "std"))
    return {"input_size": preset.size, "mean": preset.mean, "std": preset.std}


def example_batch(preset: Preset, size: int) -> Any:
    """Return a batch to try a network on: seeded noise for images, blank rows for other items."""
    if not isinstance(preset, ImagePreset):
        return preset.collate([], size)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, preset.size, preset.size, generator=generator)
