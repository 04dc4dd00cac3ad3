"""Fusion of batch norm into the convolution before it, in a copy or during training.

:func:`fuse_conv_bn` makes a copy for evaluation: the same function with less arithmetic.
:func:`fast_training` is a context manager that speeds up training on a CPU.  Within it, some
modules run a patched ``forward``; parameters, their names and their gradients stay the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .depthwise import depthwise_by_shifts, depthwise_in_float32
from .patching import PatchedForward, patched

# Training uses fusion only if each row of the whole network's output changes by no more than this
# share of its norm.  Rounding errors add up over the layers; a wrong function is far off.
TOLERANCE = 1e-3


@contextmanager
def fast_training(
    module: nn.Module, run: Callable[[], Tensor], device: torch.device, precision: torch.dtype
) -> Iterator[None]:
    """Train ``module`` faster on a CPU; has no effect on other devices.

    Parameters
    ----------
    module : Module
    run : callable
        Sends a few rows through ``module`` as training will, and returns its output.
    device : torch.device
    precision : torch.dtype
        The dtype in which the module computes.
    """
    with ExitStack() as stack:
        if device.type == "cpu":
            if any(isinstance(part, nn.BatchNorm2d) for part in module.modules()):
                stack.enter_context(fused_conv_bn(module, run))
            if precision == torch.bfloat16:
                stack.enter_context(depthwise_in_float32(module))
            if precision == torch.float64:
                stack.enter_context(depthwise_by_shifts(module))
        yield


@contextmanager
def fused_conv_bn(module: nn.Module, run: Callable[[], Tensor]) -> Iterator[None]:
    """Fuse each batch norm in evaluation mode into the convolution before it.

    In each step, the scale of the batch norm multiplies the weights of the convolution, and its
    shift becomes their bias.  The function and its gradients stay the same, and two forward and
    four backward passes over the feature map are saved.

    A batch norm in training mode runs unchanged, and so does one whose convolution has a hook on
    its output.  The check with ``run`` uses evaluation mode; it cannot notice a network that uses
    the output of a convolution elsewhere in training mode only.  Chains of stages do not.

    Parameters
    ----------
    module : Module
    run : callable
        Sends a few rows through ``module`` and returns its output.  It shows which batch norms
        follow a convolution, and that the fused network gives nearly the same output.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            forwards = dict(_fused_forwards(module, find_pairs(module, run)))
            expected = run()
            with patched(forwards):
                is_same = is_near(expected, run(), TOLERANCE)
    finally:
        for part, mode in modes.items():
            part.training = mode
    with patched(forwards if is_same else {}):
        yield


def _fused_forwards(
    module: nn.Module, pairs: list[tuple[str, str]]
) -> Iterator[tuple[nn.Module, PatchedForward]]:
    """Yield the convolutions and batch norms of ``pairs`` with their patched forward methods."""
    for conv, norm in ((module.get_submodule(a), module.get_submodule(b)) for a, b in pairs):
        # Subclasses of Conv2d may pad their input or scale their weights.
        if type(conv).forward is nn.Conv2d.forward:
            yield conv, PatchedForward(_convolve, conv, norm)
            yield norm, PatchedForward(_activate, conv, norm)


def _is_fused(conv: nn.Module, norm: nn.Module) -> bool:
    """Return True if the batch norm uses stored statistics and no hook sees its input."""
    hooks = (conv._forward_hooks, norm._forward_pre_hooks, conv._backward_hooks)
    return not (norm.training or any(hooks))


def _convolve(conv: Any, norm: Any, input: Tensor) -> Tensor:  # noqa: A002 - callers of a layer may pass it by this name
    """Run the convolution, and the batch norm with it if the two are fused."""
    if not _is_fused(conv, norm):
        return conv._conv_forward(input, conv.weight, conv.bias)  # type: ignore[no-any-return]  # a layer returns tensors
    scale = torch.rsqrt(norm.running_var + norm.eps)  # (c,)
    if norm.affine:
        scale = scale * norm.weight
    bias = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    bias = bias * scale
    if norm.affine:
        bias = bias + norm.bias
    weight = conv.weight * scale[:, None, None, None]
    return conv._conv_forward(input, weight, bias)  # type: ignore[no-any-return]  # a layer returns tensors


def _activate(conv: Any, norm: Any, input: Tensor) -> Tensor:  # noqa: A002 - callers of a layer may pass it by this name
    """Run the part of the batch norm that the convolution has not computed."""
    if not _is_fused(conv, norm):
        return type(norm).forward(norm, input)  # type: ignore[no-any-return]  # a layer returns tensors
    # timm's batch norms end with an activation; others have no children
    return reduce(lambda x, child: child(x), norm.children(), input)


@torch.no_grad()
def fuse_conv_bn(module: nn.Module, x: Tensor, tolerance: float) -> nn.Module:
    """Copy a module for evaluation, with each batch norm fused into the convolution before it.

    Watching ``x`` pass through shows which batch norms follow a convolution.  If the output of the
    fused copy differs, as it does when another layer also uses the output of a convolution,
    or when rounding errors are large, the copy that is returned is not fused.

    Parameters
    ----------
    module : Module
    x : Tensor of shape (n, ...)
        An input of the module.
    tolerance : float
        Each row of the output may change by this share of its norm.
    """
    fused = nn.Sequential(deepcopy(module)).eval()  # a parent, in case the module is one layer
    expected: list[Tensor] = []
    for conv_name, norm_name in find_pairs(fused, lambda: expected.append(fused(x))):
        conv: Any = fused.get_submodule(conv_name)
        norm: Any = fused.get_submodule(norm_name)
        statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
        # timm's batch norms end with an activation, which stays
        _replace(fused, norm_name, nn.Sequential(*norm.children()))
    if is_near(expected[0], fused(x), tolerance):
        return fused[0].eval()
    return deepcopy(module).eval()


def find_pairs(module: nn.Module, run: Callable[[], object]) -> list[tuple[str, str]]:
    """Return the names of convolutions and of the batch norms that take their outputs.

    A pair is returned only if both run once, and no other batch norm takes the output.  Other
    layers that take it are not noticed.

    Parameters
    ----------
    module : Module
    run : callable
        Sends an input through ``module``, which is watched by hooks.
    """
    made: dict[int, tuple[str, Tensor]] = {}  # keeps the outputs alive, so that ids stay unique
    found: list[tuple[str, str]] = []
    calls: Counter[str] = Counter()

    def watch(name: str, part: nn.Module) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            calls[name] += 1
            if isinstance(part, nn.Conv2d):
                made[id(output)] = (name, output)
            elif args and id(args[0]) in made:
                found.append((made[id(args[0])][0], name))

        return part.register_forward_hook(hook)

    watched = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.Conv2d)
        or (isinstance(part, nn.BatchNorm2d) and part.running_mean is not None)
    }
    handles = [watch(name, part) for name, part in watched.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    takers = Counter(conv for conv, _ in found)
    return [(conv, norm) for conv, norm in found if takers[conv] == calls[conv] == calls[norm] == 1]


def is_near(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Return True if each row of ``b`` differs from that of ``a`` by little, relative to its norm.

    Parameters
    ----------
    a, b : Tensor of shape (n, ...)
    tolerance : float
    """
    a, b = a.flatten(1), b.flatten(1)  # (n, d)
    return bool(((a - b).norm(dim=1) <= tolerance * a.norm(dim=1)).all())


def _replace(parent: nn.Module, name: str, module: nn.Module) -> None:
    path, _, child = name.rpartition(".")
    setattr(parent.get_submodule(path), child, module)
