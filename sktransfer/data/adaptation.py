"""Adapt the preset of the weights to the parameters of an estimator and to its items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from .._support.validation import check_choice
from .._support.warn import warn_user
from .items import Items
from .presets import ImagePreset, Preset
from .text_preset import TextPreset


def adapt(
    preset: Preset,
    overrides: Any = None,
    image_size: int | None = None,
    image_shape: Sequence[int] | None = None,
    max_length: int | None = None,
) -> Preset:
    """Return the preset of the weights, changed as the parameters of an estimator ask.

    Parameters
    ----------
    preset : Preset
        The preset that came with the weights.
    overrides : dict, Preset or None, default=None
        A dict replaces some fields of the preset.  A preset takes its place.
    image_size : int or None, default=None
        Side of the square that the network sees, in pixels.
    image_shape : sequence of int or None, default=None
        Shape of an image in a table of flattened rows.
    max_length : int or None, default=None
        Maximum number of tokens of a text.

    Raises
    ------
    ValueError, TypeError
        If an override does not suit the preset, if ``image_size`` or ``image_shape`` is given for a
        preset of other items than images, or ``max_length`` for one of other items than texts.
    """
    if isinstance(overrides, dict):
        preset = _replaced(preset, overrides)
    elif overrides is not None:
        if isinstance(overrides, type) or not isinstance(overrides, Preset):
            raise TypeError(
                f"preset must be a dict, a preset, or None; got {type(overrides).__name__}."
            )
        preset = overrides
    if image_size is not None:
        preset = _image_preset("image_size", image_size, preset).at(image_size)
    if image_shape is not None:
        shape: Any = tuple(image_shape) if isinstance(image_shape, list) else image_shape
        preset = replace(_image_preset("image_shape", shape, preset), image_shape=shape)
    if max_length is not None:
        if not isinstance(preset, TextPreset):
            raise ValueError(_not_of("max_length", "texts", max_length, preset))
        preset = replace(preset, max_length=max_length)
    return preset


def _replaced(preset: Any, overrides: dict[str, Any]) -> Any:
    names = [field.name for field in fields(preset)] if is_dataclass(preset) else []
    if not names:
        raise TypeError(
            f"preset must be a whole preset, or None, in place of a {type(preset).__name__}, "
            f"which has no fields to override; got {overrides!r}."
        )
    for key in overrides:
        check_choice("a key of preset", key, names)
    try:
        return replace(preset, **overrides)
    except TypeError as error:
        usual = {key: getattr(preset, key) for key in overrides}
        raise TypeError(
            f"preset must hold values of the form of those of the network, {usual!r}; got "
            f"{overrides!r}: {error}."
        ) from error


def _image_preset(name: str, value: Any, preset: Any) -> ImagePreset:
    """Return ``preset``, for which the parameter ``name`` has a meaning."""
    if not isinstance(preset, ImagePreset):
        raise ValueError(_not_of(name, "images", value, preset))  # noqa: TRY004 - the value of a parameter is wrong
    return preset


def _not_of(name: str, kind: str, value: Any, preset: Any) -> str:
    return (
        f"{name} must be None for a backbone whose items are not {kind}; got {value!r} for "
        f"a {type(preset).__name__}."
    )


def smallest_preset(preset: Preset, items: Items) -> Preset:
    """Return the preset at the smallest size that suits the images of a table.

    The size is at least the longer side of the images, so that no pixel is lost, unless that is
    more than the size of the preset.  Other items keep their preset.
    """
    if not isinstance(preset, ImagePreset) or items.kind != "table":
        return preset
    sizes = preset.sizes
    if sizes.only:
        return preset
    longest = max(items[0].shape[:2])
    side = max(sizes.minimum, min(longest, preset.size))
    return preset.at(-(-side // sizes.multiple) * sizes.multiple)


def warn_of_lost_parts(preset: Preset, items: Items) -> None:
    """Warn about items of which the network does not see a part, such as texts that are too long.

    A preset that leaves out parts has a method ``remark(items)``, which returns a sentence.
    """
    remark = preset.remark(items) if hasattr(preset, "remark") else ""
    if remark:
        warn_user(remark)
