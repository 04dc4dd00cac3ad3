"""The mask of a text, the last channel of a stage: 1 for a token, 0 after the end of the text."""

from __future__ import annotations

import torch
from torch import Tensor


def parted(x: Tensor) -> tuple[Tensor, Tensor]:
    """Divide the output of a stage into activations (b, l, d) and mask (b, l, 1)."""
    # A contiguous copy: the bits of a matrix product depend on the memory layout.
    return x[..., :-1].contiguous(), x[..., -1:]


def joined(x: Tensor, mask: Tensor) -> Tensor:
    """Return the output of a stage, (b, l, d + 1)."""
    return torch.cat([x, mask.to(x.dtype)], -1)
