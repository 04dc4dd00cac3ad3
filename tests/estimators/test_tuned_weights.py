"""``weights=LanguageModelTuner(...)``: a copy is fitted to the training texts of each fit."""

import pickle
from itertools import chain

import numpy as np
import pytest
import torch
from helpers.killed import assert_same_fit, killed_after
from helpers.language_nets import causal_backbone, markov_texts, masked_backbone
from helpers.text_nets import text_backbone
from helpers.tiny import tiny_backbone
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline

from sktransfer import (
    FineTuneClassifier,
    LanguageModelTuner,
    PretrainedFeatureExtractor,
    find_lr,
    load,
    save,
)
from sktransfer.backbones import registry
from sktransfer.callbacks import ModelEMA
from sktransfer.engines import choice

N = 60


@pytest.fixture(scope="module")
def texts():
    """Different texts, and labels that do not depend on them."""
    X = [f"{text} a{'b' * at}" for at, text in enumerate(markov_texts(N, 12, seed=5))]
    return X, np.random.default_rng(0).permutation(np.arange(N) % 2)


@pytest.fixture
def seen(monkeypatch):
    """The texts of each fit of a tuner."""
    found, fit = [], LanguageModelTuner.fit

    def spy(tuner, X, *args, **kwargs):
        found.append(list(X))
        return fit(tuner, X, *args, **kwargs)

    monkeypatch.setattr(LanguageModelTuner, "fit", spy)
    return found


def tuner(**parameters):
    quick = {"lr": 0.01, "batch_size": 16, "window": 32, "verbose": 0}
    return LanguageModelTuner(**quick | parameters)


def classifier(weights=None, backbone=causal_backbone, **parameters):
    quick = {"max_epochs": 1, "unfreeze": 1, "batch_size": 16, "random_state": 0, "verbose": 0}
    weights = tuner() if weights is None else weights
    return FineTuneClassifier(backbone, weights=weights, **quick | parameters)


def extractor(weights=None, backbone=causal_backbone, **parameters):
    weights = tuner() if weights is None else weights
    return PretrainedFeatureExtractor(backbone, weights=weights, verbose=0, **parameters)


@pytest.mark.parametrize("make", [causal_backbone, masked_backbone])
def test_a_classifier_begins_with_the_tuned_weights(make, texts):
    X, y = texts
    model = classifier(backbone=make, max_epochs=0).fit(X, y)
    seed = int(np.random.RandomState(0).randint(2**31))  # the seed of the fit
    expected = tuner(backbone=make, random_state=seed).fit(X)
    assert np.array_equal(model.transform(X), expected.transform(X))
    info = model.weights_info_["tuned"]
    assert info["n_texts"] == N
    assert info["train_loss"] == [row["train_loss"] for row in expected.history_]


def test_features_are_those_of_the_tuned_network(texts):
    X, _ = texts
    features = extractor().fit_transform(X)
    assert np.array_equal(
        features, tuner(backbone=causal_backbone, random_state=0).fit_transform(X)
    )
    assert np.array_equal(extractor().fit(X).transform(X), features)
    plain = PretrainedFeatureExtractor(causal_backbone, verbose=0).fit_transform(X)
    assert not np.array_equal(features, plain)


def test_the_tuner_stays_as_it_was(texts):
    weights = tuner()
    classifier(weights).fit(*texts)
    assert not hasattr(weights, "history_")
    assert weights.get_params() == tuner().get_params()


@pytest.mark.parametrize(
    "make", [classifier, lambda: make_pipeline(extractor(), LogisticRegression())]
)
def test_no_text_of_a_test_fold_reaches_the_tuner(make, texts, seen):
    X, y = texts
    cross_val_score(make(), X, y, cv=3)
    assert [len(found) for found in seen] == [40, 40, 40]
    # each text is in the training part of two of three folds
    assert sorted(chain.from_iterable(seen)) == sorted(X * 2)
    assert len({tuple(found) for found in seen}) == 3


def test_held_out_texts_do_not_reach_the_tuner(texts, seen):
    X, y = texts
    model = classifier(early_stopping=True, validation_fraction=0.25).fit(X, y)
    assert len(seen[0]) == 45
    assert set(seen[0]) < set(X)
    assert model.best_epoch_ is not None


def test_validation_texts_do_not_reach_the_tuner(texts, seen):
    X, y = texts
    classifier(early_stopping=True).fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    assert seen == [X[:40]]


def test_texts_of_weight_0_do_not_reach_the_tuner(texts, seen):
    X, y = texts
    classifier().fit(X, y, sample_weight=np.arange(N) < 30)
    assert seen == [X[:30]]


def test_other_texts_take_the_place_of_those_of_the_fit(texts, seen):
    X, y = texts
    other = markov_texts(20, 12, seed=9)
    classifier(tuner(texts=other)).fit(X, y)
    assert seen == [other]


def test_random_labels_are_not_predicted(texts):
    X, y = texts
    predicted = cross_val_predict(classifier(), X, y, cv=5)
    assert 0.3 < np.mean(predicted == y) < 0.7


def test_parameters_of_the_tuner_are_set_through_the_classifier(texts, seen):
    X, y = texts
    model = classifier()
    assert model.get_params()["weights__max_epochs"] == 1
    model.set_params(weights__max_epochs=2).fit(X, y)
    assert len(model.weights_info_["tuned"]["train_loss"]) == 2
    search = GridSearchCV(classifier(), {"weights__max_epochs": [0, 1]}, cv=2, refit=False)
    search.fit(X, y)
    assert len(seen) == 1 + 4


