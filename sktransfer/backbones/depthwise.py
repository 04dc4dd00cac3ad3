"""Depthwise convolutions, in the types in which torch is slow on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .patching import PatchedForward, patched


@contextmanager
def depthwise_in_float32(module: nn.Module) -> Iterator[None]:
    """Compute strided depthwise convolutions in float32 under autocast.

    On a CPU, their gradients in bfloat16 were measured to take 4 to 60 times as long.
    """
    slow = [
        conv
        for conv in module.modules()
        if isinstance(conv, nn.Conv2d) and conv.groups > 1 and conv.stride != (1, 1)
    ]
    with patched({conv: PatchedForward(_in_float32, conv.forward) for conv in slow}):
        yield


def _in_float32(forward: Callable[[Tensor], Tensor], input: Tensor) -> Tensor:  # noqa: A002 - callers of a layer may pass it by this name
    with torch.autocast(input.device.type, enabled=False):
        return forward(input.float()).to(input.dtype)


@contextmanager
def depthwise_by_shifts(module: nn.Module) -> Iterator[None]:
    """Compute depthwise convolutions in float64 as sums over the positions in their kernels.

    On a CPU, torch computes each channel on its own, and was measured to take 2 to 4 times as long
    for rows with channels last in memory.
    """
    with patched(_shifted(module), "_conv_forward"):
        yield


def sum_shifts(module: nn.Module) -> nn.Module:
    """Change ``module``, a copy, as :func:`depthwise_by_shifts` does, but for good."""
    for conv, convolve in _shifted(module).items():
        conv._conv_forward = convolve  # type: ignore[assignment]  # a method of this layer alone
    return module


def _shifted(module: nn.Module) -> dict[nn.Module, PatchedForward]:
    """Return another ``_conv_forward`` for each depthwise convolution in ``module``."""
    return {
        part: PatchedForward(_sum_over_shifts, part)
        for part in module.modules()
        if isinstance(part, nn.Conv2d)
        # Subclasses of Conv2d may scale their weights.
        and type(part)._conv_forward is nn.Conv2d._conv_forward
        and 1 < part.groups == part.in_channels == part.out_channels
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
    }


def _sum_over_shifts(conv: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve rows, (..., c, h, w), with a weight, (c, 1, *kernel).

    The memory has one order, and each element has its own sum: a row has the same bits in every
    batch.
    """
    top, left = conv.padding
    padded = pad(rows, (left, left, top, top))
    if padded.ndim == 4:
        padded = padded.contiguous(memory_format=torch.channels_last)
    geometry = (padded.shape[-2:], conv.kernel_size, conv.stride, conv.dilation)
    vertical, horizontal = (_places(*numbers) for numbers in zip(*geometry, strict=True))
    if not (vertical and horizontal):  # torch raises its own error
        return nn.Conv2d._conv_forward(conv, rows, weight, bias)  # type: ignore[no-any-return]  # a layer returns tensors
    parts = (
        padded[..., y, x] * weight[:, 0, i, j, None, None]
        for (i, y), (j, x) in product(enumerate(vertical), enumerate(horizontal))
    )
    summed: Tensor = reduce(torch.add, parts)
    return summed if bias is None else summed + bias[:, None, None]


def _places(size: int, kernel: int, stride: int, dilation: int) -> list[slice]:
    """Return the places along an axis that each position of a kernel meets, if it fits."""
    reach = size - dilation * (kernel - 1)  # the places at which the kernel may begin
    starts = [at * dilation for at in range(kernel)] if reach > 0 else []
    return [slice(start, start + reach, stride) for start in starts]
