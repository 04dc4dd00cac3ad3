"""Methods of modules, replaced for a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn


class PatchedForward(partial[Any]):
    """A method that temporarily replaces a module's own."""


@contextmanager
def patched(methods: Mapping[nn.Module, PatchedForward], name: str = "forward") -> Iterator[None]:
    """Replace the method ``name`` of modules, and restore it at the end."""
    before: dict[nn.Module, Any] = {module: vars(module).get(name) for module in methods}
    for module, method in methods.items():
        setattr(module, name, method)
    try:
        yield
    finally:
        for module, method in before.items():
            delattr(module, name)
            if method is not None:
                setattr(module, name, method)


def unpatched(module: nn.Module) -> nn.Module:
    """Remove patched methods from ``module``, a copy that was made within :func:`patched`."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, PatchedForward):
                delattr(part, name)
    return module
