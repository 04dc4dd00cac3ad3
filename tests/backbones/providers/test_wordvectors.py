"""``wordvectors/<file>``: the formats of word vectors, their features, and damaged files."""

import hashlib
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktransfer import (
    FineTuneClassifier,
    PretrainedFeatureExtractor,
    get_backbone,
    list_backbones,
    save,
)
from sktransfer import load as load_model
from sktransfer.backbones.providers import _vector_files
from sktransfer.data import WordTokenizer
from sktransfer.testing import check_backbone

WORDS = ("the", "film", "is", "good", "bad", "New York", "café")
WIDTH = 4
VECTORS = np.random.default_rng(0).normal(size=(len(WORDS), WIDTH)).astype(np.float32)


def lines(words=WORDS, vectors=VECTORS):
    rows = zip(words, vectors, strict=True)
    return [f"{word} {' '.join(map(str, row))}" for word, row in rows]


def glove(path):
    path.write_text("\n".join(lines()) + "\n", encoding="utf-8")


def fast_text(path):
    rows = [f"{line} " for line in lines()]  # with a space at the end
    path.write_text("\n".join([f"{len(WORDS)} {WIDTH}", *rows]), encoding="utf-8")


def word2vec(path, end=b""):
    rows = [word.replace(" ", "_").encode() for word in WORDS]
    content = b"".join(
        word + b" " + vector.tobytes() + end for word, vector in zip(rows, VECTORS, strict=True)
    )
    path.write_bytes(f"{len(WORDS)} {WIDTH}\n".encode() + content)


def safetensors(path):
    save_file({"vectors": torch.from_numpy(VECTORS.copy())}, path, {"words": "\n".join(WORDS)})


FORMATS = {
    "glove.txt": glove,
    "fast.vec": fast_text,
    "word2vec.bin": word2vec,
    "lines.bin": lambda path: word2vec(path, b"\n"),
    "vectors.safetensors": safetensors,
}


@pytest.fixture(params=FORMATS)
def path(request, tmp_path):
    FORMATS[request.param](tmp_path / request.param)
    return tmp_path / request.param


@pytest.fixture
def glove_path(tmp_path):
    glove(tmp_path / "glove.txt")
    return tmp_path / "glove.txt"


def load(path, *args):
    return get_backbone(f"wordvectors/{path}", *args)


