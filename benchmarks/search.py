"""Claim: a grid search over unfreeze depth is 4 times faster than in skorch, a second one 5 times.

    python benchmarks/search.py [--quick] [--data DIR] [--weights FILE] [--repeats N]

MobileNetV2 on hymenoptera, the head alone and one and two stages behind it, three folds, three
epochs, no augmentation.  The second search has other learning rates and finds what the first one
cached.  skorch's first search includes decoding the photos into an array, its second one does not;
its time does not depend on rates, so that one run stands for both.  The searches are long: each
runs once, after a small one of each side to warm up; ``--repeats`` takes medians of several turns.
``precision="auto"`` is measured where the processor has units for bfloat16: 6 and 8 times.
"""

import json
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from _common import QUICK, at_least, photo_options, photo_task, seconds
from _search import candidate, folds_of, scores_of, searched
from _skorch import decoded, skorch_net

from sktransfer._support.device import resolve_precision

DEPTHS, N_FOLDS, N_EPOCHS = ([0, 1], 2, 1) if QUICK else ([0, 1, 2], 3, 3)
OTHER_RATES = {"lr": 5e-4, "fine_tune_lr": 5e-4}
# precision -> bar of the first search, and of the second
BARS = {"float32": (4, 5), "auto": (6, 8)}
ACCURACY_BAR = -0.01  # over skorch's mean score


def ours(task, rows, precision):
    """Two searches on one cache that is empty before: their scores and seconds."""
    photos, labels = task.photos[rows], task.labels[rows]
    folds, grid = folds_of(photos, labels, N_FOLDS), {"unfreeze": DEPTHS}
    with tempfile.TemporaryDirectory() as cache:
        model = candidate(task.weights, cache, precision=precision, max_epochs=N_EPOCHS)
        first, cold = seconds(lambda: searched(model, grid, photos, labels, folds))
        model.set_params(**OTHER_RATES)
        again, warm = seconds(lambda: searched(model, grid, photos, labels, folds))
    return {
        "first": cold,
        "second": warm,
        "scores": scores_of(first),
        "scores of the second": scores_of(again),
    }


def skorch(task, rows):
    """A search on photos that are decoded once: its scores, and seconds with and without that."""
    photos, labels = task.photos[rows], task.labels[rows]
    classes, targets = np.unique(labels, return_inverse=True)
    folds, grid = folds_of(photos, labels, N_FOLDS), {"module__unfreeze": DEPTHS}
    pixels, decoding = seconds(lambda: decoded(photos))
    net = skorch_net(task.weights, len(classes), N_EPOCHS)
    search, searching = seconds(lambda: searched(net, grid, pixels, targets, folds))
    return {
        "first": decoding + searching,
        "second": searching,
        "scores": scores_of(search),
    }


def measure(task, n_repeats):
    """The runs of each side, in turns."""
    sides = {"skorch": lambda rows: skorch(task, rows)}
    sides["float32"] = lambda rows: ours(task, rows, "float32")
    if resolve_precision("auto", torch.device("cpu")) == torch.bfloat16:
        sides["auto"] = lambda rows: ours(task, rows, "auto")
    if not QUICK:
        for side in sides.values():
            side(task.few(6))  # to warm up
    turns = [{name: side(slice(None)) for name, side in sides.items()} for _ in range(n_repeats)]
    return {name: [turn[name] for turn in turns] for name in sides}


def judged(runs, made):
    """The rows of the table."""
    rows = []
    for precision, bars in BARS.items():
        for search, bar in zip(("first", "second"), bars, strict=True):
            claim = f"{search} search over depth, skorch's time over ours, {precision}"
            if precision not in runs:
                measured, details = "skipped: this processor has no units for bfloat16", ""
            else:
                pairs = zip(runs["skorch"], runs[precision], strict=True)
                measured = median(theirs[search] / own[search] for theirs, own in pairs)
                times = (median(run[search] for run in runs[n]) for n in ("skorch", precision))
                details = "{:.0f} s over {:.0f} s".format(*times)
            rows.append(at_least(claim, measured, bar, details))
    for precision in BARS:
        if precision in runs:
            theirs, own = (runs[name][0]["scores"] for name in ("skorch", precision))
            measured = "skipped: " + " and ".join(made) if made else own["mean"] - theirs["mean"]
            details = f"mean {own['mean']} against {theirs['mean']}, best {own['best']} against "
            claim = f"mean score of the search over depth above skorch's, {precision}"
            rows.append(at_least(claim, measured, ACCURACY_BAR, details + f"{theirs['best']}"))
    return rows


options = photo_options()
options.add_argument("--repeats", type=int, default=1)
given = options.parse_args()
with tempfile.TemporaryDirectory() as name:
    task = photo_task(given, Path(name))
    runs = measure(task, given.repeats)

rows = judged(runs, task.made)
print(json.dumps({"rows": rows, "task": task.about(), "runs": runs}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
