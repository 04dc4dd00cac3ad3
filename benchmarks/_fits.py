"""Shared parts of the benchmarks of whole fits: our own fit, fits in turns, rows of the table.

All of it runs on the processor.  A fit is a function of photos, labels and a number of epochs; it
returns a function that predicts labels, and the seconds that the whole fit takes.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import NamedTuple

import numpy as np
from _common import QUICK, SIZE, at_least, photo_options, seconds, split

from sktransfer import FineTuneClassifier

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # peers would take a GPU unasked
os.environ["KERAS_BACKEND"] = "torch"

BATCH_SIZE = 8 if QUICK else 32
PEERS = ("fastai", "keras", "timm", "embetter")  # packages that may not be installed
US = "sktransfer"


class Fit(NamedTuple):
    """The result of a fit."""

    predict: Callable | None  # None where the accuracy means nothing
    seconds: float


def fit_options():
    """The options that these benchmarks have."""
    parser = photo_options()
    parser.add_argument("--repeats", type=int, default=1 if QUICK else 3)
    return parser


def ours(weights, **params):
    """A fit of FineTuneClassifier on mobilenet_v2."""

    def fit(photos, labels, n_epochs):
        model = FineTuneClassifier(
            "torchvision/mobilenet_v2",
            weights=weights,
            image_size=SIZE,
            max_epochs=n_epochs,
            batch_size=BATCH_SIZE,
            device="cpu",
            random_state=0,
            verbose=0,
            **params,
        )
        return Fit(model.predict, seconds(lambda: model.fit(photos, labels))[1])

    return fit


def installed(peers):
    """Those of ``peers`` that are installed; and why each of the others is skipped."""
    missing = {name for name in peers if name in PEERS and find_spec(name) is None}
    there = {name: peer for name, peer in peers.items() if name not in missing}
    return there, {name: f"skipped: {name} is not installed" for name in sorted(missing)}


def compare(fit, peers, task, n_epochs, n_repeats):
    """Accuracy and seconds of each side, and its seconds over ours: medians of fits in turns.

    Parameters
    ----------
    fit : callable
        Our own.
    peers : dict
        Name -> fit.
    task : Task
    n_epochs : int
    n_repeats : int
        How often all are fitted.
    """
    fits, skipped = installed({US: fit, **peers})
    few, (train, test) = task.few(BATCH_SIZE), split(task.photos, task.labels)
    for each in () if QUICK else fits.values():  # warms up
        each(task.photos[few], task.labels[few], 1)
    turns = [
        {name: each(*train, n_epochs) for name, each in fits.items()} for _ in range(n_repeats)
    ]
    results = {}
    for name, done in turns[0].items():
        ratio = median(turn[name].seconds / turn[US].seconds for turn in turns)
        results[name] = {
            "accuracy": None if task.made or done.predict is None else accuracy(done, test),
            "seconds": round(median(turn[name].seconds for turn in turns), 2),
            "over ours": round(ratio, 3),
        }
    return results | skipped


def accuracy(done, test):
    """The share of right answers."""
    return round(float(np.mean(done.predict(test[0]) == test[1])), 4)


def faster(claim, bar, results, peer, *details):
    """A row of the table: how many times ours is faster than a peer."""
    own, theirs = results[US], results[peer]
    if isinstance(theirs, str):
        return at_least(claim, theirs, bar)
    told = ["{:.1f} s over {:.1f} s".format(theirs["seconds"], own["seconds"])]
    if theirs["accuracy"] is not None:
        told.append("accuracy {:.3f} and {:.3f}".format(theirs["accuracy"], own["accuracy"]))
    return at_least(claim, theirs["over ours"], bar, "; ".join([*told, *details]))


def hold(rows):
    """Return True if no row is below its bar."""
    return all(row["holds"] is not False for row in rows)
