"""The registry of providers, which finds a backbone by its address, ``provider/model``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch
from torch import Tensor

from .._support.forks import check_process, importing
from .._support.random import seeded_globals
from .._support.validation import find_nearest, no_choice
from .backbone import Backbone
from .download import offline_mode
from .filling import REMEDY, MisfitError

GROUP = "sktransfer.backbones"

# Maximum duration of the search for the network that weights were made for.
SEARCH_SECONDS = 10.0

# What to do with a name of the Hugging Face hub, such as bert-base-uncased or OWNER/NAME
HUB = (
    " For a model of the Hugging Face hub, `sktransfer fetch transformers/OWNER/NAME --to DIR` "
    "writes a folder on a connected machine: pass 'transformers/DIR'."
)
HUB_NAME = re.compile(r"[\w.]+(-[\w.]+)+|[\w.-]+/[\w.-]+")


class Provider(Protocol):
    """The protocol of a provider; a module with these two functions is enough.

    Four more functions are optional.  ``fetch(name, to)`` downloads a model that is a folder to the
    directory ``to``, and returns the path of the folder.  ``accepts(name)`` is True if the provider
    can load a model that ``names()`` does not list, such as the path of a folder.  The other two
    help to find the network of a file of weights: ``likely(state, path)`` lists names of models,
    and ``matches(name, state)`` is True if the tensors in ``state`` have the names and shapes of
    the model.
    """

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

    Notes
    -----
    Random weights are drawn from the global generators, which one thread at a time can have.  So
    while one thread builds a network, other threads wait before their next step of training.  They
    do not wait while it reads or downloads weights with ``sktransfer.backbones.read_weights``, as
    the providers of this package do, but they wait for all other work of a factory.

    Examples
    --------
    >>> from sktransfer import get_backbone
    >>> get_backbone("torchvision/resnet18", weights=None).names
    ['stem', 'layer1', 'layer2', 'layer3', 'layer4']
    """
    check_process()
    load = _factory(backbone, weights)
    try:
        with seeded_globals(seed), offline_mode(offline):
            loaded = load()
    except MisfitError as error:
        raise _explained(error, backbone) from None
    if not isinstance(loaded, Backbone):
        raise TypeError(
            f"backbone {backbone!r} must return a Backbone; got {type(loaded).__name__}. "
            "Wrap a network with Backbone(split(net, ...), preset)."
        )
    loaded.address = backbone if isinstance(backbone, str) else None
    return loaded.freeze_to(0).eval()


def _factory(
    backbone: str | Callable[[], Backbone], weights: str | PathLike[str] | None
) -> Callable[[], Backbone]:
    if isinstance(backbone, str):
        provider, name = resolve(backbone)
        return lambda: provider.load(name, weights)
    if callable(backbone) and not isinstance(backbone, torch.nn.Module):
        if weights != "default":
            raise ValueError(
                "weights must be 'default' if backbone is a factory, which loads its own weights; "
                f"got {weights!r}."
            )
        return lambda: deepcopy(backbone())  # it may return the same object each time
    if isinstance(backbone, PathLike):
        path = os.fspath(backbone)
        folder = f"For a folder of a model of transformers, pass {f'transformers/{path}'!r}."
        file = f"For a file of weights, pass the address of its network and weights={path!r}."
        raise TypeError(
            f"backbone must be an address 'provider/model'; got the path {path!r}. "
            f"{folder if Path(path).is_dir() else file}"
        )
    raise TypeError(
        "backbone must be an address such as 'torchvision/resnet18', or a callable that returns "
        f"a Backbone; got {type(backbone).__name__}. A network itself is not accepted: its fitted "
        "weights would leak from one fold of a cross-validation to the next."
    )


def resolve(address: str) -> tuple[Provider, str]:
    """Return the provider of an address, and the name of the model."""
    prefix, slash, name = address.partition("/")
    prefixes = _providers()
    if not slash or prefix not in prefixes:
        listed = ", ".join(map(repr, prefixes))
        if Path(address, "config.json").is_file():
            raise ValueError(
                "backbone must be an address 'provider/model'; got a folder. For a folder of a "
                f"model of transformers, pass {f'transformers/{address}'!r}."
            )
        hub = HUB if HUB_NAME.fullmatch(address) else ""
        raise ValueError(
            f"backbone must be an address 'provider/model' with one of the providers {listed}; "
            f"got {address!r}."
            f"{_suggest(name if slash else address, prefix if slash else None) or hub}"
        )
    provider = prefixes[prefix]()
    known = provider.names()
    accepts = getattr(provider, "accepts", known.__contains__)
    if name not in known and not accepts(name):
        raise ValueError(
            f"{prefix} has no backbone {name!r}.{_suggest(name, prefix)} "
            f"list_backbones({prefix!r}) names all {len(known)}."
        )
    return provider, name


