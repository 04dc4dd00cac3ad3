"""Small networks of the project's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...data import ImagePreset, ImageSizes
from ..backbone import Backbone
from ..filling import fill, fits
from ..weights import is_path, read_weights, weights_info
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


def likely(state: Mapping[str, Tensor], path: str) -> list[str]:  # noqa: ARG001 - they are few
    """List the models that ``state`` may belong to."""
    return names()


def matches(name: str, state: Mapping[str, Tensor]) -> bool:
    """Return True if the stages of ``name`` have the tensors in ``state``."""
    with torch.device("meta"):
        return fits(nn.ModuleDict(MODELS[name].stages()), state)


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
        raise ValueError(
            f"weights of builtin/{name} must be 'default', the path of a .safetensors, .pth or .pt "
            f"file, or None; got {weights!r}. Weights of another network need its backbone, such "
            "as backbone='torchvision/resnet18'."
        )
    backbone.weights_info = info
    return backbone
