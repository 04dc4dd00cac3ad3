"""Claim: FineTuneClassifier as it comes equals a recipe written by hand, and beats its peers.

    python benchmarks/fine_tune_quality.py [--quick] [--data DIR] [--weights FILE] [--out FILE]
        [--sets NAME ...] [--seeds N ...] [--methods NAME ...]

``DIR`` holds hymenoptera, flowers5 and dtd10, each a folder of class folders or a zip of one
(default: ../shared/data beside the repository); ``FILE`` is a state dict of torchvision's
mobilenet_v2 (default: ../shared/weights/mobilenet_v2_imagenet.safetensors).  What is not there, and
a peer that is not installed (requirements.txt), is skipped by name.  All methods see one
stratified split of two thirds to one third for each seed.

All of it takes hours on two cores.  Each result is appended to the file of ``--out`` as soon as it
is known, and is not computed again: a run that was ended goes on, and another environment, one with
the peers, adds its own.  Delete the file when what is measured has changed.  A claim is judged
once all the results that it speaks of are there; until then it is null.
"""

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from _common import QUICK, generated_set, photo_options, photo_set, seconds, split, write_weights
from _fastai import learner_of, predictor, silent
from _recipe import fit_by_hand
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchvision.models import mobilenet_v2

from sktransfer import FineTuneClassifier, MLPHead, PretrainedFeatureExtractor
from sktransfer._support.device import resolve_precision

ROOT = Path(__file__).resolve().parents[1]
SETS = ("generated",) if QUICK else ("hymenoptera", "flowers5", "dtd10")
SEEDS = (0,) if QUICK else (0, 1, 2)
SIZE, N_EPOCHS, N_SCRATCH_EPOCHS, N_FASTAI_EPOCHS = (64, 1, 1, 1) if QUICK else (224, 6, 60, 4)
N_FEW = (4,) if QUICK else (10, 20, 50)  # photos of a class
BACKBONE = "torchvision/mobilenet_v2"


# Methods: from photos and labels to a function of photos that predicts labels.


def features(photos, labels, weights, seed):  # noqa: ARG001 - nothing is drawn
    return make_pipeline(
        PretrainedFeatureExtractor(BACKBONE, weights=weights, verbose=0),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=1000),
    ).fit(photos, labels)


def recipe(photos, labels, weights, seed):
    dtype = resolve_precision("auto", torch.device("cpu"))
    how = {"seed": seed, "size": SIZE, "n_epochs": N_EPOCHS, "dtype": dtype}
    return fit_by_hand(photos, labels, weights, **how)


def default(photos, labels, weights, seed):
    quick = {"max_epochs": N_EPOCHS} if QUICK else {}
    model = FineTuneClassifier(BACKBONE, weights=weights, random_state=seed, verbose=0, **quick)
    return model.fit(photos, labels)


def scratch(photos, labels, weights, seed):  # noqa: ARG001 - there are none
    return FineTuneClassifier(
        "builtin/small_cnn",
        weights=None,
        unfreeze="all",
        head=MLPHead((512,), 0.5),
        augment="standard",
        max_epochs=N_SCRATCH_EPOCHS,
        fine_tune_lr=1e-3,
        precision="auto",
        random_state=seed,
        verbose=0,
    ).fit(photos, labels)


def fastai(photos, labels, weights, seed):
    learner = learner_of(photos, labels, weights, SIZE, seed=seed)
    with silent(learner):
        learner.fine_tune(N_FASTAI_EPOCHS)
    return predictor(learner)


COMPARED = {"features": features, "default": default}
METHODS = {
    "features": {"features": features},
    "recipe": {"recipe": recipe},
    "default": {"default": default},
    "scratch": {"scratch": scratch},
    "fastai": {"fastai": fastai},
    "few": {f"{n}, {name}": fit for n in N_FEW for name, fit in COMPARED.items()},
}
PEERS = ("fastai",)


# What they are measured on, and what comes out


def set_of(name, data, folder):
    """Paths and classes of a set; None where it is not there."""
    return generated_set(name, folder, 24) if QUICK else photo_set(name, data, folder)


def few(photos, labels, n):
    """The first n photos of each class; the order was drawn by the split."""
    of_classes = [np.flatnonzero(labels == name)[:n] for name in np.unique(labels)]
    kept = np.concatenate(of_classes)
    return photos[kept], labels[kept]


