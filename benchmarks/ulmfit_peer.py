"""Claim: the third step of ULMFiT takes 1.1 of the time of fastai's at most, as accurately.

    python benchmarks/ulmfit_peer.py [--quick] [--data DIR] [--seeds N] [--labels N]

Both start from builtin/lm, tuned for two epochs to the training texts of ``text_rt_polarity.zip``
(``DIR``: ../shared/data beside the repository), and train the layers in five epochs, one layer at
a time.  fastai's part is that of its course on texts: the head of its text classifier, its batches
of texts of similar length, Adam, one cycle each time a layer is unfrozen, and the rates of
its course; rates of a third and of three times as much were not better.  Both compute in float32
on one thread.  Accuracies are those of all test texts, with ``--labels`` texts that each seed
draws; times are those of the processor.
"""

import json
import sys
from argparse import ArgumentParser
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import torch
from _common import QUICK, SHARED, at_least, at_most
from _texts import has_texts, read_texts
from torch import nn

from sktransfer import FineTuneClassifier, LanguageModelTuner, get_backbone

LM, N_EPOCHS, BATCH_SIZE, DECAY = "builtin/lm", 5, 32, 2.6
FILES = "rt_polarity/train", "rt_polarity/test"


def text_sets():
    """Training texts, their labels, and those of the test."""
    if QUICK or not all(has_texts(given.data, name) for name in FILES):
        texts = [f"{word} film number {n}" for n in range(20) for word in ("good", "bad")]
        return texts, np.arange(40) % 2, texts, np.arange(40) % 2
    (texts, labels), (test, test_labels) = (read_texts(given.data, name) for name in FILES)
    return texts, labels, test, test_labels


def ours(texts, labels, seed):
    """The classifier of this package, fitted one layer at a time."""
    model = FineTuneClassifier(
        LM,
        weights=given.tuned,
        pooling="concat",
        unfreeze="all",
        unfreeze_every=1,
        layer_decay=1 / DECAY,
        fine_tune_lr=3e-3,
        lr_schedule="slanted_triangular",
        max_epochs=N_EPOCHS,
        batch_size=BATCH_SIZE,
        device="cpu",
        engine="torch",
        random_state=seed,
        verbose=0,
    )
    return model.fit(texts, labels).score


class Network(nn.Module):
    """The stages of the tuned network, and the head of fastai's text classifier."""

    def __init__(self, n_classes):
        from fastai.text.models.core import PoolingLinearClassifier

        super().__init__()
        backbone = get_backbone(LM, weights=given.tuned)
        self.preset, self.stages = backbone.preset, nn.ModuleList(backbone.stages.values())
        with torch.no_grad():
            width = self._run(self.preset.example(2)).shape[2] - 1
        self.head = PoolingLinearClassifier([3 * width, 50, n_classes], [0.4, 0.1], bptt=512)

    def _run(self, ids):
        for stage in self.stages:
            ids = stage(ids)
        return ids

    def forward(self, ids):
        """Scores of the classes; the last channel of the stages is the mask of tokens."""
        tokens = self._run(ids)
        return self.head((tokens[..., :-1], tokens[..., -1] == 0))[0]


def groups(net):
    """The parameters of each stage and of the head, for fastai's freezing and rates."""
    return [list(part.parameters()) for part in (*net.stages, net.head)]


def batch(rows, preset):
    """Rows and labels as a batch."""
    ids, labels = zip(*rows, strict=True)
    return preset.collate(ids, len(ids)), torch.tensor(labels)


def fastai(texts, labels, seed):
    """fastai's learner on the same network, fitted one layer at a time."""
    import fastai.callback.all  # noqa: F401 - adds the methods for schedules and without output
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.text.data import SortedDL
    from fastai.torch_core import set_seed

    set_seed(seed)
    net = Network(len(np.unique(labels)))
    join = partial(batch, preset=net.preset)

    def loader(texts, labels, **how):
        rows = [net.preset(item) for item in net.preset.check(texts)]
        data = list(zip(rows, map(int, labels), strict=True))
        res = [len(row) for row in rows]
        return SortedDL(
            data, res=res, bs=BATCH_SIZE, create_batch=join, num_workers=0, device="cpu", **how
        )

    loaders = DataLoaders(loader(texts, labels, shuffle=True), loader(texts[:1], labels[:1]))
    learner = Learner(
        loaders, net, loss_func=CrossEntropyLossFlat(), splitter=groups, moms=(0.8, 0.7, 0.8)
    )
    with learner.no_bar(), learner.no_logging():
        learner.freeze()
        learner.fit_one_cycle(1, 2e-2)
        for depth, rate, epochs in ((-2, 1e-2, 1), (-3, 5e-3, 1), (0, 1e-3, N_EPOCHS - 3)):
            learner.freeze_to(depth)
            learner.fit_one_cycle(epochs, slice(rate / DECAY**4, rate))

    def score(texts, labels):
        with learner.no_bar(), learner.no_logging():
            scores, found = learner.get_preds(dl=loader(texts, labels))
        return (scores.argmax(1) == found).float().mean().item()

    return score


parser = ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--data", type=Path, default=SHARED / "data")
parser.add_argument("--seeds", type=int, default=1 if QUICK else 5)
parser.add_argument("--labels", type=int, default=1_000)
given = parser.parse_args()
torch.set_num_threads(1)
texts, labels, test, test_labels = text_sets()
fits = {"sktransfer": ours, "fastai": fastai}
if find_spec("fastai") is None:
    del fits["fastai"]
accuracies, seconds = ({name: [] for name in fits} for _ in range(2))
with TemporaryDirectory() as folder:
    given.tuned = Path(folder) / "tuned.safetensors"
    tuner = LanguageModelTuner(LM, lr=3e-3, max_epochs=2, random_state=0, verbose=0)
    tuner.fit(texts).save_weights(given.tuned)
    for seed in range(given.seeds):
        chosen = np.random.default_rng(seed).permutation(len(texts))[: given.labels]
        for name, fit in fits.items():
            start = process_time()
            score = fit([texts[at] for at in chosen], labels[chosen], seed)
            seconds[name].append(round(process_time() - start, 1))
            accuracies[name].append(round(score(test, test_labels), 4))
            print(name, seed, seconds[name][-1], accuracies[name][-1], file=sys.stderr, flush=True)
rows = []
if "fastai" in fits:
    ratio = median(np.divide(seconds["sktransfer"], seconds["fastai"]))
    gaps = np.subtract(accuracies["sktransfer"], accuracies["fastai"])
    noise = float(2 * gaps.std(ddof=1) / len(gaps) ** 0.5) if len(gaps) > 1 else 0.0
    rows = [
        at_most("the third step of ULMFiT, time over that of fastai", ratio, 1.1),
        at_least("its mean accuracy less that of fastai", gaps.mean(), round(-noise, 4)),
    ]
print(json.dumps({"rows": rows, "accuracy": accuracies, "seconds": seconds}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "ULMFiT must keep its claim"
