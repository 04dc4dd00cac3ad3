"""The network of ``builtin/mini``: fused inverted bottlenecks first, separable ones after.

M. Tan and Q. Le, "EfficientNetV2: Smaller Models and Faster Training", ICML 2021,
https://arxiv.org/abs/2104.00298, without its attention, scaled down to run on a CPU.
"""

from __future__ import annotations

from torch import Tensor, nn

# For each stage after the stem: channels, number of blocks, stride, expansion factor, and True if
# its blocks are fused.  The last stage has stride 1: in a 64-pixel image, objects are too small for
# a feature map of 2 x 2.
PLAN = ((40, 1, 2, 2, True), (64, 2, 2, 3, True), (128, 2, 2, 2, True), (192, 4, 1, 4, False))
STEM, LAST = 32, 1024


def conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Build a padded convolution, followed by batch norm."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """An inverted bottleneck, with a residual connection if the shapes agree.

    A fused block expands the channels with a 3 x 3 convolution; other blocks expand them with a
    1 x 1 convolution, followed by a depthwise 3 x 3 convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int, fused: bool):
        super().__init__()
        wide = inputs * expand
        if fused:
            spatial = [conv(inputs, wide, 3, stride), nn.ReLU()]
        else:
            spatial = [conv(inputs, wide, 1), nn.ReLU()]
            spatial += [conv(wide, wide, 3, stride, wide), nn.ReLU()]
        self.body = nn.Sequential(*spatial, conv(wide, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        """Return feature maps of shape (b, outputs, h / stride, w / stride)."""
        changed: Tensor = self.body(maps)
        return maps + changed if self.residual else changed


def mini_stages() -> dict[str, nn.Module]:
    """Build the five stages; an image of ``s`` pixels gives a map of ``s / 16``, 1024 channels."""
    stages: dict[str, nn.Module] = {"stem": nn.Sequential(conv(3, STEM, 3, 2), nn.ReLU())}
    width = STEM
    for index, (outputs, depth, stride, expand, fused) in enumerate(PLAN, start=1):
        blocks: list[nn.Module] = []
        for block in range(depth):
            blocks.append(Bottleneck(width, outputs, 1 if block else stride, expand, fused))
            width = outputs
        if index == len(PLAN):
            blocks += [conv(width, LAST, 1), nn.ReLU()]
        stages[f"layer{index}"] = nn.Sequential(*blocks)
    return stages
