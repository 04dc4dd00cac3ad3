"""Heads of maps: layers that compute a map of outputs from the feature maps of several stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .._support.validation import check_int
from .heads import call_builder, check_builder

# Maximum number of groups of channels that the pyramid normalises together.  Unlike batch norm, the
# statistics need no large batches, and a prediction does not depend on those of training.
N_GROUPS = 8


class LinearMaps(nn.Module):
    """A linear layer on the channels of all maps, which are resized to the finest one.

    Parameters
    ----------
    n_channels : sequence of int
        The number of channels of each map, from the finest to the coarsest one.
    n_outputs : int
    """

    def __init__(self, n_channels: Sequence[int], n_outputs: int):
        super().__init__()
        # To resize the outputs of a linear layer is the same as to resize its inputs, and faster.
        self.layers = nn.ModuleList(
            nn.Conv2d(n, n_outputs, 1, bias=at == len(n_channels) - 1)
            for at, n in enumerate(n_channels)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the outputs at the positions of the finest map, (b, n_outputs, h, w)."""
        outputs = [layer(each) for layer, each in zip(self.layers, maps, strict=True)]
        return _sum_at_finest(outputs)


class PyramidMaps(nn.Module):
    """A feature pyramid network [1]_, whose maps are added at the finest one.

    Parameters
    ----------
    n_channels : sequence of int
        The number of channels of each map, from the finest to the coarsest one.
    n_outputs : int
    width : int
        The number of channels of each map of the pyramid.

    References
    ----------
    .. [1] A. Kirillov, R. Girshick, K. He and P. Dollár, "Panoptic Feature Pyramid Networks",
       CVPR 2019, https://arxiv.org/abs/1901.02446
    """

    def __init__(self, n_channels: Sequence[int], n_outputs: int, width: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(n, width, 1) for n in n_channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.GroupNorm(gcd(N_GROUPS, width), width),
                nn.ReLU(),
            )
            for _ in n_channels
        )
        self.classifier = nn.Conv2d(width, n_outputs, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the outputs at the positions of the finest map, (b, n_outputs, h, w)."""
        levels: list[Tensor] = []
        below: Tensor | None = None
        for lateral, smooth, each in reversed(
            list(zip(self.lateral, self.smooth, maps, strict=True))
        ):
            level = lateral(each)
            if below is not None:
                level = level + interpolate(below, level.shape[-2:], mode="nearest")
            below = level
            levels.insert(0, smooth(level))
        outputs: Tensor = self.classifier(_sum_at_finest(levels))
        return outputs


def _sum_at_finest(maps: Sequence[Tensor]) -> Tensor:
    """Resize maps to the first one, and add them."""
    total = maps[0]
    for each in maps[1:]:
        total = total + interpolate(each, total.shape[-2:], mode="bilinear", align_corners=False)
    return total


@dataclass(frozen=True)
class LinearMapHead:
    """A head of maps that is one linear layer.

    Examples
    --------
    >>> from sktransfer.tasks import LinearMapHead
    >>> LinearMapHead()([16, 32], 3).layers
    ModuleList(
      (0): Conv2d(16, 3, kernel_size=(1, 1), stride=(1, 1), bias=False)
      (1): Conv2d(32, 3, kernel_size=(1, 1), stride=(1, 1))
    )
    """

    def __call__(self, n_channels: Sequence[int], n_outputs: int) -> nn.Module:
        """Build a new head."""
        return LinearMaps(n_channels, n_outputs)


@dataclass(frozen=True)
class FPNHead:
    """A head of maps that is a feature pyramid network.

    Parameters
    ----------
    width : int, default=48
        Number of channels of each map of the pyramid, at least 1.

    Examples
    --------
    >>> from sktransfer import FPNHead
    >>> FPNHead(width=8)([16, 32], 3).classifier
    Conv2d(8, 3, kernel_size=(1, 1), stride=(1, 1))
    """

    width: int = 48

    def __post_init__(self) -> None:
        check_int("width", self.width, 1)

    def __call__(self, n_channels: Sequence[int], n_outputs: int) -> nn.Module:
        """Build a new head."""
        return PyramidMaps(n_channels, n_outputs, self.width)


# The keys are names, the values functions of the numbers of channels and the number of outputs.
MAP_HEADS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {
    "linear": LinearMapHead(),
    "fpn": FPNHead(),
}


def check_map_head(name: str, head: Any) -> None:
    """Raise an error if ``head`` is neither the name of a head of maps nor a callable."""
    also = "or a callable that takes the channels of the maps and the number of outputs"
    check_builder(name, head, MAP_HEADS, also)


def build_map_head(
    head: Any, n_channels: Sequence[int], n_outputs: int, sizes: Sequence[tuple[int, int]]
) -> nn.Module:
    """Build a new head, which maps feature maps to (b, n_outputs, h, w).

    Parameters
    ----------
    head : {"linear", "fpn"} or callable
        A callable takes a list of the numbers of channels and the number of outputs, and returns a
        new Module.
    n_channels : sequence of int
    n_outputs : int
    sizes : sequence of pairs of int
        The heights and widths of the maps, on which a new head is tried.

    Raises
    ------
    TypeError, ValueError
        If ``head`` is anything else, or if the Module fails or has another number of outputs.
    """
    check_map_head("head", head)
    module = call_builder(head, MAP_HEADS, list(n_channels), n_outputs)
    maps = [torch.zeros(2, n, *size) for n, size in zip(n_channels, sizes, strict=True)]
    try:
        with torch.no_grad():
            output = module.eval()(maps)
    except Exception as error:  # the head of a user raises nearly anything
        raise ValueError(
            f"head must return a Module of a list of maps with {list(n_channels)} channels; that "
            f"of {head!r} failed: {error}"
        ) from error
    got = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[1] != n_outputs:
        raise ValueError(
            f"head must return a Module with outputs of shape (b, {n_outputs}, h, w); got {got} "
            f"from {head!r}."
        )
    return module


@torch.no_grad()
def set_map_bias(head: nn.Module, bias: np.ndarray) -> None:
    """Copy biases into the last convolution of a head of maps.

    A linear head also gets weights of zero, so that its outputs are the biases.  A head whose last
    convolution has another number of outputs, or no bias, stays unchanged.
    """
    layers = [part for part in head.modules() if isinstance(part, nn.Conv2d)]
    if not layers or layers[-1].out_channels != len(bias) or layers[-1].bias is None:
        return
    layers[-1].bias.copy_(torch.from_numpy(bias))
    if isinstance(head, LinearMaps):
        for layer in layers:
            layer.weight.zero_()
