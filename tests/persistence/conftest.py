"""Fixtures of the tests of saved models."""

import numpy as np
import pytest
from helpers.provider import TinyProvider

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor
from sktransfer.backbones import registry
from sktransfer.persistence import save


@pytest.fixture(autouse=True)
def tiny_provider(monkeypatch):
    monkeypatch.setitem(registry._registered, "tiny", TinyProvider())


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (12, 16, 16, 3), np.uint8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def make(images):
    """A function that fits a small classifier."""

    def made(y=tuple("abc" * 4), X=images, **parameters):
        parameters = {"backbone": "tiny/net", "max_epochs": 1, "random_state": 0} | parameters
        return FineTuneClassifier(**parameters).fit(X, np.asarray(y))

    return made


@pytest.fixture
def extractor(images):
    return PretrainedFeatureExtractor("tiny/net", layer=["stem", "last"]).fit(images)


@pytest.fixture
def saved(make, path):
    """The path of a saved model."""
    save(make(unfreeze=0), path)
    return path
