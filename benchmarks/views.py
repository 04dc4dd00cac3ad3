"""Claim: fixed, cached views cost little accuracy against fresh ones, and save a third of the time.

    python benchmarks/views.py [--quick] [--data DIR] [--weights FILE]

MobileNetV2 on hymenoptera, two stages, three splits of two thirds to one third:
``augment="light"``, which draws new windows and flips in each epoch, so that all stages run; and
``augment=Views("light", n=8)``, whose frozen stages run once for each view.  The first fit with
views fills the cache; the second one, as another candidate of a search would, reads it.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from _common import QUICK, at_least, photo_options, photo_task, seconds, split

from sktransfer import FineTuneClassifier, Views

N_EPOCHS, SEEDS, N_VIEWS = (1, (0,), 2) if QUICK else (6, (0, 1, 2), 8)
BAR, ACCURACY_BAR = 1.5, -0.02


def fitted(task, train, test, seed, augment, cache):
    """The accuracy of one fit, and its seconds."""
    model = FineTuneClassifier(
        "torchvision/mobilenet_v2",
        weights=task.weights,
        unfreeze=2,
        augment=augment,
        max_epochs=N_EPOCHS,
        precision="auto",
        cache=cache,
        random_state=seed,
        verbose=0,
    )
    _, elapsed = seconds(lambda: model.fit(*train))
    return {"accuracy": model.score(*test), "seconds": elapsed}


def measure(task, seed):
    """Fits with fresh views, and twice with fixed ones on one cache that is empty before."""
    train, test = split(task.photos, task.labels, seed)
    with tempfile.TemporaryDirectory() as drawn, tempfile.TemporaryDirectory() as kept:
        views = Views("light", n=N_VIEWS)
        return {
            "fresh": fitted(task, train, test, seed, "light", drawn),
            "views, cold": fitted(task, train, test, seed, views, kept),
            "views, warm": fitted(task, train, test, seed, views, kept),
        }


def ratios(runs, side):
    """Time with fresh views over that of one side, in each split."""
    return [run["fresh"]["seconds"] / run[side]["seconds"] for run in runs]


given = photo_options().parse_args()
with tempfile.TemporaryDirectory() as name:
    task = photo_task(given, Path(name))
    if not QUICK:  # to warm up
        few = task.few(12)
        fitted(
            task,
            (task.photos[few], task.labels[few]),
            split(task.photos, task.labels)[1],
            0,
            "light",
            None,
        )
    runs = [measure(task, seed) for seed in SEEDS]

means = {
    side: {value: float(np.mean([run[side][value] for run in runs])) for value in runs[0][side]}
    for side in runs[0]
}
fresh, cold, warm = means.values()
lost = "skipped: " + " and ".join(task.made) if task.made else cold["accuracy"] - fresh["accuracy"]
rows = [
    at_least(
        "time of fresh augmentation over that of cached views",
        np.median(ratios(runs, "views, warm")),
        BAR,
        f"{fresh['seconds']:.0f} s over {warm['seconds']:.0f} s; while the cache fills, "
        f"{cold['seconds']:.0f} s",
    ),
    at_least(
        "accuracy of fixed views above that of fresh augmentation",
        lost,
        ACCURACY_BAR,
        f"{cold['accuracy']:.4f} against {fresh['accuracy']:.4f}, mean of {len(runs)} splits",
    ),
]
result = {"rows": rows, "task": task.about(), "means": means, "splits": runs}
print(json.dumps(result, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
