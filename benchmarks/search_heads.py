"""Claim: a search over heads alone is 40 times faster than in skorch.

    python benchmarks/search_heads.py [--quick] [--data DIR] [--weights FILE]

Twelve candidates for the head of a frozen MobileNetV2 (rate, dropout, weight decay), five folds,
twenty epochs, on hymenoptera; our cache is empty before.  In skorch the whole network runs in
each epoch, and the 60 fits take hours: one candidate is fitted for two epochs on two folds, and its
time is scaled by exact counts (photos trained on, photos scored, fits begun).  Accuracies are
shown of one fold after all epochs, where skorch's fit is expected to end in ``MOST_SECONDS``.  They
are not judged: of the 80 photos of a fold, one is more than a point.  search.py judges the scores
of a whole search.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from _common import QUICK, at_least, photo_options, photo_task, seconds
from _search import candidate, folds_of, scores_of, searched
from _skorch import decoded, skorch_net

BAR = 40
N_EPOCHS, N_FOLDS = (2, 2) if QUICK else (20, 5)
N_SUBSET_EPOCHS, N_SUBSET_FOLDS = (1, 1) if QUICK else (2, 2)
MOST_SECONDS = 600
GRID = {"lr": [1e-4, 1e-3, 1e-2], "dropout": [0.0, 0.2], "weight_decay": [0.0, 0.01]}
CHOSEN = {"lr": 1e-3, "dropout": 0.0, "weight_decay": 0.01}  # the candidate of the subset
if QUICK:
    GRID = {name: [value] for name, value in CHOSEN.items()}
N_CANDIDATES = int(np.prod([len(values) for values in GRID.values()]))


def ours(task, rows=slice(None)):
    """The whole search, its cache empty before, and its seconds."""
    photos, labels = task.photos[rows], task.labels[rows]
    folds = folds_of(photos, labels, N_FOLDS)
    with tempfile.TemporaryDirectory() as cache:
        model = candidate(task.weights, cache, unfreeze=0, max_epochs=N_EPOCHS)
        return seconds(lambda: searched(model, GRID, photos, labels, folds))


def skorch_fit(task, pixels, targets, fold, n_epochs):
    """One candidate on one fold: its accuracy, and seconds by what they were spent on."""
    train, test = fold
    net = skorch_net(task.weights, len(np.unique(targets)), n_epochs).set_params(
        lr=CHOSEN["lr"],
        module__dropout=CHOSEN["dropout"],
        optimizer__weight_decay=CHOSEN["weight_decay"],
    )
    _, fitting = seconds(lambda: net.fit(pixels[train], targets[train]))
    accuracy, scoring = seconds(lambda: net.score(pixels[test], targets[test]))
    training = sum(net.history[:, "dur"])
    return {
        "accuracy": round(accuracy, 4),
        "photos trained on": n_epochs * len(train),
        "photos scored": len(test),
        "training": training,
        "scoring": scoring,
        "besides": fitting - training,
    }


def skorch(task, folds):
    """A part of the search, and the seconds that all of it would take."""
    targets = np.unique(task.labels, return_inverse=True)[1]
    pixels, decoding = seconds(lambda: decoded(task.photos))
    skorch_fit(task, pixels, targets, (folds[0][0][:8], folds[0][1][:8]), 1)  # to warm up
    part = [
        skorch_fit(task, pixels, targets, fold, N_SUBSET_EPOCHS) for fold in folds[:N_SUBSET_FOLDS]
    ]
    done = {name: sum(fit[name] for fit in part) for name in part[0] if name != "accuracy"}
    n_fits = N_CANDIDATES * N_FOLDS
    # each photo is in the training part of all folds but one
    n_trained = N_CANDIDATES * N_EPOCHS * (N_FOLDS - 1) * len(task.photos)
    n_scored = N_CANDIDATES * len(task.photos)
    expected = (
        decoding
        + done["training"] / done["photos trained on"] * n_trained
        + done["scoring"] / done["photos scored"] * n_scored
        + done["besides"] / len(part) * n_fits
    )
    whole = N_EPOCHS * done["training"] / done["photos trained on"] * len(folds[0][0])
    one = None
    if whole <= MOST_SECONDS:
        one = skorch_fit(task, pixels, targets, folds[0], N_EPOCHS)
    return {
        "measured": {"fits": len(part), "decoding": decoding} | done,
        "all of it": {
            "fits": n_fits,
            "photos trained on": n_trained,
            "photos scored": n_scored,
            "seconds": expected,
        },
        "one fit of all epochs": one,
        "expected seconds of that": whole,
    }


def accuracies(search, one, expected, made):
    """Describe the accuracy of both on the first fold."""
    if one is None or made:
        return " and ".join(made) if made else f"one fit of all epochs would take {expected:.0f} s"
    results = search.cv_results_
    own = results["split0_test_score"][results["params"].index(CHOSEN)]
    return f"accuracy of one head on one fold {one['accuracy']:.4f} and {own:.4f}"


given = photo_options().parse_args()
with tempfile.TemporaryDirectory() as name:
    task = photo_task(given, Path(name))
    if not QUICK:
        ours(task, task.few(6))  # to warm up
    search, own_seconds = ours(task)
    peer = skorch(task, folds_of(task.photos, task.labels, N_FOLDS))

expected = peer["all of it"]["seconds"]
one, of_one = peer["one fit of all epochs"], peer["expected seconds of that"]
details = (
    f"{expected:.0f} s, scaled from {peer['measured']['fits']} fits of {N_SUBSET_EPOCHS} epochs to "
    f"{N_CANDIDATES * N_FOLDS} of {N_EPOCHS}, over {own_seconds:.1f} s; "
    + accuracies(search, one, of_one, task.made)
)
rows = [
    at_least("search over heads, skorch's time over ours", expected / own_seconds, BAR, details)
]
own = {"seconds": own_seconds, "scores": scores_of(search)}
print(json.dumps({"rows": rows, "task": task.about(), "ours": own, "skorch": peer}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
