"""Claim: 4,000 photos take at most 1.1 times the memory of 1,000, features aside.

    python benchmarks/memory.py [--quick]

To extract features, and to fine-tune two stages on rows of a cache.  Each run is a process of its
own; what is compared is the most memory it ever held.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from _common import QUICK, at_most, write_photos

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor

COUNTS = (8, 32) if QUICK else (1000, 4000)
DISTINCT = 8 if QUICK else 500  # files; listed again and again, they are decoded again and again
BACKBONE = "builtin/mini" if QUICK else "torchvision/squeezenet1_1"
OF_NETWORK = {"backbone": BACKBONE, "weights": None, "image_size": 64, "verbose": 0}


def extract(paths, folder):  # noqa: ARG001 - keeps nothing there
    """Features of photos; returns their bytes."""
    return PretrainedFeatureExtractor(**OF_NETWORK).fit_transform(paths).nbytes


def fine_tune(paths, folder):
    """Tune two stages for an epoch on distinct rows; returns the bytes of pooled features."""
    for copy, path in enumerate(paths):  # a byte behind the end of a photo makes it another one
        to = Path(folder) / f"{copy}.jpg"
        to.write_bytes(path.read_bytes() + copy.to_bytes(4, "big"))
    copies = sorted(Path(folder).glob("*.jpg"))
    model = FineTuneClassifier(
        **OF_NETWORK, unfreeze=2, augment=None, max_epochs=1, cache=Path(folder) / "cache"
    )
    model.fit(copies, [index % 2 for index in range(len(copies))])
    return len(copies) * model.transform(copies[:1]).nbytes


JOBS = {"extract features": extract, "fine-tune two stages": fine_tune}


def peak(photos, n_photos, job):
    """The most memory this process held while it did ``job``, features aside, in MB."""
    files = sorted(Path(photos).iterdir())
    paths = [files[index % len(files)] for index in range(n_photos)]
    with tempfile.TemporaryDirectory() as folder:
        n_bytes = JOBS[job](paths, folder)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - n_bytes) / 2**20


if "--peak" in sys.argv:
    print(peak(sys.argv[-3], int(sys.argv[-2]), sys.argv[-1]))
    sys.exit()

rows, megabytes = [], {}
with tempfile.TemporaryDirectory() as name:
    write_photos(name, DISTINCT)
    command = [sys.executable, __file__, *(["--quick"] if QUICK else []), "--peak", name]
    for job in JOBS:
        few, many = megabytes[job] = [
            float(subprocess.run([*command, str(n), job], capture_output=True, check=True).stdout)
            for n in COUNTS
        ]
        claim = f"memory to {job}, {COUNTS[1]:,} photos over that for {COUNTS[0]:,}"
        rows.append(at_most(claim, many / few, 1.1, details=f"{many:.0f} MB over {few:.0f} MB"))

print(json.dumps({"rows": rows, "MB": megabytes}, indent=2))
assert QUICK or all(row["holds"] for row in rows), "memory must not grow with the number of photos"
