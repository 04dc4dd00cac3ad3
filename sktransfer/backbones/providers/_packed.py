"""Weights of networks in the package: matrices in 8 bits, the rest in 16 bits."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

WEIGHT, SCALE = ".weight", ".scale"


def pack(state: Mapping[str, Tensor], matrices: Collection[str]) -> dict[str, Tensor]:
    """Return weights as a file holds them.

    Parameters
    ----------
    state : mapping of str to Tensor
    matrices : collection of str
        The names of matrices, which end with ".weight".  They have 8 bits and a scale for each
        row; the rest has 16 bits.
    """
    packed = {}
    for name, value in state.items():
        if name not in matrices:
            packed[name] = value.to(torch.float16)
            continue
        scale = value.float().abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        packed[name] = (value.float() / scale).round().to(torch.int8)
        packed[name.removesuffix(WEIGHT) + SCALE] = scale
    return packed


def unpack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that :func:`pack` has packed; others stay as they are."""
    scaled = {name.removesuffix(SCALE) + WEIGHT: name for name in state if name.endswith(SCALE)}
    scaled = {name: scale for name, scale in scaled.items() if name in state}
    return {
        name: value.float() * state[scaled[name]] if name in scaled else value
        for name, value in state.items()
        if name not in scaled.values()
    }