def measure(method, train, test, weights, seed):
    """The share of right answers, and the seconds of fitting and of prediction."""
    fitted, fit_seconds = seconds(lambda: method(*train, weights, seed))
    predict = getattr(fitted, "predict", fitted)
    predicted, predict_seconds = seconds(lambda: predict(test[0]))
    return {
        "accuracy": float((predicted == test[1]).mean()),
        "fit_seconds": round(fit_seconds, 1),
        "predict_seconds": round(predict_seconds, 1),
    }


class Results:
    """Results by set, seed and method; each is a line of a file as soon as it is known."""

    def __init__(self, path):
        self.path = path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = path.read_text().splitlines() if path.exists() else []
        self.found = {(r["set"], r["seed"], r["method"]): r for r in map(json.loads, rows)}

    def add(self, key, measured):
        """Write down what was measured."""
        row = dict(zip(("set", "seed", "method"), key, strict=True)) | measured
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.found[key] = row

    def mean(self, method, value="accuracy", sets=SETS):
        """The mean over sets and seeds; None while a result is missing."""
        rows = [self.found.get((name, seed, method)) for name in sets for seed in SEEDS]
        return None if None in rows else float(np.mean([row[value] for row in rows]))

    def table(self):
        """Set -> method -> accuracies and seconds by seed."""
        table = {}
        for (name, seed, method), row in sorted(self.found.items()):
            cell = table.setdefault(name, {}).setdefault(method, {"accuracy": {}, "seconds": {}})
            cell["accuracy"][seed] = round(row["accuracy"], 4)
            cell["seconds"][seed] = row["fit_seconds"]
        return table


def run(given, results, folder):
    """Measure what is asked for and not known yet; returns what was skipped, and why."""
    skipped, weights = {}, given.weights
    if QUICK:
        weights = write_weights(mobilenet_v2(), folder / "weights.safetensors", SIZE)
    if not weights.exists():
        return {"all": f"{weights} is not there"}
    there = {name: set_of(name, given.data, folder) for name in given.sets}
    skipped |= {name: "the set is not there" for name, found in there.items() if found is None}
    missing = {name for name in PEERS if find_spec(name) is None}
    for seed in given.seeds:
        for name in (name for name in there if name not in skipped):
            train, test = split(*there[name], seed)
            for asked in given.methods:
                for method, fit in METHODS[asked].items():
                    part = few(*train, int(method.split(",")[0])) if asked == "few" else train
                    key = name, seed, method
                    if key in results.found:
                        continue
                    if asked in missing:
                        skipped[asked] = "not installed"
                    else:
                        results.add(key, measure(fit, part, test, weights, seed))
    return skipped


def judged(results):
    """Each part of the claim: whether it holds, or None while a result is missing."""

    def holds(test, *values):
        return None if None in values else bool(test(*values))

    mean = results.mean
    parts = {
        "within a point of the recipe": holds(
            lambda default, recipe: default >= recipe - 0.01, mean("default"), mean("recipe")
        ),
        "20 points above small_cnn from scratch": holds(
            lambda default, scratch: default >= scratch + 0.2, mean("default"), mean("scratch")
        ),
    }
    gains = []
    for n in [f"{n}, " for n in N_FEW] + [""]:
        for name in SETS:
            means = [mean(f"{n}{method}", sets=[name]) for method in COMPARED]
            parts[f"{n}{name}: at least features"] = holds(lambda a, b: b >= a, *means)
            gains.append(None if None in means else means[1] - means[0])
    parts["1.5 points above features, mean of all cells"] = holds(
        lambda *gains: np.mean(gains) >= 0.015, *gains
    )
    for name in SETS:
        means = (mean(method, sets=[name]) for method in ("default", "fastai"))
        parts[f"{name}: above fastai"] = holds(lambda a, b: a > b, *means)
        times = (mean(method, "fit_seconds", [name]) for method in ("default", "fastai"))
        parts[f"{name}: no slower than fastai"] = holds(lambda a, b: a <= b, *times)
    return parts


def arguments():
    """Return the options of the command line."""
    parser = photo_options()
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fine_tune_quality.jsonl")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", nargs="+", default=SEEDS, choices=SEEDS, type=int)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    return parser.parse_args()


given = arguments()
with tempfile.TemporaryDirectory() as name:
    results = Results(Path(name) / "results.jsonl" if QUICK else given.out)
    skipped = run(given, results, Path(name))

claims = judged(results)
print(json.dumps({"results": results.table(), "skipped": skipped, "claims": claims}, indent=2))
assert QUICK or False not in claims.values(), f"each part of the claim must hold: {claims}"
