"""Features are standardised, but what hardly varies is not amplified."""

import numpy as np
import pytest
import torch
from helpers.masks import masked_images
from helpers.tiny import tiny_backbone

from sktransfer import FineTuneSegmenter
from sktransfer.training.standardisation import compute_moments


@pytest.fixture
def features(rng):
    return rng.normal(3, [0.1, 1, 2, 5], (50, 4))


def test_moments_are_the_weighted_mean_and_standard_deviation(features):
    weight = np.ones(50)
    weight[:10] = 2
    mean, scale = compute_moments(features, weight, standardise=True)
    repeated = np.concatenate([features, features[:10]])
    np.testing.assert_allclose(mean, repeated.mean(0))
    np.testing.assert_allclose(scale, repeated.std(0))


@pytest.mark.parametrize("spread", [0, 1e-12, 1e-8, 1e-5])
def test_a_feature_that_hardly_varies_is_not_amplified(features, rng, spread):
    # the dead dimension of a real text encoder, whose standard deviation is 1e-8 of the others
    features[:, 1] = 0.001 + spread * rng.normal(size=50)
    _, scale = compute_moments(features, np.ones(50), standardise=True)
    assert scale[1] == 1
    np.testing.assert_allclose(scale[[0, 2, 3]], features[:, [0, 2, 3]].std(0))


def test_a_feature_that_hardly_varies_is_not_amplified_among_constant_ones(features, rng):
    small = 1e-6 * rng.normal(size=(50, 1))
    constant = np.zeros((50, 2 * features.shape[1]))
    features = np.hstack([constant, features, small])
    _, scale = compute_moments(features, np.ones(50), standardise=True)
    assert scale[-1] == 1


def test_a_feature_of_small_values_is_standardised(features):
    features[:, 1] *= 1e-3
    _, scale = compute_moments(features, np.ones(50), standardise=True)
    np.testing.assert_allclose(scale, features.std(0))


def test_units_of_the_features_do_not_matter(features):
    _, scale = compute_moments(features * 1e-9, np.ones(50), standardise=True)
    np.testing.assert_allclose(scale, features.std(0) * 1e-9)


def test_nothing_is_standardised_without_pretrained_weights(features):
    mean, scale = compute_moments(features, np.ones(50), standardise=False)
    assert (mean.tolist(), scale.tolist()) == ([0] * 4, [1] * 4)


def test_a_channel_that_hardly_varies_is_not_amplified_among_constant_ones():
    def backbone():
        chain = tiny_backbone()
        for stage in chain.stages.values():
            norm = stage[1]
            norm.weight.data[3:] = 0
            norm.weight.data[:3] = torch.tensor([1e-5, 1, 1])
            norm.bias.data[:] = 2 * norm.weight.data
        return chain

    model = FineTuneSegmenter(backbone, image_size=32, max_epochs=1, random_state=0, verbose=0)
    scale = model.fit(*masked_images(16))._fitted.tail.scale
    first, *others = scale.split([8, 12, 16])
    assert (first[0], first[3:].unique()) == (1, 1)
    assert all((each[[1, 2]] < 1).all() for each in (first, *others))
