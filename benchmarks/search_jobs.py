"""Claim: a search in two processes on two cores is not slower than in one, and finds the same.

    python benchmarks/search_jobs.py [--quick] [--data DIR] [--weights FILE] [--repeats N]

MobileNetV2 on hymenoptera, three folds, three epochs, no augmentation; ``GridSearchCV(n_jobs=1)``
and ``n_jobs=2`` in turns, each with a cache that is empty before.  joblib's worker processes are
started, and have fitted once, before they are timed.  Two searches are judged: heads alone, where
all there is to do is the one pass, which two processes must share; and depths in the order that the
documentation teaches, the longest fits first.  With the longest last, which is shown, too, three
equal fits come at the end: one process does two of them while the other is done, on one core.

joblib divides the threads among its processes, and a sum that other numbers of threads take part in
has other last bits, which training amplifies.  So what is found is compared with a search in one
process that has as many threads as each of the two, and must be the same.
"""

import json
import tempfile
from pathlib import Path
from statistics import median

import torch
from _common import QUICK, at_least, at_most, photo_options, photo_task, seconds
from _search import candidate, folds_of, scores_of, searched
from joblib import cpu_count

N_FOLDS, N_EPOCHS = (2, 1) if QUICK else (3, 3)
JUDGED, SHOWN = [[0], [2, 1]], [[1, 2]]
DEPTHS = [[1]] if QUICK else [*JUDGED, *SHOWN]
BAR, SAME = 1.0, 1e-6


def run(task, rows, depths, n_jobs):
    """One search, its cache empty before: what it found, and its seconds."""
    photos, labels = task.photos[rows], task.labels[rows]
    folds = folds_of(photos, labels, N_FOLDS)
    with tempfile.TemporaryDirectory() as cache:
        model = candidate(task.weights, cache, max_epochs=N_EPOCHS)
        grid = {"unfreeze": depths}
        return seconds(lambda: searched(model, grid, photos, labels, folds, n_jobs))


def measure(task, depths, n_repeats):
    """Searches by the number of processes, in turns."""
    runs = {1: [], 2: []}
    for _ in range(n_repeats):
        for n_jobs, found in runs.items():
            if not QUICK:  # workers that had nothing to do for minutes are gone
                run(task, task.few(6), depths, n_jobs)
            found.append(run(task, slice(None), depths, n_jobs))
    return runs


def found_alone(task, depths):
    """The scores of a search in one process that has as many threads as each of two."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(max(1, cpu_count() // 2))
    search, _ = run(task, slice(None), depths, 1)
    torch.set_num_threads(n_threads)
    return search.cv_results_["mean_test_score"]


def compared(depths, runs):
    """The row of one search."""
    times = {n_jobs: [elapsed for _, elapsed in found] for n_jobs, found in runs.items()}
    ratio = median(one / two for one, two in zip(times[1], times[2], strict=True))
    details = (
        f"{median(times[1]):.1f} s over {median(times[2]):.1f} s; best scores "
        + " and ".join(f"{found[0][0].best_score_:.4f}" for found in runs.values())
    )
    claim = f"search over `unfreeze={depths}`, time of one process over that of two"
    return at_least(claim, ratio, None if depths in SHOWN else BAR, details)


options = photo_options()
options.add_argument("--repeats", type=int, default=1 if QUICK else 3)
given = options.parse_args()
with tempfile.TemporaryDirectory() as name:
    task = photo_task(given, Path(name))
    runs = {tuple(depths): measure(task, depths, given.repeats) for depths in DEPTHS}
    alone = found_alone(task, DEPTHS[-1])

together = runs[tuple(DEPTHS[-1])][2][0][0].cv_results_["mean_test_score"]
rows = [
    *(compared(list(depths), found) for depths, found in runs.items()),
    at_most(
        "greatest difference of its scores from those of one process with as many threads",
        float(abs(alone - together).max()),
        SAME,
    ),
]
details = {
    str(depths): {
        n_jobs: {"seconds": [elapsed for _, elapsed in found], "scores": scores_of(found[0][0])}
        for n_jobs, found in searches.items()
    }
    for depths, searches in runs.items()
}
print(json.dumps({"rows": rows, "task": task.about(), "searches": details}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
