"""Attention and dropout of networks for texts, with less work than torch's in training on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

# Added to the attention to a position that must not be seen.  It is finite, so that rows without
# any token give numbers, and float16 can represent it.
FAR = -1e4


def drop(x: Tensor, dropout: nn.Dropout) -> Tensor:
    """Return ``dropout(x)``, with other random numbers.

    torch draws a number of 64 bits for each value on a CPU; here, 16 bits decide.
    """
    p = dropout.p
    if not dropout.training or not 0 < p < 1 or x.device.type != "cpu":
        return F.dropout(x, p, dropout.training)
    n = x.numel()
    drawn = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int16)[:n].view(x.shape)
    kept = (bits >= round(p * 2**16) - 2**15).to(x.dtype)
    return x * kept.mul_(1 / (1 - p))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: nn.Dropout,
    mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Return what scaled_dot_product_attention returns.

    Parameters
    ----------
    query, key, value : Tensor of shape (b, h, l, d)
    dropout : Dropout
        Drops weights of the values.
    mask : Tensor or None, default=None
        Numbers of the type of ``query`` that are added to the products with the keys.
    is_causal : bool, default=False
        If True, each position attends to itself and those before it.
    scale : float or None, default=None
        The factor of the products; None stands for one over the square root of d.
    """
    p = dropout.p if dropout.training else 0.0
    if not p or query.device.type != "cpu":
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=p, is_causal=is_causal, scale=scale
        )
    if is_causal:
        length = query.shape[2]
        mask = torch.full((length, length), FAR, dtype=query.dtype).triu(1)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    products = (query * scale) @ key.transpose(2, 3)  # (b, h, l, l)
    products = products if mask is None else products + mask
    return drop(products.softmax(-1), dropout) @ value
