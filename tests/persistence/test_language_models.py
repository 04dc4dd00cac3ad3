"""Saved tuners of language models, which run no code when they are loaded."""

import numpy as np
import pytest
from helpers.language_nets import causal_backbone, markov_texts, masked_backbone

from sktransfer import LanguageModelTuner, load, save
from sktransfer.backbones import registry
from sktransfer.persistence.codec import unpack

MAKERS = {"causal": causal_backbone, "masked": masked_backbone}
X = markov_texts(60, 20, seed=1)


class LanguageProvider:
    """The language models of the tests; ``loses_head`` leaves the head out."""

    loses_head = False

    def names(self):
        return sorted(MAKERS)

    def load(self, name, weights):
        backbone = MAKERS[name]()
        if self.loses_head:
            backbone.language_head = None
        return backbone


@pytest.fixture
def provider(monkeypatch):
    found = LanguageProvider()
    monkeypatch.setitem(registry._registered, "language", found)
    return found


def fitted(name, **parameters):
    how = {"random_state": 0, "verbose": 0, "lr": 0.01, "window": 16} | parameters
    return LanguageModelTuner(f"language/{name}", **how).fit(X)


@pytest.mark.parametrize("name", MAKERS)
def test_a_loaded_tuner_gives_the_same_numbers(name, provider, path):
    model = fitted(name, pooling="concat", unfreeze=2)
    save(model, path)
    loaded = load(path)
    assert loaded.perplexity(X) == model.perplexity(X)
    assert np.array_equal(loaded.transform(X), model.transform(X))
    assert loaded.get_params()["window"] == 16
    np.testing.assert_equal(list(loaded.history_), list(model.history_))
    assert loaded.fit(X).n_iter_ == 1


@pytest.mark.parametrize("unfreeze", [0, "all"])
def test_a_file_can_leave_out_the_original_weights(unfreeze, provider, path):
    model = fitted("masked", unfreeze=unfreeze)
    save(model, path, frozen="fingerprint")
    loaded = load(path)
    assert loaded.perplexity(X) == model.perplexity(X)
    assert np.array_equal(loaded.transform(X), model.transform(X))


def test_texts_are_no_part_of_a_file(provider, path):
    model = fitted("causal", texts=X[:20])
    save(model, path)
    assert load(path).texts is None
    assert X[0].encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cache": "folder"}, "a tuner must not have the parameter 'cache'"),
        ({"depth": 3}, "a tuner must not have the parameter 'depth'"),
        ({"window": 1}, "window must be an integer of at least 8; got 1"),
    ],
)
def test_a_tuner_in_a_file_has_the_parameters_that_save_writes(parameters, message):
    with pytest.raises(ValueError, match=message):
        unpack({"!": "LanguageModelTuner", "of": parameters})


def test_a_network_without_its_head_is_an_error(provider, path):
    save(fitted("causal"), path)
    provider.loses_head = True
    with pytest.raises(ValueError, match=r"the whole: was .*LanguageHead.*, is .*Identity"):
        load(path)
