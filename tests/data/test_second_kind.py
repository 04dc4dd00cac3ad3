"""A second kind of item needs one preset, and no change elsewhere: strings as ids of words."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from sktransfer import (
    ActivationCache,
    Backbone,
    FineTuneClassifier,
    PretrainedFeatureExtractor,
    Views,
)
from sktransfer.data import Items
from sktransfer.testing import check_backbone

LENGTH, N_WORDS, WIDTH = 6, 50, 12


class Sentence:
    """A text that names itself, so that nothing takes it for a path."""

    __slots__ = ("digest", "text")

    def __init__(self, text):
        self.text = text
        self.digest = blake2b(text.encode(), digest_size=16, person=b"sentence").digest()


@dataclass(frozen=True)
class SentencePreset:
    """Strings as ids of words, padded with 0 to one length."""

    length: int = LENGTH

    def check(self, X):
        wrong = [index for index, text in enumerate(X) if not isinstance(text, str)]
        if wrong:
            raise ValueError(f"X must hold strings; X[{wrong[0]}] is {X[wrong[0]]!r}.")
        return Items([Sentence(text) for text in X], "text")

    def __call__(self, item):
        ids = [1 + sum(word.encode()) % (N_WORDS - 1) for word in item.text.split()]
        ids = ids[: self.length]
        return torch.tensor(ids + [0] * (self.length - len(ids)))  # (length,)

    def collate(self, rows, size):
        batch = torch.zeros(size, self.length, dtype=torch.int64)
        for index, row in enumerate(rows):
            batch[index] = row
        return batch

    def fingerprint(self):
        return f"sentences {self.length} {N_WORDS}"


def sentence_backbone():
    """A chain of tokens: an embedding, and a dense layer for each token."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages = {
            "embed": nn.Embedding(N_WORDS, WIDTH),
            "dense": nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()),
        }
    return Backbone(stages, SentencePreset(), layout="NLC")


