"""Claim: from JPEG files to features, at most a tenth is added to decoding and the forward pass.

    python benchmarks/jpeg_to_features.py [--quick] [--data DIR] [MODEL ...]

Processor time of one thread, in turns: the preset for each photo (of which the plain decoding of
Pillow is a part), the network for batches in memory, and the whole job.  So the result does not
depend on how busy the machine is: with decoding and network together at 0.9 of the whole, the job
has 0.9 of the rate that they allow on any number of cores.  Weights are random.
"""

import importlib.util
import json
import tempfile
from itertools import product
from pathlib import Path
from statistics import median
from time import process_time

import torch
from _common import QUICK, at_least, photo_options, photo_set, write_photos
from PIL import Image

from sktransfer import PretrainedFeatureExtractor
from sktransfer._support.device import resolve_precision

MODELS = {"torchvision/mobilenet_v2": 224, "torchvision/resnet18": 224, "builtin/mini": None}
SETS = ("hymenoptera", "flowers5")
N_PHOTOS, N_TURNS = (8, 1) if QUICK else (64, 5)


def milliseconds(job):
    """The processor time of a photo."""
    start = process_time()
    job()
    return 1e3 * (process_time() - start) / N_PHOTOS


def plain(paths):
    """Decode photos at full size, and do nothing else."""
    for path in paths:
        with Image.open(path) as photo:
            photo.convert("RGB")


def measure(address, size, paths, precision, engine):
    """The median times of each part, and of the whole over the two parts that it needs."""
    model = PretrainedFeatureExtractor(
        address,
        weights="default" if address == "builtin/mini" else None,
        image_size=size,
        precision=precision,
        engine=engine,
        device="cpu",
        n_jobs=1,
        verbose=0,
    ).fit(paths)
    prefix = model._fitted.prefix.run_by(engine, cache=None)
    preset, step = prefix.preset, prefix.batch_size
    rows = [preset(path) for path in paths]
    blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
    batches = [preset.collate(block, step) for block in blocks]
    jobs = {
        "Pillow alone": lambda: plain(paths),
        "decode and resize": lambda: [preset(path) for path in paths],
        "normalise": lambda: [preset.collate(block, step) for block in blocks],
        "forward": lambda: [prefix(batch) for batch in batches],
        "whole": lambda: model.transform(paths),
    }
    jobs["whole"](), jobs["forward"]()
    turns = [{name: milliseconds(job) for name, job in jobs.items()} for _ in range(N_TURNS)]
    times = {name: median(turn[name] for turn in turns) for name in jobs}
    share = median((turn["decode and resize"] + turn["forward"]) / turn["whole"] for turn in turns)
    return share, times


parser = photo_options()
parser.add_argument("models", nargs="*")
given = parser.parse_args()
torch.set_num_threads(1)
has_bfloat16 = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
precisions = ["float32", *(["bfloat16"] if has_bfloat16 and not QUICK else [])]
engines = ["torch", *(["openvino"] if importlib.util.find_spec("openvino") and not QUICK else [])]
models = given.models or (["builtin/mini"] if QUICK else MODELS)
rows = []
with tempfile.TemporaryDirectory() as name:
    sets = {each: None if QUICK else photo_set(each, given.data, Path(name)) for each in SETS}
    photos = {each: list(map(str, found[0][:N_PHOTOS])) for each, found in sets.items() if found}
    photos = photos or {"generated photos": write_photos(Path(name) / "made", N_PHOTOS)}
    for address, precision, engine, kind in product(models, precisions, engines, photos):
        share, times = measure(address, MODELS[address], photos[kind], precision, engine)
        claim = f"decoding and network in the whole, `{address}`, {kind}, {precision}, {engine}"
        details = ", ".join(f"{part} {time:.2f}" for part, time in times.items())
        rows.append(at_least(claim, share, 0.9, f"milliseconds: {details}"))

print(json.dumps({"rows": rows}, indent=2))
assert QUICK or all(row["holds"] for row in rows), "little may be added to decoding and network"
