"""A ``tokenizer.json`` becomes a tokenizer, or an error that names the cause."""

import json
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.bert_tokens import word_piece

from sktransfer.data import JsonTokenizer, WordPiece, read_tokenizer

TEXTS = [
    "the film isn't bad, it plays",
    "",
    "  café 電影\n",
    "a" * 50,
    "</s> the <mask>",
    "\0\ufffd",
]


def described(**parts):
    """The content of a valid file with other parts."""
    return json.loads(word_piece().to_bytes()) | parts


def trained(kind):
    """A small tokenizer of the package, with special tokens around a text."""
    package = pytest.importorskip("tokenizers")
    special = ["<s>", "</s>", "<unk>", "<mask>"]
    options = {"vocab_size": 400, "special_tokens": special, "show_progress": False}
    trainers, processors = package.trainers, package.processors
    if kind == "byte-level BPE":
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        letters = package.pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=letters, **options)
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    elif kind == "Unigram":
        tokenizer = package.Tokenizer(package.models.Unigram())
        tokenizer.pre_tokenizer = package.pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **options)
        pairs = [("<s>", 0), ("</s>", 1)]
        template = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=pairs)
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), template])
    else:
        tokenizer = package.Tokenizer(package.models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = package.pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(**options)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


@pytest.fixture(params=["byte-level BPE", "Unigram", "WordLevel"])
def package_tokenizer(request):
    return trained(request.param)


def test_other_tokenizers_are_computed_by_the_package(package_tokenizer):
    own = read_tokenizer(package_tokenizer.to_str())
    assert isinstance(own, JsonTokenizer)
    for text in TEXTS:
        ids = [*own.prefix, *own.encode(text), *own.suffix]
        assert ids == package_tokenizer.encode(text).ids
    assert own.vocab_size == 1 + max(package_tokenizer.get_vocab().values())
    assert own.unknown == package_tokenizer.token_to_id("<unk>") or own.unknown is None


def test_a_copy_of_a_tokenizer_of_the_package_is_equal(package_tokenizer):
    own = read_tokenizer(package_tokenizer.to_str())
    for again in (pickle.loads(pickle.dumps(own)), read_tokenizer(own.to_bytes())):
        assert (again, hash(again)) == (own, hash(own))
        assert again.fingerprint() == own.fingerprint()
        assert again.encode(TEXTS[0]) == own.encode(TEXTS[0])


def test_truncation_and_padding_of_a_file_are_ignored():
    package_tokenizer = trained("WordLevel")
    plain = read_tokenizer(package_tokenizer.to_str())
    package_tokenizer.enable_truncation(2)
    package_tokenizer.enable_padding(length=20)
    assert read_tokenizer(package_tokenizer.to_str()) == plain
    assert len(plain.encode(TEXTS[0])) > 2


def test_the_fingerprint_contains_the_version_of_the_package(monkeypatch):
    own = read_tokenizer(trained("WordLevel").to_str())
    before = own.fingerprint()
    monkeypatch.setattr(sys.modules["tokenizers"], "__version__", "0.0.1")
    again = pickle.loads(pickle.dumps(own))
    assert again == own
    assert again.fingerprint() != before


def test_threads_may_share_a_tokenizer_of_the_package():
    own = read_tokenizer(trained("byte-level BPE").to_str())
    expected = [own.encode(text) for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(own.encode, TEXTS * 50)) == expected * 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_an_encoded_text_gives_no_warning(capfd):
    pytest.importorskip("tokenizers", "0.23", reason="earlier versions warn in each forked process")
    own = read_tokenizer(trained("byte-level BPE").to_str())
    own.encode(TEXTS[0])
    child = os.fork()
    if not child:
        os._exit(own.encode(TEXTS[0]) == [])
    assert os.waitpid(child, 0)[1] == 0
    assert capfd.readouterr().err == ""


def test_a_file_of_bert_needs_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert isinstance(read_tokenizer(word_piece().to_bytes()), WordPiece)


def test_another_file_without_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    words = described(model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"})
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sktransfer\[text\]'"):
        read_tokenizer(json.dumps(words))


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": None},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {
            "added_tokens": [
                {
                    "id": 4,
                    "content": "[MASK]",
                    "lstrip": True,
                    "rstrip": False,
                    "normalized": False,
                    "single_word": False,
                    "special": True,
                }
            ]
        },
    ],
    ids=["no normaliser", "other words", "special tokens that take spaces"],
)
def test_a_word_piece_with_other_steps_is_left_to_the_package(change):
    package = pytest.importorskip("tokenizers")
    content = json.dumps(described(**change))
    own = read_tokenizer(content)
    assert isinstance(own, JsonTokenizer)
    expected = package.Tokenizer.from_str(content).encode(
        "The  [MASK] film", add_special_tokens=False
    )
    assert own.encode("The  [MASK] film") == expected.ids


