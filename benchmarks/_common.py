"""What the benchmarks share: photos on disk, weights that are alive, ratios that can be trusted."""

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

QUICK = "--quick" in sys.argv


def write_photos(folder, n_photos, start=0, size=(500, 375)):
    """Paths of ``n_photos`` JPEG files of quality 90: smooth shapes under fine grain."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:05d}.jpg" for index in range(start, start + n_photos)]
    width, height = size
    for seed, path in enumerate(paths, start=start):
        rng = np.random.default_rng(seed)
        shapes = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(shapes).resize(size, Image.Resampling.BICUBIC))
        grain = rng.normal(0, 6, (height, width, 1))
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def write_weights(net, path, image_size):
    """The path of random weights of ``net``, with batch statistics as training leaves them.

    Fresh batch norms hold mean 0 and variance 1: activations would vanish on their way through a
    deep network, and comparing its features would compare zeros.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over the batches that follow
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    with torch.no_grad():
        for _ in range(2):
            net.train()(torch.randn(8, 3, image_size, image_size))
    save_file(net.eval().state_dict(), path, {"input_size": str(image_size), "crop": "0.875"})
    return path


def seconds(job):
    """What ``job()`` returns, and its wall time in seconds."""
    start = perf_counter()
    result = job()
    return result, perf_counter() - start


def median_ratio(slow, fast, n_repeats):
    """The median of ``slow``'s time over ``fast``'s, in turns, after one run of each to warm up."""
    slow(), fast()
    ratios = []
    for _ in range(n_repeats):
        _, slow_seconds = seconds(slow)
        _, fast_seconds = seconds(fast)
        ratios.append(slow_seconds / fast_seconds)
    return round(median(ratios), 3)
