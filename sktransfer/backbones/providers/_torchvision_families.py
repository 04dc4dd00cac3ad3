"""Tables that divide families of torchvision's networks into stages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ...data import ImageSizes

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

    def begins_like(self, names: Collection[str]) -> bool:
        """Return True if each stage may have some of the tensors ``names``, by its submodules."""
        if callable(self.table):
            return True
        *stages, _ = self.table.values()
        modules = ([part.partition("[")[0] + "." for part in row.split()] for row in stages)
        return all(any(name.startswith(tuple(parts)) for name in names) for parts in modules)

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
