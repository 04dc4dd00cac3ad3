"""Claim: rows on disk in float16 or bfloat16 take half the space, and cost no point of accuracy.

    python benchmarks/half_rows.py [--quick] [--data DIR] [--weights FILE]

MobileNetV2 on hymenoptera, two stages tuned in float32 on the rows of frozen ones, three splits of
two thirds to one third.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from _common import QUICK, at_least, at_most, photo_options, photo_task, split

from sktransfer import ActivationCache, FineTuneClassifier

N_EPOCHS, SEEDS = (1, (0,)) if QUICK else (6, (0, 1, 2))
ACCURACY_BAR, SPACE_BAR = -0.01, 0.51  # of half a row, names and checksums are whole


def measure(task, seed, dtype):
    """The accuracy of a fit, and the bytes of its rows."""
    train, test = split(task.photos, task.labels, seed)
    with tempfile.TemporaryDirectory() as folder:
        cache = ActivationCache(folder, dtype=dtype)
        model = FineTuneClassifier(
            "torchvision/mobilenet_v2",
            weights=task.weights,
            unfreeze=2,
            augment=None,
            max_epochs=N_EPOCHS,
            cache=cache,
            random_state=seed,
            verbose=0,
        ).fit(*train)
        rows = [told["bytes"] for name, told in cache.info().items() if "torch" in name]
        return model.score(*test), sum(rows)


given = photo_options().parse_args()
with tempfile.TemporaryDirectory() as name:
    task = photo_task(given, Path(name))
    runs = {
        dtype: np.array([measure(task, seed, dtype) for seed in SEEDS]).mean(0)
        for dtype in (None, "float16", "bfloat16")
    }

rows, (whole, n_bytes) = [], runs.pop(None)
for dtype, (accuracy, half) in runs.items():
    lost = "skipped: " + " and ".join(task.made) if task.made else accuracy - whole
    details = f"{accuracy:.4f} against {whole:.4f}, mean of {len(SEEDS)} splits"
    rows += [
        at_least(f"accuracy on rows in {dtype} above that in float32", lost, ACCURACY_BAR, details),
        at_most(f"space of rows in {dtype} over float32", half / n_bytes, SPACE_BAR),
    ]
print(json.dumps({"rows": rows, "task": task.about()}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
