"""A saved model for texts contains its tokenizer."""

import json

import joblib
import numpy as np
import pytest
from helpers.text_nets import text_backbone

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor
from sktransfer.backbones import registry
from sktransfer.data import WordPiece
from sktransfer.persistence import load, save
from sktransfer.persistence.codec import pack, unpack

WORDS = ("[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "a", "##s", "é")
X = ["a good film", "bad films", "good", "a bad film", "", "é"] * 3
Y = np.array(["up", "down"] * 9)


class TextProvider:
    """The chain of the tests; ``words`` is the vocabulary of its tokenizer."""

    words = WORDS

    def names(self):
        return ["net"]

    def load(self, name, weights):
        tokenizer = WordPiece(self.words, prefix=(1,), suffix=(2,), strip_accents=False)
        return text_backbone(tokenizer=tokenizer)


@pytest.fixture
def provider(monkeypatch):
    found = TextProvider()
    monkeypatch.setitem(registry._registered, "texts", found)
    return found


def classifier():
    model = FineTuneClassifier("texts/net", unfreeze=1, max_epochs=1, random_state=0, verbose=0)
    return model.fit(X, Y)


def extractor():
    preset = {"truncation": "ends"}
    return PretrainedFeatureExtractor("texts/net", preset=preset, max_length=12, verbose=0).fit(X)


@pytest.mark.parametrize("make", [classifier, extractor])
@pytest.mark.parametrize("how", ["save", "joblib"])
def test_a_loaded_model_gives_the_same_bits(provider, make, how, path):
    model = make()
    if how == "save":
        save(model, path)
        loaded = load(path)
    else:
        joblib.dump(model, path)
        loaded = joblib.load(path)
    assert loaded.backbone_.preset == model.backbone_.preset
    assert np.array_equal(loaded.transform(X), model.transform(X))


def test_a_saved_model_keeps_its_tokenizer_if_that_of_the_provider_changes(provider, path):
    model = extractor()
    save(model, path)
    provider.words = (*WORDS[:3], "film", "bad", "good", *WORDS[6:])
    assert np.array_equal(load(path).transform(X), model.transform(X))


def test_a_tokenizer_with_more_ids_than_the_network_is_an_error(provider, path):
    model = extractor()
    save(model, path)
    provider.words = WORDS[:-1]
    with pytest.raises(ValueError, match="the tokenizer must have at most 8 ids; got 9"):
        load(path)


def test_a_tokenizer_is_packed_without_its_class():
    tokenizer = WordPiece(WORDS, prefix=(1,), special=(("[CLS]", 1),))
    packed = json.loads(json.dumps(pack(tokenizer)))
    assert packed["!"] == "WordPiece"
    assert unpack(packed) == tokenizer


@pytest.mark.parametrize("text", ["", "no base 64", "aGVsbG8=", "eJwDAAAAAAE="])
def test_a_damaged_tokenizer_is_an_error(text):
    with pytest.raises(ValueError, match=r"tokenizer|base64|padding|Only base64"):
        unpack({"!": "WordPiece", "of": text})


def test_a_tokenizer_that_would_fill_the_memory_is_an_error(monkeypatch):
    monkeypatch.setattr("sktransfer.persistence.codec.MOST_DESCRIPTION", 100)
    with pytest.raises(ValueError, match="description of a tokenizer must have at most 100 bytes"):
        unpack(pack(WordPiece(WORDS)))
