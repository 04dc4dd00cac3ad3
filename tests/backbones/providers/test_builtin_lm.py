"""The language model in this package."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sktransfer import (
    FineTuneClassifier,
    LanguageModelTuner,
    PretrainedFeatureExtractor,
    get_backbone,
    load_docstrings,
)
from sktransfer.backbones.providers.builtin import MODELS

FILE, SHA256 = MODELS["lm"].file, MODELS["lm"].sha256
SENTENCE = "It was the best of times, it was the worst of times."
# Features of this sentence: means of 32 features each, and its perplexity.
FEATURES = [
    -0.07831,
    1.60825,
    0.22577,
    -0.01145,
    1.74244,
    0.15938,
    -2.71802,
    -0.74712,
    -0.34611,
    -0.03412,
    -0.19083,
    1.1915,
]
PERPLEXITY = 24.614


@pytest.fixture(scope="module")
def texts():
    return load_docstrings("train").data, load_docstrings("test", n_per_class=5).data


def test_the_file_is_the_one_that_was_measured():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256
    assert FILE.stat().st_size <= 2_500_000


def test_the_features_and_the_perplexity_of_a_fixed_text_are_those_that_were_measured():
    row = PretrainedFeatureExtractor("builtin/lm", verbose=0).fit_transform([SENTENCE])[0]
    np.testing.assert_allclose(row.reshape(12, 32).mean(1), FEATURES, atol=1e-3)
    tuner = LanguageModelTuner(max_epochs=0, verbose=0).fit([SENTENCE])
    assert tuner.perplexity([SENTENCE]) == pytest.approx(PERPLEXITY, rel=1e-3)


def test_the_table_is_that_of_the_text_network():
    lm, text = (
        get_backbone(f"builtin/{name}").stages["embed"].words.weight for name in ("lm", "text")
    )
    assert "embed.words.weight" not in load_file(FILE)
    torch.testing.assert_close(lm, text * lm.std() / text.std())


def test_each_text_begins_with_the_end_of_the_one_before():
    preset = get_backbone("builtin/lm").preset
    assert preset(preset.check(["a film"])[0])[0] == 1


def test_the_default_network_of_a_tuner_is_a_language_model(texts):
    train, test = texts
    tuner = LanguageModelTuner(max_epochs=1, random_state=0, verbose=0).fit(train)
    assert tuner.backbone is None
    assert tuner.backbone_.address == "builtin/lm"
    before = LanguageModelTuner("builtin/lm", max_epochs=0, verbose=0).fit(train)
    assert tuner.perplexity(test) < 0.7 * before.perplexity(test)


def test_tuned_weights_are_read_with_their_own_table(texts, tmp_path):
    train, test = texts
    tuner = LanguageModelTuner(max_epochs=1, random_state=0, verbose=0).fit(train)
    tuner.save_weights(tmp_path / "tuned.safetensors")
    again = LanguageModelTuner(
        "builtin/lm", weights=tmp_path / "tuned.safetensors", max_epochs=0, verbose=0
    ).fit(train)
    assert again.perplexity(test) == tuner.perplexity(test)
    table = again.backbone_.stages["embed"].words.weight
    assert not torch.equal(table, get_backbone("builtin/lm").stages["embed"].words.weight)


def test_stages_without_a_head_are_a_network_without_a_language_head(tmp_path):
    backbone = get_backbone("builtin/lm")
    save_file(backbone.stages.state_dict(), tmp_path / "stages.safetensors")
    found = get_backbone("builtin/lm", weights=tmp_path / "stages.safetensors")
    assert found.language_head is None
    with pytest.raises(ValueError, match="has no language head"):
        LanguageModelTuner("builtin/lm", weights=tmp_path / "stages.safetensors", verbose=0).fit(
            ["a text"]
        )


def test_the_three_steps_of_ulmfit_run_without_a_download(texts):
    train, _ = texts
    model = FineTuneClassifier(
        "builtin/lm",
        weights=LanguageModelTuner(max_epochs=1),
        pooling="concat",
        unfreeze="all",
        unfreeze_every=1,
        layer_decay=1 / 2.6,
        lr_schedule="slanted_triangular",
        max_epochs=5,
        random_state=0,
        verbose=0,
    ).fit(train[::2], load_docstrings("train").labels[::2])
    assert model.weights_info_["tuned"]["n_texts"] == 50
    assert [row["cut"] for row in model.history_] == [4, 3, 2, 1, 0]
    moved = [row["stage"] for row in model.report_ if not row["frozen"]]
    assert moved == ["embed", "block1", "block2", "block3", "block4", "head"]
