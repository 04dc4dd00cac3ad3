"""Pooling: the positions of a feature map become one vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._support.validation import check_choice


def positions(x: Tensor, layout: str, n_prefix_tokens: int = 0) -> Tensor:
    """Move the positions of ``x`` to the last axis, (b, c, p), without the prefix tokens."""
    if layout == "NC" or x.ndim == 2:
        return x[:, :, None]  # (b, c, 1)
    if layout == "NLC":
        return x[:, n_prefix_tokens:].transpose(1, 2)  # (b, c, p)
    if layout == "NHWC":
        return x.flatten(1, -2).transpose(1, 2)  # (b, c, p)
    return x.flatten(2)  # (b, c, p)


def _avgmax(p: Tensor) -> Tensor:
    return torch.cat([p.mean(2), p.amax(2)], 1)  # (b, 2c)


# The keys are names of poolings, the values functions of a tensor (b, c, p).
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "avg": lambda p: p.mean(2),
    "max": lambda p: p.amax(2),
    "avgmax": _avgmax,
    "flatten": lambda p: p.flatten(1),
}
POOLINGS = (*POOLS, "cls")


def pool(x: Tensor, pooling: str, layout: str = "NCHW", n_prefix_tokens: int = 0) -> Tensor:
    """Pool the output of a stage to one vector for each item, (b, d).

    Parameters
    ----------
    x : Tensor
        The output of a stage.
    pooling : {"avg", "max", "avgmax", "flatten", "cls"}
        "avg" and "max" are the mean and the maximum over the positions, "avgmax" concatenates both.
        "flatten" keeps all positions, channel by channel.  "cls" takes the class token.
    layout : {"NCHW", "NHWC", "NLC", "NC"}, default="NCHW"
        Channels-first map, channels-last map, sequence of tokens, or one vector for each item.
    n_prefix_tokens : int, default=0
        Number of leading tokens that are no positions, such as a class token.
    """
    if pooling == "cls":
        return x[:, 0]  # (b, c)
    return POOLS[pooling](positions(x, layout, n_prefix_tokens))


def check_pooling(pooling: str, backbone: Any = None, name: Any = None) -> None:
    """Raise an error if ``pooling`` is unknown, or not possible with a backbone.

    Parameters
    ----------
    pooling : str
    backbone : Backbone or None, default=None
        None checks the name of the pooling only.
    name : str or callable
        The ``backbone`` parameter of the estimator, for the message.
    """
    check_choice("pooling", pooling, POOLINGS)
    has_class_token = backbone is None or (backbone.layout == "NLC" and backbone.n_prefix_tokens)
    if pooling == "cls" and not has_class_token:
        raise ValueError(f"pooling must not be 'cls': {name!r} has no class token. Use 'avg'.")
