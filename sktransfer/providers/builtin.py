"""Small networks of the project's own."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from ..backbone import Backbone
from ..presets import ImagePreset, ImageSizes
from ..weights import fill, is_path, read_weights, weights_info
from ._mini import mini_stages

# The pretrained file of each model; until it comes, "default" weights are seeded random ones.
FILES = {"mini": Path(__file__).with_name("mini.safetensors")}
_STAGES = {"mini": mini_stages}


def names() -> list[str]:
    """Models of this provider."""
    return sorted(_STAGES)


def load(name: str, weights: str | PathLike[str] | None = "default") -> Backbone:
    """Build ``name``; with "default" weights that have not come yet, seeded random ones."""
    preset = ImagePreset(size=96, crop=1.0, sizes=ImageSizes(minimum=32))
    backbone = Backbone(_STAGES[name](), preset)
    if weights == "default":
        weights = FILES[name] if FILES[name].exists() else None
    if weights is None:
        info = weights_info(None, "random, seeded", None, "BSD-3-Clause", preset)
    elif is_path(weights):
        file = read_weights(weights)
        fill(backbone.stages, file.state, str(weights))
        backbone.preset = preset.with_metadata(file.metadata)
        info = file.info(backbone.preset)
    else:
        raise ValueError(f"weights must be 'default', a file, or None; got {weights!r}.")
    backbone.weights_info = info
    return backbone
