"""The network for texts in this package."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.hub import flip_a_bit
from safetensors.torch import save_file

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor, get_backbone
from sktransfer.backbones.providers.builtin import MODELS

FILE = MODELS["text"].file
SHA256 = MODELS["text"].sha256
SENTENCE = "A quiet film, and one of the best of the year."
# Features of this sentence: means of 32 features each, and the maximum.
FEATURES = [
    0.06367,
    -0.11956,
    -0.06188,
    0.21369,
    -0.13494,
    -0.40307,
    0.03915,
    0.03573,
    0.14883,
    0.12694,
    -0.07002,
    -0.19786,
]
LARGEST = 3.1056


def features(texts, **params):
    return PretrainedFeatureExtractor("builtin/text", verbose=0, **params).fit_transform(texts)


def test_the_file_is_the_one_that_was_measured():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256


def test_a_damaged_file_of_the_package_is_an_error(tmp_path, monkeypatch):
    damaged = Path(shutil.copy(FILE, tmp_path))
    flip_a_bit(damaged)
    monkeypatch.setitem(MODELS, "text", replace(MODELS["text"], file=damaged))
    message = f"weights must be a complete file; '{damaged}' is damaged: its sha256 must begin with"
    with pytest.raises(ValueError, match=message):
        get_backbone("builtin/text")


def test_the_features_of_a_fixed_text_are_those_that_were_measured():
    row = features([SENTENCE])[0]
    np.testing.assert_allclose(row.reshape(12, 32).mean(1), FEATURES, atol=1e-4)
    np.testing.assert_allclose(row.max(), LARGEST, atol=1e-4)


def test_the_file_has_at_most_10_megabytes():
    assert FILE.stat().st_size <= 10_000_000


def test_the_weights_record_their_origin():
    info = get_backbone("builtin/text").weights_info
    assert info["sha256"] == SHA256
    assert info["licence"].startswith("BSD-3-Clause")


def test_the_order_of_words_matters_after_the_table():
    texts = ["not good, it is bad", "not bad, it is good"]
    first, second = features(texts, layer="embed")
    np.testing.assert_allclose(first, second, atol=1e-5)
    first, second = features(texts)
    assert np.abs(first - second).max() > 1e-3


def test_an_empty_text_has_features():
    assert np.isfinite(features(["", "a film"])).all()


def test_texts_without_weights_are_random_and_seeded():
    first, second = (get_backbone("builtin/text", weights=None) for _ in range(2))
    assert first.weights_fingerprint() == second.weights_fingerprint()
    assert first.weights_fingerprint() != get_backbone("builtin/text").weights_fingerprint()


def test_a_file_without_a_tokenizer_has_that_of_the_package(tmp_path):
    backbone = get_backbone("builtin/text")
    save_file(backbone.stages.state_dict(), tmp_path / "tuned.safetensors")
    tuned = get_backbone("builtin/text", weights=tmp_path / "tuned.safetensors")
    assert tuned.preset == backbone.preset
    assert tuned.weights_fingerprint() == backbone.weights_fingerprint()


def test_one_layer_at_a_time_can_be_tuned():
    texts = [f"{word} film number {n}" for n in range(8) for word in ("good", "bad")]
    model = FineTuneClassifier(
        "builtin/text", unfreeze="all", unfreeze_every=1, max_epochs=4, random_state=0, verbose=0
    )
    model.fit(texts, ["+", "-"] * 8)
    moved = [row["stage"] for row in model.report_ if not row["frozen"]]
    assert moved == ["embed", "block1", "block2", "block3", "head"]
    assert np.isfinite(model.predict_proba(texts)).all()
