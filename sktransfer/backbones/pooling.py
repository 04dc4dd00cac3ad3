"""Poolings make one vector of a feature map's positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def positions(x: Tensor, layout: str, n_prefix_tokens: int = 0) -> Tensor:
    """``x`` with its positions last, (b, c, p); tokens that stand for no position are left out."""
    if layout == "NC" or x.ndim == 2:
        return x[:, :, None]  # (b, c, 1)
    if layout == "NLC":
        return x[:, n_prefix_tokens:].transpose(1, 2)  # (b, c, p)
    if layout == "NHWC":
        return x.flatten(1, -2).transpose(1, 2)  # (b, c, p)
    return x.flatten(2)  # (b, c, p)


def _avgmax(p: Tensor) -> Tensor:
    return torch.cat([p.mean(2), p.amax(2)], 1)  # (b, 2c)


# name -> function of (b, c, p)
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "avg": lambda p: p.mean(2),
    "max": lambda p: p.amax(2),
    "avgmax": _avgmax,
    "flatten": lambda p: p.flatten(1),
}
POOLINGS = (*POOLS, "cls")


def pool(x: Tensor, pooling: str, layout: str = "NCHW", n_prefix_tokens: int = 0) -> Tensor:
    """One vector an item, (b, d).

    Parameters
    ----------
    x : Tensor
        Output of a stage, laid out as ``layout`` says.
    pooling : {"avg", "max", "avgmax", "flatten", "cls"}
        Mean, maximum, or both over the positions; all positions, channel by channel; or the
        first token, which only sequences of tokens with a class token have.
    layout : {"NCHW", "NHWC", "NLC", "NC"}, default="NCHW"
        Channels-first map, channels-last map, sequence of tokens, or one vector an item.
    n_prefix_tokens : int, default=0
        How many leading tokens stand for no position.
    """
    if pooling == "cls":
        return x[:, 0]  # (b, c)
    return POOLS[pooling](positions(x, layout, n_prefix_tokens))


def check_pooling(pooling: str, backbone: Any, name: Any) -> None:
    """Raise if ``pooling`` asks for a class token that the backbone called ``name`` has not."""
    if pooling == "cls" and not (backbone.layout == "NLC" and backbone.n_prefix_tokens):
        raise ValueError(f"pooling must not be 'cls': {name!r} has no class token. Use 'avg'.")
