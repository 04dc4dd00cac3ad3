"""torchvision's classification networks, divided into stages by tables.

A new stage begins where the resolution halves, so that ``unfreeze=k`` means much the same in every
family.  All sizes of a family share a table; if a boundary depends on the size, a function makes
the table from the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from math import isqrt, log
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from ..._support.validation import did_you_mean
from ...data import ImagePreset
from ..backbone import Backbone, split
from ..filling import fill, fits
from ..weights import download_checkpoint, is_path, read_download, read_weights, weights_info
from ._torchvision_families import FAMILIES, Family
from ._torchvision_layers import glue

# The reason for each classification network that is not a chain of stages.  In torchvision 0.29,
# all networks are chains.
NOT_A_CHAIN: dict[str, str] = {}

# Prefixes of auxiliary heads, which are used in training only.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")

# Patterns of names in files of older versions of torchvision, and their replacements.
_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"mlp\.linear_1\."), "mlp.0."),
    (re.compile(r"mlp\.linear_2\."), "mlp.3."),
)


def names() -> list[str]:
    """List the models of this provider: the classification networks that are chains of stages."""
    return [
        name
        for name in models.list_models(module=models)
        if name not in NOT_A_CHAIN and any(fnmatchcase(name, pattern) for pattern in FAMILIES)
    ]


def load(name: str, weights: str | PathLike[str] | None = "default") -> Backbone:
    """Build ``name`` with the weights of a tag or a file, or with random ones.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    weights : str, path-like or None, default="default"
        ``"default"``, a tag of torchvision such as ``"IMAGENET1K_V2"``, the path of a
        .safetensors, .pth or .pt file, or None for random weights.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        If the name or the tag is unknown, or a file does not fit the network.
    OSError
        If a file is missing, or cannot be downloaded.
    """
    family = _family(name)
    if weights is None:
        return _random(name, family)
    if is_path(weights):
        return _from_file(name, family, Path(weights))
    return _from_tag(name, family, weights)


def _random(name: str, family: Family) -> Backbone:
    preset = _preset(_entry(name, "default"), family)
    net = models.get_model(name, weights=None, **_config(name, preset.size))
    return _backbone(net, family, preset, weights_info(None, "random", None, None, preset))


def _from_file(name: str, family: Family, path: Path) -> Backbone:
    file = read_weights(path)
    preset = _preset(_entry(name, "default"), family)
    preset = preset.at(_trained_size(family, file.state) or preset.size).with_metadata(
        file.metadata
    )
    net, left_out = _filled(name, family, file.state, str(path), preset.size)
    return _backbone(net, family, preset, file.info(preset, left_out))


def _from_tag(name: str, family: Family, asked: object) -> Backbone:
    entry = _entry(name, asked)
    preset = _preset(entry, family)
    tag = None if entry is type(entry)["DEFAULT"] else entry.name
    file = read_download(
        partial(download_checkpoint, entry.url, address=f"torchvision/{name}", tag=tag)
    )
    net, left_out = _filled(name, family, file.state, entry.url, preset.size)
    licence = entry.meta.get("license", "not stated by torchvision")
    info = weights_info(entry.name, entry.url, file.sha256, licence, preset, left_out)
    return _backbone(net, family, preset, info)


def _family(name: str) -> Family:
    if name in NOT_A_CHAIN:
        raise ValueError(f"torchvision's {name!r} is not a chain of stages: {NOT_A_CHAIN[name]}")
    if name not in names():
        raise ValueError(f"torchvision has no backbone {name!r}.{did_you_mean(name, names())}")
    return next(family for pattern, family in FAMILIES.items() if fnmatchcase(name, pattern))


def _entry(name: str, tag: object) -> models.WeightsEnum:
    """Return torchvision's entry of the weights ``tag``: their address, transforms and metadata."""
    entries = models.get_model_weights(name)
    tags = ["default", *entries.__members__]
    if not isinstance(tag, str) or tag not in tags:
        listed = ", ".join(map(repr, tags))
        raise ValueError(
            f"weights of torchvision/{name} must be one of {listed}, None, or the path of a "
            f".safetensors, .pth or .pt file; got {tag!r}.{did_you_mean(tag, tags)}"
        )
    return entries["DEFAULT" if tag == "default" else tag]


def _preset(entry: models.WeightsEnum, family: Family) -> ImagePreset:
    """Return the preset that matches the weights' own transforms."""
    transforms = entry.transforms()
    return ImagePreset(
        size=transforms.crop_size[0],
        resize=transforms.resize_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
        sizes=family.sizes,
    )


