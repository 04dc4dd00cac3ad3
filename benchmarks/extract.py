"""Claim: features of JPEG photos come 1.15 to 2 times faster than from a plain PyTorch loop.

    python benchmarks/extract.py [--quick] [MODEL ...]

The loop is written as the PyTorch tutorials write it (a data set, a DataLoader with workers,
``eval()``, ``no_grad()``), with the batch size and the number of workers that suit it best on two
cores.  Both do the whole job, from the same files with the same weights, and agree to 1e-5 of each
row's norm; JPEG draft scaling is off, so that the decoder's settings are the same too.
``precision="auto"`` is measured where the processor has units for bfloat16.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from _common import QUICK, at_least, median_ratio, write_photos, write_weights
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

from sktransfer import PretrainedFeatureExtractor
from sktransfer._support.device import resolve_precision

# model -> image size, bar in float32, bar with precision="auto"
BARS = {
    "resnet18": (224, 1.2, 2.0),
    "vgg16": (150, 1.15, 2.0),
    "mobilenet_v2": (224, 2.0, 3.0),
}
QUICK_BARS = {"resnet18": (64, 0.0, 0.0)}
N_PHOTOS, N_REPEATS = (8, 1) if QUICK else (96, 5)
BATCH_SIZE, N_WORKERS = (4, 0) if QUICK else (32, 2)


class Photos(Dataset):
    """Photos of the tutorial: a path opened, then transformed."""

    def __init__(self, paths, image_size):
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.Resize(round(image_size / 0.875)),
                transforms.CenterCrop(image_size),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def without_classifier(net):
    """``net`` as the tutorials make it a feature extractor: its last layer replaced."""
    net.avgpool = nn.AdaptiveAvgPool2d(1)  # VGG's own keeps 7 x 7 positions
    setattr(net, "fc" if hasattr(net, "fc") else "classifier", nn.Identity())
    return net


def plain_loop(net, paths, image_size):
    """Features of ``paths``, the plain way."""
    loader = DataLoader(Photos(paths, image_size), batch_size=BATCH_SIZE, num_workers=N_WORKERS)
    net.eval()
    with torch.no_grad():
        return torch.cat([net(inputs) for inputs in loader]).numpy()


def measure(model, image_size, paths, folder):
    """The ratios of one model, and how far its features are from the plain loop's."""
    torch.manual_seed(0)
    weights = write_weights(models.get_model(model), folder / f"{model}.safetensors", image_size)
    net = models.get_model(model)
    net.load_state_dict(load_file(weights))
    net = without_classifier(net)
    fitted = {
        precision: PretrainedFeatureExtractor(
            f"torchvision/{model}",
            weights=weights,
            preset={"draft": False},
            precision=precision,
            device="cpu",
            verbose=0,
        ).fit(paths)
        for precision in ("float32", "auto")
    }
    weights.unlink()

    def plain():
        return plain_loop(net, paths, image_size)

    expected, features = plain(), fitted["float32"].transform(paths)
    error = np.linalg.norm(features - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() <= 1e-5, f"{model}: features differ by {error.max():.2g} of their norm"
    result = {
        "float32": median_ratio(plain, lambda: fitted["float32"].transform(paths), N_REPEATS),
        "difference": float(error.max()),
    }
    if resolve_precision("auto", torch.device("cpu")) == torch.bfloat16:
        result["auto"] = median_ratio(plain, lambda: fitted["auto"].transform(paths), N_REPEATS)
    else:
        result["auto"] = "skipped: this processor has no units for bfloat16"
    return result


bars = QUICK_BARS if QUICK else BARS
wanted = [name for name in sys.argv[1:] if not name.startswith("-")] or list(bars)
with tempfile.TemporaryDirectory() as name:
    photos = write_photos(Path(name) / "photos", N_PHOTOS)
    results = {model: measure(model, bars[model][0], photos, Path(name)) for model in wanted}

rows = [
    at_least(
        f"features, `{model}` at {bars[model][0]} pixels, against a plain loop, {precision}",
        result[precision],
        bar,
    )
    for model, result in results.items()
    for precision, bar in zip(("float32", "auto"), bars[model][1:], strict=True)
]
print(json.dumps({"rows": rows, **results}, indent=2))
reached = {row["claim"]: row["holds"] for row in rows}
assert False not in reached.values(), f"each must be as much faster as it is claimed: {reached}"
