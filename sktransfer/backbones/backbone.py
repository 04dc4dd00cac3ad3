"""The backbone: a chain of named stages, and the cut that divides it.

Stages before the cut are frozen: they get no gradient and stay in evaluation mode.  The prefix is
therefore a pure function of the item, so its output can be cached and shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from torch import Tensor, nn

from .._support.hashing import hash_parts, hash_steps
from .._support.plain import PLAIN
from .language_head import TAKE_ANOTHER, LanguageHead
from .summary import as_html, as_text

# Attributes of these types are settings of a module; their repr describes them.
SETTINGS = (*PLAIN, tuple)


class Backbone(nn.Module):
    """A pretrained network as an ordered chain of named stages.

    Parameters
    ----------
    stages : mapping of str to Module
        The stages in the order they run, up to the last feature map.  :func:`split` makes them
        from a network.  A stage must not overwrite its input.
    preset : Preset
        Converts a raw item to the input of the first stage.
    classifier : Module or None, default=None
        The rest of the network after the stages: its pooling and its own head.
    layout : {"NCHW", "NHWC", "NLC", "NLM", "NC"}, default="NCHW"
        The layout of the stages' outputs: feature maps with channels first or last, a sequence of
        tokens, a sequence of tokens with a mask, or one vector for each item.  The mask is the last
        channel: 1 for a token, 0 after the end of a text.
    n_prefix_tokens : int, default=0
        With ``layout="NLC"``, the number of leading tokens that are no positions, such as a class
        token.
    weights_info : mapping or None, default=None
        The origin of the weights: tag, source, sha256, licence, input size, mean, std.
    language_head : LanguageHead or None, default=None
        With ``layout="NLM"``, the part of a language model that computes the scores of tokens from
        the output of the last stage.

    Attributes
    ----------
    cut : int
        The number of frozen stages; 0 at first.
    names : list of str
        The names of the stages, in order.
    address : str or None
        The address that :func:`get_backbone` loaded; None for the result of a factory.

    Examples
    --------
    >>> from torch import nn
    >>> from sktransfer import Backbone, ImagePreset
    >>> stages = {"stem": nn.Conv2d(3, 8, 3, stride=2), "layer1": nn.Conv2d(8, 16, 3, stride=2)}
    >>> backbone = Backbone(stages, ImagePreset(size=32)).freeze_to(1)
    >>> backbone.names, backbone.cut
    (['stem', 'layer1'], 1)
    >>> [parameter.requires_grad for parameter in backbone.parameters()]
    [False, False, True, True]
    """

    # Set by get_backbone; None for a backbone of a factory.
    address: str | None = None

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        preset: Any,
        classifier: nn.Module | None = None,
        *,
        layout: str = "NCHW",
        n_prefix_tokens: int = 0,
        weights_info: Mapping[str, Any] | None = None,
        language_head: LanguageHead | None = None,
    ):
        super().__init__()
        self.stages = nn.ModuleDict(dict(stages))
        self.classifier = classifier
        self.language_head = language_head
        self.preset = preset
        self.layout = layout
        self.n_prefix_tokens = n_prefix_tokens
        self.weights_info = dict(weights_info or {})
        self.cut = 0

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:  # notebooks show it
        return as_html(self)

    @property
    def names(self) -> list[str]:
        """The names of the stages, in the order they run."""
        return list(self.stages)

    def freeze_to(self, cut: int) -> Backbone:
        """Freeze the first ``cut`` stages, unfreeze the others, and return the backbone."""
        if not 0 <= cut <= len(self.stages):
            raise ValueError(f"cut must be between 0 and {len(self.stages)}; got {cut!r}.")
        self.cut = cut
        for index, stage in enumerate(self.stages.values()):
            stage.requires_grad_(index >= cut)
        return self.train(self.training)

    def truncate(self, stop: int) -> Backbone:
        """Keep the first ``stop`` stages, drop both heads, and return the backbone."""
        for name in self.names[stop:]:
            del self.stages[name]
        self.classifier = self.language_head = None
        return self.freeze_to(min(self.cut, stop))

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode of the stages after the cut; frozen stages stay in evaluation mode."""
        self.training = self.stages.training = mode
        heads = [head for head in (self.classifier, self.language_head) if head is not None]
        # Frozen stages are the last, as they may share a layer such as dropout with others.
        for index, part in reversed([*enumerate([*self.stages.values(), *heads])]):
            own = mode and index >= self.cut
            # It is called before each step: to look takes a tenth of the time that setting takes.
            if any(module.training != own for module in part.modules()):
                part.train(own)
        return self

    def forward(self, x: Any, start: int = 0, stop: int | None = None) -> Any:
        """Run the stages from ``start`` to ``stop`` (excluded)."""
        for stage in list(self.stages.values())[start:stop]:
            x = stage(x)
        return x

    def token_scores(self, x: Tensor, head: LanguageHead | None = None) -> Tensor:
        """Return the scores of all tokens at each position, (b, l, n_tokens).

        Parameters
        ----------
        x : Tensor of shape (b, l, d + 1)
            The output of the last stage.
        head : LanguageHead or None, default=None
            None is that of the backbone.

        Raises
        ------
        ValueError
            If the backbone has no language head.
        """
        head = self.language_head if head is None else head
        if head is None:
            raise ValueError(f"backbone {self.address!r} has no language head. {TAKE_ANOTHER}")
        scores: Tensor = head(x, head.table and self.stages.get_parameter(head.table))
        return scores

    def fingerprint(self, stop: int | None = None, preset: Any = None) -> str:
        """Return a hash of the function that the preset and the first ``stop`` stages compute.

        Two fingerprints are equal only if preset, layout, structure and weights are equal.  The
        heads count if ``stop`` is None.  ``preset`` replaces the backbone's own.
        """
        preset = self.preset if preset is None else preset
        return hash_parts("prefix", preset.fingerprint(), self.weights_fingerprint(stop)).hex()

    def weights_fingerprint(self, stop: int | None = None, start: int = 0) -> str:
        """Return the fingerprint without the preset, and so without versions of image libraries.

        The stages before ``start`` do not count.
        """
        return self._hash_along(stop, start)[-1]

    def weights_fingerprints(self, stop: int | None = None) -> dict[int | None, str]:
        """Return ``weights_fingerprint`` of ``stop``, and of each cut before it.

        Each weight is read once.
        """
        hashes = self._hash_along(stop)
        n_stages = len(self.stages) if stop is None else stop
        return {**dict(enumerate(hashes[1 : n_stages + 1], start=1)), stop: hashes[-1]}

    def _hash_along(self, stop: int | None, start: int = 0) -> list[str]:
        """Return a hash of the layout alone, of the layout and the first stage, and so on."""
        modules = list(self.stages.values())[start:stop]
        if stop is None:
            modules += filter(None, (self.classifier, self.language_head))
        layout = f"{self.layout} {self.n_prefix_tokens}"
        steps = chain([[layout]], map(_fingerprint_parts, modules))
        return [digest.hex() for digest in hash_steps("weights", steps)]


