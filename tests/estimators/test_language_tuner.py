"""LanguageModelTuner: tuning, perplexity, features, and weights for other estimators."""

import copy
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.killed import assert_same_fit, killed_after
from helpers.language_nets import (
    causal_backbone,
    entropy,
    letters,
    markov_texts,
    masked_backbone,
)
from helpers.text_nets import text_backbone
from helpers.tiny import tiny_backbone
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import BatchScoring, EarlyStopping, EpochScoring
from torch.nn.functional import cross_entropy

from sktransfer import LanguageModelTuner, PretrainedFeatureExtractor
from sktransfer.backbones import LanguageHead
from sktransfer.callbacks import ModelEMA

MAKERS = [causal_backbone, masked_backbone]


@pytest.fixture(scope="module")
def X():  # noqa: N802 - the name in scikit-learn
    return markov_texts(200, 30, seed=1)


@pytest.fixture(scope="module")
def X_new():  # noqa: N802 - the name in scikit-learn
    return markov_texts(40, 30, seed=2)


def tuner(backbone=causal_backbone, **parameters):
    quick = {"max_epochs": 2, "batch_size": 16, "lr": 0.03, "layer_decay": 1.0, "window": 32}
    return LanguageModelTuner(backbone, **quick | {"random_state": 0, "verbose": 0} | parameters)


def test_the_perplexity_of_a_causal_model_approaches_the_entropy_of_the_texts():
    model = tuner(max_epochs=6).fit(markov_texts(600, 30, seed=1))
    # the first letter is not predicted, so only transitions count
    found = model.perplexity(markov_texts(400, 30, seed=3))
    assert found == pytest.approx(math.exp(entropy()), rel=0.04)


@pytest.mark.parametrize("make", MAKERS)
def test_tuning_lowers_the_perplexity_of_new_texts(make, X, X_new):
    before = tuner(make, max_epochs=0).fit(X).perplexity(X_new)
    assert tuner(make).fit(X).perplexity(X_new) < 0.8 * before


def test_the_perplexity_equals_that_of_a_plain_loop(X_new):
    texts = [*X_new[:5], "a b", "a"]
    model = tuner(max_epochs=0).fit(texts)
    backbone, losses = causal_backbone().eval(), []
    for text in texts:
        ids = torch.tensor([letters().encode(text)])
        with torch.no_grad():
            scores = backbone.token_scores(backbone(ids))[0, :-1]
        losses += cross_entropy(scores, ids[0, 1:], reduction="none").tolist()
    assert model.perplexity(texts) == pytest.approx(math.exp(np.mean(losses)), rel=1e-5)


