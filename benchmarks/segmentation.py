"""Claim: heads on frozen stages segment street photos from few masks, and quickly.

    python benchmarks/segmentation.py [--quick] [--all] [--data DIR] [--weights FILE]

CamVid, MobileNetV2, 48 training photos, five epochs: a linear head, a feature pyramid, and the
whole network from scratch.  With --all, all training photos are compared with a loop in plain
PyTorch: the same network with the feature pyramid of torchvision.  Times are processor time.  With
--quick, drawn pictures take the place of photos, and no bar is compared.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path
from time import process_time

import numpy as np
import torch
from _common import QUICK, at_least, at_most, photo_options
from PIL import Image
from torch import nn
from torchvision.transforms.v2.functional import pil_to_tensor, resize

from sktransfer import FineTuneSegmenter, feature_pyramid

N_TRAIN, N_TEST, N_EPOCHS = (8, 4, 1) if QUICK else (48, 101, 5)
SIZE, VOID, BATCH = (64, 255, 4) if QUICK else (224, 11, 4)
NETWORK = "builtin/mini" if QUICK else "torchvision/mobilenet_v2"
LINEAR_BAR, PYRAMID_BAR, SCRATCH_BAR, TIME_BAR = 0.26, 0.33, 0.10, 1 / 3


def draw_pictures(folder, n, seed):
    """Write pictures with a bright rectangle, and their masks."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for at in range(n):
        picture = rng.integers(60, 120, (60, 80, 3), dtype=np.uint8)
        mask = np.zeros((60, 80), np.uint8)
        top, left = rng.integers(0, 30, 2)
        mask[top : top + 30, left : left + 40] = 1
        picture[mask == 1] += 100
        Image.fromarray(picture).save(folder / f"{at:03d}.jpg", quality=95)
        Image.fromarray(mask).save(folder / f"{at:03d}.png")


def read(folder, n=None):
    """Paths of photos, evenly chosen, and of their masks."""
    paths = sorted(folder.glob("*.jpg"))
    chosen = (
        paths if n is None else [paths[at] for at in np.linspace(0, len(paths) - 1, n, dtype=int)]
    )
    return [str(path) for path in chosen], [str(path.with_suffix(".png")) for path in chosen]


def measure(train, test, weights, **how):
    """The mean IoU of a fit on the test photos, and the processor time of the fit."""
    start = process_time()
    model = FineTuneSegmenter(
        NETWORK,
        weights=weights,
        image_size=SIZE,
        max_epochs=N_EPOCHS,
        ignore_label=VOID,
        batch_size=BATCH,
        random_state=0,
        verbose=0,
        **how,
    ).fit(*train)
    seconds = process_time() - start
    return model.score(*test), seconds, model


def by_hand(train, test, weights, task):
    """The same for a loop in plain PyTorch, which runs the frozen network in each step."""
    start = process_time()
    torch.manual_seed(0)
    pyramid = feature_pyramid(NETWORK, weights=weights, unfreeze=0, out_channels=48, output="out")
    classifier = nn.Conv2d(48, task.n_outputs, 1)
    preset = pyramid.backbone.preset
    mean, std = (torch.tensor(each)[:, None, None] for each in (preset.mean, preset.std))

    def load(path):
        return (resize(pil_to_tensor(Image.open(path)), [SIZE, SIZE]) / 255 - mean) / std

    def load_mask(path):
        mask = resize(pil_to_tensor(Image.open(path)), [SIZE, SIZE], interpolation=0)[0]
        numbers = torch.from_numpy(np.searchsorted(task.classes, mask.numpy()))
        return torch.where(torch.isin(mask, torch.tensor(task.ignored)), -1, numbers)

    def scores(rows, size):
        maps = classifier(pyramid(rows)["out"])
        return nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False)

    parameters = [p for p in (*pyramid.parameters(), *classifier.parameters()) if p.requires_grad]
    n_steps = N_EPOCHS * -(-len(train[0]) // BATCH)
    optimizer = torch.optim.AdamW(parameters, 0.01, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, n_steps)
    for _ in range(N_EPOCHS):
        for part in torch.randperm(len(train[0])).split(BATCH):
            rows = torch.stack([load(train[0][at]) for at in part])
            masks = torch.stack([load_mask(train[1][at]) for at in part])
            loss = nn.functional.cross_entropy(scores(rows, (SIZE, SIZE)), masks, ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    seconds = process_time() - start
    pyramid.eval()
    true = [np.asarray(Image.open(path)) for path in test[1]]
    with torch.no_grad():
        found = [
            task.classes[scores(load(path)[None], mask.shape)[0].argmax(0).numpy()]
            for path, mask in zip(test[0], true, strict=True)
        ]
    return task.score(found, true), seconds


parser = photo_options()
parser.add_argument("--all", action="store_true", help="compare all photos with a plain loop")
given = parser.parse_args()
archive = given.data / "camvid.zip"
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    weights = "default" if QUICK else str(given.weights)
    if QUICK:
        draw_pictures(folder / "camvid" / "train", N_TRAIN, 0)
        draw_pictures(folder / "camvid" / "val", N_TEST, 1)
    else:
        zipfile.ZipFile(archive).extractall(folder)
    train, test = read(folder / "camvid/train", N_TRAIN), read(folder / "camvid/val", N_TEST)
    found = {}
    ways = {
        "linear": {"head": "linear", "cache": folder / "cache"},
        "pyramid": {"cache": folder / "cache"},
        "pyramid again": {"cache": folder / "cache"},
        "whole network": {"unfreeze": "all", "augment": None, "freeze_epochs": 0},
        "scratch": {"unfreeze": "all", "augment": None, "weights": None},
    }
    for way, how in ways.items():
        share, seconds, model = measure(train, test, how.pop("weights", weights), **how)
        found[way] = (share, seconds)
        print(f"{way}: mean IoU {share:.3f}, {seconds:.0f} s", file=sys.stderr, flush=True)
    if given.all:
        everything = read(folder / "camvid/train")
        share, seconds, model = measure(everything, test, weights)
        found["all photos"] = (share, seconds)
        found["all photos by hand"] = by_hand(everything, test, weights, model.task_)
        for way in ("all photos", "all photos by hand"):
            share, seconds = found[way]
            print(f"{way}: mean IoU {share:.3f}, {seconds:.0f} s", file=sys.stderr, flush=True)

rows = []
if not QUICK:
    share, seconds = ({way: each[at] for way, each in found.items()} for at in (0, 1))
    rows = [
        at_least("mean IoU of a linear head", share["linear"], LINEAR_BAR),
        at_least("mean IoU of a feature pyramid", share["pyramid"], PYRAMID_BAR),
        at_least("its mean IoU above scratch", share["pyramid"] - share["scratch"], SCRATCH_BAR),
        at_most(
            "time from cached rows over that of the whole network",
            seconds["pyramid again"] / seconds["whole network"],
            TIME_BAR,
        ),
    ]
    if given.all:
        ours, theirs = "all photos", "all photos by hand"
        rows += [
            at_least(
                "mean IoU of all photos above a plain loop", share[ours] - share[theirs], -0.01
            ),
            at_most("its time over that of the loop", seconds[ours] / seconds[theirs], 1),
        ]
about = {way: {"mean IoU": round(a, 3), "seconds": round(b)} for way, (a, b) in found.items()}
print(json.dumps({"rows": rows, "task": about}, indent=2))
assert all(row["holds"] for row in rows), "each part of the claim must hold"
