"""A provider can take items other than images, such as rows of a table."""

import numpy as np
import pytest
import torch
from helpers import vector

from sktransfer import PretrainedFeatureExtractor, get_backbone, register_provider
from sktransfer.backbones import registry
from sktransfer.testing import check_backbone


@pytest.fixture(autouse=True)
def provider(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    register_provider("tests", vector)


def test_vector_is_a_valid_backbone():
    batch = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    check_backbone(get_backbone("tests/vector"), batch)


@pytest.mark.parametrize("width", [1, 64, 150])
def test_vector_takes_tables_of_any_width(width, rng):
    features = PretrainedFeatureExtractor("tests/vector", verbose=0)
    assert features.fit_transform(rng.normal(size=(5, width))).shape == (5, 32)
    assert features.n_features_in_ == width


def test_vector_refuses_rows_of_another_width(rng):
    X = rng.normal(size=(5, 4))
    features = PretrainedFeatureExtractor("tests/vector", verbose=0).fit(X)
    with pytest.raises(ValueError, match="X has 3 features"):
        features.transform(X[:, :3])


def test_vector_refuses_an_image_size():
    with pytest.raises(ValueError, match="image_size must be None"):
        PretrainedFeatureExtractor("tests/vector", image_size=32).fit(np.zeros((2, 3)))
