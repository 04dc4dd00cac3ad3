"""Claim: an item takes as long among 200,000 items as among 1,000, and a new process starts soon.

    python benchmarks/many_items.py [--quick] [--work FOLDER]

Tiny photos and a tiny network, so that the cache and the memo of digests are what is measured: in
processor time, each job in a process of its own.  ``--work`` is a folder for the photos, which is
emptied; 200,000 of them take a gigabyte.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from argparse import ArgumentParser
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
from _common import at_most
from PIL import Image

FEW, MANY, N_TURNS = 1000, 200_000, 5
QUICK_COUNTS = 20, 60, 1


def write_tiny(folder, n):
    """Write photos of 8 x 8 pixels: the same photo, with a number behind its end."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG")
    for number in range(n):
        name = folder / f"{number:06d}.jpg"
        name.write_bytes(content.getvalue() + number.to_bytes(4, "big"))


def items_of(kind, folder, n, start=0):
    """Some of the photos, as paths or as arrays that all differ."""
    if kind == "paths":
        return [f"{folder}/photos/{number:06d}.jpg" for number in range(start, start + n)]
    arrays = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    arrays = np.repeat(arrays[None], n, axis=0)
    arrays[:, 0, 0] = np.arange(start, start + n)[:, None] >> np.array([0, 8, 16]) & 255
    return arrays


def fitted(cache, items):
    """An extractor that runs the first stage of a small network."""
    from sktransfer import PretrainedFeatureExtractor

    model = PretrainedFeatureExtractor(
        layer="stem", image_size=32, engine="torch", n_jobs=1, cache=cache, verbose=0
    ).fit(items[:1])
    model.set_params(cache=None).transform(items[:16])  # the network is made ready
    return model.set_params(cache=cache)


def cost(model, items):
    """The processor time of an item, in microseconds."""
    start = process_time()
    model.transform(items)
    return 1e6 * (process_time() - start) / len(items)


def growth(kind, folder, few, many, n_turns):
    """The time of an item among few and among many: computed, and found in the cache."""
    model, computed, found = fitted(f"{folder}/{kind}", items_of(kind, folder, 16)), [], []
    for turn in range(n_turns):
        part = items_of(kind, folder, few, turn * few)
        model.set_params(cache=f"{folder}/{kind}-{turn}")
        computed.append(cost(model, part))
        found.append(cost(model, part))
    items = items_of(kind, folder, many)
    model.set_params(cache=f"{folder}/{kind}")
    result = {"computed": [median(computed), cost(model, items)]}
    return result | {"found": [median(found), cost(model, items)]}


def start(folder, many):
    """The processor time of a process and of a transform in it, in seconds."""
    items = items_of("paths", folder, many)
    model = fitted(f"{folder}/paths", items)
    return {"transform": cost(model, items) * many / 1e6, "whole": process_time()}


def memory(folder, many):
    """The bytes of memory that a known photo takes after a transform."""
    items = items_of("paths", folder, many)
    model = fitted(f"{folder}/paths", items)
    tracemalloc.start()
    model.transform(items)
    return {"bytes": tracemalloc.get_traced_memory()[0] / many}


def housekeeping(folder):
    """The seconds of ``cache info`` and of ``cache prune``."""
    from sktransfer import ActivationCache

    cache, times = ActivationCache(f"{folder}/paths"), {}
    for name in ("info", "prune"):
        begin = process_time()
        getattr(cache, name)()
        times[name] = process_time() - begin
    return times


JOBS = {each.__name__: each for each in (growth, start, memory, housekeeping)}


def in_process(job, *arguments):
    """The result of a job in a process of its own."""
    command = [sys.executable, __file__, "--job", json.dumps([job, *map(str, arguments)])]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def main(folder, few, many, n_turns):
    """The rows of the table."""
    write_tiny(folder / "photos", max(many, few * n_turns))
    rows = []
    for kind in ("paths", "arrays"):
        for name, (one, other) in in_process("growth", kind, folder, few, many, n_turns).items():
            claim = f"time of an item of {kind}, {name}, among {many:,} over that among {few:,}"
            details = f"{other:.0f} over {one:.0f} microseconds"
            rows.append(at_most(claim, other / one, 1.1, details=details))
    times = in_process("start", folder, many)
    claim = f"processor time of a new process for {many:,} known photos"
    details = f"of which {times['transform']:.2f} s for the features"
    rows.append(at_most(claim, times["whole"], 5, " s", details))
    n_bytes = in_process("memory", folder, many)["bytes"]
    rows.append(at_most("memory of a known photo", n_bytes, 200, " bytes"))
    for name, time in in_process("housekeeping", folder).items():
        rows.append(at_most(f"`cache {name}` with {many:,} photos", time, 5, " s"))
    return rows


parser = ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--work", type=Path)
parser.add_argument("--job", type=json.loads)
given = parser.parse_args()
if given.job:
    os.environ["OMP_NUM_THREADS"] = "1"
    job, *arguments = given.job
    result = JOBS[job](*(int(each) if each.isdigit() else each for each in arguments))
    print(json.dumps(result))
    sys.exit()

with tempfile.TemporaryDirectory(dir=given.work) as name:
    rows = main(Path(name), *(QUICK_COUNTS if given.quick else (FEW, MANY, N_TURNS)))
print(json.dumps({"rows": rows}, indent=2))
assert given.quick or all(row["holds"] for row in rows), "no part may take longer among many items"