def test_a_step_equals_that_of_a_plain_loop(X):
    texts = X[:16]
    settings = {"optimizer": "sgd", "lr_schedule": "constant", "max_epochs": 3, "lr": 0.1}
    model = tuner(weight_decay=0.0, **settings).fit(texts)
    net = causal_backbone()
    ids = torch.tensor([letters().encode(text) for text in texts])
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True)
    losses = []
    for _ in range(3):
        scores = net.token_scores(net(ids))[:, :-1]
        loss = cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [row["train_loss"] for row in model.history_] == pytest.approx(losses, rel=1e-4)
    for name, tensor in model.backbone_.stages.state_dict().items():
        torch.testing.assert_close(tensor, net.stages.state_dict()[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("make", MAKERS)
def test_two_fits_with_one_seed_are_equal(make, X):
    assert_same_fit(tuner(make).fit(X), tuner(make).fit(X))


@pytest.mark.parametrize("make", MAKERS)
def test_a_killed_fit_resumes_with_the_same_result(make, X, tmp_path):
    settings = {"max_epochs": 3, "early_stopping": True, "unfreeze_every": 1}
    with killed_after(2):
        tuner(make, checkpoint=tmp_path, **settings).fit(X)
    resumed = tuner(make, checkpoint=tmp_path, **settings).fit(X)
    assert_same_fit(resumed, tuner(make, **settings).fit(X))


def test_a_fit_from_random_weights_without_a_seed_resumes(X, tmp_path):
    def from_scratch():
        backbone = causal_backbone()
        backbone.weights_info = {"tag": None}
        return backbone

    settings = {"checkpoint": tmp_path, "max_epochs": 3, "random_state": None}
    with killed_after(1):
        tuner(from_scratch, **settings).fit(X)
    assert len(tuner(from_scratch, **settings).fit(X).history_) == 3


def test_another_seed_gives_another_fit(X):
    kept = [tuner(random_state=seed).fit(X).history_[0]["train_loss"] for seed in (0, 1)]
    assert kept[0] != kept[1]


def test_stages_are_unfrozen_one_by_one(X):
    model = tuner(max_epochs=3, unfreeze_every=1, layer_decay=1 / 2.6, lr_schedule="constant")
    model.fit(X)
    assert [row["cut"] for row in model.history_] == [2, 1, 0]
    rates = [row["lr"] for row in model.history_]
    assert [math.isnan(row["embed"]) for row in rates] == [True, True, False]
    last = rates[-1]
    assert last["gru1"] / last["embed"] == pytest.approx(2.6)
    assert last["gru2"] / last["gru1"] == pytest.approx(2.6)


@pytest.mark.parametrize(("unfreeze", "frozen"), [(1, 2), ("gru1", 1), (0, 3), ("all", 0)])
def test_frozen_stages_do_not_move(unfreeze, frozen, X):
    model = tuner(unfreeze=unfreeze).fit(X)
    assert [row["moved"] > 0 for row in model.report_[:-1]] == [
        index >= frozen for index in range(3)
    ]


def without_bias():
    backbone = causal_backbone()
    backbone.language_head = LanguageHead(12, 16, objective="causal", bias=False)
    return backbone


def test_a_head_without_weights_of_its_own_trains_with_the_stages(X):
    model = tuner(without_bias, unfreeze=1).fit(X)
    assert math.isnan(model.report_[-1]["lr_max"])
    with pytest.raises(ValueError, match="unfreeze must be from 1 to 3 or 'all' for a language"):
        tuner(without_bias, unfreeze=0).fit(X)


def test_the_default_schedule_is_a_slanted_triangle(X):
    model = LanguageModelTuner(causal_backbone, batch_size=8, random_state=0, verbose=0).fit(X)
    rates = [row["lr_max"] for row in model.report_[:-1]]
    assert rates[-1] == pytest.approx(0.001 * 0.385, rel=0.05)
    assert rates[0] == pytest.approx(0.001 * 0.385**3, rel=0.05)
    assert model.report_[-1]["stage"] == "head"


def test_early_stopping_keeps_the_best_epoch(X):
    model = tuner(max_epochs=3, early_stopping=True).fit(X)
    losses = [row["valid_loss"] for row in model.history_]
    assert model.best_epoch_ == 1 + int(np.argmin(losses))
    assert 0 < model.history_[-1]["valid_score"] < 1


@pytest.mark.parametrize("make", MAKERS)
def test_the_validation_loss_is_that_of_the_validation_texts(make, X, X_new):
    model = tuner(make).fit(X, X_val=X_new)
    best = model.history_[model.best_epoch_ - 1]["valid_loss"]
    if make is causal_backbone:  # a masked model draws other tokens
        assert -model.score(X_new) == pytest.approx(best, rel=1e-4)
    assert -model.score(X_new) == pytest.approx(best, rel=0.2)


def test_texts_take_the_place_of_x(X, X_new):
    assert_same_fit(tuner(texts=X).fit(X_new), tuner().fit(X))


def test_features_are_those_of_the_tuned_network(X, X_new):
    model = tuner(pooling="concat").fit(X)
    assert model.transform(X_new).shape == (40, 48)
    assert list(model.get_feature_names_out()[:1]) == ["languagemodeltuner0"]

    def tuned():
        return copy.deepcopy(model.backbone_)

    expected = PretrainedFeatureExtractor(tuned, pooling="concat", verbose=0).fit_transform(X_new)
    assert np.array_equal(model.transform(X_new), expected)


def test_features_come_from_the_cache(X, X_new, tmp_path):
    model = tuner(unfreeze=1, cache=tmp_path).fit(X)
    first = model.transform(X_new)
    assert any(tmp_path.rglob("*"))
    assert np.array_equal(model.transform(X_new), first)


def test_a_tuner_is_a_step_of_a_pipeline(X):
    y = np.array([text.count("a") > 5 for text in X])
    model = make_pipeline(tuner(), LogisticRegression())
    search = GridSearchCV(model, {"languagemodeltuner__max_epochs": [0, 1]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.5


def test_a_search_prefers_the_lower_perplexity(X):
    search = GridSearchCV(tuner(), {"max_epochs": [0, 2]}, cv=2).fit(X)
    assert search.best_params_ == {"max_epochs": 2}


def test_a_tuner_can_be_cloned_and_pickled(X, X_new):
    model = tuner(masked_backbone, skorch_callbacks=[ModelEMA()]).fit(X)
    again = pickle.loads(pickle.dumps(model))
    assert again.perplexity(X_new) == model.perplexity(X_new)
    assert np.array_equal(again.transform(X_new), model.transform(X_new))
    assert clone(model).get_params()["max_epochs"] == 2
    assert not hasattr(clone(model), "history_")
    assert not hasattr(model, "predict")


def test_the_module_returns_scores_of_tokens(X):
    model = tuner().fit(X)
    assert isinstance(model.head_, LanguageHead)
    assert model.module_(torch.tensor([[4, 5, 6, -1]])).shape == (1, 4, 12)
    assert model.task_.objective == "causal"


def test_a_column_of_texts_is_accepted(X):
    frame = pd.DataFrame({"review": X})
    model = tuner(max_epochs=1).fit(frame)
    assert list(model.feature_names_in_) == ["review"]
    assert model.perplexity(frame) == model.perplexity(frame)


def test_long_texts_are_no_warning_in_fit_and_all_their_tokens_count(X):
    long = [" ".join(X[:4])] * 4
    model = tuner(max_epochs=0, window=8).fit(long)
    pieces = [" ".join(long[0].split()[at : at + 8]) for at in range(0, 120, 8)]
    assert model.perplexity(long) == pytest.approx(model.perplexity(pieces), rel=1e-6)


def test_the_learning_rate_can_be_found(X):
    model = tuner(lr="auto", lr_schedule="constant", max_epochs=1).fit(X)
    assert 1e-6 < model.history_[0]["lr"]["gru2"] <= 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"backbone": text_backbone},
            "has no language head. Take builtin/lm, or a folder",
        ),
        ({"backbone": tiny_backbone}, "has no language head, and its items are not texts"),
        ({"window": 7}, "window must be an integer of at least 8; got 7"),
        ({"max_epochs": -1}, "max_epochs must be an integer of at least 0; got -1"),
        ({"unfreeze": 9}, "unfreeze must be 'auto', 'all', the number"),
        ({"lr_schedule": "linear"}, "lr_schedule must be one of"),
        ({"texts": ["", ""]}, "X must contain a text with tokens to predict"),
    ],
)
def test_a_wrong_parameter_is_an_error(parameters, message, X):
    with pytest.raises(ValueError, match=message):
        tuner(**parameters).fit(X)


