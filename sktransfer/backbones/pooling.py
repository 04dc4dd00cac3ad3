"""Pooling: the positions of a feature map, or the tokens of a text, become one vector."""

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
    if layout in ("NLC", "NLM"):
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


def _masked_avg(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(mask == 0, 0).sum(1) / mask.sum(1).clamp(min=1)  # (b, c)


def _masked_max(x: Tensor, mask: Tensor) -> Tensor:
    greatest = x.masked_fill(mask == 0, -torch.inf).amax(1)  # (b, c)
    return greatest.masked_fill(mask.sum(1) == 0, 0)  # a row without tokens


def _last(x: Tensor, mask: Tensor) -> Tensor:
    last = (mask.sum(1).long() - 1).clamp(min=0)  # (b, 1)
    return x.gather(1, last[:, :, None].expand(-1, -1, x.shape[2]))[:, 0]  # (b, c)


# The values are functions of a tensor (b, l, c) and of its mask (b, l, 1), which is 1 for a token
# and 0 after the end of a text.
MASKED_POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "avg": _masked_avg,
    "max": _masked_max,
    "avgmax": lambda x, mask: torch.cat([_masked_avg(x, mask), _masked_max(x, mask)], 1),
    "cls": lambda x, _: x[:, 0],
    "last": _last,
    "concat": lambda x, mask: torch.cat(
        [pool_tokens(x, mask) for pool_tokens in (_last, _masked_max, _masked_avg)], 1
    ),
}
POOLINGS = (*POOLS, "cls", "last", "concat")


def pool(x: Tensor, pooling: str, layout: str = "NCHW", n_prefix_tokens: int = 0) -> Tensor:
    """Pool the output of a stage to one vector for each item, (b, d).

    Parameters
    ----------
    x : Tensor
        The output of a stage.
    pooling : {"avg", "max", "avgmax", "flatten", "cls", "last", "concat"}
        "avg" and "max" are the mean and the maximum over the positions, "avgmax" concatenates both.
        "flatten" keeps all positions, channel by channel.  "cls" takes the class token.  "last"
        takes the last token of a text, and "concat" concatenates "last", "max" and "avg".
    layout : {"NCHW", "NHWC", "NLC", "NLM", "NC"}, default="NCHW"
        Channels-first map, channels-last map, sequence of tokens, sequence of tokens with a mask as
        the last channel, or one vector for each item.
    n_prefix_tokens : int, default=0
        Number of leading tokens that are no positions, such as a class token.
    """
    if layout == "NLM":
        return MASKED_POOLS[pooling](x[:, :, :-1], x[:, :, -1:])
    if pooling == "cls":
        return x[:, 0]  # (b, c)
    return POOLS[pooling](positions(x, layout, n_prefix_tokens))


def resolve_pooling(pooling: str, backbone: Any) -> str:
    """Return the pooling that "auto" means: the one that the weights ask for, or else "avg"."""
    return backbone.weights_info.get("pooling") or "avg" if pooling == "auto" else pooling


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
    if backbone is None:
        return
    is_masked = backbone.layout == "NLM"
    if pooling not in (MASKED_POOLS if is_masked else (*POOLS, "cls")):
        reason = (
            "texts have no fixed number of positions"
            if is_masked
            else "only texts have a last token"
        )
        raise ValueError(
            f"pooling must not be {pooling!r} for the backbone {name!r}: {reason}. Use 'avg'."
        )
    has_class_token = (
        getattr(backbone.preset, "has_class_token", True)
        if is_masked
        else backbone.layout == "NLC" and backbone.n_prefix_tokens
    )
    if pooling == "cls" and not has_class_token:
        raise ValueError(f"pooling must not be 'cls': {name!r} has no class token. Use 'avg'.")
