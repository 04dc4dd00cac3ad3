"""Source images decoded once, and fixed random views of them as batched tensor operations."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Source:
    """Decoded images ``(n, side, side, 3)`` uint8 and their classes ``(n,)``."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def load_source(root: Path, cache: Path, side: int = 64) -> Source:
    """Images of the class folders in ``root``, decoded on the first call into ``cache``."""
    classes = tuple(sorted(folder.name for folder in root.iterdir() if folder.is_dir()))
    paths = [path for name in classes for path in sorted((root / name).iterdir())]
    labels = np.array([classes.index(path.parent.name) for path in paths], dtype=np.int64)
    stored = cache / f"{root.name}-{len(paths)}-{side}.npy"
    if not stored.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".partial")
        shape = (len(paths), side, side, 3)
        images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        for row, path in enumerate(paths):
            with Image.open(path) as photo:
                rgb = photo.convert("RGB")
            images[row] = rgb if rgb.size == (side, side) else rgb.resize((side, side))
        images.flush()
        partial.rename(stored)
    return Source(np.load(stored, mmap_mode="c"), labels, classes)


@dataclass(frozen=True)
class Views:
    """Parameters ``(n, 8)`` of one random view per image.

    Columns: width and height of the crop as shares of the image, its centre in ``[-1, 1]``,
    flip (-1 or 1), brightness, contrast and saturation factors.
    """

    table: Tensor

    @classmethod
    def draw(cls, count: int, seed: int, smallest: float = 0.3) -> "Views":
        """Views of ``count`` images, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(count, 8, generator=generator)
        area = smallest + (1 - smallest) * uniform[:, 0]
        ratio = torch.exp((2 * uniform[:, 1] - 1) * math.log(4 / 3))
        width = (area * ratio).sqrt().clamp(max=1)
        height = (area / ratio).sqrt().clamp(max=1)
        x, y = (1 - width) * (2 * uniform[:, 2] - 1), (1 - height) * (2 * uniform[:, 3] - 1)
        flip = (uniform[:, 4] < 0.5).float() * 2 - 1
        colour = 1 + 0.3 * (2 * uniform[:, 5:8] - 1)
        return cls(torch.cat([torch.stack([width, height, x, y, flip], 1), colour], 1))


WHOLE = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])  # the view that changes nothing


def taps(centre: Tensor, extent: Tensor, side: int, size: int) -> Tensor:
    """Weights ``(n, size, side)`` that resample a line of ``side`` pixels to ``size``.

    Of the line, ``extent`` (mirrored where negative) around ``centre`` in ``[-1, 1]`` is seen,
    through the cubic kernel of Pillow, widened where pixels are dropped.
    """
    steps = (torch.arange(size, device=centre.device) + 0.5) * (2 / size) - 1
    seen = (centre[:, None] + extent[:, None] * steps + 1) * (side / 2) - 0.5  # (n, size)
    dropped = (extent.abs() * (side / size)).clamp_min(1)[:, None, None]
    distance = (seen[:, :, None] - torch.arange(side, device=centre.device)).abs_().div_(dropped)
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, far).mul_(distance < 2)
    return weights.div_(weights.sum(2, keepdim=True))


def render(images: Tensor, views: Tensor, size: int) -> Tensor:
    """Views ``(n, 3, size, size)`` in ``[-1, 1]``, channels last, of uint8 ``(n, h, w, 3)``."""
    count, rows, columns = images.shape[:3]
    width, height, x, y, flip = views[:, :5].unbind(1)
    pixels = images.permute(0, 3, 1, 2).reshape(count, -1, columns).float().div_(255)
    # Two products of matrices are several times faster than grid_sample, and do not alias.
    crops = pixels @ taps(x, width * flip, columns, size).mT  # (n, 3 * rows, size)
    crops = taps(y, height, rows, size)[:, None] @ crops.view(count, 3, rows, size)
    brightness, contrast, saturation = (views[:, k].view(-1, 1, 1, 1) for k in (5, 6, 7))
    crops = crops * brightness
    crops = torch.lerp(crops.mean((1, 2, 3), keepdim=True), crops, contrast)
    crops = torch.lerp(crops.mean(1, keepdim=True), crops, saturation)
    return crops.clamp_(0, 1).mul_(2).sub_(1).contiguous(memory_format=torch.channels_last)
