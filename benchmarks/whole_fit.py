"""Claim: one fit of everything with random augmentation is not slower than a plain PyTorch loop.

    python benchmarks/whole_fit.py [--quick] [--data DIR] [--weights FILE] [--repeats N]

Here nothing can be computed once: photos are new in each epoch, and all stages train.  Both sides
draw windows of half to all of a photo, and flips; batch norm stays in evaluation mode.  The plain
loop has the number of workers and the memory layout that suit it best.  Where the processor has
units for bfloat16, ``precision="auto"`` is compared with the loop under autocast, without a bar.
Where photos or weights are not there, they are made, and only seconds compare.
"""

import json
import tempfile
from itertools import product
from pathlib import Path

import torch
from _common import QUICK, photo_task
from _fits import compare, faster, fit_options, hold, ours
from _plain import LAYOUTS, STAGES, fastest, plain_fit

from sktransfer._support.device import resolve_precision

BARS = {"float32": 1.0, "auto": None}
N_EPOCHS, N_WORKERS = (1, (0,)) if QUICK else (3, (0, 2))


def measure(precision):
    """Both sides in one precision; and how the loop runs fastest."""
    dtype = resolve_precision(precision, torch.device("cpu"))
    if precision == "auto" and dtype == torch.float32:
        return {"loop": "skipped: this processor has no units for bfloat16"}, ""
    loops = {}
    for n, layout in product(N_WORKERS, LAYOUTS):
        how = {"augment": True, "n_workers": n, "layout": layout, "dtype": dtype}
        loops[f"{n} workers, {layout}"] = plain_fit(task.weights, len(STAGES), **how)
    best, loop = fastest(loops, task)
    own = ours(task.weights, unfreeze="all", augment="light", precision=precision)
    return compare(own, {"loop": loop}, task, N_EPOCHS, given.repeats), best


given = fit_options().parse_args()
with tempfile.TemporaryDirectory() as name:
    task = photo_task(given, Path(name))
    measured = {precision: measure(precision) for precision in BARS}

claim = f"all of `mobilenet_v2`, {N_EPOCHS} epochs, augmented, against a plain loop,"
rows = [
    faster(f"{claim} {precision}", BARS[precision], results, "loop", best)
    for precision, (results, best) in measured.items()
]
results = {precision: results for precision, (results, _) in measured.items()}
print(json.dumps({"rows": rows, "task": task.about(), "results": results}, indent=2))
assert QUICK or hold(rows), "it must not be slower"
