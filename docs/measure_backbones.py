"""Print the rows of the table in docs/backbones.md.

    OMP_NUM_THREADS=1 python docs/measure_backbones.py [ADDRESS ...]

The time is processor time on one thread, so other programs hardly change it.  Random weights are as
fast as pretrained ones, and need no download.
"""

import sys
from pathlib import Path
from time import process_time

import numpy as np

from sktransfer import PretrainedFeatureExtractor, get_backbone

PAGE = Path(__file__).with_name("backbones.md")
N_PHOTOS, N_REPEATS = 16, 3


def listed() -> list[str]:
    """Return the addresses in the table of the page."""
    rows = [line.split("`") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return [row[1] for row in rows]


def seconds(address: str) -> float:
    """Return the shortest processor time, in seconds, of extracting the features of one photo."""
    photos = np.random.default_rng(0).integers(0, 256, (N_PHOTOS, 256, 256, 3), dtype=np.uint8)
    extractor = PretrainedFeatureExtractor(address, weights=None, n_jobs=1, verbose=0).fit(photos)
    times = []
    for _ in range(N_REPEATS):
        start = process_time()
        extractor.transform(photos)
        times.append(process_time() - start)
    return min(times) / N_PHOTOS


for address in sys.argv[1:] or listed():
    backbone = get_backbone(address, weights=None)
    stages = ", ".join(backbone.names)
    n_parameters = sum(parameter.numel() for parameter in backbone.stages.parameters()) / 1e6
    extractor = PretrainedFeatureExtractor(address, weights=None).fit([np.zeros((64, 64, 3))])
    n_features = len(extractor.get_feature_names_out())
    size = backbone.preset.size
    cells = [f"`{address}`", stages, f"{n_features:,}", f"{n_parameters:.1f}", f"{size}"]
    print("|", " | ".join([*cells, f"{1000 * seconds(address):.0f}"]), "|", flush=True)
