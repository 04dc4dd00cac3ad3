"""Augmentation: random variants of a photo, each a pure function of the photo and a seed.

What is built in draws from a generator of its own, so that threads need not wait for each other.
A transform of the user's draws from the global ones, which are borrowed and put back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._support.hashing import described
from .._support.random import seed_of, seeded_globals
from .._support.validation import check_int, did_you_mean
from .items import Items
from .presets import ImagePreset, Preset
from .variants import NAMED, short_side

# Of the variants that are built in; raised whenever a photo and a seed give other bits.
RULES = 1

# Interpolation overshoots a little; normalised pixels lie far outside.
OVERSHOOT = 0.25


@dataclass(frozen=True)
class Views:
    """A few fixed variants of each photo, which the cache can keep.

    Random pixels are new in every epoch, so that all stages must run on them.  Variants that are
    made once and then drawn from cost the frozen stages ``n`` runs over the photos, whatever the
    number of epochs.

    Parameters
    ----------
    augment : {"light", "standard", "trivial"} or callable, default="light"
        How a variant is made, as in :class:`FineTuneClassifier`.
    n : int, default=8
        Variants of each photo.  Variant 3 is the same whatever ``n`` is.

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

    def preset(self, preset: Preset) -> ViewPreset:
        """The preset that makes rows of the items of :meth:`items`."""
        return ViewPreset(_image_preset(self.augment, preset), self.augment)

    def items(self, items: Sequence[Any], digests: Sequence[bytes]) -> list[View]:
        """The variants of each item, one after the other: those of item i begin at i * n."""
        return [
            View(item, blake2b(name + index.to_bytes(8), digest_size=16).digest())
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
        The name of the variant, made from the item's and the number of the variant.
    """

    item: Any
    digest: bytes


@dataclass(frozen=True)
class ViewPreset:
    """A preset for the items that :meth:`Views.items` makes.

    Parameters
    ----------
    inner : ImagePreset
        Of the items themselves.
    augment : str or callable
        How a variant is made.
    """

    inner: ImagePreset
    augment: Any

    def check(self, X: Any) -> Items:
        """Validate ``X`` and return its items, which are not views yet."""
        return self.inner.check(X)

    def __call__(self, item: View) -> Tensor:
        """One variant, (size, size, 3)."""
        return augmented(self.inner, item.item, self.augment, seed_of(item.digest))

    def collate(self, rows: Sequence[Tensor], size: int) -> Any:
        """Variants as one batch: the first stage's input."""
        return self.inner.collate(rows, size)

    def fingerprint(self) -> str:
        """A text that is equal for two presets only if they give equal inputs."""
        return (
            f"{self.inner.fingerprint()} views {RULES} of {describe(self.augment)} "
            f"torch {torch.__version__} numpy {np.__version__}"
        )


@dataclass(frozen=True)
class Augmentation:
    """Items and seeds to rows; :func:`resolve_augment` makes it.

    Parameters
    ----------
    preset : ImagePreset
    augment : str or callable
    """

    preset: ImagePreset
    augment: Any

    def __call__(self, item: Any, seed: int) -> Tensor:
        """The variant of ``item`` that ``seed`` names: (size, size, 3)."""
        return augmented(self.preset, item, self.augment, seed)


def check_augment(augment: Any) -> Any:
    """Return ``augment`` if it is what an estimator's parameter of that name may be.

    Parameters
    ----------
    augment : "auto", None, {"light", "standard", "trivial"}, Views or callable

    Raises
    ------
    ValueError, TypeError
        If it is something else; what a callable returns is checked when it is called.
    """
    if isinstance(augment, Views):
        return augment
    return _check("augment", augment, ("auto", None), "Views, or a callable")


def default_augment(preset: Preset, items: Items) -> str | None:
    """Return "light" for images, and None for rows of a table and for items of other kinds."""
    is_image = isinstance(preset, ImagePreset) and items.kind != "table"
    return "light" if is_image else None


def resolve_augment(augment: Any, preset: Preset) -> Augmentation | None:
    """What makes rows of items and seeds; None where nothing is augmented.

    Parameters
    ----------
    augment : None, {"light", "standard", "trivial"} or callable
        A callable takes a uint8 tensor (3, h, w), float32 where the photo is deeper, upright and
        of the preset's short side, and returns one like it, of any size, uint8 or floats in
        [0, 1].  The preset crops and normalises.
    preset : ImagePreset
        Of the network.

    Returns
    -------
    Augmentation or None
        Called with an item and a seed, it returns a row that the preset's ``collate`` takes.

    Raises
    ------
    ValueError, TypeError
        If ``augment`` is none of these, or the preset's items are no images.

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
    return Augmentation(_image_preset(augment, preset), augment)


def describe(augment: Any) -> str:
    """A text that is equal for two values of ``augment`` only if they make the same variants.

    A name stands for itself; a callable is told by its type, its state and its code.

    Raises
    ------
    TypeError
        If it holds what cannot be taken apart, such as an open file.

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
        raise TypeError(f"augment must be a callable that can be named; {error}.") from error
    name = getattr(augment, "__qualname__", type(augment).__qualname__)
    return f"{name} {blake2b(text.encode(), digest_size=16).hexdigest()}"


def augmented(preset: ImagePreset, item: Any, augment: Any, seed: int) -> Tensor:
    """A variant of one item: (size, size, 3), uint8 or float32, as the preset makes rows.

    Parameters
    ----------
    preset : ImagePreset
    item : path, bytes, PIL image or array
    augment : {"light", "standard", "trivial"} or callable
    seed : int in [0, 2**63)
        The same seed gives the same bits, in any thread and process.

    Raises
    ------
    DecodeError
        If the item cannot be decoded.
    TypeError, ValueError
        If a callable returns no image.
    """
    image = preset.whole(item).permute(2, 0, 1)  # (3, h, w)
    if isinstance(augment, str):
        variant = NAMED[augment](image, preset.size, np.random.default_rng(seed))
    else:
        variant = _transformed(image, augment, seed)
    row = variant.permute(1, 2, 0)
    if row.shape[:2] != (preset.size, preset.size):
        row = preset.crop_centre(short_side(variant, preset.short_side).permute(1, 2, 0))
    return row.clone(memory_format=torch.contiguous_format)


def _transformed(image: Tensor, augment: Callable[[Tensor], Any], seed: int) -> Tensor:
    """What a transform of the user's makes of ``image``, (3, h, w)."""
    with seeded_globals(seed), torch.no_grad():
        out = augment(image.contiguous())
    if not isinstance(out, Tensor) or out.ndim != 3 or len(out) != 3 or 0 in out.shape:
        got = f"a tensor {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise TypeError(f"augment must return a tensor (3, h, w); got {got}.")
    if out.dtype != torch.uint8 and not out.is_floating_point():
        raise TypeError(f"augment must return uint8 or floats; got {out.dtype}.")
    out = out.as_subclass(Tensor)  # what torchvision's own types know is of no use here
    if out.dtype == torch.uint8:
        return out
    low, high = (float(bound) for bound in out.aminmax())
    # floats of a table are taken as they are, whatever their range
    if image.dtype == torch.uint8 and not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise ValueError(
            f"augment must return uint8 or floats in [0, 1]; got floats from {low:.3g} to "
            f"{high:.3g}. Leave the normalisation out: the preset brings it."
        )
    return out.float()


def _check(name: str, augment: Any, also: tuple[Any, ...], kinds: str = "or a callable") -> Any:
    """Return ``augment`` if it is a name, a transform, or one of ``also``."""
    choices = [*also, *NAMED]
    is_transform = callable(augment) and not isinstance(augment, type)
    if is_transform or any(augment is choice for choice in also):
        return augment
    if isinstance(augment, str) and augment in choices:
        return str(augment)
    listed, guess = ", ".join(map(repr, choices)), did_you_mean(augment, choices)
    raise ValueError(f"{name} must be one of {listed}, {kinds}; got {augment!r}.{guess}")


def _image_preset(augment: Any, preset: Preset) -> ImagePreset:
    """Return ``preset`` if it makes rows of images, which ``augment`` needs."""
    if not isinstance(preset, ImagePreset):
        raise ValueError(  # noqa: TRY004 - the value of a parameter is wrong
            f"augment must be None for items that are not images; got {augment!r} for a "
            f"{type(preset).__name__}."
        )
    return preset
