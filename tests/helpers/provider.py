"""A provider of the tiny backbone."""

from helpers.tiny import tiny_backbone
from torch import nn


class TinyProvider:
    """The tiny backbone; its weights, and what else ``change`` does, depend on ``weights``."""

    def names(self):
        return ["net"]

    def load(self, name, weights):
        backbone = tiny_backbone()
        if weights is None:
            for parameter in backbone.parameters():
                nn.init.normal_(parameter)
        elif weights == "wide":
            backbone.stages["layer2"][0] = nn.Conv2d(12, 16, 5, 2, 2)
        elif weights == "leaky":
            backbone.stages["layer2"][2].slope = 0.5  # neither printed nor a tensor
        backbone.weights_info = {"tag": weights, "mean": (0.1, 0.2)}
        return backbone