def vector_backbone():
    """A chain whose first stage makes one vector of a sentence, with batch norm behind it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages = {
            "embed": nn.EmbeddingBag(N_WORDS, WIDTH),
            "dense": nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()),
        }
    return Backbone(stages, SentencePreset(), layout="NC")


BACKBONES = {"NLC": sentence_backbone, "NC": vector_backbone}
GOOD, BAD = ("good", "fine", "lovely", "bright"), ("bad", "dull", "awful", "grey")


@pytest.fixture
def texts():
    """Forty short reviews and their labels."""
    rng = np.random.default_rng(0)
    texts = [f"a {rng.choice(words)} film and {rng.choice(words)}" for words in [GOOD, BAD] * 20]
    return texts, np.array(["good", "bad"] * 20)


@pytest.fixture(params=BACKBONES)
def backbone(request):
    return BACKBONES[request.param]


def extractor(backbone, **parameters):
    return PretrainedFeatureExtractor(backbone, verbose=0, **parameters)


def classifier(backbone, **parameters):
    quick = {"unfreeze": 1, "max_epochs": 1, "random_state": 0, "verbose": 0}
    return FineTuneClassifier(backbone, **quick | parameters)


def test_a_chain_for_sentences_is_a_valid_backbone(backbone):
    check_backbone(backbone())


def test_features_of_sentences_are_those_of_the_plain_network(backbone, texts):
    X, _ = texts
    net, preset = backbone().eval(), SentencePreset()
    ids = torch.stack([preset(Sentence(text)) for text in X])
    with torch.no_grad():
        maps = net(ids)
    expected = maps.mean(1) if net.layout == "NLC" else maps
    found = extractor(backbone).fit_transform(X)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_features_of_a_sentence_do_not_depend_on_its_neighbours(backbone, texts):
    X, _ = texts
    model = extractor(backbone).fit(X)
    features = model.transform(X)
    assert np.array_equal(model.transform(X[::-1])[::-1], features)
    assert np.array_equal(model.transform(X[:1])[0], features[0])


@pytest.mark.parametrize("layer", ["last", "embed", ["embed", "last"]])
def test_a_cache_returns_the_same_features_of_sentences(backbone, texts, layer, tmp_path):
    X, _ = texts
    plain = extractor(backbone, layer=layer).fit_transform(X)
    cached = extractor(backbone, layer=layer, cache=tmp_path)
    assert np.array_equal(cached.fit_transform(X), plain)
    assert np.array_equal(cached.fit_transform(X[::-1])[::-1], plain)


def test_a_sentence_that_names_a_file_is_not_read(backbone, texts, tmp_path, monkeypatch):
    X, _ = texts
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film").write_text("not a sentence")
    model = extractor(backbone, cache=tmp_path / "cache").fit(X)
    first = model.transform(["film"])
    (tmp_path / "film").write_text("another content")
    assert np.array_equal(model.transform(["film"]), first)
    assert np.array_equal(extractor(backbone).fit_transform(["film"]), first)


def test_a_pipeline_learns_from_sentences(backbone, texts, tmp_path):
    X, y = texts
    model = make_pipeline(extractor(backbone, cache=tmp_path), LogisticRegression(C=100))
    assert clone(model).fit(X, y).score(X, y) > 0.9
    assert not hasattr(model.fit(X, y)[0], "n_features_in_")


@pytest.mark.parametrize("unfreeze", [0, 1, "all"])
@pytest.mark.filterwarnings("ignore:cache saves the first pass")
@pytest.mark.parametrize("cached", [False, True])
def test_a_network_is_fine_tuned_to_sentences(backbone, texts, unfreeze, cached, tmp_path):
    X, y = texts
    model = classifier(backbone, unfreeze=unfreeze, cache=tmp_path if cached else None).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.predict_proba(X[:3]).shape == (3, 2)


def test_stages_for_sentences_are_thawed_one_by_one(backbone, texts):
    X, y = texts
    model = classifier(backbone, unfreeze="all", unfreeze_every=1, max_epochs=2).fit(X, y)
    assert [epoch["cut"] for epoch in model.history_ if epoch["phase"] == "fine-tune"] == [1, 0]


def test_validation_sentences_are_checked_by_the_same_preset(backbone, texts):
    X, y = texts
    model = classifier(backbone).fit(X, y, X_val=X[:8], y_val=y[:8])
    assert "valid_score" in model.history_[-1]
    with pytest.raises(ValueError, match=r"X must hold strings; X\[1\] is 3"):
        model.fit(X, y, X_val=["a", 3], y_val=y[:2])


def test_fields_of_a_preset_for_sentences_can_be_overridden(backbone, texts):
    X, _ = texts
    model = extractor(backbone, preset={"length": 3}).fit(X)
    assert model.backbone_.preset == SentencePreset(3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"image_size": 32},
            "image_size must be None .* items are not images; got 32 for a SentencePreset",
        ),
        ({"image_shape": (8, 8)}, "image_shape must be None for a backbone .* SentencePreset"),
        ({"preset": {"lenght": 3}}, "a key of preset must be one of 'length'"),
    ],
)
@pytest.mark.parametrize("make", [extractor, classifier])
def test_parameters_for_images_are_refused_for_sentences(texts, make, parameters, message):
    with pytest.raises(ValueError, match=message):
        make(sentence_backbone, **parameters).fit(*texts)


@pytest.mark.parametrize("augment", ["light", Views("light", n=2)])
def test_augmentation_is_refused_for_sentences(texts, augment):
    model = classifier(sentence_backbone, augment=augment)
    with pytest.raises(ValueError, match="augment must be None for items that are not images"):
        model.fit(*texts)


def test_a_cache_folder_may_hold_features_of_sentences_and_of_images(texts, rng, tmp_path):
    cache = ActivationCache(tmp_path)
    sentences = extractor(sentence_backbone, cache=cache).fit_transform(texts[0])
    photos = rng.integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    extractor("builtin/mini", cache=cache).fit_transform(photos)
    again = extractor(sentence_backbone, cache=cache).fit_transform(texts[0])
    assert np.array_equal(again, sentences)
