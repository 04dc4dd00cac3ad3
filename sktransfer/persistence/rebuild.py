"""Rebuild an estimator from the description and the tensors of a file.

The network is built from its address, compared with the description, and filled with the tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..backbones import Backbone, MapShape, check_pooling, get_backbone, map_shapes
from ..data import ImagePreset, TextPreset
from ..extraction import LOGITS, Prefix, Tap
from ..tasks import LanguageModel, Segmentation, build_head
from ..training import DenseTail, LanguageTail, MapLayout, Tail, measure_layout
from .base import digest_of_preset, original_of
from .codec import FORMS
from .schema import CLASSES
from .structure import backbone_of, compare, forms, structure


def rebuild(
    described: Mapping[str, Any], tensors: Mapping[str, Tensor], base: Backbone | None = None
) -> Any:
    """Return the fitted estimator.

    Parameters
    ----------
    described : mapping
        A description that :func:`check_description` accepts.
    tensors : mapping of str to Tensor
        They become the weights of the estimator, without a copy.
    base : Backbone or None, default=None
        The network with the original weights, whose tensors take the place of missing ones.

    Raises
    ------
    OtherNetworkError
        If the address gives another network on this machine.
    """
    module, own = _network(described, tensors, base, _build_without_values)
    if _lacks_values(module):
        module, own = _network(described, tensors, base, _build)
    # The fingerprint also covers what neither the tensors nor the texts of the modules show.
    compare(
        {"fingerprint": described["backbone"]["fingerprint"]},
        {"fingerprint": backbone_of(module).weights_fingerprint()},
    )
    _check_widths(backbone_of(module), _taps_and_widths(described, module), own)
    model = CLASSES[described["class"]](**described["parameters"])
    model._set_parts(described["parts"], module)
    return model


# The methods with which layers fill their weights.
FILLS = {
    *(Tensor.add_, Tensor.clamp_, Tensor.copy_, Tensor.div_, Tensor.erfinv_, Tensor.fill_),
    *(Tensor.mul_, Tensor.normal_, Tensor.sub_, Tensor.uniform_, Tensor.zero_),
}


class _WithoutValues(TorchFunctionMode):
    """Make ``torch.empty`` use the meta device, and leave out filling its tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs = {**kwargs, "device": "meta"}
        if func in FILLS and args[0].is_meta:
            return args[0]
        return func(*args, **kwargs)


def _build(address: str) -> Backbone:
    return get_backbone(address, None)


def _build_without_values(address: str) -> Backbone:
    """Build a network on the meta device, where tensors have no values, as far as possible.

    The tensors of the file take the place of its weights.  So random weights would be a waste of
    time, and a small file could fill the memory with the address of a large network.
    """
    # The first keeps the values of small tensors that a network computes; it suits most networks.
    for mode in (_WithoutValues(), torch.device("meta")):
        with suppress(RuntimeError), mode:  # the network computes with values
            return _build(address)
    return _build(address)


def _lacks_values(module: nn.Module) -> bool:
    """Return True if a tensor of a module, which the file does not contain, has no values."""
    inside = [value for part in module.modules() for value in vars(part).values()]
    tensors = [*module.parameters(), *module.buffers(), *inside]
    return any(isinstance(tensor, Tensor) and tensor.is_meta for tensor in tensors)


def _network(
    described: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    base: Backbone | None,
    build: Callable[[str], Backbone],
) -> tuple[Any, Any]:
    """Return the module of the estimator with its weights, and the preset of the provider."""
    wanted = described["backbone"]
    backbone = build(wanted["address"])
    own = backbone.preset if base is None else base.preset
    head = backbone.language_head
    if not wanted["classifier"]:
        backbone.truncate(wanted["stages"])
    backbone.language_head = None
    if wanted["preset"] is not None:
        backbone.preset = _preset(wanted["preset"], own)
    if base is None:
        compare(wanted["structure"], structure(backbone))
    else:
        compare(
            {"preset": str(described["base"]["preset"])},
            {"preset": str(digest_of_preset(backbone.preset))},
        )
    module = _blank_tail(described, tensors, backbone, head) if described["tail"] else backbone
    if base is not None:
        tensors = original_of(base, module).complete(tensors, module.state_dict())
    compare(forms(tensors), forms(module.state_dict()))
    module.load_state_dict(dict(tensors), assign=True)
    backbone.freeze_to(len(backbone.names))
    return module.eval(), own


