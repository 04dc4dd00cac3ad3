"""The small networks of this package: the pretrained one and the baseline."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.hub import flip_a_bit
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import PretrainedFeatureExtractor, get_backbone, list_backbones
from sktransfer.backbones.providers import builtin
from sktransfer.backbones.providers.builtin import MODELS
from sktransfer.testing import check_backbone

FILE = MODELS["mini"].file
SHA256 = MODELS["mini"].sha256
# Features of the picture below: means of 128 features each, because most are zero, and the maximum.
FEATURES = [0.11743, 0.15353, 0.14035, 0.13151, 0.11218, 0.12073, 0.15994, 0.0927]
LARGEST = 3.1342


@pytest.fixture
def picture():
    """Slanted waves, different in each channel, in the default size of mini."""
    size = get_backbone("builtin/mini").preset.size
    row, column = np.indices((size, size)) / size
    waves = [np.sin(12 * row + 7 * column), np.sin(9 * row * column), np.cos(20 * column - row)]
    return np.round(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


def test_the_file_is_the_one_that_was_measured():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256


def test_a_damaged_file_of_the_package_is_an_error(tmp_path, monkeypatch):
    damaged = Path(shutil.copy(FILE, tmp_path))
    flip_a_bit(damaged)
    monkeypatch.setitem(MODELS, "mini", replace(MODELS["mini"], file=damaged))
    message = f"weights must be a complete file; '{damaged}' is damaged: its sha256 must begin with"
    with pytest.raises(ValueError, match=message):
        get_backbone("builtin/mini")


def test_the_features_of_a_fixed_image_are_those_that_were_measured(picture):
    features = PretrainedFeatureExtractor(verbose=0).fit_transform([picture])[0]
    np.testing.assert_allclose(features.reshape(8, 128).mean(1), FEATURES, atol=1e-4)
    np.testing.assert_allclose(features.max(), LARGEST, atol=1e-4)


@pytest.mark.parametrize("name", ["lm", "mini", "text"])
def test_a_network_draws_no_weights_if_a_file_has_them(name):
    before = torch.get_rng_state()
    builtin.load(name)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_file_has_at_most_6_megabytes():
    assert FILE.stat().st_size <= 6_000_000


def test_the_weights_record_their_origin():
    info = get_backbone("builtin/mini").weights_info
    assert info["sha256"] == SHA256
    assert info["licence"].startswith("BSD-3-Clause")
    assert "Tiny ImageNet" in info["licence"]
    assert info["mean"] == (0.5, 0.5, 0.5)


def test_mini_without_weights_is_random_and_seeded():
    first, second = (get_backbone("builtin/mini", weights=None) for _ in range(2))
    assert first.weights_fingerprint() == second.weights_fingerprint()
    assert first.weights_fingerprint() != get_backbone("builtin/mini").weights_fingerprint()


@pytest.mark.parametrize("size", [32, 47, 160])
def test_mini_takes_images_of_32_to_160_pixels(size):
    features = PretrainedFeatureExtractor(image_size=size, verbose=0)
    assert features.fit_transform(np.zeros((2, 20, 30), np.uint8)).shape == (2, 1024)


def test_a_size_that_is_too_small_is_an_error():
    with pytest.raises(ValueError, match="image_size must be at least 32; got 31"):
        PretrainedFeatureExtractor(image_size=31).fit(np.zeros((1, 8, 8), np.uint8))


def test_features_of_digits_beat_raw_pixels_with_ten_labels_a_class():
    X, y = load_digits(return_X_y=True)
    X, y = X[:600] / 16, y[:600]
    features = PretrainedFeatureExtractor(verbose=0).fit_transform(X)
    assert accuracy(features, y) > accuracy(X, y)


def accuracy(rows, y):
    """Average the accuracy over five draws of ten labels for each class."""
    scores = []
    for seed in range(5):
        X_train, X_test, y_train, y_test = train_test_split(
            rows, y, train_size=100, stratify=y, random_state=seed
        )
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        scores.append(model.fit(X_train, y_train).score(X_test, y_test))
    return np.mean(scores)


@pytest.mark.parametrize("address", list_backbones("builtin"))
def test_every_backbone_of_the_package_keeps_the_contract(address):
    check_backbone(get_backbone(address))


def test_small_cnn_has_the_layers_of_the_book():
    backbone = get_backbone("builtin/small_cnn")
    maps = backbone(torch.zeros(1, 3, 150, 150))
    assert backbone.names == ["block1", "block2", "block3", "block4"]
    assert maps.shape == (1, 128, 7, 7)
    assert sum(weight.numel() for weight in backbone.parameters()) == 240_832


def test_small_cnn_has_no_pretrained_weights():
    assert get_backbone("builtin/small_cnn").weights_info["tag"] is None
    assert get_backbone("builtin/small_cnn").weights_info["sha256"] is None
