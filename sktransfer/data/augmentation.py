"""Augmentation: random variants of an image, each a pure function of the image and a seed.

The built-in variants draw from a generator of their own, so threads do not wait for each other.
A transform that the user passes draws from the global generators, which are seeded for the call
and restored afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._support.geometry import Placed
from .._support.hashing import described, hash_parts
from .._support.random import seed_of, seeded_globals
from .._support.validation import check_int, no_choice
from .items import Items
from .presets import ImagePreset, Preset
from .variants import NAMED, resized, short_side

# Version of the built-in variants.  It is part of fingerprints and has to be increased whenever
# the same image and seed give a different result.
RULES = 1

# Floats may leave [0, 1] by this much, because interpolation overshoots.  Normalised pixels leave
# it by far more.
OVERSHOOT = 0.25


@dataclass(frozen=True)
class Views:
    """A fixed number of variants of each image, whose activations the cache can keep.

    Random augmentation makes new pixels in every epoch, so the frozen stages have to run in every
    epoch.  With ``Views`` each image has ``n`` variants, and every epoch draws one of them.  The
    frozen stages then run ``n`` times over the images, however many epochs there are.

    Parameters
    ----------
    augment : {"light", "standard", "trivial"} or callable, default="light"
        The augmentation that makes a variant; see :class:`FineTuneClassifier`.
    n : int, default=8
        Number of variants of each image, at least 1.  A larger number adds variants and does not
        change the first ones.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.data import Views
    >>> from sktransfer.data.digests import digest
    >>> from sktransfer.data import ImagePreset
    >>> views = Views("light", n=4)
    >>> photo = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    >>> items = views.items([photo], [digest(photo)])
    >>> rows = [views.preset(ImagePreset(size=32))(item) for item in items]
    >>> len(rows), rows[0].shape
    (4, torch.Size([32, 32, 3]))
    """

    augment: Any = "light"
    n: int = 8

    def __post_init__(self) -> None:
        _check("augment of Views", self.augment, ())
        check_int("n", self.n, 1)

    def preset(self, preset: Preset, flips: bool = True) -> ViewPreset:
        """Return a preset for the views that :meth:`items` returns; see :class:`Augmentation`."""
        return ViewPreset(_image_preset(self.augment, preset), self.augment, flips)

    def items(self, items: Sequence[Any], digests: Sequence[bytes]) -> list[View]:
        """Return the views of all items.

        The views of ``items[i]`` are at the indices ``i * n`` to ``i * n + n - 1``.
        """
        return [
            View(item, hash_parts("view", name, str(index)))
            for item, name in zip(items, digests, strict=True)
            for index in range(self.n)
        ]


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """One variant of an item.

    Parameters
    ----------
    item : path, bytes, PIL image or array
    digest : bytes
        Digest of the variant, computed from that of the item and the number of the variant.
    """

    item: Any
    digest: bytes


@dataclass(frozen=True)
class ViewPreset:
    """A preset for the views that :meth:`Views.items` returns.

    Parameters
    ----------
    inner : ImagePreset
        Preset of the original items.
    augment : str or callable
        The augmentation that makes a variant.
    flips : bool, default=True
        If False, the built-in augmentations flip no image.
    """

    inner: ImagePreset
    augment: Any
    flips: bool = True

    def check(self, X: Any) -> Items:
        """Validate ``X`` and return its items, which are not views yet."""
        return self.inner.check(X)

    def __call__(self, item: View) -> Tensor:
        """Return the pixels of a view, of shape (size, size, 3)."""
        return self.placed(item).pixels

    def placed(self, item: View) -> Placed:
        """Return the pixels of a view, and the place of the item in it."""
        return augmented(self.inner, item.item, self.augment, seed_of(item.digest), self.flips)

    def locate(self, item: View) -> Any:
        """Return the place of the item in a view; None if the augmentation is a callable."""
        return self.placed(item).place

    def collate(self, rows: Sequence[Tensor], size: int) -> Any:
        """Join variants to one batch, the input of the first stage."""
        return self.inner.collate(rows, size)

    def fingerprint(self) -> str:
        """Return a text that is equal for two presets only if they give equal inputs."""
        return (
            f"{self.inner.fingerprint()} views {RULES} of {describe(self.augment)} "
            f"{'' if self.flips else 'without flips '}"
            f"torch {torch.__version__} numpy {np.__version__}"
        )


@dataclass(frozen=True)
class Augmentation:
    """An augmentation with the preset of its network; :func:`resolve_augment` returns one.

    Parameters
    ----------
    preset : ImagePreset
    augment : str or callable
    flips : bool, default=True
        If False, the built-in augmentations flip no image.
    """

    preset: ImagePreset
    augment: Any
    flips: bool = True

    def __call__(self, item: Any, seed: int) -> Tensor:
        """Return the variant of ``item`` for ``seed``, of shape (size, size, 3)."""
        return self.placed(item, seed).pixels

    def placed(self, item: Any, seed: int) -> Placed:
        """Return the variant of ``item`` for ``seed``, and the map from the pixels of the item.

        Returns
        -------
        Placed
            ``place`` is as for :meth:`ImagePreset.placed`.  It is None if the augmentation is a
            callable of the user.
        """
        return augmented(self.preset, item, self.augment, seed, self.flips)


def check_augment(augment: Any) -> Any:
    """Return ``augment`` if it is a valid value of an estimator's parameter ``augment``.

    Parameters
    ----------
    augment : "auto", None, {"light", "standard", "trivial"}, Views or callable

    Raises
    ------
    ValueError, TypeError
        If it is anything else.  The result of a callable is checked when it is called.
    """
    if isinstance(augment, Views):
        return augment
    return _check("augment", augment, ("auto", None), "Views, or a callable")


def default_augment(preset: Preset, items: Items) -> str | None:
    """Return "light" for images, and None for rows of a table and for items of other kinds."""
    is_image = isinstance(preset, ImagePreset) and items.kind != "table"
    return "light" if is_image else None


def resolve_augment(augment: Any, preset: Preset, flips: bool = True) -> Augmentation | None:
    """Return a function of an item and a seed that makes an augmented row.

    Parameters
    ----------
    augment : None, {"light", "standard", "trivial"} or callable
        A callable takes an upright image as a tensor of shape (3, h, w), whose short side is the
        preset's.  It is uint8, or float32 if the image has more than eight bits per channel.  The
        callable returns a tensor (3, h, w) of any size, uint8 or floats in [0, 1].  The preset
        then crops and normalises.
    preset : ImagePreset
        Preset of the network.
    flips : bool, default=True
        If False, the built-in augmentations flip no image.

    Returns
    -------
    Augmentation or None
        None if ``augment`` is None.  Otherwise a callable that takes an item and a seed and
        returns a row for the preset's ``collate``.

    Raises
    ------
    ValueError, TypeError
        If ``augment`` is anything else, or if the items of the preset are not images.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.data.augmentation import resolve_augment
    >>> from sktransfer.data import ImagePreset
    >>> augmentation = resolve_augment("light", ImagePreset(size=32))
    >>> augmentation(np.zeros((48, 64, 3), np.uint8), 0).shape
    torch.Size([32, 32, 3])
    """
    if _check("augment", augment, (None,)) is None:
        return None
    return Augmentation(_image_preset(augment, preset), augment, flips)


def describe(augment: Any) -> str:
    """Return a text that is equal for two augmentations only if they make the same variants.

    A callable is described by its type, its state and its code.

    Raises
    ------
    TypeError
        If a callable holds an object that cannot be described, such as an open file.

    Examples
    --------
    >>> from sktransfer.data.augmentation import describe
    >>> describe("light")
    'light'
    """
    if augment is None or isinstance(augment, str):
        return str(augment)
    if isinstance(augment, Views):
        return f"{augment.n} views of {describe(augment.augment)}"
    try:
        text = described(augment)
    except TypeError as error:
        raise TypeError(f"augment must be a callable that can be described; {error}.") from error
    name = getattr(augment, "__qualname__", type(augment).__qualname__)
    return f"{name} {hash_parts('augment', text).hex()}"


def augmented(
    preset: ImagePreset, item: Any, augment: Any, seed: int, flips: bool = True
) -> Placed:
    """Return a variant of one item as a row, and the place of the item in it.

    The row has the shape (size, size, 3), and is uint8 or float32.

    Parameters
    ----------
    preset : ImagePreset
    item : path, bytes, PIL image or array
    augment : {"light", "standard", "trivial"} or callable
    seed : int in [0, 2**63)
        The same seed gives the same result in any thread and process.
    flips : bool, default=True
        If False, the built-in augmentations flip no image.

    Raises
    ------
    DecodeError
        If the item cannot be decoded.
    TypeError, ValueError
        If a callable returns something that is not an image.
    """
    whole = preset.placed_whole(item)
    image = whole.pixels.permute(2, 0, 1)  # (3, h, w)
    if isinstance(augment, str):
        variant, matrix = NAMED[augment](image, preset.size, np.random.default_rng(seed), flips)
        place = whole.place and whole.place.augmented(matrix)
    else:
        variant, place = _transformed(image, augment, seed), None
    row = variant.permute(1, 2, 0)
    # A callable may return any size; the built-in variants have the preset's.
    if row.shape[:2] != (preset.size, preset.size):
        row = _reframed(preset, variant)
    return Placed(row.clone(memory_format=torch.contiguous_format), place)


def _reframed(preset: ImagePreset, image: Tensor) -> Tensor:
    """Resize and crop an image (3, h, w) of any size as the preset does: (size, size, 3)."""
    if preset.crop is None:
        return resized(image, preset.size, preset.size).permute(1, 2, 0)
    fitted = short_side(image, preset.short_side).permute(1, 2, 0)
    return preset.crop_centre(fitted)


def _transformed(image: Tensor, augment: Callable[[Tensor], Any], seed: int) -> Tensor:
    """Apply a callable of the user to ``image``, (3, h, w), and check the result."""
    with seeded_globals(seed), torch.no_grad():
        out = augment(image.contiguous())
    if not isinstance(out, Tensor) or out.ndim != 3 or len(out) != 3 or 0 in out.shape:
        got = f"a tensor {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise TypeError(f"augment must return a tensor (3, h, w); got {got}.")
    if out.dtype != torch.uint8 and not out.is_floating_point():
        raise TypeError(f"augment must return uint8 or floats; got {out.dtype}.")
    out = out.as_subclass(Tensor)  # torchvision's transforms may return subclasses of Tensor
    if out.dtype == torch.uint8:
        return out
    low, high = (float(bound) for bound in out.aminmax())
    # The values of tabular input may have any range, so only images are checked.
    if image.dtype == torch.uint8 and not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise ValueError(
            f"augment must return uint8 or floats in [0, 1]; got floats from {low:.3g} to "
            f"{high:.3g}. Remove the normalisation from the transform: the preset normalises."
        )
    return out.float()


def _check(name: str, augment: Any, also: tuple[Any, ...], kinds: str = "or a callable") -> Any:
    """Return ``augment`` if it is a name, a callable or one of ``also``."""
    choices = [*also, *NAMED]
    is_transform = callable(augment) and not isinstance(augment, type)
    if is_transform or any(augment is choice for choice in also):
        return augment
    if isinstance(augment, str) and augment in choices:
        return str(augment)
    raise ValueError(no_choice(name, augment, choices, kinds))


def _image_preset(augment: Any, preset: Preset) -> ImagePreset:
    """Return ``preset`` if it makes rows of images, which ``augment`` needs."""
    if not isinstance(preset, ImagePreset):
        raise ValueError(  # noqa: TRY004 - the value of a parameter is wrong
            f"augment must be None for items that are not images; got {augment!r} for a "
            f"{type(preset).__name__}."
        )
    return preset