def _config(name: str, size: int, *, transform_input: bool = False) -> dict[str, Any]:
    """Return the arguments of the network's builder."""
    if name.startswith("vit_"):
        return {"image_size": size}
    if name in ("googlenet", "inception_v3"):
        # torchvision's own weights of these two networks need rescaled images
        return {"aux_logits": False, "init_weights": True, "transform_input": transform_input}
    return {}


def _trained_size(family: Family, state: Mapping[str, Tensor]) -> int | None:
    """Return the image size of the position embedding in ``state``; None without one."""
    embedding = state.get("encoder.pos_embedding")
    if family.layout != "NLC" or embedding is None or embedding.ndim != 3:
        return None
    n_patches = max(embedding.shape[1] - family.n_prefix_tokens, 0)
    return isqrt(n_patches) * family.sizes.multiple or None


def _filled(
    name: str, family: Family, state: Mapping[str, Tensor], source: str, size: int
) -> tuple[nn.Module, list[str]]:
    """Build the network with the weights in ``state``; also return which were left out."""
    state = _rename(state)
    net, head = _skeleton(name, family, state, size)
    net = net.to_empty(device="cpu")
    return net, fill(net, state, source, optional=head)


def _skeleton(
    name: str, family: Family, state: Mapping[str, Tensor], size: int
) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the network for ``state`` on the meta device; also return the names in its head."""
    config = _config(name, _trained_size(family, state) or size, transform_input=True)
    net = _build_on_meta(name, **config)
    *_, last = net.state_dict()  # a tensor of the network's own head
    if last in state and state[last].ndim and len(state[last]) != len(net.state_dict()[last]):
        net = _build_on_meta(name, num_classes=len(state[last]), **config)
    return net, tuple(f"{part}." for part in family.rows(net)["classifier"].split())


def likely(state: Mapping[str, Tensor], path: str) -> list[str]:  # noqa: ARG001 - sizes are surer
    """List the models that ``state`` may belong to, those with the nearest size first."""
    size = sum(tensor.numel() for tensor in state.values())

    def distance(name: str) -> float:
        n_parameters = models.get_model_weights(name)["DEFAULT"].meta["num_params"]
        return abs(log(n_parameters / max(size, 1)))

    state = _rename(state)
    return sorted((name for name in names() if _family(name).begins_like(state)), key=distance)


def matches(name: str, state: Mapping[str, Tensor]) -> bool:
    """Return True if the stages of ``name`` have the tensors in ``state``."""
    family, state = _family(name), _rename(state)
    size = _preset(_entry(name, "default"), family).size
    net, head = _skeleton(name, family, state, size)
    return fits(net, state, head)


def _build_on_meta(name: str, **config: Any) -> nn.Module:
    """Build a network on the meta device, which spares its random initialization."""
    if name.startswith("regnet_"):  # its builder computes widths with tensors, which needs a CPU
        return models.get_model(name, weights=None, **config)  # type: ignore[no-any-return]  # torchvision has no types
    return deepcopy(_built(name, tuple(config.items())))


@lru_cache(maxsize=8)  # a search builds the same network often; on meta it needs no memory
def _built(name: str, config: tuple[tuple[str, Any], ...]) -> nn.Module:
    with torch.device("meta"):
        net: nn.Module = models.get_model(name, weights=None, **dict(config))
    return net


def _rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of older versions, and drop auxiliary heads and tensors of NaN.

    Files that contain the features only have a classifier of NaN.
    """
    kept = {
        key: tensor
        for key, tensor in state.items()
        if not key.startswith(_AUXILIARY) and not tensor.flatten()[:1].isnan().any()
    }
    for old, new in _RENAMED:
        kept = {old.sub(new, key): tensor for key, tensor in kept.items()}
    return kept


def _backbone(
    net: nn.Module, family: Family, preset: ImagePreset, info: Mapping[str, Any]
) -> Backbone:
    for name, module in glue(net).items():
        if not hasattr(net, name):
            net.add_module(name, module)
    stages = split(net, **family.rows(net))
    classifier = stages.pop("classifier")
    return Backbone(
        stages,
        preset,
        None if "classifier" in info else classifier,  # not in the file
        layout=family.layout,
        n_prefix_tokens=family.n_prefix_tokens,
        weights_info=info,
    )
