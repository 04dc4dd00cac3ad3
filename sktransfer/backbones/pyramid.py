"""A chain of stages as the backbone of torchvision's detectors and segmentation networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from .._support.validation import check_choice, check_int
from .backbone import Backbone
from .batch_norm import freeze_batch_norm
from .cut import find_cut, is_pretrained
from .maps import as_map, choose_maps, map_shapes
from .registry import get_backbone


class FeaturePyramid(nn.Module):
    """A backbone followed by a feature pyramid network [1]_; :func:`feature_pyramid` makes one.

    Frozen stages stay frozen in training mode: they get no gradient, and their batch norm keeps
    its statistics.

    Parameters
    ----------
    backbone : Backbone
        Its cut divides the frozen stages from those that train.
    stages : sequence of str or None
        The stages whose outputs enter the pyramid.
    out_channels : int
        Number of channels of each map.
    freeze_bn : bool
        If True, batch norm after the cut stays in evaluation mode, too.
    output : {"maps", "out"}

    Attributes
    ----------
    backbone : Backbone
    stages : list of str
    out_channels : int

    References
    ----------
    .. [1] T. Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017,
       https://arxiv.org/abs/1612.03144
    """

    def __init__(
        self,
        backbone: Backbone,
        stages: Sequence[str] | None,
        out_channels: int,
        freeze_bn: bool,
        output: str,
    ):
        super().__init__()
        maps = choose_maps(map_shapes(backbone), stages)
        self.backbone = backbone.truncate(maps[-1].cut)
        self.stages = [shape.name for shape in maps]
        self.out_channels = out_channels
        self.freeze_bn = freeze_bn
        self.output = output
        self.fpn = _make_fpn([shape.n_channels for shape in maps], out_channels, output == "maps")

    def train(self, mode: bool = True) -> FeaturePyramid:
        """Set training or evaluation mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        if self.freeze_bn:
            freeze_batch_norm(self.backbone)
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of a batch of normalised images, (b, 3, h, w), by name."""
        backbone, input_size = self.backbone, x.shape[-2:]
        maps: dict[str, Tensor] = {}
        for name, stage in backbone.stages.items():
            x = stage(x)
            if name in self.stages:
                key = str(len(maps))
                maps[key] = as_map(x, backbone.layout, backbone.n_prefix_tokens, input_size)
        levels: dict[str, Tensor] = self.fpn(maps)
        return levels if self.output == "maps" else {"out": levels["0"]}


def _make_fpn(n_channels: list[int], out_channels: int, pools: bool) -> nn.Module:
    """Make torchvision's feature pyramid network, which is imported late."""
    from torchvision.ops import FeaturePyramidNetwork
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

    extra = LastLevelMaxPool() if pools else None
    net: nn.Module = FeaturePyramidNetwork(n_channels, out_channels, extra)
    return net


def feature_pyramid(
    backbone: str | Callable[[], Backbone] | Backbone,
    *,
    weights: Any = "default",
    unfreeze: int | str = 1,
    stages: Sequence[str] | None = None,
    out_channels: int = 256,
    freeze_bn: str = "auto",
    output: str = "maps",
) -> FeaturePyramid:
    """Make a module that torchvision's detectors and segmentation networks take as backbone.

    The network is a chain of stages, followed by a feature pyramid network [1]_.  Frozen stages
    stay frozen when the detector is set to training mode: their weights and the statistics of
    their batch norm do not move.

    Parameters
    ----------
    backbone : str, callable or Backbone
        An address (``"provider/model"``), a callable without arguments that returns a backbone, or
        a backbone, such as the ``backbone_`` of a fitted estimator.  A backbone is copied.
    weights : str, path-like or None, default="default"
        The weights, as for :func:`get_backbone`.  Not used if ``backbone`` is no address.
    unfreeze : int, "all" or str, default=1
        The stages that train: their number, counted from the last one, "all", or the name of the
        first one.
    stages : sequence of str or None, default=None
        The stages whose outputs enter the pyramid.  None means the last stage of each resolution,
        of the last four resolutions.
    out_channels : int, default=256
        Number of channels of each map.
    freeze_bn : {"auto", "frozen", "all"}, default="auto"
        The batch-norm layers that stay in evaluation mode: those of the frozen stages, or all,
        because the batches of a detector are small.  "auto" means "all" for pretrained weights,
        and "frozen" otherwise.
    output : {"maps", "out"}, default="maps"
        "maps" returns a map for each stage, by the names "0", "1" and so on, and a coarser one,
        "pool", as the detectors of torchvision expect.  "out" returns the finest map by the name
        "out", as its segmentation networks expect.

    Returns
    -------
    FeaturePyramid
        A module that maps a batch of normalised images to a dict of maps.  Its ``backbone.preset``
        has the mean and the standard deviation.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or if the backbone makes no feature maps of images.

    References
    ----------
    .. [1] T. Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017,
       https://arxiv.org/abs/1612.03144

    Examples
    --------
    >>> import torch
    >>> from torchvision.models.detection import FasterRCNN
    >>> from sktransfer import feature_pyramid
    >>> pyramid = feature_pyramid("builtin/mini", unfreeze=1, out_channels=32)
    >>> preset = pyramid.backbone.preset
    >>> detector = FasterRCNN(
    ...     pyramid, num_classes=2, min_size=64, image_mean=preset.mean, image_std=preset.std
    ... )
    >>> found = detector.eval()([torch.zeros(3, 64, 64)])
    >>> sorted(found[0])
    ['boxes', 'labels', 'scores']
    """
    check_int("out_channels", out_channels, 1)
    check_choice("freeze_bn", freeze_bn, ("auto", "frozen", "all"))
    check_choice("output", output, ("maps", "out"))
    if isinstance(backbone, Backbone):
        chain = deepcopy(backbone)
    else:
        chain = get_backbone(backbone, weights)
    all_bn = freeze_bn == "all" or (freeze_bn == "auto" and is_pretrained(chain))
    pyramid = FeaturePyramid(chain, stages, out_channels, all_bn, output)
    chain.freeze_to(find_cut(chain, unfreeze, also=()))
    return pyramid.train()
