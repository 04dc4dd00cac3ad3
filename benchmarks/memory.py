"""Claim: 4,000 photos take at most 1.1 times the memory of 1,000, features aside.

    python benchmarks/memory.py [--quick]

Each run is a process of its own; what is compared is the most memory it ever held.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from _common import QUICK, write_photos

from sktransfer import PretrainedFeatureExtractor

COUNTS = (8, 32) if QUICK else (1000, 4000)
DISTINCT = 8 if QUICK else 500  # files; listed again and again, they are decoded again and again
BACKBONE = "builtin/mini" if QUICK else "torchvision/squeezenet1_1"


def peak(folder, n_photos):
    """The most memory this process held while it extracted ``n_photos``, features aside, in MB."""
    files = sorted(Path(folder).iterdir())
    paths = [files[index % len(files)] for index in range(n_photos)]
    model = PretrainedFeatureExtractor(BACKBONE, weights=None, image_size=64, verbose=0)
    features = model.fit_transform(paths)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - features.nbytes) / 2**20


if "--peak" in sys.argv:
    print(peak(sys.argv[-2], int(sys.argv[-1])))
    sys.exit()

with tempfile.TemporaryDirectory() as name:
    write_photos(name, DISTINCT)
    command = [sys.executable, __file__, *(["--quick"] if QUICK else []), "--peak", name]
    few, many = (
        float(subprocess.run([*command, str(n)], capture_output=True, check=True).stdout)
        for n in COUNTS
    )

print(json.dumps({f"MB for {COUNTS[0]}": few, f"MB for {COUNTS[1]}": many, "ratio": many / few}))
assert QUICK or many <= 1.1 * few, "memory must not grow with the number of photos"
