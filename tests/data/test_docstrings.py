"""The sentences of docstrings are real texts of modules or fields, the same for the same seed."""

import sys

import numpy as np
import pytest

from sktransfer import check_texts, load_docstrings


def test_the_sentences_have_the_names_of_their_modules():
    texts = load_docstrings(n_per_class=8)
    assert texts.data.shape == texts.target.shape == (80,)
    assert np.bincount(texts.target).tolist() == [8] * 10
    assert sorted(set(texts.labels)) == texts.target_names.tolist()
    assert (texts.labels == texts.target_names[texts.target]).all()
    assert texts.DESCR.startswith("80 sentences from the docstrings of 10 modules")
    assert any("Fourier" in text for text in texts.data[texts.labels == "fft"])


def test_the_sentences_of_python_have_the_names_of_their_fields():
    texts = load_docstrings(source="python", n_per_class=8)
    assert np.bincount(texts.target).tolist() == [8] * 5
    assert texts.target_names.tolist() == ["files", "network", "numbers", "processes", "texts"]
    assert (texts.labels == texts.target_names[texts.target]).all()
    assert texts.DESCR == (
        "40 sentences from the docstrings of 5 fields of Python's standard library."
    )
    every = load_docstrings(source="python", n_per_class=1000)
    assert any("directory" in text for text in every.data[every.labels == "files"])


def test_modules_that_python_was_built_without_are_left_out(monkeypatch):
    every = load_docstrings("test", source="python")
    monkeypatch.setitem(sys.modules, "ssl", None)
    fewer = load_docstrings("test", source="python")
    assert np.bincount(fewer.target)[1] < np.bincount(every.target)[1]


def test_the_sentences_depend_on_the_seed_alone():
    first, again = (load_docstrings(n_per_class=2, random_state=1).data for _ in range(2))
    assert (first == again).all()
    assert (first != load_docstrings(n_per_class=2, random_state=2).data).any()


@pytest.mark.parametrize("source", ["scipy", "python"])
def test_no_sentence_of_a_class_is_for_training_and_for_testing(source):
    train, test = (
        load_docstrings(part, source=source, n_per_class=1000) for part in ("train", "test")
    )
    assert not set(train.data) & set(test.data)
    assert min(np.bincount(train.target).min(), np.bincount(test.target).min()) >= 10


@pytest.mark.parametrize("subset", ["train", "test"])
@pytest.mark.parametrize("source", ["scipy", "python"])
def test_the_sentences_are_plain_lines_without_signatures(subset, source):
    for text in load_docstrings(subset, source=source, n_per_class=1000).data:
        assert 20 <= len(text) <= 200
        assert "\n" not in text
        assert "`" not in text
        assert "out=None" not in text


@pytest.mark.parametrize("source", ["scipy", "python"])
def test_the_sentences_have_few_problems(source):
    texts = load_docstrings("test", source=source)
    problems = check_texts(texts.data, texts.labels)
    assert len(problems) < 0.05 * len(texts.data)


@pytest.mark.parametrize("n_per_class", [0, 1.5, "many"])
def test_the_number_of_sentences_must_be_a_positive_integer(n_per_class):
    with pytest.raises(ValueError, match="n_per_class must be an integer of at least 1"):
        load_docstrings(n_per_class=n_per_class)


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match="source must be one of 'scipy', 'python'; got 'numpy'"):
        load_docstrings(source="numpy")


def test_an_unknown_half_of_the_sentences_is_refused():
    with pytest.raises(ValueError, match="subset must be one of 'train', 'test'; got 'valid'"):
        load_docstrings("valid")
