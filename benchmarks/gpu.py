"""Claim: on a GPU, features come at 0.9 of the network's own rate, and fits at a plain loop's rate.

    python benchmarks/gpu.py [--quick] [--device DEVICE]

Photos are decoded already where the GPU is measured; from JPEG files, the processor's decoding is
the limit, so that rate has no bar.  The plain loop trains under autocast, and its photos stay in
the memory of the GPU.  Without a GPU nothing is measured; ``--quick --device cpu`` tests the
script.  Weights are random.
"""

import json
import sys
import tempfile
from argparse import ArgumentParser
from functools import partial

import numpy as np
import torch
from _common import QUICK, at_least, median_ratio, seconds, write_photos
from PIL import Image
from torch.nn.functional import cross_entropy
from torchvision import models

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor
from sktransfer._support.device import resolve_precision
from sktransfer.training import sources

NETS = ("mobilenet_v2",) if QUICK else ("resnet18", "resnet50", "mobilenet_v2", "vit_b_16")
SIZE = 64 if QUICK else 224
N_PHOTOS, N_TURNS, N_EPOCHS = (8, 1, 1) if QUICK else (2048, 5, 5)
BATCH_SIZE = 4 if QUICK else 64


def synchronised(job):
    """A job that ends when the GPU has done its work."""

    def run():
        job()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return run


def network(name):
    """A network of torchvision on the device, as fast as plain torch runs it."""
    torch.manual_seed(0)
    return models.get_model(name).to(device).to(memory_format=torch.channels_last)


def forward(name, n_rows, dtype):
    """A job: a network's passes over batches that are on the device, for all photos."""
    net = network(name).eval().to(dtype)
    batch = torch.randn(n_rows, 3, SIZE, SIZE, device=device, dtype=dtype)
    batch = batch.contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            for _ in range(0, N_PHOTOS, n_rows):
                net(batch)

    return synchronised(run)


def extraction(name, arrays, paths):
    """The rows of a network: features of decoded photos, and of JPEG files."""
    model = PretrainedFeatureExtractor(
        f"torchvision/{name}",
        weights=None,
        preset={"crop": 1.0},
        image_size=SIZE,
        precision="auto",
        batch_size=BATCH_SIZE,
        device=str(device),
        n_jobs=-1,
        verbose=0,
    ).fit(arrays)
    dtype = resolve_precision("auto", device)
    alone = forward(name, BATCH_SIZE, dtype)
    for kind, items, bar in (("decoded photos", arrays, 0.9), ("JPEG files", paths, None)):
        job = partial(model.transform, items)
        ratio = median_ratio(alone, job, N_TURNS)
        details = f"{N_PHOTOS / seconds(job)[1]:.0f} photos/s"
        claim = f"features of {kind}, `{name}`, over the rate of the network"
        yield at_least(claim, ratio, bar, details)


def plain_fit(arrays, labels):
    """A job: all of MobileNetV2 trained under autocast, photos and labels on the device."""
    x = torch.from_numpy(arrays).to(device).permute(0, 3, 1, 2)
    y = torch.from_numpy(labels).to(device)
    dtype = resolve_precision("auto", device)

    def run():
        net = network("mobilenet_v2").eval()
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
        for _ in range(N_EPOCHS):
            order = torch.randperm(len(x), device=device)
            for part in order.split(BATCH_SIZE):
                optimizer.zero_grad()
                batch = (x[part].float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    logits = net(batch)
                cross_entropy(logits.float(), y[part]).backward()
                optimizer.step()

    return synchronised(run)


def own_fit(arrays, labels, unfreeze):
    """A job: a fit of the package with the same batches and epochs."""
    model = FineTuneClassifier(
        "torchvision/mobilenet_v2",
        weights=None,
        unfreeze=unfreeze,
        head_init="prior",
        freeze_epochs=0,
        augment=None,
        lr_schedule="constant",
        max_epochs=N_EPOCHS,
        batch_size=BATCH_SIZE,
        image_size=SIZE,
        precision="auto",
        device=str(device),
        n_jobs=-1,
        random_state=0,
        verbose=0,
    )
    return synchronised(lambda: model.fit(arrays, labels))


def from_host(job):
    """A job whose activations at the cut are copied to the device in each step."""

    def run():
        share, sources.RESIDENT_SHARE = sources.RESIDENT_SHARE, 0.0
        try:
            job()
        finally:
            sources.RESIDENT_SHARE = share

    return run


def training(arrays, labels):
    """The rows of fits."""
    ratio = median_ratio(plain_fit(arrays, labels), own_fit(arrays, labels, "all"), N_TURNS)
    yield at_least("all of `mobilenet_v2`, against a plain loop under autocast", ratio, 1.0)
    own = own_fit(arrays, labels, 2)
    ratio = median_ratio(from_host(own), own, N_TURNS)
    claim = "two stages of `mobilenet_v2`, activations on the device, against copies of them"
    yield at_least(claim, ratio, 1.0)


parser = ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--device", type=torch.device, default="cuda")
given = parser.parse_args()
device = given.device
if device.type == "cuda" and not torch.cuda.is_available():
    print(json.dumps({"skipped": "no GPU"}))
    sys.exit()

with tempfile.TemporaryDirectory() as name:
    paths = write_photos(name, N_PHOTOS)
    arrays = np.stack([np.asarray(Image.open(path).resize((SIZE, SIZE))) for path in paths])
    labels = np.arange(N_PHOTOS) % 2
    rows = [row for net in NETS for row in extraction(net, arrays, paths)]
    rows += training(arrays, labels)
print(json.dumps({"rows": rows}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "the GPU must not have to wait"
