"""Batch norm folded into the convolution before it: the same function, less arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


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