def test_candidates_of_a_fold_share_the_tuned_weights(texts, seen, tmp_path):
    X, y = texts
    grid = {"unfreeze": [0, 1], "label_smoothing": [0.0, 0.1]}
    kept = GridSearchCV(classifier(cache=tmp_path), grid, cv=3).fit(X, y)
    assert len(seen) == 3 + 1  # each fold, and all texts
    plain = GridSearchCV(classifier(), grid, cv=3).fit(X, y)
    scores = [search.cv_results_["mean_test_score"] for search in (kept, plain)]
    assert np.array_equal(*scores)


def test_another_tuner_or_seed_does_not_share(texts, seen, tmp_path):
    X, y = texts
    for weights, seed in [(tuner(), 0), (tuner(max_epochs=2), 0), (tuner(), 1), (tuner(), None)]:
        classifier(weights, random_state=seed, cache=tmp_path).fit(X, y)
    assert len(seen) == 4
    classifier(random_state=0, cache=tmp_path).fit(X, y)
    classifier(tuner(verbose=2), random_state=0, cache=tmp_path).fit(X, y)
    assert len(seen) == 4
    classifier(tuner(random_state=7), random_state=None, cache=tmp_path).fit(X, y)
    classifier(tuner(random_state=7), random_state=None, cache=tmp_path).fit(X, y)
    assert len(seen) == 5


def test_tuned_weights_are_not_shared_with_other_engines(texts, seen, tmp_path, monkeypatch):
    monkeypatch.setitem(choice.AUTO, torch.float32, ("onnxruntime",))
    for name in ("none", "onnxruntime", "onnxruntime"):
        monkeypatch.setattr(choice, "is_installed", lambda engine, name=name: engine.name == name)
        classifier(random_state=0, cache=tmp_path).fit(*texts)
    assert len(seen) == 2


def test_a_cache_of_tuned_weights_is_of_use_although_all_stages_train(texts, tmp_path):
    X, y = texts
    how = {"unfreeze": "all", "augment": None, "cache": tmp_path}
    classifier(random_state=0, **how).fit(X, y)  # without a warning
    with pytest.warns(UserWarning, match="cannot make the epochs of this fit faster"):
        classifier("default", **how).fit(X, y)


def test_tuned_weights_from_the_cache_have_the_same_description(texts, tmp_path):
    first, second = (extractor(cache=tmp_path).fit(texts[0]) for _ in range(2))
    assert first.weights_info_ == second.weights_info_


def test_weights_with_callbacks_are_described_in_the_key(texts, seen, tmp_path):
    for _ in range(2):
        classifier(tuner(skorch_callbacks=[ModelEMA()]), cache=tmp_path).fit(*texts)
    assert len(seen) == 1


def test_two_fits_with_one_seed_are_equal(texts):
    assert_same_fit(classifier().fit(*texts), classifier().fit(*texts))


def test_a_killed_fit_resumes_with_the_same_result(texts, tmp_path):
    settings = {"max_epochs": 3}
    with killed_after(2):
        classifier(tuner(max_epochs=1), checkpoint=tmp_path, **settings).fit(*texts)
    resumed = classifier(tuner(max_epochs=1), checkpoint=tmp_path, **settings).fit(*texts)
    assert_same_fit(resumed, classifier(tuner(max_epochs=1), **settings).fit(*texts))


def test_random_weights_that_are_tuned_count_as_pretrained(texts):
    def from_scratch():
        backbone = causal_backbone()
        backbone.weights_info = {"tag": None}
        return backbone

    model = classifier(backbone=from_scratch, max_epochs=0).fit(*texts)
    assert float(model._fitted.tail.scale.max()) != 1  # features are standardised


def test_the_learning_rate_can_be_found(texts):
    assert find_lr(classifier(), *texts, n_steps=5).suggestion > 0


@pytest.mark.parametrize("make", [classifier, extractor])
def test_a_model_with_a_tuner_is_cloned_and_pickled(make, texts):
    X, y = texts
    model = make().fit(X, y)
    assert clone(model).weights.get_params() == model.weights.get_params()
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.transform(X), model.transform(X))


@pytest.mark.parametrize("make", [classifier, extractor])
def test_a_saved_model_contains_the_parameters_of_the_tuner(make, texts, monkeypatch, path):
    class Provider:
        def names(self):
            return ["net"]

        def load(self, name, weights):
            return causal_backbone()

    monkeypatch.setitem(registry._registered, "language", Provider())
    X, y = texts
    model = make(tuner(max_epochs=2, texts=X[:30]), backbone="language/net").fit(X, y)
    save(model, path)
    loaded = load(path)
    assert np.array_equal(loaded.transform(X), model.transform(X))
    assert loaded.weights.get_params() == tuner(max_epochs=2).get_params()
    assert loaded.weights_info_ == model.weights_info_


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("make", [classifier, extractor])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backbone": text_backbone}, "text_backbone.* has no language head"),
        ({"weights": tuner(backbone=masked_backbone)}, "weights must be a tuner of the same back"),
        ({"weights": tuner(window=3)}, "window must be an integer of at least 8; got 3"),
    ],
)
def test_a_tuner_that_does_not_fit_is_an_error(make, parameters, message, texts):
    with pytest.raises(ValueError, match=message):
        make(**parameters).fit(*texts)


def test_a_tuner_for_images_is_an_error():
    model = classifier(backbone=tiny_backbone)
    with pytest.raises(ValueError, match="has no language head, and its items are not texts"):
        model.fit(np.zeros((4, 32, 32, 3), np.uint8), [0, 1, 0, 1])
