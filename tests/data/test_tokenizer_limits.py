"""A tokenizer from a file takes memory and time in proportion to the length of a text."""

import json
from base64 import b64encode

import pytest
from helpers.bert_tokens import word_piece

from sktransfer.data import read_tokenizer
from sktransfer.data.tokenizer_limits import check_limits


def sequence(*steps, inner="normalizers"):
    return {"type": "Sequence", inner: list(steps)}


def charsmap(*texts):
    content = (8).to_bytes(4, "little") + bytes(8) + b"\0".join(texts)
    return {"type": "Precompiled", "precompiled_charsmap": b64encode(content).decode()}


REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 15}
MARK = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}


@pytest.mark.parametrize(
    "part",
    [
        {"normalizer": sequence(*[REPLACE] * 4)},
        {"normalizer": sequence(sequence(*[REPLACE] * 2), sequence(*[REPLACE] * 2))},
        {"normalizer": {"type": "Prepend", "prepend": "a" * 5000}},
        {"normalizer": charsmap(b"a" * 5000)},
        {"normalizer": sequence(*[{"type": "ByteLevel"}] * 7)},
        {"pre_tokenizer": sequence(*[{"type": "ByteLevel"}] * 7, inner="pretokenizers")},
        {"normalizer": sequence(*[REPLACE] * 3), "pre_tokenizer": {"type": "ByteLevel"}},
    ],
    ids=range(7),
)
def test_steps_that_make_many_characters_of_one_are_an_error(part):
    content = json.loads(word_piece().to_bytes()) | part
    message = "must describe a tokenizer; it does not: its steps must make at most 4096 characters"
    with pytest.raises(ValueError, match=message):
        read_tokenizer(json.dumps(content))


@pytest.mark.parametrize(
    "part",
    [
        {"normalizer": sequence({"type": "Prepend", "prepend": "\u2581"}, MARK)},
        {"normalizer": sequence(MARK, MARK, {"type": "NFKD"}, charsmap(b"a", b"b" * 33))},
        {
            "pre_tokenizer": sequence(
                {"type": "Split"}, {"type": "ByteLevel"}, inner="pretokenizers"
            )
        },
        {"normalizer": None, "pre_tokenizer": None},
        {},
    ],
    ids=range(5),
)
def test_the_steps_of_well_known_tokenizers_are_accepted(part):
    check_limits({"model": {}} | part)


@pytest.mark.parametrize(
    ("name", "value", "size"),
    [
        ("max_input_chars_per_word", 10**9, 10**9),
        ("max_input_chars_per_word", float("inf"), "inf"),
        ("continuing_subword_prefix", "#" * 1001, 1001),
        ("end_of_word_suffix", "#" * 1001, 1001),
    ],
)
def test_words_and_their_parts_have_a_maximum_length(name, value, size):
    content = json.loads(word_piece().to_bytes())
    content["model"][name] = value
    with pytest.raises(ValueError, match=f"{name} must be at most 1000; got {size}"):
        read_tokenizer(json.dumps(content))


def test_a_tokenizer_with_dropout_gives_a_text_the_same_ids_each_time():
    package = pytest.importorskip("tokenizers")
    vocabulary = {"a": 0, "b": 1, "ab": 2, "abab": 3}
    model = package.models.BPE(vocabulary, [("a", "b"), ("ab", "ab")], dropout=0.5)
    own = read_tokenizer(package.Tokenizer(model).to_str())
    assert {tuple(own.encode("abababab")) for _ in range(50)} == {(3, 3)}
