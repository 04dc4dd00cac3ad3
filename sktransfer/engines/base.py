"""The base class of engines, and what engines share."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

# A compiled module: it takes and returns tensors of one shape and type.
Graph = Callable[[Tensor], Tensor]

# Returns content that is kept; if nothing is, it calls the function that makes the content.
Keep = Callable[[Callable[[], bytes]], bytes]


class EngineError(ValueError):
    """Raised if an engine cannot run a network."""


class Engine(ABC):
    """A library that runs modules on a CPU.

    Attributes
    ----------
    name : str
        The value of the parameter ``engine``, and the extra that installs the packages.
    packages : tuple of str
        The packages that it needs, the one whose version counts first.
    dtypes : tuple of torch.dtype
        The types in which it computes.
    form : str
        A word for the form of its graphs, another one whenever a change of it can change bits.
    """

    name: str
    packages: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    form: str = ""

    @property
    def kernels(self) -> str:
        """The kernels that are asked for on this processor; "" if it chooses all of them."""
        return ""

    @abstractmethod
    def compile(
        self, module: nn.Module, x: Tensor, dtype: torch.dtype, keep: Keep, any_length: bool
    ) -> Graph:
        """Return a function that computes what ``module`` does.

        Meanwhile no other thread runs or traces a network; see ``backbones.network_lock``.

        Parameters
        ----------
        module : Module
            It is in evaluation mode, computes in float32 and takes one tensor.
        x : Tensor
            An input, which has the form and the type of all inputs.  Inputs of floats may have the
            type ``dtype`` as well, which gives the same bits.
        dtype : torch.dtype
            The type in which the function computes, one of ``dtypes``.  Outputs have this type.
        keep : callable
            Keeps the result of a conversion on disk, as bytes that hold no code.
        any_length : bool
            True if the first two dimensions of inputs, the rows and their length, may be any.
            If False, all inputs have the shape of ``x``.

        Raises
        ------
        Exception
            Of any class, if the engine cannot run the module.
        """


@cache
def is_installed(engine: Engine) -> bool:
    """Return True if the packages of an engine are installed."""
    return all(find_spec(package) is not None for package in engine.packages)


@cache
def described(engine: Engine) -> str:
    """Return the name of an engine, the version of its library, and what else decides its bits."""
    words = engine.name, version(engine.packages[0]), engine.form, engine.kernels
    return " ".join(filter(None, words))


class ChannelsLast(nn.Module):
    """A module that takes images whose channels are last.

    This is how images are in memory, so an engine can take them without a copy.  Outputs keep
    their channels before the positions: OpenVINO was measured to need 6 % more time to move them.

    Parameters
    ----------
    module : Module
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the module."""
        y: Tensor = self.module(x.permute(0, 3, 1, 2) if x.ndim == 4 else x)
        return y


def to_rows(x: Tensor) -> Tensor:
    """Return a batch as :class:`ChannelsLast` takes it, in float32 if it has floats."""
    x = x.float() if x.is_floating_point() else x
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).contiguous()


@torch.no_grad()
def exported(module: nn.Module, x: Tensor, any_length: bool) -> Any:
    """Return a module as a program of torch.export, which takes what :class:`ChannelsLast` does.

    The parameters are those of :meth:`Engine.compile`.
    """
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},) if any_length else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own code
        return torch.export.export(
            ChannelsLast(module).eval(), (to_rows(x),), dynamic_shapes=shapes, strict=False
        )