def _explained(error: MisfitError, backbone: Any) -> MisfitError:
    """Return an error about weights that also names the network that they were made for."""
    address = find_network(error.state, error.source)
    remedy = f"They fit {address!r}: pass backbone={address!r}." if address else REMEDY
    return MisfitError(error.source, repr(backbone), error.differences, error.state, remedy)


def find_network(state: Mapping[str, Tensor], path: str) -> str:
    """Return the address of a network whose tensors have the names and shapes of those in a file.

    The networks are built on the meta device, so they take no memory.  The search ends after
    SEARCH_SECONDS, and then the result is "".

    Parameters
    ----------
    state : mapping of str to Tensor
    path : str
        The path of the file, which may contain the name of the network.
    """
    end = monotonic() + SEARCH_SECONDS
    for prefix, load in sorted(_providers().items(), key=lambda each: each[0] == "timm"):
        with suppress(ModuleNotFoundError):
            provider: Any = load()
            if not hasattr(provider, "matches"):
                continue
            for name in provider.likely(state, path):
                if provider.matches(name, state):
                    return f"{prefix}/{name}"
                if monotonic() > end:
                    return ""
    return ""


def _suggest(model: str, prefix: str | None) -> str:
    """Suggest addresses for the name of a model, in a sentence with a leading space.

    Names are compared without case and punctuation, so "ResNet-50" is found as well.  If providers
    have that model, they are named: ``prefix`` first, then the one with the fewest models.
    Otherwise, the nearest name of the provider ``prefix``, or of all providers, is suggested.
    """
    if prefix is None and model in _providers():
        return f" list_backbones({model!r}) names its models."
    catalogues = sorted(_catalogues().items(), key=lambda each: (each[0] != prefix, len(each[1])))
    found = [
        f"'{provider}/{name}'"
        for provider, names in catalogues
        for name in names
        if _letters(name) == _letters(model)
    ]
    if found:
        return f" Did you mean {' or '.join(found)}?"
    nearest = find_nearest(prefix or "", dict(catalogues))
    near = {name: f"{p}/{name}" for p, names in reversed(catalogues) for name in names}
    if nearest:
        near = {name: f"{nearest}/{name}" for name in dict(catalogues)[nearest]}
    close = find_nearest(model, near, cutoff=0.7)
    if close:
        return f" Did you mean {near[close]!r}?"
    n_similar = sum(model.lower() in name.lower() for name in near)
    return f" list_backbones(pattern='*{model}*') names {n_similar} of them." if n_similar else ""


def _letters(name: str) -> str:
    """Return the letters and digits of a name, in lower case."""
    return "".join(filter(str.isalnum, name.lower()))


def _catalogues() -> dict[str, list[str]]:
    """Return the names of the models of all providers whose optional package is installed."""
    found = {}
    for prefix, load in _providers().items():
        with suppress(ModuleNotFoundError):
            found[prefix] = load().names()
    return found


def _provider(prefix: str) -> Provider:
    known = _providers()
    if prefix not in known:
        remedy = " To search the names of all providers, use list_backbones(pattern=...)."
        raise ValueError(no_choice("provider", prefix, known) + remedy)
    return known[prefix]()


def _providers() -> dict[str, Callable[[], Provider]]:
    """Return a function for each prefix that gives the provider; it imports one if needed."""
    known = {name: partial(_imported, entry) for name, entry in _announced().items()}
    registered = {name: partial(_itself, provider) for name, provider in _registered.items()}
    return dict(sorted((known | registered).items()))


def _announced() -> Mapping[str, EntryPoint]:
    """Return the entry points of providers by prefix; they are read again if a folder changes."""
    return _read_entry_points(entry_points, tuple(map(_time_of_change, sys.path)))


def _time_of_change(folder: str) -> tuple[str, int]:
    with suppress(OSError):
        return folder, Path(folder).stat().st_mtime_ns  # "" is the working directory
    return folder, 0


@lru_cache(maxsize=1)
def _read_entry_points(
    read: Callable[..., Iterable[EntryPoint]],
    folders: tuple[tuple[str, int], ...],  # noqa: ARG001 - what the result depends on
) -> Mapping[str, EntryPoint]:
    """Return the entry points of providers by prefix.

    Their class is not looked at: the backport ``importlib_metadata`` serves its own.
    """
    found: dict[str, EntryPoint] = {}
    for entry in read(group=GROUP):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ValueError(
                f"provider {entry.name!r} is defined by two distributions, "
                f"{_distribution(other)} and {_distribution(entry)}; uninstall one of them."
            )
    return found


def _imported(entry: EntryPoint) -> Provider:
    with importing():
        provider: Provider = entry.load()
        return provider


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
    found = _catalogues() if provider is None else {provider: _provider(provider).names()}
    addresses = [f"{prefix}/{name}" for prefix, names in found.items() for name in names]
    return sorted(a for a in addresses if pattern is None or fnmatchcase(a, pattern))
