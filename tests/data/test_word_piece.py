"""WordPiece gives the ids of the package ``tokenizers``."""

import copy
import json
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.bert_tokens import VOCABULARY, of_the_package, word_piece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sktransfer.data import WordPiece, read_tokenizer, read_vocabulary, tokenizers

OPTIONS = {
    "uncased": {},
    "cased": {"lowercase": False, "strip_accents": False},
    "accents": {"strip_accents": False},
    "cased without accents": {"lowercase": False},
    "not cleaned": {"clean": False},
    "Chinese words": {"split_chinese": False},
    "short words": {"longest_word": 4},
}
# Texts of many kinds of characters, with spaces and tokens often enough to divide them.
PIECES = st.one_of(
    st.text(max_size=5), st.sampled_from(VOCABULARY), st.sampled_from(" \t\n\x85\u3000\0\ufffd")
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def tokens(tokenizer, text):
    return [tokenizer.vocabulary[id_] for id_ in tokenizer.encode(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \t\n ", []),
        ("The film", ["the", "film"]),
        ("playing plays", ["play", "##ing", "play", "##s"]),
        ("unbelievable", ["un", "##believ", "##able"]),
        ("Isn't!", ["isn", "'", "t", "!"]),
        ("Déjà", ["deja"]),
        ("fi\u200blm\0", ["film"]),  # control characters disappear
        ("電影film", ["電", "影", "film"]),
        ("Σ", ["σ"]),  # never the other sigma, of the end of a word
        ("☃", ["[UNK]"]),
        ("a[SEP]a", ["a", "[SEP]", "a"]),
        ("a [sep]", ["a", "[", "s", "##e", "##p", "]"]),
        ("a" * 100, ["a", *["##a"] * 99]),
        ("a" * 101, ["[UNK]"]),
    ],
)
def test_a_text_becomes_the_tokens_of_bert(text, expected):
    assert tokens(word_piece(), text) == expected


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_ids_of_any_text_are_those_of_the_package(options):
    own = word_piece(**options)
    package = of_the_package(own)

    @settings(max_examples=200)
    @given(TEXTS)
    @example("[MASK][MASK]\u0301 ẞ İ ΑΣ ǅ \x1c")
    def check(text):
        assert own.encode(text) == package.encode(text, add_special_tokens=False).ids

    check()


@pytest.mark.slow
def test_the_ids_of_every_character_are_those_of_the_package():
    own = word_piece()
    package = of_the_package(own)
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    wrong = [
        hex(ord(character))
        for character in characters
        for text in [f"a{character}s {character}"]
        if own.encode(text) != package.encode(text, add_special_tokens=False).ids
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["rt_polarity", "sst2", "ag_news", "imdb"])
def test_the_ids_of_real_texts_are_those_of_the_package(name, shared):
    own = word_piece()
    package = of_the_package(own)
    with zipfile.ZipFile(shared / "data" / f"text_{name}.zip") as archive:
        lines = archive.read("train.jsonl").splitlines()[:500]
    texts = [json.loads(line)["text"] for line in lines]
    for text in texts:
        assert own.encode(text) == package.encode(text, add_special_tokens=False).ids


def test_special_ids_stand_where_the_package_puts_them():
    own = word_piece()
    ids = [*own.prefix, *own.encode("the film"), *own.suffix]
    assert ids == of_the_package(own).encode("the film").ids


def test_the_memory_of_words_is_bounded(monkeypatch):
    monkeypatch.setattr(tokenizers, "MOST_WORDS", 10)
    tokenizer = word_piece()
    words = [f"a{number}" for number in range(50)]
    expected = [word_piece().encode(word) for word in words]
    assert [tokenizer.encode(word) for word in words * 2] == expected * 2
    tokenizer.encode("b" * 1000)
    assert len(tokenizer._known) <= 10
    assert max(map(len, tokenizer._known)) <= tokenizers.LONGEST_WORD


def test_threads_may_share_a_tokenizer(monkeypatch):
    monkeypatch.setattr(tokenizers, "MOST_WORDS", 3)  # which is cleared all the time
    texts = [f"the plays {number} isn't film{number % 7}" for number in range(400)]
    expected = [word_piece().encode(text) for text in texts]
    tokenizer = word_piece()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenizer.encode, texts)) == expected


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda tokenizer: pickle.loads(pickle.dumps(tokenizer)),
        lambda tokenizer: read_tokenizer(tokenizer.to_bytes()),
    ],
    ids=["copy", "pickle", "file"],
)
def test_a_copy_of_a_tokenizer_is_equal(copied):
    tokenizer = word_piece(lowercase=False)
    tokenizer.encode("the film")
    again = copied(tokenizer)
    assert again == tokenizer
    assert hash(again) == hash(tokenizer)
    assert again.fingerprint() == tokenizer.fingerprint()
    assert again.encode("The film") == tokenizer.encode("The film")


def test_a_pickle_does_not_contain_the_words_of_the_texts():
    tokenizer = word_piece()
    before = len(pickle.dumps(tokenizer))
    tokenizer.encode(" ".join(f"secret{number}" for number in range(100)))
    assert len(pickle.dumps(tokenizer)) == before


@pytest.mark.parametrize("options", [*list(OPTIONS.values())[1:], {"continuation": "@@"}])
def test_tokenizers_that_differ_in_one_option_are_not_equal(options):
    one, other = word_piece(), word_piece(**options)
    assert one != other
    assert one.fingerprint() != other.fingerprint()
    assert one != "a tokenizer"


def test_gaps_in_the_vocabulary_keep_the_other_ids():
    tokenizer = WordPiece(("[UNK]", "", "a"), special=(("<new>", 7),))
    assert tokenizer.encode("a <new> b") == [2, 7, 0]
    assert tokenizer.vocab_size == 8
    assert read_tokenizer(tokenizer.to_bytes()) == tokenizer


def test_a_vocabulary_file_gives_the_tokenizer_of_bert():
    own = read_vocabulary("\n".join(VOCABULARY) + "\n", {})
    assert own == word_piece()
    assert own == read_vocabulary("\r\n".join(VOCABULARY).encode(), {"do_lower_case": True})


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"do_lower_case": False}, {"lowercase": False, "strip_accents": False}),
        ({"strip_accents": False}, {"strip_accents": False}),
        ({"tokenize_chinese_chars": False}, {"split_chinese": False}),
        ({"unk_token": {"content": "[UNK]"}}, {}),
    ],
)
def test_settings_of_a_vocabulary_are_used(settings, options):
    assert read_vocabulary("\n".join(VOCABULARY), settings) == word_piece(**options)


def test_the_last_line_of_a_token_counts():
    tokenizer = read_vocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\na", {})
    assert tokenizer.encode("a b") == [6, 5]


def test_a_vocabulary_without_special_tokens_is_an_error():
    with pytest.raises(ValueError, match=r"special tokens '\[UNK\]', '\[CLS\]'.* 2 lines without"):
        read_vocabulary("[PAD]\n[SEP]", {})