def _preset(described: Mapping[str, Any], own: Any) -> Any:
    """Rebuild the preset; its class must be ``ImagePreset`` or the class of the provider's own."""
    kinds = {"ImagePreset": ImagePreset(), type(own).__name__: own}
    if described["class"] not in kinds:
        compare({"preset": described["class"]}, {"preset": type(own).__name__})
    preset = replace(kinds[described["class"]], **described["fields"])
    for kind in (ImagePreset, TextPreset):
        if isinstance(preset, kind):
            FORMS[kind.__name__].rule("the preset", preset)
    if isinstance(preset, TextPreset):
        n_ids, most = preset.tokenizer.vocab_size, own.tokenizer.vocab_size
        if n_ids > most:
            raise ValueError(f"the tokenizer must have at most {most} ids; got {n_ids}")
    return preset


def _blank_tail(
    described: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    backbone: Backbone,
    language_head: nn.Module | None,
) -> Tail:
    """Return a tail whose head has no values, so that a large one takes no memory."""
    how, parts = dict(described["tail"]), described["parts"]
    n_features = tensors["mean"].numel()
    if isinstance(parts["task"], LanguageModel):
        head = nn.Identity() if language_head is None else language_head
        compare(how.pop("head"), structure(head))
        return LanguageTail(backbone, head, n_features=n_features, **how)
    blank = np.zeros(n_features, np.float32)
    if isinstance(parts["task"], Segmentation):
        layout = _read_layout(how.pop("layout"))
        if sum(layout.n_channels) != n_features:
            raise ValueError(f"the maps must have {n_features} channels; got {layout.n_channels}")
        with torch.device("meta"):
            head = how.pop("head")(layout.n_channels, parts["task"].n_outputs)
        tail = DenseTail(backbone, head, layout=layout, mean=blank, scale=blank, **how)
        return tail.to(parts["numerics"].dtype)
    with torch.device("meta"):
        head = build_head(how.pop("head"), n_features, parts["task"].n_outputs)
    return Tail(backbone, head, mean=blank, scale=blank, **how).to(parts["numerics"].dtype)


def _read_layout(described: Mapping[str, Any]) -> MapLayout:
    """Rebuild the layout of maps."""
    maps = tuple(
        MapShape(name, cut, n_channels, (height, width))
        for name, cut, n_channels, height, width in described["maps"]
    )
    rows = {cut: tuple(shape) for cut, shape in enumerate(described["rows"], start=1)}
    return MapLayout(maps, rows, described["size"])


def _taps_and_widths(described: Mapping[str, Any], module: Any) -> list[tuple[Tap, int]]:
    """Return the places at which the features of the estimator are taken, with their widths."""
    if isinstance(module, DenseTail):
        backbone, layout = module.backbone, module.layout
        shapes = {shape.cut: shape for shape in map_shapes(backbone)}
        found = measure_layout(backbone, [shapes.get(each.cut) for each in layout.maps])
        if found != layout:
            raise ValueError("the maps must have the shapes of the network")
        return [(Tap(len(backbone.names), "avg"), layout.n_channels[-1])]
    if isinstance(module, Tail):
        return [(Tap(len(module.backbone.names), module.pooling), len(module.mean))]
    parts = described["parts"]
    return list(zip(parts["taps"], parts["widths"], strict=True))


def _check_widths(backbone: Backbone, found: list[tuple[Tap, int]], own: Any) -> None:
    """Raise an error if the features of the network do not have the widths that the file states.

    The network runs on a blank image of the smallest size that it accepts.  Networks of a single
    size, for which this takes longer, and networks of other items are not checked.
    """
    for tap, _ in found:
        if tap.reduce not in LOGITS:
            check_pooling(str(tap.reduce), backbone, "the saved network")
        elif backbone.classifier is None:
            raise ValueError(f"the network must have a classifier, which gives {tap.reduce}")
    if not isinstance(own, ImagePreset) or own.sizes.only:
        return
    side = -(-own.sizes.minimum // own.sizes.multiple) * own.sizes.multiple
    dtype = next((p.dtype for p in backbone.parameters()), torch.float32)
    # The number of positions, all of which "flatten" keeps, depends on the size.
    taps = [Tap(tap.cut, "avg") if tap.reduce == "flatten" else tap for tap, _ in found]
    prefix = Prefix(backbone, taps, torch.device("cpu"), dtype, 1)
    shapes = prefix.measure(torch.zeros(1, 3, side, side, dtype=dtype))
    for (tap, width), (measured,) in zip(found, shapes, strict=True):
        if width % measured if tap.reduce == "flatten" else width != measured:
            raise ValueError(
                f"features must have the width of the network, {measured}; got {width}"
            )
