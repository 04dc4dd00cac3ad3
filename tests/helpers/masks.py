"""Images of two textures, and masks of the places of one of them."""

from os import PathLike

import numpy as np
from PIL import Image


def masked_images(n, seed=0, values=(0, 1)):
    """Return noisy images of several sizes with a bright rectangle, and their masks."""
    rng = np.random.default_rng(seed)
    images, masks = [], []
    for _ in range(n):
        height, width = rng.integers(36, 56, 2)
        image = rng.integers(80, 120, (height, width, 3), dtype=np.uint8)
        mask = np.full((height, width), values[0], np.uint8)
        top, left = rng.integers(2, 12, 2)
        mask[top : top + 20, left : left + 22] = values[1]
        image[mask == values[1]] += 110
        images.append(image)
        masks.append(mask)
    return images, masks


def masked_files(folder, n, seed=0):
    """Write images and masks as PNG files, and return their paths."""
    images, masks = masked_images(n, seed)
    paths = [(folder / f"{at}.png", folder / f"{at}_mask.png") for at in range(n)]
    for (image_path, mask_path), image, mask in zip(paths, images, masks, strict=True):
        Image.fromarray(image).save(image_path)
        Image.fromarray(mask).save(mask_path)
    return [str(image) for image, _ in paths], [mask for _, mask in paths]


class CountedPath(PathLike):
    """A path that counts how often its file is opened."""

    def __init__(self, path):
        self.path = path
        self.n_reads = 0

    def __fspath__(self):
        self.n_reads += 1
        return str(self.path)
