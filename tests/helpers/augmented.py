"""An image, a preset and augmentations for tests of augmentation."""

import random

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from sktransfer.data.augmentation import resolve_augment
from sktransfer.data.presets import ImagePreset
from sktransfer.data.variants import NAMED

PRESET = ImagePreset(size=28)  # images are resized to a short side of 32


def flipped(image):
    return image.flip(-1)


def jittered(image):
    """Scale the pixels by numbers from all three global generators."""
    drawn = torch.rand(()).item() + np.random.rand() + random.random()  # noqa: NPY002 - users draw from it
    return (image * (drawn / 3)).to(image.dtype)


AUGMENTS = [*NAMED, v2.RandomResizedCrop(20), jittered]


def soft_photo(rng):
    """Return soft shapes, 48 x 64: neighbours are alike, and the four quarters are not."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((64, 48), Image.Resampling.BICUBIC))


def variants(augment, item, n=8, preset=PRESET):
    """Return the variants of the first ``n`` seeds."""
    augmentation = resolve_augment(augment, preset)
    return [augmentation(item, seed) for seed in range(n)]
