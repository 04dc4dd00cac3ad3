"""The pretraining of the text network, end to end on a few generated texts."""

import csv
import json
import sys
import zipfile
from collections import Counter, OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.text_folders import config_of, write_folder
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # the script's modules lie beside it

from text_learning import Goal, Passages, Recipe, run_epoch
from text_pretrain import Places, parse, train
from text_probe import SETS
from text_source import MOST_WORDS, load_passages, of_gloss, of_paragraph
from text_teacher import Teacher, load_targets
from text_vocabulary import SPECIAL, learn_pieces

from sktransfer.backbones.providers import _text
from sktransfer.backbones.providers._packed import unpack
from sktransfer.data import read_tokenizer

TINY = Recipe(epochs=2, n_tokens=60, mixed=40, taps=(0, 1), positions=256)
WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "house",
    "tree",
    "sees",
    "likes",
    "runs",
    "sleeps",
    "old",
    "young",
    "red",
]


@pytest.fixture(autouse=True)
def _small_network(monkeypatch):
    """A network of 16 channels, with a size that its callers choose."""
    stages = _text.text_stages
    monkeypatch.setattr("text_pretrain.text_stages", lambda n: stages(n, width=16, hidden=8))


def sentences(n, rng):
    return [" ".join(rng.choice(WORDS, rng.integers(4, 9))).capitalize() + "." for _ in range(n)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    with zipfile.ZipFile(root / "free_books.zip", "w") as archive:
        archive.writestr("books.txt", "\n".join(" ".join(sentences(3, rng)) for _ in range(60)))
    with zipfile.ZipFile(root / "free_wordnet_glosses.zip", "w") as archive:
        glosses = [{"text": f'cat: {text}; "{text} again"'} for text in sentences(20, rng)]
        archive.writestr("texts.jsonl", "\n".join(map(json.dumps, glosses)))
    for name in SETS:
        with zipfile.ZipFile(root / f"text_{name}.zip", "w") as archive:
            rows = [{"text": text, "label": n % 2} for n, text in enumerate(sentences(60, rng))]
            archive.writestr("train.jsonl", "\n".join(map(json.dumps, rows)))
    return root


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("teacher"), config_of("bert"))


@pytest.fixture(autouse=True)
def _few_passages(monkeypatch):
    monkeypatch.setattr("text_vocabulary.RARE_CHARACTER", 1)
    monkeypatch.setattr("text_teacher.BLOCK", 50)


@pytest.fixture
def places(tmp_path, data, teacher):
    return Places(data, tmp_path / "run", tmp_path / "text.safetensors", teacher, probe_every=1)


def test_a_run_leaves_weights_that_load_into_the_stages(places):
    weights = load_file(train(TINY, places))
    network = nn.Sequential(OrderedDict(_text.text_stages(60, width=16, hidden=8)))
    network.load_state_dict(unpack(weights))
    assert network(torch.tensor([[3, 4, -1]])).isfinite().all()
    assert weights.pop("embed.words.weight").dtype == torch.int8
    assert weights.pop("embed.words.scale").shape == (60, 1)
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_the_metadata_hold_tokenizer_and_recipe(places):
    with safe_open(train(replace(TINY, epochs=1), places), "pt") as weights:
        metadata = weights.metadata()
    tokenizer = read_tokenizer(metadata["tokenizer"])
    assert tokenizer.vocab_size == 60
    assert tokenizer.encode("The cat sees the dog.").count(tokenizer.unknown) == 0
    assert metadata["licence"].startswith("BSD-3-Clause")
    assert json.loads(metadata["recipe"])["taps"] == [0, 1]


def test_the_student_approaches_the_teacher(places):
    train(replace(TINY, epochs=20, peak=0.01, word_dropout=0.0), places)
    losses = [float(row["loss"]) for row in logged(places)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_killed_run_ends_as_if_it_had_not_been_killed(places, tmp_path, monkeypatch):
    whole = load_file(train(TINY, places))
    killed = replace(places, run=tmp_path / "killed", out=tmp_path / "killed.safetensors")

    def run(state, task):
        if state.epoch == 1:
            raise KeyboardInterrupt
        return run_epoch(state, task)

    with monkeypatch.context() as patch:
        patch.setattr("text_pretrain.run_epoch", run)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, killed)
    resumed = load_file(train(TINY, killed))
    assert all(torch.equal(whole[name].float(), resumed[name].float()) for name in whole)


def test_a_run_of_given_hours_stops_in_time(places):
    train(replace(TINY, hours=1e-6), places)
    assert len(logged(places)) <= 2