def test_the_post_processor_of_bert_is_read():
    own = read_tokenizer(
        json.dumps(
            described(
                post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
            )
        )
    )
    assert (own.prefix, own.suffix) == ((2,), (3,))


def test_a_file_of_an_older_version_without_the_type_of_the_model_is_read():
    content = described()
    del content["model"]["type"]
    assert read_tokenizer(json.dumps(content)) == word_piece()


BERT = described()["model"]
BAD = {
    "not JSON": (b"[", "Expecting value"),
    "not UTF-8": (b'"\xff"', "'utf-8' codec"),
    "a list": (b"[]", "AttributeError"),
    "deep": (b"[" * 200_000, "RecursionError"),
    "no model": (b"{}", "KeyError: 'model'"),
    "no vocabulary": (described(model={"type": "BPE"}), "KeyError: 'vocab'"),
    "a negative id": (
        described(model=BERT | {"vocab": {"[UNK]": -1}}),
        "a number must be an integer from 0 to 4194303; got -1",
    ),
    "a huge id": (described(model=BERT | {"vocab": {"[UNK]": 2**40}}), "got 1099511627776"),
    "a text as id": (described(model=BERT | {"vocab": {"[UNK]": "1"}}), "got '1'"),
    "a bool as id": (described(model=BERT | {"vocab": {"[UNK]": True}}), "got True"),
    "one id twice": (
        described(model=BERT | {"vocab": {"[UNK]": 0, "a": 0}}),
        "two tokens of its vocabulary have one id",
    ),
    "an endless word": (
        described(model=BERT | {"max_input_chars_per_word": float("inf")}),
        "max_input_chars_per_word must be at most 1000; got inf",
    ),
    "no unknown token": (described(model=BERT | {"unk_token": "[GONE]"}), r"KeyError: '\[GONE\]'"),
    "an unknown post-processor": (
        described(post_processor={"type": "Strange"}),
        "its post-processor must be one of 'ByteLevel', .*; got 'Strange'",
    ),
    "a template of two texts": (
        described(post_processor={"type": "TemplateProcessing", "single": [{"Sequence": {}}] * 2}),
        "its template must contain one text",
    ),
}


@pytest.mark.parametrize(("content", "cause"), BAD.values(), ids=BAD)
def test_a_file_of_another_form_is_an_error_with_the_cause(content, cause):
    content = json.dumps(content) if isinstance(content, dict) else content
    with pytest.raises(ValueError, match=f"^mine.json must describe a tokenizer.*{cause}.*another"):
        read_tokenizer(content, "mine.json")


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "Strange", "vocab": {"a": 0}}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["b", "c"]]}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        {"model": {"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0]]}},
    ],
    ids=["kind", "merges", "a panic of Rust", "a panic in the first text", "no unknown token"],
)
def test_a_description_that_the_package_cannot_use_is_an_error(change, capfd):
    pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match="one that the package tokenizers can use; it cannot: "):
        read_tokenizer(json.dumps(described(**change)))
