"""Small networks of the project's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from ...data import ImagePreset, ImageSizes
from ..backbone import Backbone
from ..weights import fill, is_path, read_weights, weights_info
from ._mini import mini_stages
from ._small_cnn import PRESET, small_cnn_stages


@dataclass(frozen=True)
class Model:
    """The stages, preset and weights of a network."""

    stages: Callable[[], dict[str, nn.Module]]
    preset: Any
    layout: str = "NCHW"
    file: Path | None = None  # None: the default weights are random, from a fixed seed
    sha256: str | None = None  # of the file


MODELS = {
    "mini": Model(
        mini_stages,
        ImagePreset(size=80, crop=1.0, sizes=ImageSizes(minimum=32)),
        file=Path(__file__).with_name("mini.safetensors"),
        sha256="6fe9c043417cc3690ab2bc46c20f5062b1f9f8c7124832571cff7405f1d2481d",
    ),
    "small_cnn": Model(small_cnn_stages, PRESET),
}


def names() -> list[str]:
    """List the models of this provider."""
    return sorted(MODELS)


def load(name: str, weights: str | PathLike[str] | None = "default") -> Backbone:
    """Build the network ``name``; without a file of weights, the default weights are random."""
    model = MODELS[name]
    backbone = Backbone(model.stages(), model.preset, layout=model.layout)
    sha256 = model.sha256 if weights == "default" else None
    if weights == "default":
        weights = model.file
    if weights is None:
        info = weights_info(None, "random, seeded", None, "BSD-3-Clause", model.preset)
    elif is_path(weights):
        file = read_weights(weights, sha256)
        fill(backbone.stages, file.state, str(weights))
        if isinstance(model.preset, ImagePreset):
            backbone.preset = model.preset.with_metadata(file.metadata)
        info = file.info(backbone.preset)
    else:
        raise ValueError(f"weights must be 'default', a file, or None; got {weights!r}.")
    backbone.weights_info = info
    return backbone