def test_the_probes_are_in_the_log(places, data, monkeypatch):
    few = {name: replace(s, n_texts=60, n_train=40, labels=(20,)) for name, s in SETS.items()}
    monkeypatch.setattr("text_probe.SETS", few)
    columns = ("epoch", "minutes", "rate", "loss", *(f"probe_{name}_20" for name in few))
    monkeypatch.setattr("text_pretrain.COLUMNS", (*columns, "probe_mean"))
    train(TINY, replace(places, sets=data))
    assert [row["epoch"] for row in logged(places)] == ["1", "2"]
    assert all(0 <= float(row["probe_mean"]) <= 1 for row in logged(places))


def logged(places):
    with (places.run / "log.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_targets_of_a_killed_run_are_not_computed_again(data, teacher, tmp_path, monkeypatch):
    texts = load_passages(data, tmp_path / "passages.txt")[:120]
    encoder = Teacher.load(teacher, (0, 1), torch.device("cpu"))
    first = load_targets(encoder, texts, tmp_path / "targets")
    next((tmp_path / "targets").glob("00000050-*")).unlink()
    asked = []
    monkeypatch.setattr(Teacher, "embed", lambda _, part, __: asked.append(part) or first[50:100])
    np.testing.assert_array_equal(load_targets(encoder, texts, tmp_path / "targets"), first)
    assert asked == [texts[50:100]]


def test_targets_are_averages_over_the_tokens(teacher):
    encoder = Teacher.load(teacher, (0,), torch.device("cpu"))
    texts = ["the movie", "a"]
    rows = encoder.embed(texts)[:, 0]
    ids = encoder.preset(encoder.preset.check(texts[:1])[0])
    tokens = encoder.stages["embed"](ids[ids >= 0][None])[0, :, :-1]
    np.testing.assert_allclose(rows[0], tokens.mean(0).numpy(), atol=2e-2)


def test_a_goal_spreads_the_variance_evenly():
    rng = np.random.default_rng(0)
    targets = (rng.normal(size=(2_000, 1, 12)) * np.arange(1, 13)) @ rng.normal(size=(12, 12))
    vectors = Goal.fit(targets, 8, 0)(torch.from_numpy(targets).float())
    assert vectors.shape == (2_000, 8)
    assert float(vectors.std()) == pytest.approx(1, abs=0.05)
    assert float(vectors.std(0).max() / vectors.std(0).min()) < 3


def test_a_batch_is_filled_up_with_no_token():
    passages = Passages(np.array([5, 6, 7], np.uint16), np.array([0, 2, 3]))
    assert passages.batch(np.array([0, 1])).tolist() == [[5, 6], [7, -1]]


def test_an_epoch_has_each_passage_once():
    lengths = np.random.default_rng(0).integers(1, 40, 500)
    passages = Passages(np.zeros(lengths.sum(), np.uint16), np.append(0, lengths.cumsum()))
    batches = list(passages.batches(128, np.random.default_rng(1)))
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(len(rows) * lengths[rows].max() <= 128 for rows in batches)


def test_passages_are_the_same_for_the_same_seed(data, tmp_path):
    first = load_passages(data, tmp_path / "a.txt")
    assert (
        load_passages(data, tmp_path / "b.txt") == first == load_passages(data, tmp_path / "a.txt")
    )
    assert len(set(first)) == len(first)


def test_a_paragraph_becomes_sentences():
    import random

    text = 'He came. "Why?" she asked. Mr. Smith left! ' + "word " * 90
    passages = list(of_paragraph(text, random.Random(0)))
    assert " ".join(passages) == text.strip()
    assert max(len(passage.split()) for passage in passages) <= MOST_WORDS


def test_the_examples_of_a_definition_are_passages():
    gloss = 'able: having the skill; "able to swim"; "she was able"'
    whole = "able: having the skill; able to swim; she was able"
    assert list(of_gloss(gloss)) == [whole, "able to swim", "she was able"]


def test_frequent_words_become_pieces():
    counts = Counter({"lower": 900, "low": 800, "new": 700, "newer": 600, "rare": 1})
    pieces = learn_pieces(counts, 40)
    assert pieces[: len(SPECIAL)] == list(SPECIAL)
    assert {"low", "new", "lower", "##er"} <= set(pieces)
    assert learn_pieces(counts, 40) == pieces


def test_the_command_line_becomes_a_recipe():
    line = ["in", "out.safetensors", "--teacher", "minilm", "--hours", "2", "--taps", "0,3"]
    recipe, places = parse(line)
    assert (recipe.hours, recipe.taps) == (2, (0, 3))
    assert places.teacher == Path("minilm")
