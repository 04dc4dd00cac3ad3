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
    for conv_name, conv, norm_name, norm in _pairs(folded):
        _replace(folded, conv_name, fuse_conv_bn_eval(conv, norm))
        _replace(folded, norm_name, nn.Identity())
    return folded


def _pairs(stage: nn.Module) -> list[tuple[str, nn.Conv2d, str, nn.BatchNorm2d]]:
    """Convolutions whose output goes to one batch norm and nowhere else, and these, by name."""
    try:
        nodes = list(fx.symbolic_trace(stage).graph.nodes)
    except Exception:  # noqa: BLE001 - tracing runs the stage's own code, which may raise anything
        return []
    modules = dict(stage.named_modules())
    calls = Counter(str(node.target) for node in nodes if node.op == "call_module")
    pairs = []
    for node in nodes:
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or not node.op == before.op == "call_module":
            continue
        conv_name, norm_name = str(before.target), str(node.target)
        conv, norm = modules[conv_name], modules[norm_name]
        if not calls[conv_name] == calls[norm_name] == len(before.users) == 1:
            continue
        # no subclass: timm's batch norms end with an activation
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and norm.track_running_stats:
            pairs.append((conv_name, conv, norm_name, norm))
    return pairs


def _replace(stage: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(stage.get_submodule(parent), child, module)
