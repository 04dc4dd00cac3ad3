"""Claim: one network for several tasks is as good as one for each, and uses incomplete labels.

    python benchmarks/multi_task.py [--quick] [--data DIR] [--weights FILE]

Two numbers and a class of each face, computed from its points: how far the head is turned and
tilted, and if the mouth is open.  MobileNetV2 up to ``layer2``, 96 pixels, all positions kept, the
last stage fine-tuned; 400 faces for training and 200 faces of other people for testing, in three
divisions.  In a second part, 70 % of the labels of one number are missing: rows with a missing
label are used, or left out.  With --quick, ``builtin/mini`` learns columns of generated photos.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from _common import QUICK, at_least, at_most, photo_options, write_photos
from _faces import divide, read_faces

from sktransfer import FineTuneMultiTask, FineTuneRegressor, get_backbone

N_TRAIN, N_TEST, N_EPOCHS = (24, 12, 1) if QUICK else (400, 200, 4)
SEEDS = (0,) if QUICK else (0, 1, 2)
SIZE, STAGE = (32, "layer1") if QUICK else (96, "layer2")
MISSING = 0.7
ERROR_BAR, NUMBERS = 1.03, ("turn", "tilt")


def describe(points):
    """Two numbers and a class of faces with 68 points, in units of the distance of the eyes."""
    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    across = right - left
    distance = np.linalg.norm(across, axis=1)
    nose = ((points[:, 30] - (left + right) / 2) * across).sum(1) / distance**2
    gap = np.linalg.norm(points[:, 62] - points[:, 66], axis=1) / distance
    mouth = np.where(gap > 0.08, "open", "closed")
    return pd.DataFrame({"turn": nose, "tilt": across[:, 1] / distance, "mouth": mouth})


def generate(folder):
    """Paths, a table of targets, and the number of the person of each generated photo."""
    paths = np.array([*map(str, write_photos(folder / "generated", 48, size=(64, 64)))])
    at = np.arange(48)
    y = pd.DataFrame(
        {"turn": np.sin(at), "tilt": np.cos(at), "mouth": np.array(["a", "b"])[at % 2]}
    )
    return paths, y, at


def error(found, true):
    return float(np.sqrt(np.mean((np.asarray(found) - np.asarray(true)) ** 2)))


def measure(X, y, train, test, how, seed):
    """The errors of the numbers and all scores, of each way to fit."""
    fit, numbers = y.iloc[train].reset_index(drop=True), list(NUMBERS)
    alone = FineTuneRegressor(**how).fit(X[train], fit[numbers].to_numpy())
    mixed = FineTuneMultiTask(**how).fit(X[train], fit)
    given = alone.predict(X[test]), mixed.predict(X[test])[numbers].to_numpy()
    pairs = [
        [error(p[:, at], y[name].iloc[test]) for p in given] for at, name in enumerate(numbers)
    ]
    part = fit.copy()
    lost = np.random.default_rng(seed).permutation(len(part))[: int(MISSING * len(part))]
    part.loc[lost, "turn"] = np.nan
    whole = part.dropna()
    scores = {
        "missing": FineTuneMultiTask(**how).fit(X[train], part).scores(X[test], y.iloc[test]),
        "dropped": FineTuneMultiTask(**how)
        .fit(X[train][whole.index], whole.reset_index(drop=True))
        .scores(X[test], y.iloc[test]),
        "complete": mixed.scores(X[test], y.iloc[test]),
    }
    return {"errors": dict(zip(numbers, pairs, strict=True)), "scores": scores}


given = photo_options().parse_args()
archive = given.data / "facial_keypoints.zip"
with tempfile.TemporaryDirectory() as name:
    generated = QUICK or not archive.exists()
    if generated:
        X, y, people = generate(Path(name))
    else:
        paths, points, people = read_faces(archive, name)
        X, y = np.array(paths), describe(points)

    def backbone():
        network = "builtin/mini" if QUICK else "torchvision/mobilenet_v2"
        chain = get_backbone(network, "default" if QUICK else str(given.weights))
        return chain.truncate(chain.names.index(STAGE) + 1)

    how = {
        "backbone": backbone,
        "pooling": "flatten",
        "unfreeze": 1,
        "image_size": SIZE,
        "max_epochs": N_EPOCHS,
        "batch_size": 8 if QUICK else "auto",
        "cache": Path(name) / "cache",
        "random_state": 0,
        "verbose": 0,
    }
    runs = []
    for seed in SEEDS:
        runs.append(measure(X, y, *divide(people, N_TRAIN, N_TEST, seed), how, seed))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)


def mean(way):
    return float(np.mean([list(run["scores"][way].values()) for run in runs]))


ratios = [
    float(np.mean([run["errors"][name][1] / run["errors"][name][0] for run in runs]))
    for name in NUMBERS
]
gain = mean("missing") - mean("dropped")
rows = []
if not generated:
    rows = [
        at_most("error of a number with a class, over that without", max(ratios), ERROR_BAR),
        at_least("mean score with incomplete rows minus that without", gain, 0.0),
    ]
print(json.dumps({"rows": rows, "runs": runs}, indent=2))
assert all(row["holds"] for row in rows), "each part of the claim must hold"
