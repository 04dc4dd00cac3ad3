"""Claim: two workers of dask on two cores extract features at least 1.8 times as fast as one.

    python benchmarks/two_workers.py [--quick] [--model ADDRESS] [--photos N] [--repeats N]

Each worker is a process on a core of its own that loads a fitted extractor once, before the time
begins, and extracts the partitions of a table of paths.  Without a core of its own, one worker
would decode on the second core.  ResNet-18 at 224 pixels with random weights, so that computing
takes most of the time.  One worker and two take turns.  All cores should be idle.
"""

import importlib.util
import json
import os
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from statistics import median

from _common import QUICK, at_least, seconds, write_photos
from joblib import cpu_count

from sktransfer import PretrainedFeatureExtractor, load, save

N_PHOTOS, SIZE = (24, 64) if QUICK else (256, 224)
BAR, SKIPPED = 1.8, "skipped: dask is not installed"


def prepare(part, file, core):
    """Give this worker a core, where the system can, and the extractor, and run it once."""
    from distributed import get_worker

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})  # of this thread, and of those that it starts
    get_worker().extractor = load(file)
    extract(part)


def extract(part):
    """The features of one partition, by the extractor of this worker."""
    from distributed import get_worker

    return get_worker().extractor.transform(part)


def run(client, paths):
    """The features of all photos, in partitions of 16."""
    parts = [paths[start : start + 16] for start in range(0, len(paths), 16)]
    return client.gather([client.submit(extract, part, pure=False) for part in parts])


def list_cores():
    """The cores that this process may use; two numbers where the system does not tell."""
    found = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return found if len(found) > 1 else found * 2


def measure(paths, file, n_repeats):
    """The seconds of one worker and of two, in turns."""
    from distributed import Client, LocalCluster

    def cluster(n_workers):
        options = {"threads_per_worker": 1, "dashboard_address": None, "processes": True}
        return LocalCluster(n_workers=n_workers, **options)

    times, cores = {1: [], 2: []}, list_cores()
    for _ in range(n_repeats):
        for n_workers, found in times.items():
            with cluster(n_workers) as made, Client(made) as client:
                client.wait_for_workers(n_workers)
                workers = zip(client.scheduler_info()["workers"], cores, strict=False)
                how = [((paths[:16], file, core), {"workers": [at]}) for at, core in workers]
                client.gather([client.submit(prepare, *what, **at) for what, at in how])
                found.append(seconds(lambda client=client: run(client, paths))[1])
    return times


def main():
    parser = ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", default="builtin/mini" if QUICK else "torchvision/resnet18")
    parser.add_argument("--photos", type=int, default=N_PHOTOS)
    parser.add_argument("--repeats", type=int, default=1 if QUICK else 5)
    given = parser.parse_args()
    if importlib.util.find_spec("distributed") is None:
        row = at_least(f"{given.model}, time of one worker over that of two", SKIPPED, BAR)
        print(json.dumps({"rows": [row]}, indent=2))
        return
    os.environ |= {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        paths = [str(path) for path in write_photos(Path(name) / "photos", given.photos)]
        file = str(Path(name) / "extractor.safetensors")
        extractor = PretrainedFeatureExtractor(
            given.model, weights=None, image_size=SIZE, engine="torch", verbose=0
        )
        save(extractor.fit(paths[:1]), file)
        times = measure(paths, file, given.repeats)
    ratio = median(one / two for one, two in zip(times[1], times[2], strict=True))
    rates = {n: given.photos / median(found) for n, found in times.items()}
    details = f"{rates[1]:.1f} and {rates[2]:.1f} photos/s, {cpu_count()} cores"
    row = at_least(f"{given.model}, time of one worker over that of two", ratio, BAR, details)
    print(json.dumps({"rows": [row], "seconds": times}, indent=2))
    assert QUICK or row["holds"] is not False, "two workers must be 1.8 times as fast as one"


if __name__ == "__main__":  # dask's workers import this file
    main()
