"""A tiny backbone, in a module so that pickles and worker processes find it."""

import torch
from torch import nn

from sktransfer import Backbone, ImagePreset


def tiny_stages():
    return {
        "stem": nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
        "layer1": nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU()),
        "layer2": nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
    }


def tiny_backbone():
    """Three stages, batch norm with lively statistics, four classes."""
    torch.manual_seed(0)
    stages = tiny_stages()
    for module in nn.ModuleDict(stages).modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    return Backbone(stages, ImagePreset(size=16, crop=1.0), classifier)
