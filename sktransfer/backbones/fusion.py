"""Batch norm computed by the convolution before it, in a copy or for a while.

A folded copy is the same function with less arithmetic.  The context managers make a network
train faster on a CPU: meanwhile some modules run another ``forward``; parameters, their names
and what is learned stay the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Batch norm is folded where what comes out of the whole network stays this near: rounding adds up
# over its layers, another function is far off.
TOLERANCE = 1e-3


class PatchedForward(partial[Any]):
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
    forwards and four backwards.  A batch norm in training mode runs as ever, and so does one where
    a hook sees what the convolution gives.  What a network does with that in training mode only
    is not seen: such networks are no chains of stages.

    Parameters
    ----------
    module : Module
    run : callable
        Sends a few rows through ``module`` and returns what comes out: it shows which batch norms
        follow a convolution, and that the outcome is near what it was.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            forwards = dict(_forwards(module, find_pairs(module, run)))
            expected = run().flatten(1)
            with patched(forwards):
                is_same = is_near(expected, run().flatten(1), TOLERANCE)
    finally:
        for part, mode in modes.items():
            part.training = mode
    with patched(forwards if is_same else {}):
        yield


def _forwards(
    module: nn.Module, pairs: list[tuple[str, str]]
) -> Iterator[tuple[nn.Module, PatchedForward]]:
    """What the convolutions and batch norms of ``pairs`` run instead."""
    for conv, norm in ((module.get_submodule(a), module.get_submodule(b)) for a, b in pairs):
        if type(conv).forward is nn.Conv2d.forward:  # others pad, or scale their weights
            yield conv, PatchedForward(_convolve, conv, norm)
            yield norm, PatchedForward(_activate, conv, norm)


def _is_folded(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether the batch norm does not learn its statistics, and no hook looks between the two."""
    hooks = (conv._forward_hooks, norm._forward_pre_hooks, conv._backward_hooks)
    return not (norm.training or any(hooks))


def _convolve(conv: Any, norm: Any, input: Tensor) -> Tensor:  # noqa: A002 - torch's own word
    """Convolution, and batch norm where that is folded."""
    if not _is_folded(conv, norm):
        return conv._conv_forward(input, conv.weight, conv.bias)  # type: ignore[no-any-return]
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    bias = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    bias = bias * scale
    if norm.affine:
        bias = bias + norm.bias
    weight = conv.weight * scale[:, None, None, None]
    return conv._conv_forward(input, weight, bias)  # type: ignore[no-any-return]


def _activate(conv: Any, norm: Any, input: Tensor) -> Tensor:  # noqa: A002 - torch's own word
    """What the convolution has left of a batch norm."""
    if not _is_folded(conv, norm):
        return type(norm).forward(norm, input)  # type: ignore[no-any-return]
    # nothing, or the activation that timm's batch norms end with
    return reduce(lambda x, child: child(x), norm.children(), input)


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
    with patched({conv: PatchedForward(_in_float32, conv.forward) for conv in slow}):
        yield


def _in_float32(forward: Callable[[Tensor], Tensor], input: Tensor) -> Tensor:  # noqa: A002
    with torch.autocast(input.device.type, enabled=False):
        return forward(input.float()).to(input.dtype)


@contextmanager
def patched(forwards: dict[nn.Module, PatchedForward]) -> Iterator[None]:
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


def unpatched(module: nn.Module) -> nn.Module:
    """``module``, a copy made in such a time, with every forward its own again."""
    for part in module.modules():
        if isinstance(vars(part).get("forward"), PatchedForward):
            del part.forward
    return module


@torch.no_grad()
def fold_batch_norm(chain: nn.Sequential, x: Any) -> nn.Sequential:
    """A copy of ``chain``, for evaluation, without the batch norms that follow a convolution.

    Which ones do is seen by watching ``x`` go through.  Where something else takes the output of
    that convolution too, the copy is another function: compare the two before you use it.

    Parameters
    ----------
    chain : Sequential
    x : Tensor
        An input of the first stage.
    """
    folded = deepcopy(chain).eval()
    for conv_name, norm_name in find_pairs(folded, lambda: folded(x)):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        _replace(folded, conv_name, fuse_conv_bn_eval(conv, norm))  # type: ignore[type-var,arg-type]
        # what is left of it: nothing, or the activation that timm's batch norms end with
        _replace(folded, norm_name, nn.Sequential(*norm.children()))
    return folded


def find_pairs(module: nn.Module, run: Callable[[], object]) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that take their outputs, each run once.

    Parameters
    ----------
    module : Module
    run : callable
        Sends something through ``module``, which is watched.
    """
    made: dict[int, tuple[str, Tensor]] = {}  # holds the outputs, so that no id comes twice
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
    """Whether each row of ``b``, (n, d), is that of ``a``, but for this share of its norm."""
    return bool(((a - b).norm(dim=1) <= tolerance * a.norm(dim=1)).all())


def _replace(chain: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(chain.get_submodule(parent), child, module)
