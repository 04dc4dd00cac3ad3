"""A tiny backbone, in a module so that pickles and worker processes find it."""

import numpy as np
import torch
from PIL import Image
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


def coloured_photos(n_each=12, shape=(24, 20), seed=0, names=("blue", "green", "red")):
    """Noisy photos of one colour a class, and their labels."""
    rng = np.random.default_rng(seed)
    colours = np.array([[60, 60, 200], [60, 200, 60], [200, 60, 60]])[: len(names)]
    index = np.repeat(np.arange(len(names)), n_each)
    noise = rng.normal(0, 60, (len(index), *shape, 3))
    photos = np.clip(colours[index][:, None, None] + noise, 0, 255).astype(np.uint8)
    order = rng.permutation(len(index))
    return photos[order], np.array(names)[index[order]]


def coloured_files(folder):
    """Write ten photos of each colour to ``folder``; return their paths and labels."""
    photos, y = coloured_photos(n_each=10)
    paths = [str(folder / f"{index}.png") for index in range(len(y))]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo).save(path)
    return paths, y
