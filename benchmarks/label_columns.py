"""Claim: one fit of two columns of labels is as accurate as two fits, in 0.6 of their time.

    python benchmarks/label_columns.py [--quick] [--data DIR] [--weights FILE]

MobileNetV2 on PACS: each image has a class, such as a guitar, and a domain, such as a sketch.  Two
thirds of the images are for training.  The time is that of the processor, in which other programs
on the machine do not count.  With --quick, ``builtin/mini`` learns two columns of generated photos.
"""

import json
import tempfile
from pathlib import Path
from time import process_time

import numpy as np
from _common import QUICK, at_least, at_most, photo_options, photo_set, write_photos
from sklearn.model_selection import train_test_split

from sktransfer import FineTuneClassifier

N_EPOCHS, SEEDS = (1, (0,)) if QUICK else (4, (0, 1))
TIME_BAR, ACCURACY_BAR = 0.6, -0.015


def label_columns(given, folder):
    """Paths, and a column of classes and one of domains."""
    found = None if QUICK else photo_set("pacs", given.data, folder)
    if found is None:
        paths = write_photos(folder / "generated", 36, size=(96, 72))
        labels = [[f"class {index % 3}", f"domain {index % 2}"] for index in range(36)]
        return np.array([*map(str, paths)]), np.array(labels)
    paths, classes = found
    return paths, np.column_stack([classes, [Path(path).parent.parent.name for path in paths]])


def fitted(given, train, seed):
    """A fitted classifier, and the seconds of the processor that its fit took."""
    network = {"image_size": 32} if QUICK else {"weights": given.weights}
    model = FineTuneClassifier(
        "builtin/mini" if QUICK else "torchvision/mobilenet_v2",
        **network,
        unfreeze=1,
        augment=None,
        max_epochs=N_EPOCHS,
        random_state=seed,
        verbose=0,
    )
    begun = process_time()
    model.fit(*train)
    return model, process_time() - begun


def measure(given, X, y, seed):
    """The accuracy of each column and the time: of a fit of both, and of a fit for each."""
    parts = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=seed)
    (X_train, X_test), (y_train, y_test) = parts[:2], parts[2:]
    both, seconds = fitted(given, (X_train, y_train), seed)
    single = [fitted(given, (X_train, column), seed) for column in y_train.T]
    scores = [model.score(X_test, y_test[:, at]) for at, (model, _) in enumerate(single)]
    return {
        "both": both.score_columns(X_test, y_test).tolist(),
        "single": scores,
        "seconds of both": seconds,
        "seconds of single": [each for _, each in single],
    }


given = photo_options().parse_args()
with tempfile.TemporaryDirectory() as name:
    X, y = label_columns(given, Path(name))
    few = np.random.default_rng(0).permutation(len(X))[:24]
    fitted(given, (X[few], y[few]), 0)  # to warm up
    runs = [measure(given, X, y, seed) for seed in SEEDS]

both, single = (np.mean([run[side] for run in runs], axis=0) for side in ("both", "single"))
ratio = np.median([run["seconds of both"] / sum(run["seconds of single"]) for run in runs])
lost = "skipped: generated photos" if QUICK else (both - single).min()
details = f"accuracies {np.round(both, 3).tolist()} and {np.round(single, 3).tolist()}"
rows = [
    at_most("one fit of two columns, time over that of two fits", ratio, TIME_BAR),
    at_least("accuracy of a column minus that of its own fit", lost, ACCURACY_BAR, details),
]
print(json.dumps({"rows": rows, "photos": len(X), "runs": runs}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