def test_every_format_gives_the_same_vectors(path):
    backbone = load(path)
    words = tuple(word.replace("_", " ") for word in backbone.preset.tokenizer.vocabulary)
    assert words == WORDS
    assert np.array_equal(backbone.stages["table"].words.weight.detach().numpy(), VECTORS)
    assert backbone.weights_info["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (backbone.names, backbone.layout) == (["table"], "NLM")


def test_a_table_of_words_is_a_valid_backbone(glove_path):
    check_backbone(load(glove_path), torch.tensor([[0, 1, 2], [3, -1, -1]]))


def test_large_files_are_read_in_blocks(glove_path, monkeypatch):
    expected = load(glove_path).fingerprint()
    monkeypatch.setattr(_vector_files, "BLOCK", 2)
    assert load(glove_path).fingerprint() == expected


def test_features_are_the_means_of_the_vectors(glove_path):
    texts = ["The film is good!", "no known words", "bad bad film"]
    model = PretrainedFeatureExtractor(f"wordvectors/{glove_path}", verbose=0)
    expected = [VECTORS[:4].mean(0), np.zeros(WIDTH), VECTORS[[4, 4, 1]].mean(0)]
    np.testing.assert_allclose(model.fit_transform(texts), expected, rtol=1e-5, atol=1e-6)


def test_the_first_vector_of_a_word_counts(tmp_path):
    path = tmp_path / "twice.txt"
    path.write_text("\n".join(lines(["a", "b", "a"], VECTORS[:3])))
    assert load(path).preset.tokenizer == WordTokenizer(("a", "b", ""))


def test_words_that_are_not_utf8_are_read(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9 1 2\nthe 3 4\n")
    assert load(path).preset.tokenizer.vocabulary == ("caf\ufffd", "the")


@pytest.fixture
def task():
    rng = np.random.default_rng(0)
    texts = [
        f"the film is {word} {'film ' * int(rng.integers(4))}" for word in ["good", "bad"] * 30
    ]
    return texts, np.array(["+", "-"] * 30)


def test_a_pipeline_learns_from_word_vectors(glove_path, task):
    X, y = task
    extractor = PretrainedFeatureExtractor(f"wordvectors/{glove_path}", verbose=0)
    assert make_pipeline(extractor, LogisticRegression(C=100)).fit(X, y).score(X, y) > 0.95


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_vectors_are_tuned_if_their_stage_is_unfrozen(glove_path, task, unfreeze):
    model = FineTuneClassifier(
        f"wordvectors/{glove_path}", unfreeze=unfreeze, max_epochs=2, random_state=0, verbose=0
    ).fit(*task)
    moved = {row["stage"]: row["moved"] for row in model.report_}
    assert (moved["table"] > 0) == bool(unfreeze)
    assert model.score(*task) > 0.9


def test_a_saved_model_has_its_words_and_tuned_vectors(glove_path, task, tmp_path):
    model = FineTuneClassifier(
        f"wordvectors/{glove_path}", unfreeze=1, max_epochs=1, random_state=0, verbose=0
    ).fit(*task)
    save(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert np.array_equal(again.predict_proba(task[0]), model.predict_proba(task[0]))


def test_tuned_vectors_of_the_same_words_are_read(glove_path, tmp_path):
    state = load(glove_path).stages.state_dict()
    save_file({name: 2 * tensor for name, tensor in state.items()}, tmp_path / "two.safetensors")
    tuned = load(glove_path, tmp_path / "two.safetensors")
    assert np.array_equal(tuned.stages["table"].words.weight.detach().numpy(), 2 * VECTORS)
    assert tuned.weights_info["source"] == "two.safetensors"


def test_random_vectors_have_the_words_of_the_file(glove_path):
    backbone = load(glove_path, None)
    assert backbone.preset == load(glove_path).preset
    assert backbone.weights_info["source"] == "random"


def test_an_unknown_name_of_vectors_is_an_error(glove_path):
    with pytest.raises(ValueError, match=r"must be 'default', None, or the path of a .*'best'"):
        load(glove_path, "best")


def test_a_file_is_found_by_its_name(glove_path, monkeypatch):
    monkeypatch.setenv("SKTRANSFER_MODELS", str(glove_path.parent))
    (glove_path.parent / "readme.md").touch()
    assert list_backbones("wordvectors") == ["wordvectors/glove.txt"]
    assert load("glove.txt").fingerprint() == load(glove_path).fingerprint()
    monkeypatch.setenv("SKTRANSFER_MODELS", str(glove_path.parent / "none"))
    assert list_backbones("wordvectors") == []


def test_a_missing_file_is_an_error_with_the_nearest_name(glove_path):
    with pytest.raises(FileNotFoundError, match=r"Did you mean '.*glove.txt'\? Files are not down"):
        load(glove_path.with_name("glovee.txt"))


DAMAGED = {
    "empty.txt": (b"", "its first line is b''"),
    "words.txt": (b"only words here\nand more\n", "could not convert string"),
    "short.txt": (b"a 1 2 3\nb 1 2\n", "after word"),
    "nan.txt": (b"a 1 nan\nb 1 2\n", "a value is not finite"),
    "lies.vec": (b"9 1000000\na 1 2\n", "its first line is b'9 1000000'"),
    "lies.bin": (b"1000000000000 300\na ", "need more bytes"),
    "header.bin": (b"a 1 2 3\n", "its first line is b'a 1 2 3'"),
    "endless.bin": (b"2 1\n" + b"a" * 9999, "a word does not end"),
    "cut.bin": (b"2 2\na " + struct.pack("<2f", 1, 2) + b"bbbbbbbb \0\0\0", "it ends after word 2"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_an_error_with_the_cause(tmp_path, name):
    content, cause = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"word vectors must be .*{name}' is not: .*{cause}"):
        load(tmp_path / name)


@pytest.mark.parametrize("words", ["a\nb", ""])
def test_a_safetensors_file_without_its_words_is_an_error(tmp_path, words):
    save_file({"v": torch.from_numpy(VECTORS)}, tmp_path / "a.safetensors", {"words": words})
    with pytest.raises(ValueError, match="one matrix, and its words in the metadata 'words'"):
        load(tmp_path / "a.safetensors")
