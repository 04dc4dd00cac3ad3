"""Copies of modules on the meta device, where tensors have shapes but no values."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def copy_to_meta(module: nn.Module) -> nn.Module:
    """Copy a module to the meta device; none of its tensors is copied."""
    others = (t for m in module.modules() for t in vars(m).values() if isinstance(t, Tensor))
    tensors = [*module.parameters(), *module.buffers(), *others]
    memo = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(memo[id(parameter)], requires_grad=False)
    return copy.deepcopy(module, memo)
