"""What makes a network train faster on a CPU without making it another function.

Each is a time in which some modules run another ``forward``; parameters, their names and what is
learned stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .fold import find_pairs, is_near


class Faster(partial[Any]):
    """A ``forward`` that stands in for a module's own."""


@contextmanager
def faster(
    module: nn.Module, run: Callable[[], Tensor], device: torch.device, precision: torch.dtype
) -> Iterator[None]:
    """A time in which ``module`` trains as fast as is known; on other devices than a CPU, as it is.

    Parameters
    ----------
    module : Module
    run : callable
        Sends a few rows through ``module`` as training will, and returns what comes out.
    device : torch.device
    precision : torch.dtype
        In which the module computes.
    """
    with ExitStack() as stack:
        if device.type == "cpu":
            stack.enter_context(folded_norms(module, run))
            if precision == torch.bfloat16:
                stack.enter_context(spared_gradients(module))
        yield


@contextmanager
def folded_norms(module: nn.Module, run: Callable[[], Tensor]) -> Iterator[None]:
    """A time in which a batch norm in evaluation mode is part of the convolution before it.

    Its scale multiplies the weights of the convolution in each step, its shift is their bias: the
    same function with the same gradients, of which two passes over the feature map are saved
    forwards and four backwards.  A batch norm in training mode runs as ever.

    Parameters
    ----------
    module : Module
    run : callable
        Sends a few rows through ``module`` and returns what comes out: it shows which batch norms
        follow a convolution, and that the outcome is near what it was.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    with torch.no_grad():
        forwards = dict(_forwards(module, find_pairs(module, run)))
        expected = run()
        with patched(forwards):
            is_same = is_near(expected.flatten(1), run().flatten(1))
    for part, mode in modes.items():
        part.training = mode
    with patched(forwards if is_same else {}):
        yield


def _forwards(
    module: nn.Module, pairs: list[tuple[str, str]]
) -> Iterator[tuple[nn.Module, Faster]]:
    """What the convolutions and batch norms of ``pairs`` run instead."""
    for conv, norm in ((module.get_submodule(a), module.get_submodule(b)) for a, b in pairs):
        if type(conv).forward is nn.Conv2d.forward:  # others pad, or scale their weights
            yield conv, Faster(_convolve, conv, norm)
            yield norm, Faster(_activate, norm)


def _convolve(conv: Any, norm: Any, x: Tensor) -> Tensor:
    """Convolution and batch norm, where that is in evaluation mode."""
    if norm.training:
        return conv._conv_forward(x, conv.weight, conv.bias)  # type: ignore[no-any-return]
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    bias = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    bias = bias * scale
    if norm.affine:
        bias = bias + norm.bias
    return conv._conv_forward(x, conv.weight * scale[:, None, None, None], bias)  # type: ignore[no-any-return]


def _activate(norm: Any, x: Tensor) -> Tensor:
    """Batch norm, where the convolution before it has not done its work."""
    if norm.training:
        return type(norm).forward(norm, x)  # type: ignore[no-any-return]
    for child in norm.children():  # the activation that timm's batch norms end with
        x = child(x)
    return x


@contextmanager
def spared_gradients(module: nn.Module) -> Iterator[None]:
    """A time in which strided depthwise convolutions compute in float32 under autocast.

    On a CPU their bfloat16 gradients were measured four to sixty times slower than those.
    """
    slow = [
        conv
        for conv in module.modules()
        if isinstance(conv, nn.Conv2d) and conv.groups > 1 and conv.stride != (1, 1)
    ]
    with patched({conv: Faster(_in_float32, conv.forward) for conv in slow}):
        yield


def _in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float()).to(x.dtype)


@contextmanager
def patched(forwards: dict[nn.Module, Faster]) -> Iterator[None]:
    """A time in which modules run another forward."""
    before: dict[nn.Module, Any] = {module: vars(module).get("forward") for module in forwards}
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, forward in before.items():
            del module.forward
            if forward is not None:
                module.forward = forward


def as_they_were(module: nn.Module) -> nn.Module:
    """``module``, a copy made in such a time, with every forward its own again."""
    for part in module.modules():
        if isinstance(vars(part).get("forward"), Faster):
            del part.forward
    return module
