"""Shared parts of the benchmarks: photos on disk, weights that are alive, and ratios of times."""

import sys
import zipfile
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.model_selection import train_test_split
from torch import nn

QUICK = "--quick" in sys.argv
SHARED = Path(__file__).resolve().parents[2] / "shared"
N_PHOTOS, SIZE = (24, 64) if QUICK else (397, 224)  # as many as hymenoptera has


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


def photo_options():
    """The options of a benchmark that is measured on real photos."""
    parser = ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    weights = SHARED / "weights" / "mobilenet_v2_imagenet.safetensors"
    parser.add_argument("--weights", type=Path, default=weights)
    return parser


def photo_set(name, data, folder):
    """Paths and classes of a set, a zip unpacked into ``folder``; None where it is not there."""
    root = data / name
    if not root.is_dir():
        if not (data / f"{name}.zip").exists():
            return None
        with zipfile.ZipFile(data / f"{name}.zip") as archive:
            archive.extractall(folder)
        root = folder / name
    return classified(root)


def generated_set(name, folder, n_photos):
    """Paths and classes of photos of two classes that differ in nothing."""
    write_photos(folder / name / "a", n_photos // 2)
    write_photos(folder / name / "b", n_photos - n_photos // 2, start=n_photos // 2)
    return classified(folder / name)


def classified(root):
    """Paths of the photos below ``root``, and the folder of each as its class."""
    paths = sorted(root.rglob("*.jpg"))
    return np.array([str(path) for path in paths]), np.array([path.parent.name for path in paths])


@dataclass(frozen=True)
class Task:
    """Photos, their classes, and the weights of a MobileNetV2.

    What is not there is made: generated photos, random weights.  Times can be compared on them,
    accuracies cannot: ``made`` names them.
    """

    photos: np.ndarray
    labels: np.ndarray
    weights: Path
    made: tuple[str, ...]

    def few(self, n):
        """The positions of the first ``n`` photos of each class."""
        classes = np.unique(self.labels)
        return np.concatenate([np.flatnonzero(self.labels == name)[:n] for name in classes])

    def about(self):
        """Describe the photos for the results."""
        return {"photos": len(self.photos), "size": SIZE, "made": list(self.made)}


def photo_task(given, folder):
    """Hymenoptera and pretrained weights, as the options say where they are."""
    from torchvision.models import mobilenet_v2

    found = None if QUICK else photo_set("hymenoptera", given.data, folder)
    weights = None if QUICK or not given.weights.exists() else given.weights
    absent = {"generated photos": found, "random weights": weights}
    made = tuple(name for name, there in absent.items() if there is None)
    if weights is None:
        torch.manual_seed(0)
        weights = write_weights(mobilenet_v2(), folder / "weights.safetensors", SIZE)
    return Task(*(found or generated_set("generated", folder, N_PHOTOS)), weights, made)


def split(photos, labels, seed=0):
    """Photos and labels of two thirds to train on, and of the rest."""
    parts = train_test_split(photos, labels, test_size=1 / 3, stratify=labels, random_state=seed)
    return (parts[0], parts[2]), (parts[1], parts[3])


def at_least(claim, measured, bar, details=""):
    """A row of the table of all benchmarks; ``holds`` is None where nothing can be judged."""
    holds = None
    if not isinstance(measured, str):
        measured = round(float(measured), 4)
        holds = None if bar is None else measured >= bar
    return {"claim": claim, "bar": bar, "measured": measured, "details": details, "holds": holds}


def at_most(claim, measured, bar, unit="", details=""):
    """A row of what may not be more than its bar: both are texts, with their unit."""
    row = {"claim": claim, "bar": f"at most {bar:g}{unit}", "measured": f"{measured:.2f}{unit}"}
    return row | {"details": details, "holds": bool(measured <= bar)}


def seconds(job):
    """Return the result of ``job()``, and its wall time in seconds."""
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


def processor_seconds(jobs, n_repeats):
    """Name -> the processor time of each run of a job, in turns, after one run to warm up."""
    times = {name: [] for name in jobs}
    for turn in range(n_repeats + 1):
        for name, job in jobs.items():
            start = process_time()
            job()
            if turn:
                times[name].append(process_time() - start)
    return times


def over(times, name, other):
    """The median of the times of one job over those of another in the same turn."""
    return median(a / b for a, b in zip(times[name], times[other], strict=True))
