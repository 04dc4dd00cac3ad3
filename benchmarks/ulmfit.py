"""Claim: an epoch of tuning lowers the perplexity of builtin/lm on held-out reviews by 30 %.

    python benchmarks/ulmfit.py [--quick] [--data DIR] [--seeds N] [--tuned FILE]
                                [--unlabelled N]

Also prints the accuracy after each of the three steps of ULMFiT on reviews, next to that of words
alone.  ``DIR`` holds text_imdb.zip, text_imdb_test.zip and text_imdb_unlabelled_1.zip and _2.zip
(default: ../shared/data beside the repository).  ``--tuned`` keeps the tuned weights in a file, and
reads them if it exists.
"""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from _common import QUICK, SHARED, at_most
from _texts import has_texts, read_texts
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import FineTuneClassifier, LanguageModelTuner, PretrainedFeatureExtractor

FILES = ("imdb/train", "imdb_test/test", "imdb_unlabelled_1/texts", "imdb_unlabelled_2/texts")
COUNTS, HELD_OUT, MAX_LENGTH = (200, 2_000), 0.05, 256
LM = "builtin/lm"


def text_sets():
    """Training texts and labels, those of the test, and texts without labels; None if not there."""
    if QUICK:
        texts = [f"{word} film number {n}" for n in range(20) for word in ("good", "bad")]
        return texts, np.arange(40) % 2, texts, np.arange(40) % 2, texts * 3
    if not all(has_texts(given.data, name) for name in FILES):
        return None
    (texts, labels), (test, test_labels), *others = (read_texts(given.data, n) for n in FILES)
    return texts, labels, test, test_labels, [text for found, _ in others for text in found]


def tune(texts, held):
    """Tune the language model for an epoch; the perplexity of held-out texts before and after."""
    how = {"random_state": 0, "verbose": 0, "lr": 3e-3, "precision": "auto"}
    before = LanguageModelTuner(LM, max_epochs=0, **how).fit(held)
    tuner = LanguageModelTuner(LM, max_epochs=1, **how).fit(texts)
    tuner.save_weights(given.tuned)
    return [round(model.perplexity(held), 1) for model in (before, tuner)]


def linear(weights):
    """A linear classifier on frozen features."""
    how = {"pooling": "concat", "max_length": MAX_LENGTH, "precision": "auto", "verbose": 0}
    extractor = PretrainedFeatureExtractor(LM, weights=weights, cache=given.cache, **how)
    return make_pipeline(extractor, StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))


def layer_by_layer(weights):
    """ULMFiT's third step: one layer at a time, with a rate of its own."""
    return FineTuneClassifier(
        LM,
        weights=weights,
        pooling="concat",
        unfreeze="all",
        unfreeze_every=1,
        layer_decay=1 / 2.6,
        fine_tune_lr=3e-3,
        lr_schedule="slanted_triangular",
        max_length=MAX_LENGTH,
        precision="auto",
        random_state=0,
        verbose=0,
    )


def contenders():
    """Name -> an unfitted model."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    return {
        "words": make_pipeline(words, LogisticRegression(C=10, max_iter=2000)),
        "1. pretrained, frozen": linear("default"),
        "2. tuned to reviews, frozen": linear(given.tuned),
        "3. tuned, one layer at a time": layer_by_layer(given.tuned),
        "one layer at a time, not tuned": layer_by_layer("default"),
    }


def draw(sets, count, seed):
    """Labelled texts to learn from, and those of the test.

    If all labels count, the first draw is the given split; others divide all texts again.
    """
    texts, labels, test, test_labels, _ = sets
    n, order = len(labels), np.random.default_rng(seed)
    if count < n:
        chosen, rest = order.permutation(n)[:count], n + np.arange(len(test))
    else:
        both = np.arange(n + len(test)) if seed == 0 else order.permutation(n + len(test))
        chosen, rest = np.split(both, [n])
    texts, labels = [*texts, *test], np.concatenate([labels, test_labels])
    return [([texts[at] for at in part], labels[part]) for part in (chosen, rest)]


def table(sets):
    """Accuracies of each contender for each number of labels, a list over the draws."""
    rows = {}
    for name, model in contenders().items():
        for count in COUNTS if not QUICK else (20, 40):
            scores = []
            for seed in range(given.seeds):
                train, test = draw(sets, count, seed)
                scores.append(round(float(model.fit(*train).score(*test)), 4))
                print(name, count, scores[-1], file=sys.stderr, flush=True)
            rows.setdefault(name, {})[count] = scores
    return rows


parser = ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--data", type=Path, default=SHARED / "data")
parser.add_argument("--seeds", type=int, default=1 if QUICK else 3)
parser.add_argument("--tuned", type=Path)
parser.add_argument("--unlabelled", type=int, help="use the first of these texts only")
given = parser.parse_args()
sets = text_sets()
perplexities, scores = [], {}
with TemporaryDirectory() as folder:
    given.cache = Path(folder) / "cache"
    given.tuned = given.tuned or Path(folder) / "tuned.safetensors"
    ratio = None
    if sets is not None:
        unlabelled = sets[-1][: given.unlabelled]
        n_held = max(round(HELD_OUT * len(unlabelled)), 2)
        if not given.tuned.exists():
            perplexities = tune(unlabelled[n_held:], unlabelled[:n_held])
            print("perplexity", perplexities, file=sys.stderr, flush=True)
            ratio = perplexities[1] / perplexities[0]
        scores = table(sets)
claim = "perplexity of held-out reviews after an epoch of tuning, over that before"
rows = [] if ratio is None else [at_most(claim, ratio, 0.7)]
print(json.dumps({"rows": rows, "perplexity": perplexities, "accuracy": scores}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "tuning must keep its claim"
