"""Batch norm folded into the convolution before it: the same function, less arithmetic."""

from __future__ import annotations

from collections import Counter
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
    for conv_name, norm_name in _pairs(folded, x):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        _replace(folded, conv_name, fuse_conv_bn_eval(conv, norm))  # type: ignore[type-var,arg-type]
        # what is left of it: nothing, or the activation that timm's batch norms end with
        _replace(folded, norm_name, nn.Sequential(*norm.children()))
    return folded


def _pairs(chain: nn.Sequential, x: Any) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that take their outputs, each run once."""
    made: dict[int, tuple[str, Tensor]] = {}  # holds the outputs, so that no id comes twice
    found: list[tuple[str, str]] = []
    calls: Counter[str] = Counter()

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            calls[name] += 1
            if isinstance(module, nn.Conv2d):
                made[id(output)] = (name, output)
            elif id(args[0]) in made:
                found.append((made[id(args[0])][0], name))

        return module.register_forward_hook(hook)

    watched = {
        name: module
        for name, module in chain.named_modules()
        if isinstance(module, nn.Conv2d)
        or (isinstance(module, nn.BatchNorm2d) and module.running_mean is not None)
    }
    handles = [watch(name, module) for name, module in watched.items()]
    chain(x)
    for handle in handles:
        handle.remove()
    takers = Counter(conv for conv, _ in found)
    return [(conv, norm) for conv, norm in found if takers[conv] == calls[conv] == calls[norm] == 1]


def _replace(chain: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(chain.get_submodule(parent), child, module)
