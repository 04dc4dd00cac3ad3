"""Claim: features come 1.4 times faster than from embetter, Keras and timm, 2.5 in bfloat16.

    python benchmarks/extract_peers.py [--quick] [--data DIR] [--weights FILE] [--repeats N]

All start from the same JPEG files, of hymenoptera or, where it is not there, generated; batches are
of 32 photos.  All weights are random, nothing is downloaded; JPEG draft scaling is off.

timm's networks have the same weights on both sides, and features agree to 1e-4 of each row's norm:
``resnet18`` in a plain loop with timm's own transform and two workers, and ``mobilenetv2_100`` in
embetter, put into evaluation mode, without which embetter's features depend on each photo's own
batch statistics.  Keras 3 predicts with VGG16 at 150 pixels, its photos cut and decoded in two
threads beside it; its weights differ, and only shapes are compared.  ``precision="auto"`` is
measured where the processor has units for bfloat16; peers compute in float32 always.
"""

import json
import tempfile
from math import ceil, floor
from pathlib import Path

import numpy as np
import torch
from _common import QUICK, SIZE, at_least, median_ratio, photo_task, write_weights
from _fits import BATCH_SIZE, fit_options, hold, installed
from _plain import Photos
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from sktransfer import PretrainedFeatureExtractor
from sktransfer._support.device import resolve_precision

BARS = {"float32": 1.4, "auto": 2.5}
TOLERANCE = 1e-4
N_PHOTOS, N_WORKERS = (8, 0) if QUICK else (96, 2)
VGG_SIZE = 64 if QUICK else 150


def extractors(address, photos, **params):
    """Our own side in each precision: a function that returns features."""
    fitted = {
        precision: PretrainedFeatureExtractor(
            address, precision=precision, device="cpu", verbose=0, **params
        ).fit(photos)
        for precision in BARS
    }
    return {key: lambda model=model: model.transform(photos) for key, model in fitted.items()}


def of_timm(name, photos, folder):
    """timm's network with the weights of a file, and our own side with the same."""
    import timm

    torch.manual_seed(0)
    weights = write_weights(timm.create_model(name), folder / f"{name}.safetensors", SIZE)
    overlay = {"input_size": (3, SIZE, SIZE)}
    net = timm.create_model(name, pretrained_cfg_overlay=overlay).eval()
    net.load_state_dict(load_file(weights))
    net.reset_classifier(0)
    cfg = timm.data.resolve_data_config({}, model=net)
    preset = {"draft": False, "resize": floor(cfg["input_size"][-1] / cfg["crop_pct"])}
    return net, cfg, extractors(f"timm/{name}", photos, weights=weights, preset=preset)


def timm(photos, folder):
    """timm in a plain loop."""
    from timm.data import create_transform

    net, cfg, own = of_timm("resnet18", photos, folder)
    data = Photos(photos, create_transform(**cfg), np.zeros(len(photos)))

    @torch.inference_mode()
    def features():
        loader = DataLoader(data, batch_size=BATCH_SIZE, num_workers=N_WORKERS)
        return torch.cat([net(x) for x, _ in loader]).numpy()

    return features, own, TOLERANCE


def embetter(photos, folder):
    """A pipeline of embetter's loader and encoder, whose network is given, not downloaded."""
    from unittest.mock import patch

    from embetter.vision import ImageLoader, TimmEncoder
    from sklearn.pipeline import make_pipeline

    net, _, own = of_timm("mobilenetv2_100", photos, folder)
    with patch("timm.create_model", return_value=net):
        encoder = TimmEncoder("mobilenetv2_100")
    pipeline = make_pipeline(ImageLoader(), encoder)
    return lambda: pipeline.fit_transform(photos), own, TOLERANCE


def keras(photos, folder):  # noqa: ARG001 - its weights stand in no file
    """Keras' VGG16, which predicts while the next photos are decoded."""
    from keras import applications, utils

    class Batches(utils.PyDataset):
        def __len__(self):
            return ceil(len(photos) / BATCH_SIZE)

        def __getitem__(self, index):
            some = photos[index * BATCH_SIZE :][:BATCH_SIZE]
            how = {"target_size": (VGG_SIZE, VGG_SIZE), "interpolation": "bilinear"}
            rows = [utils.load_img(photo, keep_aspect_ratio=True, **how) for photo in some]
            return applications.vgg16.preprocess_input(np.stack(rows).astype("float32"))

    shape = {"include_top": False, "pooling": "avg", "input_shape": (VGG_SIZE, VGG_SIZE, 3)}
    model = applications.VGG16(weights=None, **shape)
    how = {"weights": None, "image_size": VGG_SIZE, "preset": {"draft": False}}
    own = extractors("torchvision/vgg16", photos, **how)
    return lambda: model.predict(Batches(workers=max(1, N_WORKERS)), verbose=0), own, None


PEERS = {
    "embetter": (embetter, f"`mobilenetv2_100` at {SIZE} pixels, against embetter"),
    "keras": (keras, f"`vgg16` at {VGG_SIZE} pixels, against Keras 3"),
    "timm": (timm, f"`resnet18` at {SIZE} pixels, against timm in a plain loop"),
}


def check(name, theirs, own, tolerance):
    """Return the error of features relative to the peer's norms; None if the weights differ."""
    assert theirs.shape == own.shape, f"{name}: shapes {theirs.shape} and {own.shape} differ"
    if tolerance is None:
        return None
    error = np.linalg.norm(own - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    assert error.max() <= tolerance, f"{name}: features differ by {error.max():.2g} of their norm"
    return float(error.max())


def measure(name, photos, folder):
    """The peer's time over ours in each precision, and how far the features differ."""
    theirs, own, tolerance = PEERS[name][0](photos, folder)
    difference = check(name, theirs(), own["float32"](), tolerance)
    ratios = {"float32": median_ratio(theirs, own["float32"], given.repeats)}
    if resolve_precision("auto", torch.device("cpu")) == torch.bfloat16:
        ratios["auto"] = median_ratio(theirs, own["auto"], given.repeats)
    else:
        ratios["auto"] = "skipped: this processor has no units for bfloat16"
    return ratios | {"difference": difference}


options = fit_options()
options.set_defaults(repeats=1 if QUICK else 3)
given = options.parse_args()
there, skipped = installed(PEERS)
with tempfile.TemporaryDirectory() as name:
    task = photo_task(given, Path(name))
    photos = list(task.photos[task.few(N_PHOTOS // 2)])
    results = {peer: measure(peer, photos, Path(name)) for peer in there}

rows = [
    at_least(
        f"features, {what}, {precision}",
        skipped[peer] if peer in skipped else results[peer][precision],
        bar,
        "",
    )
    for peer, (_, what) in PEERS.items()
    for precision, bar in BARS.items()
]
print(json.dumps({"rows": rows, "task": task.about(), "results": results | skipped}, indent=2))
assert QUICK or hold(rows), "each peer must be as much slower as it is claimed"
