"""torchvision's classification networks, divided into stages by tables.

A new stage begins where the resolution halves, so that ``unfreeze=k`` means much the same in every
family.  All sizes of a family share a table; if a boundary depends on the size, a function makes
the table from the network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from math import isqrt
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from ..._support.validation import did_you_mean
from ...data import ImagePreset, ImageSizes
from ..backbone import Backbone, split
from ..download import download
from ..weights import fill, is_path, read_download, read_weights, weights_info
from ._torchvision_layers import glue

# The reason for each classification network that is not a chain of stages.  In torchvision 0.29,
# all networks are chains.
NOT_A_CHAIN: dict[str, str] = {}

_ANY_SIZE = ImageSizes(minimum=1)


@dataclass(frozen=True)
class Family:
    """The division of a family of networks into stages.

    Parameters
    ----------
    table : mapping of str to str, or callable
        The stages as :func:`split` takes them, and the classifier as the last row; or a function
        that computes this table from the network.
    sizes : ImageSizes
        The image sizes that the networks can take.
    layout : str, default="NCHW"
        The layout of the stages' outputs.
    n_prefix_tokens : int, default=0
        The number of leading tokens that are no positions.
    """

    table: Mapping[str, str] | Callable[[nn.Module], Mapping[str, str]]
    sizes: ImageSizes = _ANY_SIZE
    layout: str = "NCHW"
    n_prefix_tokens: int = 0

    def rows(self, net: nn.Module) -> Mapping[str, str]:
        """Return the table of ``net``, which is one of the family."""
        return self.table(net) if callable(self.table) else self.table


def _table(*rows: str) -> dict[str, str]:
    """Name the rows of a table: a stem, the layers, and the classifier."""
    stem, *layers, classifier = rows
    named = {f"layer{index}": row for index, row in enumerate(layers, start=1)}
    return {"stem": stem, **named, "classifier": classifier}


def _features(*starts: int, classifier: str) -> dict[str, str]:
    """Make a table of stages that begin at the children ``starts`` of ``features``."""
    stops = [*map(str, starts[1:]), ""]
    rows = [f"features[{start}:{stop}]" for start, stop in zip(starts, stops, strict=True)]
    return _table(*rows, classifier)


def _vgg(net: Any) -> dict[str, str]:
    """Make a table of five blocks, each of which ends with its pooling."""
    stops = [i + 1 for i, layer in enumerate(net.features) if isinstance(layer, nn.MaxPool2d)]
    starts = [0, *stops[:-1]]
    blocks = [f"features[{start}:{stop}]" for start, stop in zip(starts, stops, strict=True)]
    named = {f"block{index}": block for index, block in enumerate(blocks, start=1)}
    return {**named, "classifier": "avgpool flatten classifier"}


def _vit(net: Any) -> dict[str, str]:
    """Make a table of the tokens and four groups of as many blocks each."""
    length = len(net.encoder.layers) // 4
    groups = [f"encoder.layers[{i * length}:{(i + 1) * length}]" for i in range(4)]
    groups[-1] += " encoder.ln"
    return _table("tokens", *groups, "first_token heads")


# Families by a pattern of their names; the first pattern that matches is used.  The minimum sizes
# were found by trying; tests/backbones/providers/test_torchvision.py repeats that.
FAMILIES: dict[str, Family] = {
    "alexnet": Family(
        _features(0, 3, 6, 8, 10, classifier="avgpool flatten classifier"), ImageSizes(minimum=63)
    ),
    "vgg*": Family(_vgg, ImageSizes(minimum=32)),
    "*resne[tx]*": Family(
        _table(
            "conv1 bn1 relu maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool flatten fc"
        )
    ),
    "densenet*": Family(
        _table(
            "features.conv0 features.norm0 features.relu0 features.pool0",
            "features.denseblock1",
            "features.transition1 features.denseblock2",
            "features.transition2 features.denseblock3",
            "features.transition3 features.denseblock4 features.norm5 rectify",
            "average flatten classifier",
        ),
        ImageSizes(minimum=29),
    ),
    "googlenet": Family(
        _table(
            "rescale conv1 maxpool1",
            "conv2 conv3",
            "maxpool2 inception3a inception3b",
            "maxpool3 inception4a inception4b inception4c inception4d inception4e",
            "maxpool4 inception5a inception5b",
            "avgpool flatten dropout fc",
        ),
        ImageSizes(minimum=15),
    ),
    "inception_v3": Family(
        _table(
            "rescale Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1",
            "Conv2d_3b_1x1 Conv2d_4a_3x3",
            "maxpool2 Mixed_5b Mixed_5c Mixed_5d",
            "Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e",
            "Mixed_7a Mixed_7b Mixed_7c",
            "avgpool dropout flatten fc",
        ),
        ImageSizes(minimum=75),
    ),
    "mobilenet_v2": Family(_features(0, 4, 8, 15, classifier="average flatten classifier")),
    "mobilenet_v3_large": Family(
        _features(0, 2, 4, 7, 13, classifier="avgpool flatten classifier")
    ),
    "mobilenet_v3_small": Family(_features(0, 1, 2, 4, 9, classifier="avgpool flatten classifier")),
    "efficientnet_*": Family(_features(0, 2, 3, 4, 6, classifier="avgpool flatten classifier")),
    "convnext_*": Family(
        _features(0, 1, 2, 4, 6, classifier="avgpool classifier"), ImageSizes(minimum=32)
    ),
    "regnet_*": Family(
        _table("stem", *(f"trunk_output.block{i}" for i in (1, 2, 3, 4)), "avgpool flatten fc")
    ),
    "shufflenet_v2_*": Family(
        _table("conv1 maxpool", "stage2", "stage3", "stage4 conv5", "mean fc")
    ),
    "squeezenet1_0": Family(
        _features(0, 3, 6, 11, classifier="classifier flatten"), ImageSizes(minimum=21)
    ),
    "squeezenet1_1": Family(
        _features(0, 3, 5, 8, classifier="classifier flatten"), ImageSizes(minimum=17)
    ),
    "mnasnet*": Family(
        _table(
            "layers[0:8]",
            "layers[8:9]",
            "layers[9:10]",
            "layers[10:12]",
            "layers[12:17]",
            "mean classifier",
        )
    ),
    **{
        f"vit_*_{patch}": Family(_vit, ImageSizes(minimum=patch, multiple=patch), "NLC", 1)
        for patch in (14, 16, 32)
    },
    "swin_*": Family(
        _table(
            "features[0:1]",
            "features[1:2]",
            "features[2:4]",
            "features[4:6]",
            "features[6:8] norm",
            "permute avgpool flatten head",
        ),
        ImageSizes(minimum=4),
        "NHWC",
    ),
    "maxvit_*": Family(
        _table("stem", *(f"blocks.{i}" for i in range(4)), "classifier"), ImageSizes(only=(224,))
    ),
}

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


def _from_tag(name: str, family: Family, tag: object) -> Backbone:
    entry = _entry(name, tag)
    preset = _preset(entry, family)
    file = read_download(partial(_download, name, entry))
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


def _download(name: str, entry: models.WeightsEnum, again: bool) -> tuple[Path, str | None]:
    """Return the file of weights in torchvision's cache, and the first digits of its hash."""
    filename = entry.url.rpartition("/")[2]
    prefix = re.search(r"-([0-9a-f]+)\.", filename)  # as torch.hub reads it
    sha256_prefix = prefix[1] if prefix else None
    path = download(
        entry.url,
        Path(torch.hub.get_dir()) / "checkpoints",
        filename,
        sha256_prefix=sha256_prefix,
        address=f"torchvision/{name}",
        tag=None if entry is type(entry)["DEFAULT"] else entry.name,
        again=again,
    )
    return path, sha256_prefix


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
    config = _config(name, _trained_size(family, state) or size, transform_input=True)
    net = _build_on_meta(name, **config)
    *_, last = net.state_dict()  # a tensor of the network's own head
    if last in state and state[last].ndim and len(state[last]) != len(net.state_dict()[last]):
        net = _build_on_meta(name, num_classes=len(state[last]), **config)
    head = tuple(f"{part}." for part in family.rows(net)["classifier"].split())
    net = net.to_empty(device="cpu")
    return net, fill(net, state, source, optional=head)


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
