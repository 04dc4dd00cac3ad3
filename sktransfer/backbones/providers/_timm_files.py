"""Comparison of files of weights with timm's networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._support.validation import require
from ..filling import fits


def configured(cfg: Any, state: Mapping[str, Tensor]) -> tuple[Any, tuple[str, ...]]:
    """Return timm's configuration with as many classes as ``state``, and the names in its head."""
    heads = [cfg.classifier] if isinstance(cfg.classifier, str) else list(cfg.classifier or ())
    n_classes = [len(state[f"{head}.weight"]) for head in heads if f"{head}.weight" in state]
    cfg = replace(cfg, num_classes=(n_classes or [cfg.num_classes])[0])
    return cfg, tuple(f"{head}." for head in heads)


def likely(state: Mapping[str, Tensor], path: str) -> list[str]:
    """List the networks that ``state`` may belong to, those whose name is in the path first.

    timm states the name of the first layer of each network, so most need not be built.
    """
    timm: Any = require("timm", "timm")
    firsts = {name: timm.get_pretrained_cfg(name).first_conv for name in timm.list_models()}
    found = [name for name, first in firsts.items() if first and _has_layers(first, state)]
    path = path.lower()

    def similarity(name: str) -> tuple[int, float]:
        return name in path and len(name), SequenceMatcher(None, name, Path(path).stem).ratio()

    return sorted(found, key=similarity, reverse=True)


def _has_layers(names: str | list[str], state: Mapping[str, Tensor]) -> bool:
    names = [names] if isinstance(names, str) else names
    return all(f"{name}.weight" in state for name in names)


def matches(name: str, state: Mapping[str, Tensor]) -> bool:
    """Return True if the network ``name`` has the tensors in ``state``, except for its head."""
    timm: Any = require("timm", "timm")
    cfg, heads = configured(timm.get_pretrained_cfg(name), state)
    try:
        with torch.device("meta"):
            net = timm.create_model(name, pretrained_cfg=cfg.to_dict())
    except (RuntimeError, NotImplementedError):  # it computes with tensors while it is built
        return False
    return fits(net, state, heads)
