"""The pretraining of the language model, end to end on a few generated texts."""

import csv
import json
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parent))  # the script's modules lie beside it

from lm_pretrain import (
    LanguageModel,
    Places,
    Recipe,
    as_stream,
    chosen_log_odds,
    draw_candidates,
    draw_windows,
    parse,
    perplexity,
    read_model,
    train,
    write_weights,
)

from sktransfer import Backbone, LanguageModelTuner, get_backbone
from sktransfer.backbones.providers import _text
from sktransfer.backbones.providers.builtin import MODELS

TINY = Recipe(
    epochs=3, steps=40, rows=4, window=16, candidates=20, peak=0.02, average=0.9, held_out=0.05
)
SIZES = {"hidden": 24, "n_blocks": 2}
WORDS = ["the", "a", "cat", "dog", "house", "tree", "sees", "likes", "runs", "sleeps", "old"]
TOKENIZER = get_backbone("builtin/text").preset.tokenizer
N_TOKENS = 16_000


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)

    def texts(n):
        # each word has one of two successors
        for _ in range(n):
            at = rng.integers(len(WORDS), size=1).repeat(8) + np.cumsum(rng.integers(1, 3, 8))
            yield " ".join(WORDS[i % len(WORDS)] for i in at) + "."

    with zipfile.ZipFile(root / "free_books.zip", "w") as archive:
        archive.writestr("books.txt", "\n".join(texts(200)))
    with zipfile.ZipFile(root / "free_wordnet_glosses.zip", "w") as archive:
        rows = [{"text": text} for text in texts(60)]
        archive.writestr("texts.jsonl", "\n".join(map(json.dumps, rows)))
    return root


@pytest.fixture
def places(data, tmp_path):
    reviews = data / "free_wordnet_glosses.zip"
    run, out = tmp_path / "run", tmp_path / "lm.safetensors"
    return Places(data, run, out, reviews=reviews, probe_every=1)


def test_a_run_lowers_the_perplexity_of_other_texts(places):
    train(TINY, places, **SIZES)
    rows = list(csv.DictReader((places.run / "log.csv").read_text().splitlines()))
    assert len(rows) == 3
    for name in ("perplexity", "reviews"):
        found = [float(row[name]) for row in rows]
        assert found[-1] < min(100, found[0])  # of 16,000 tokens


@contextmanager
def _killed_in_epoch(number):
    """A run that ends before the weights of an epoch are written."""

    def write_or_die(path, state, *args):
        if state.epoch == number:
            raise KeyboardInterrupt
        write_weights(path, state, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_pretrain.write_weights", write_or_die)
        yield


def test_a_killed_run_continues_with_equal_bits(places, tmp_path):
    whole = load_file(train(TINY, places, **SIZES))
    again = replace(places, run=tmp_path / "again" / "run", out=tmp_path / "again.safetensors")
    with _killed_in_epoch(2), pytest.raises(KeyboardInterrupt):
        train(TINY, again, **SIZES)
    resumed = load_file(train(TINY, again, **SIZES))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_file_is_a_language_model_that_the_package_reads(places, monkeypatch):
    path = train(TINY, places, **SIZES)
    model = replace(
        MODELS["lm"],
        stages=lambda: _text.lm_stages(**SIZES),
        file=path,
        sha256=None,
    )
    monkeypatch.setitem(MODELS, "lm", model)
    backbone = get_backbone("builtin/lm")
    assert isinstance(backbone, Backbone)
    assert backbone.names == ["embed", "block1", "block2"]
    assert backbone.language_head.objective == "causal"
    assert backbone.preset.tokenizer.prefix == (1,)
    texts = ["the cat sees the dog", "an old house"]
    tuner = LanguageModelTuner("builtin/lm", max_epochs=0, verbose=0).fit(texts)
    stream = as_stream(TOKENIZER, texts[:1])
    model = read_model(load_file(path), _table(), **SIZES)
    expected = perplexity(model, np.array([*stream, 0]), window=len(stream) - 1)
    assert tuner.perplexity(texts[:1]) == pytest.approx(expected, rel=1e-3)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["recipe"])["epochs_done"] == 3


def _table():
    """The table that does not learn."""
    return _text.TABLE_SCALE * get_backbone("builtin/text").stages["embed"].words.weight.detach()


def test_the_table_does_not_learn(places):
    stored = load_file(train(replace(TINY, epochs=1), places, **SIZES))
    assert not any(name.startswith("embed") for name in stored)


def test_the_loss_among_candidates_is_that_among_all_tokens_if_all_are_chosen():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LanguageModel(_table(), **SIZES)
        torch.nn.init.normal_(model.language_head.transform[1].weight, std=0.003)
    stream = as_stream(TOKENIZER, ["the cat sees the dog", "an old house"] * 10)
    ids = draw_windows(stream, TINY, np.random.default_rng(0))
    everything = replace(TINY, candidates=N_TOKENS)
    chosen = draw_candidates(ids, everything, N_TOKENS, np.random.default_rng(0))
    log_odds = chosen_log_odds(stream, everything, N_TOKENS)
    assert torch.equal(log_odds, torch.zeros(N_TOKENS))
    exact = model.loss(ids)
    torch.testing.assert_close(model.loss(ids, chosen, log_odds), exact)
    found = model.parts(ids[:, :-1])
    scores = model.language_head(found, table=model.table)
    torch.testing.assert_close(exact, cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten()))


def test_the_command_line_has_all_settings(tmp_path):
    recipe, places = parse(
        [str(tmp_path), "lm.safetensors", "--hours", "0.5", "--window", "32", "--threads", "1"]
    )
    assert (recipe.hours, recipe.window, places.out) == (0.5, 32, Path("lm.safetensors"))
