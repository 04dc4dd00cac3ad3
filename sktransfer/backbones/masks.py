"""The mask of a text, the last channel of a stage: 1 for a token, 0 after the end of the text."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Change = Callable[[Tensor], Tensor]


def parted(x: Tensor) -> tuple[Tensor, Tensor]:
    """Divide the output of a stage into activations (b, l, d) and mask (b, l, 1)."""
    # A contiguous copy: the bits of a matrix product depend on the memory layout.
    return x[..., :-1].contiguous(), x[..., -1:]


def joined(x: Tensor, mask: Tensor) -> Tensor:
    """Return the output of a stage, (b, l, d + 1)."""
    return torch.cat([x, mask.to(x.dtype)], -1)


def packing(mask: Tensor, packs: bool) -> tuple[Change, Change]:
    """Return two functions: one leaves out the positions without a token, the other adds them.

    The first takes (b, l, d) and returns (n_tokens, d), the second adds zeros.  Layers that treat
    each position by itself have less to compute in between.  Without ``packs``, and on a GPU, which
    would have to wait for the number of tokens, they change nothing.
    """
    if not packs or mask.device.type != "cpu":
        return _same, _same
    n_rows, length, _ = mask.shape
    tokens = mask.flatten().nonzero()[:, 0]
    if len(tokens) == n_rows * length:
        return _same, _same

    def pack(x: Tensor) -> Tensor:
        return x.flatten(0, 1)[tokens]

    def unpack(x: Tensor) -> Tensor:
        blank = x.new_zeros(n_rows * length, x.shape[-1])
        return blank.index_copy(0, tokens, x).view(n_rows, length, -1)  # (b, l, d)

    return pack, unpack


def _same(x: Tensor) -> Tensor:
    return x