def _fingerprint_parts(module: nn.Module) -> Iterator[str | Tensor]:
    """Yield the texts and tensors that decide what ``module`` computes."""
    for path, part in module.named_modules():
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        yield repr((path, kind, part.extra_repr()))
        for key, value in _attributes(part):
            yield f"attribute {key}"
            yield value if isinstance(value, Tensor) else _describe_attribute(value)


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the tensors, settings and functions that a module holds besides its submodules."""
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)  # also those that are not in the state dict
    yield from (
        (key, value)
        for key, value in sorted(vars(module).items())
        if key != "training" and (isinstance(value, (Tensor, *SETTINGS)) or callable(value))
    )


def _describe_attribute(value: Any) -> str:
    return (
        repr(value) if isinstance(value, SETTINGS) else getattr(value, "__qualname__", "function")
    )


def split(net: nn.Module, **table: str) -> dict[str, nn.Module]:
    """Divide a network into stages, which share its submodules.

    Parameters
    ----------
    net : Module
        A network whose forward pass runs its submodules one after the other.
    **table : str
        For each stage, the dotted names of its submodules in the order they run, separated by
        spaces; ``features[0:4]`` stands for the children 0 to 3 of ``features``.

    Returns
    -------
    dict of str to Module

    Raises
    ------
    ValueError
        If a name is not a submodule of ``net``, or a range is empty.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> stages = split(resnet18(), stem="conv1 bn1 relu maxpool", layer1="layer1")
    >>> list(stages), len(stages["stem"])
    (['stem', 'layer1'], 4)
    """
    return {stage: _chained(net, names.split()) for stage, names in table.items()}


def _chained(net: nn.Module, names: list[str]) -> nn.Module:
    modules = [module for name in names for module in _submodules(net, name)]
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _submodules(net: nn.Module, name: str) -> list[nn.Module]:
    path, bracket, span = name.partition("[")
    try:
        module = net.get_submodule(path)
        if not bracket:
            return [module]
        first, _, last = span.removesuffix("]").partition(":")
        children = list(module.children())[int(first or 0) : int(last) if last else None]
    except (AttributeError, ValueError) as error:
        raise ValueError(f"{type(net).__name__} has no submodule {name!r}: {error}") from error
    if not children:
        raise ValueError(f"{type(net).__name__} has no submodule in {name!r}.")
    return children
