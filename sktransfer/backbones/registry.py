"""The registry of providers, which finds a backbone by its address, ``provider/model``."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from typing import Protocol

import torch

from .._support.forks import check_process
from .._support.random import seeded_globals
from .._support.validation import did_you_mean
from .backbone import Backbone
from .download import offline_mode

GROUP = "sktransfer.backbones"


class Provider(Protocol):
    """The protocol of a provider; a module with these two functions is enough."""

    def names(self) -> list[str]:
        """List the models of this provider."""

    def load(self, name: str, weights: str | PathLike[str] | None) -> Backbone:
        """Build the model ``name`` with ``weights``."""


_registered: dict[str, Provider] = {}


def get_backbone(
    backbone: str | Callable[[], Backbone],
    weights: str | PathLike[str] | None = "default",
    *,
    seed: int = 0,
    offline: bool | None = None,
) -> Backbone:
    """Load a new backbone, in evaluation mode, with no stage frozen.

    Parameters
    ----------
    backbone : str or callable
        An address, ``"provider/model"``, or a factory: a callable without arguments that returns
        a Backbone with its weights.
    weights : str, path-like or None, default="default"
        ``"default"``, a tag of the provider, the path of a .safetensors, .pth or .pt file, or None
        for random weights.  Must be ``"default"`` if ``backbone`` is a factory.
    seed : int, default=0
        The seed of random weights.  The state of torch's global generator does not change.
    offline : bool or None, default=None
        If True, nothing is downloaded.  None reads the environment variable SKTRANSFER_OFFLINE.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        If the provider or the model is unknown.
    TypeError
        If a factory returns something other than a Backbone.

    Examples
    --------
    >>> from sktransfer import get_backbone
    >>> get_backbone("torchvision/resnet18", weights=None).names
    ['stem', 'layer1', 'layer2', 'layer3', 'layer4']
    """
    check_process()
    load = _factory(backbone, weights)
    with seeded_globals(seed), offline_mode(offline):
        loaded = load()
    if not isinstance(loaded, Backbone):
        raise TypeError(
            f"backbone {backbone!r} must return a Backbone; got {type(loaded).__name__}. "
            "Wrap a network with Backbone(split(net, ...), preset)."
        )
    return loaded.freeze_to(0).eval()


def _factory(
    backbone: str | Callable[[], Backbone], weights: str | PathLike[str] | None
) -> Callable[[], Backbone]:
    if isinstance(backbone, str):
        provider, name = _resolve(backbone)
        return lambda: provider.load(name, weights)
    if callable(backbone) and not isinstance(backbone, torch.nn.Module):
        if weights != "default":
            raise ValueError(
                "weights must be 'default' if backbone is a factory, which loads its own weights; "
                f"got {weights!r}."
            )
        return lambda: deepcopy(backbone())  # it may return the same object each time
    raise TypeError(
        "backbone must be an address such as 'torchvision/resnet18', or a callable that returns "
        f"a Backbone; got {type(backbone).__name__}. A network itself is not accepted: its fitted "
        "weights would leak from one fold of a cross-validation to the next."
    )


def _resolve(address: str) -> tuple[Provider, str]:
    prefix, slash, name = address.partition("/")
    if not slash:
        listed = ", ".join(map(repr, _providers()))
        raise ValueError(
            f"backbone must be an address 'provider/model' with one of the providers {listed}; "
            f"got {address!r}.{did_you_mean(address, list_backbones())}"
        )
    provider = _provider(prefix)
    known = provider.names()
    if name not in known:
        raise ValueError(
            f"{prefix} has no backbone {name!r}.{did_you_mean(name, known)} "
            f"list_backbones({prefix!r}) names all {len(known)}."
        )
    return provider, name


def _provider(prefix: str) -> Provider:
    known = _providers()
    if prefix not in known:
        listed = ", ".join(map(repr, known))
        raise ValueError(
            f"provider must be one of {listed}; got {prefix!r}.{did_you_mean(prefix, known)}"
        )
    return known[prefix]()


def _providers() -> dict[str, Callable[[], Provider]]:
    """Return a function for each prefix that gives the provider; it imports one if needed."""
    known = {name: entry.load for name, entry in _announced().items()}
    registered = {name: partial(_itself, provider) for name, provider in _registered.items()}
    return dict(sorted((known | registered).items()))


def _announced() -> dict[str, EntryPoint]:
    """Return the entry points of providers by prefix.

    Their class is not looked at: the backport ``importlib_metadata`` serves its own.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ValueError(
                f"provider {entry.name!r} is defined by two distributions, "
                f"{_distribution(other)} and {_distribution(entry)}; uninstall one of them."
            )
    return found


def _itself(provider: Provider) -> Provider:
    return provider


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name if entry.dist else 'unknown'} ({entry.value})"


def register_provider(name: str, provider: Provider) -> None:
    """Register a provider in this process, for notebooks and tests.

    Parameters
    ----------
    name : str
        The prefix of its addresses, without a slash.
    provider : object with ``names()`` and ``load(name, weights)``
        It can be a module.

    Raises
    ------
    ValueError
        If the name is taken, or has a slash.
    TypeError
        If ``provider`` lacks one of the two functions.

    Notes
    -----
    Worker processes do not see it.  Providers in an installed package are found in every process
    by their entry point in the group ``sktransfer.backbones``.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from sktransfer import get_backbone, list_backbones, register_provider
    >>> def load(name, weights):
    ...     return get_backbone("torchvision/squeezenet1_1", None)
    >>> register_provider("mine", SimpleNamespace(names=lambda: ["net"], load=load))
    >>> list_backbones("mine")
    ['mine/net']
    """
    if not name or "/" in name:
        raise ValueError(f"name must be a prefix without a slash; got {name!r}.")
    if name in _providers():
        raise ValueError(f"name must be new; {name!r} is already a provider.")
    for function in ("names", "load"):
        if not callable(getattr(provider, function, None)):
            raise TypeError(f"provider {name!r} must have a function {function}().")
    _registered[name] = provider


def list_backbones(provider: str | None = None, pattern: str | None = None) -> list[str]:
    """List the addresses of all backbones, sorted.

    Parameters
    ----------
    provider : str or None, default=None
        List the backbones of this provider only.  None lists all providers, except those whose
        optional package is not installed.
    pattern : str or None, default=None
        List only addresses that match a shell-style pattern such as ``"*resnet*"``.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from sktransfer import list_backbones
    >>> list_backbones("torchvision", "*/resnet1*")
    ['torchvision/resnet101', 'torchvision/resnet152', 'torchvision/resnet18']
    """
    addresses = []
    for prefix in [provider] if provider is not None else _providers():
        try:
            names = _provider(prefix).names()
        except ModuleNotFoundError:
            if provider is not None:
                raise
            continue
        addresses += [f"{prefix}/{name}" for name in names]
    return sorted(a for a in addresses if pattern is None or fnmatchcase(a, pattern))
