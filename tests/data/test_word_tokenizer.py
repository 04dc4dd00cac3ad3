"""Words of texts that have a vector, and words that have none."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from sktransfer.data import WordTokenizer, read_tokenizer, tokenizers

WORDS = (
    "the",
    "film",
    "n't",
    "do",
    "is",
    "'s",
    "it",
    "well",
    "made",
    "Paris",
    ",",
    "don't-know",
    "",
)


@pytest.fixture
def tokenizer():
    return WordTokenizer(WORDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("The FILM", ["the", "film"]),
        ("Paris paris", ["Paris"]),  # the case of the vocabulary is tried first
        ("don't do it, it's", ["do", "n't", "do", "it", ",", "it", "'s"]),
        ("don’t it’s", ["do", "n't", "it", "'s"]),  # typographic apostrophes
        ("a well-made film.", ["well", "made", "film"]),
        ("don't-know", ["don't-know"]),
        ("unknown\twords\n電影", []),
    ],
)
def test_a_text_becomes_the_words_of_the_vocabulary(tokenizer, text, expected):
    assert [WORDS[id_] for id_ in tokenizer.encode(text)] == expected


def test_no_token_stands_for_unknown_words(tokenizer):
    assert (tokenizer.prefix, tokenizer.suffix, tokenizer.unknown) == ((), (), None)
    assert tokenizer.vocab_size == len(WORDS)


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda tokenizer: pickle.loads(pickle.dumps(tokenizer)),
        lambda tokenizer: read_tokenizer(tokenizer.to_bytes()),
    ],
    ids=["copy", "pickle", "file"],
)
def test_a_copy_of_the_words_is_equal(tokenizer, copied):
    tokenizer.encode("the film")
    again = copied(tokenizer)
    assert (again, hash(again)) == (tokenizer, hash(tokenizer))
    assert again.fingerprint() == tokenizer.fingerprint()


def test_other_words_are_another_tokenizer(tokenizer):
    other = WordTokenizer(WORDS[::-1])
    assert other != tokenizer
    assert other.fingerprint() != tokenizer.fingerprint()
    assert tokenizer != WORDS


def test_threads_may_share_the_words(monkeypatch):
    monkeypatch.setattr(tokenizers, "MOST_WORDS", 3)
    texts = [f"the film {number % 5} isn't well-made" for number in range(200)]
    expected = [WordTokenizer(WORDS).encode(text) for text in texts]
    tokenizer = WordTokenizer(WORDS)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenizer.encode, texts)) == expected
    assert len(tokenizer._known) <= 3 + 8
