"""Describe networks as text, and compare a saved network with the one on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from .._support.text import printable
from .._support.validation import first_ten
from ..tasks import FPNHead, LinearHead, LinearMapHead, LinearMaps, MLPHead, PyramidMaps
from ..training import Tail


class OtherNetworkError(Exception):
    """Parts of a network differ from those that were saved; the message lists them."""


def backbone_of(module: Any) -> Any:
    """Return the network in the module of an estimator, which is a tail or the network itself."""
    return module.backbone if isinstance(module, Tail) else module


def structure(module: nn.Module) -> dict[str, str]:
    """Return a text for each part of a module, by its path: its class and its settings."""
    return {
        path: f"{type(part).__module__}.{type(part).__qualname__}({part.extra_repr()})"
        for path, part in module.named_modules()
    }


def forms(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the dtype and the shape of each tensor, as text."""
    return {name: f"{tensor.dtype} {tuple(tensor.shape)}" for name, tensor in tensors.items()}


def compare(saved: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Raise an error that lists the parts that are missing or differ.

    Raises
    ------
    OtherNetworkError
    """
    differing = [name for name in {**saved, **here} if saved.get(name) != here.get(name)]
    if differing:
        lines = [
            printable(
                f"{name[:200] or 'the whole'}: was {saved.get(name, 'missing')[:200]}, "
                f"is {here.get(name, 'missing')[:200]}"
            )
            for name in differing[:11]
        ]
        raise OtherNetworkError(first_ten(lines + differing[11:]))


def describe_head(head: nn.Module) -> Any:
    """Return the head of the library that builds a module like ``head``; None if none does."""
    if isinstance(head, LinearMaps):
        return LinearMapHead()
    if isinstance(head, PyramidMaps):
        return FPNHead(head.classifier.in_channels)
    layers = [part for part in head.modules() if isinstance(part, nn.Linear)]
    drops = [part.p for part in head.modules() if isinstance(part, nn.Dropout)]
    if not layers:
        return None
    hidden = [layer.out_features for layer in layers[:-1]]
    with suppress(ValueError), torch.device("meta"):
        builder = MLPHead(hidden, *drops[:1]) if hidden else LinearHead()
        built = builder(layers[0].in_features, layers[-1].out_features)
        if structure(built) == structure(head):
            return builder
    return None
