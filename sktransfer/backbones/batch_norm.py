"""The statistics of batch norm: the mean and the variance of each channel."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._support.threads import computing_threads
from .._support.validation import first_ten
from .backbone import Backbone
from .fusion import find_pairs, is_near
from .patching import PatchedForward, patched

# The mean and the variance of each batch-norm layer, by their names in the state dict.
Statistics = Mapping[str, np.ndarray]

BUFFERS = ("running_mean", "running_var")

# Each row of a stage's output may change by this share of its norm if batch norm writes to its
# input.  Rounding errors of a variance are larger than those of a convolution.
TOLERANCE = 1e-3


def batch_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """Return the batch-norm layers that store statistics, by name."""
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None
    }


def freeze_batch_norm(module: nn.Module) -> None:
    """Set all batch-norm layers of a module to evaluation mode."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()


def get_statistics(module: nn.Module) -> dict[str, np.ndarray]:
    """Return copies of the statistics of all batch-norm layers."""
    return {
        f"{name}.{buffer}": getattr(norm, buffer).detach().cpu().float().numpy().copy()
        for name, norm in batch_norms(module).items()
        for buffer in BUFFERS
    }


def set_statistics(module: nn.Module, statistics: Statistics) -> None:
    """Set statistics of batch-norm layers in place; the layers not named stay as they are.

    Raises
    ------
    ValueError
        If ``module`` has no such statistics, or they have another length.
    """
    stored = get_statistics(module)
    wrong = [
        f"{name} of shape {value.shape}"
        for name, value in statistics.items()
        if name not in stored or stored[name].shape != value.shape
    ]
    if wrong:
        raise ValueError(f"statistics must be those of the network; got\n{first_ten(wrong)}")
    with torch.no_grad():
        for name, value in statistics.items():
            module.get_buffer(name).copy_(torch.from_numpy(np.asarray(value)))


def with_statistics(backbone: Backbone, statistics: Statistics) -> Backbone:
    """Return a copy of a backbone with other statistics; both share the weights.

    Parameters
    ----------
    backbone : Backbone
    statistics : mapping of str to ndarray
        See :func:`get_statistics`.
    """
    other = deepcopy(backbone, {id(weight): weight for weight in backbone.parameters()})
    set_statistics(other, statistics)
    return other


@torch.no_grad()
def average_batches(module: nn.Module, x: Tensor | None) -> None:
    """Let batch norm use the statistics of each batch, and store their average over batches.

    Parameters
    ----------
    module : Module
        It is changed.
    x : Tensor of shape (n, ...) or None
        An input of the module.  On a CPU, watching it pass through shows which batch norms follow a
        convolution.  These write to their input, which saves the time to allocate memory, if the
        output stays nearly the same.  With None, none does.
    """
    norms: dict[str, Any] = batch_norms(module)
    if not norms:
        return
    for norm in norms.values():
        norm.train()
        norm.momentum = None  # the average of all batches
        norm.forward = partial(_normalise, norm)
    if x is not None and x.device.type == "cpu":
        expected: list[Tensor] = []
        pairs = find_pairs(module, lambda: expected.append(module(x)))
        faster = {
            norms[name]: PatchedForward(_normalise_in_place, norms[name]) for _, name in pairs
        }
        with patched(faster):
            is_same = is_near(expected[0], module(x), TOLERANCE)
        for norm, forward in faster.items() if is_same else ():
            norm.forward = forward
    for norm in norms.values():
        norm.reset_running_stats()


def _normalise(norm: Any, x: Tensor) -> Tensor:
    # One thread, because the number of threads changes the last bits of a sum.
    with computing_threads(1):
        return type(norm).forward(norm, x)  # type: ignore[no-any-return]  # a layer returns tensors


def _normalise_in_place(norm: Any, x: Tensor) -> Tensor:
    if x.numel() == x.shape[1]:  # one value of each channel, which is an error of torch
        return _normalise(norm, x)
    norm.num_batches_tracked += 1
    share = 1 / float(norm.num_batches_tracked)
    with computing_threads(1):
        mean, variance = torch.batch_norm_update_stats(
            x, norm.running_mean, norm.running_var, share
        )
    scale = torch.rsqrt(variance + norm.eps)  # (c,)
    if norm.affine:
        scale = scale * norm.weight
    shift = norm.bias - mean * scale if norm.affine else -mean * scale
    x.mul_(scale[:, None, None]).add_(shift[:, None, None])
    # timm's batch norms end with an activation; others have no children
    return reduce(lambda x, child: child(x), norm.children(), x)