@pytest.mark.parametrize("kind", [EpochScoring, BatchScoring])
def test_predictions_of_a_language_model_cannot_be_scored(kind, X):
    model = tuner(skorch_callbacks=[kind("accuracy")])
    with pytest.raises(ValueError, match=f"must not contain {kind.__name__}, because a language"):
        model.fit(X)


def test_callbacks_that_monitor_the_loss_work(X):
    model = tuner(skorch_callbacks=[EarlyStopping("train_loss", patience=1, threshold=9.0)])
    assert model.set_params(max_epochs=5, verbose=0).fit(X).n_iter_ < 5


def test_a_network_without_a_mask_token_is_an_error(X):
    def without():
        return masked_backbone(mask_token=None)

    with pytest.raises(ValueError, match=r"must have a tokenizer with a mask token; that of .* no"):
        tuner(without).fit(X)


@pytest.mark.parametrize("method", ["fit", "perplexity", "score", "transform"])
def test_other_items_than_texts_are_an_error(method, X):
    model = tuner(max_epochs=0).fit(X)
    with pytest.raises(ValueError, match=r"X must hold strings; 1 does not:\n  X\[1\]: None"):
        getattr(model, method)(["a", None])


def test_saved_weights_are_read_by_every_estimator(X, X_new, tmp_path):
    pytest.importorskip("transformers")
    from helpers.text_folders import config_of
    from helpers.transformer_nets import of_the_package

    of_the_package(config_of("bert"), tmp_path / "net", "AutoModelForMaskedLM")
    address = f"transformers/{tmp_path / 'net'}"
    model = tuner(address).fit(X)
    model.save_weights(tmp_path / "tuned.safetensors")
    again = tuner(address, weights=tmp_path / "tuned.safetensors", max_epochs=0).fit(X)
    assert again.perplexity(X_new) == model.perplexity(X_new)
    features = PretrainedFeatureExtractor(
        address, weights=tmp_path / "tuned.safetensors", verbose=0
    )
    assert np.array_equal(features.fit_transform(X_new), model.transform(X_new))
    assert features.weights_info_["source"] == "tuned.safetensors"


def test_weights_are_saved_to_safetensors_only(X, tmp_path):
    model = tuner(max_epochs=0).fit(X)
    with pytest.raises(ValueError, match=r"path must end in '.safetensors'; got .*tuned.pt"):
        model.save_weights(tmp_path / "tuned.pt")
    with pytest.raises(OSError, match="path must be a file that can be written"):
        model.save_weights(tmp_path / "no" / "folder.safetensors")
