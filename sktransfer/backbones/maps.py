"""Feature maps: the outputs of stages as images, and the stages that differ in resolution."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._support.validation import did_you_mean
from ..data import ImagePreset, example_batch
from .backbone import Backbone
from .network_lock import running

# How many resolutions a head takes by default. torchvision's detectors expect as many maps, besides
# the coarsest one, which is pooled.
N_MAPS = 4


@dataclass(frozen=True)
class MapShape:
    """The shape of the feature map of a stage.

    Parameters
    ----------
    name : str
        The name of the stage.
    cut : int
        The number of stages up to this one.
    n_channels : int
    size : tuple of 2 int
        Height and width for an input of the preset's size.
    """

    name: str
    cut: int
    n_channels: int
    size: tuple[int, int]


def as_map(x: Tensor, layout: str, n_prefix_tokens: int, input_size: Sequence[int]) -> Tensor:
    """Return the output of a stage as a feature map, (b, c, h, w).

    Parameters
    ----------
    x : Tensor
        The output of a stage.
    layout : {"NCHW", "NHWC", "NLC"}
        The layout of the backbone.
    n_prefix_tokens : int
        Number of leading tokens that are no positions.
    input_size : (int, int)
        Height and width of the input of the first stage.  The tokens of the layout "NLC" are
        arranged with this aspect ratio.
    """
    if layout == "NHWC":
        return x.movedim(-1, 1)  # (b, c, h, w)
    if layout == "NLC":
        tokens = x[:, n_prefix_tokens:].transpose(1, 2)  # (b, c, p)
        height = round((tokens.shape[2] * input_size[0] / input_size[1]) ** 0.5)
        return tokens.reshape(*tokens.shape[:2], height, -1)  # (b, c, h, w)
    return x


def map_shapes(backbone: Backbone, name: Any = None) -> list[MapShape]:
    """Return the shapes of the feature maps of all stages, by running one blank image.

    Parameters
    ----------
    backbone : Backbone
    name : str, callable or None, default=None
        The address of the backbone, for the message.

    Raises
    ------
    ValueError
        If the backbone does not make feature maps of images.
    """
    preset = backbone.preset
    if backbone.layout not in ("NCHW", "NHWC", "NLC") or not isinstance(preset, ImagePreset):
        raise ValueError(
            f"backbone must make feature maps of images; got {name or backbone.address!r}, whose "
            f"layout is {backbone.layout!r}."
        )
    x, found = example_batch(preset, 1), []
    was_training = backbone.training
    backbone.eval()
    with running(), torch.inference_mode():
        for cut, (stage_name, stage) in enumerate(backbone.stages.items(), start=1):
            x = stage(x)
            found.append(_shape_of(backbone, stage_name, cut, x))
    backbone.train(was_training)
    return found


def _shape_of(backbone: Backbone, name: str, cut: int, x: Tensor) -> MapShape:
    side = backbone.preset.size
    maps = as_map(x, backbone.layout, backbone.n_prefix_tokens, (side, side))
    return MapShape(name, cut, maps.shape[1], (maps.shape[2], maps.shape[3]))


def choose_maps(shapes: Sequence[MapShape], stages: Sequence[str] | None) -> list[MapShape]:
    """Return the maps of some stages, from the first to the last one.

    Parameters
    ----------
    shapes : sequence of MapShape
        Those of all stages, in order.
    stages : sequence of str or None
        The names of the stages.  None chooses the last stage of each of the last four resolutions.

    Raises
    ------
    ValueError, TypeError
        If a name is not that of a stage, or ``stages`` is empty.
    """
    if stages is None:
        last_of_size = {shape.size: shape for shape in shapes}
        return sorted(last_of_size.values(), key=lambda shape: shape.cut)[-N_MAPS:]
    names = [shape.name for shape in shapes]
    is_list = isinstance(stages, Collection) and not isinstance(stages, str)
    if not is_list or not all(isinstance(stage, str) for stage in stages):
        raise TypeError(f"stages must be None or a list of names of stages; got {stages!r}.")
    unknown = [stage for stage in stages if stage not in names]
    if unknown or not stages:
        raise ValueError(
            f"stages must be names of stages, some of {', '.join(map(repr, names))}; got "
            f"{list(stages)!r}.{did_you_mean(unknown[0], names) if unknown else ''}"
        )
    return [shape for shape in shapes if shape.name in stages]
