"""Batch norm folded into the convolution before it: the same function, less arithmetic."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(stage: nn.Module) -> nn.Module:
    """A copy of ``stage``, for evaluation, with its batch norms folded where that is possible.

    A stage whose forward pass torch.fx cannot follow is copied as it is.
    """
    folded = deepcopy(stage).eval()
    for conv, norm in _pairs(folded):
        fused = fuse_conv_bn_eval(folded.get_submodule(conv), folded.get_submodule(norm))
        _replace(folded, conv, fused)
        _replace(folded, norm, nn.Identity())
    return folded


def _pairs(stage: nn.Module) -> list[tuple[str, str]]:
    """Names of the convolutions whose output goes to one batch norm and nowhere else."""
    try:
        nodes = list(fx.symbolic_trace(stage).graph.nodes)
    except Exception:  # noqa: BLE001 - tracing runs the stage's own code, which may raise anything
        return []
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    pairs = []
    for node in nodes:
        before = node.args[0] if node.args else None
        if (
            isinstance(before, fx.Node)
            and node.op == before.op == "call_module"
            and calls[node.target] == calls[before.target] == 1
            and len(before.users) == 1
            and type(stage.get_submodule(node.target)) is nn.BatchNorm2d
            and stage.get_submodule(node.target).running_mean is not None
            and type(stage.get_submodule(before.target)) is nn.Conv2d
        ):
            pairs.append((before.target, node.target))
    return pairs


def _replace(stage: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(stage.get_submodule(parent), child, module)
