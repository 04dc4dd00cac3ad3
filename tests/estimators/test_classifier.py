"""The classifier learns, scores, weighs its items, and leaves everything else as it was."""

import pickle
import random

import numpy as np
import pytest
import torch
from helpers.fine_tuning import classifier, equal, weights
from helpers.tiny import coloured_photos
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import EarlyStopping
from torchvision.transforms import v2

from sktransfer import PretrainedFeatureExtractor
from sktransfer.callbacks import ModelEMA, Scheduled
from sktransfer.schedules import Cosine


def test_the_classifier_learns_to_tell_colours(photos):
    X, y = photos
    model = classifier().fit(X[:24], y[:24])
    assert model.score(X[24:], y[24:]) == 1
    assert_array_equal(model.classes_, ["blue", "green", "red"])
    assert model.n_iter_ == len(model.history_) == 2


def test_a_column_of_labels_scores_as_the_labels_do(photos):
    X, y = photos
    model = classifier().fit(X[:24], y[:24])
    assert model.score(X, y[:, None]) == model.score(X, y)
    with pytest.raises(ValueError, match=r"y must be of shape \(36,\), .*; got \(1,\)\."):
        model.score(X, y[:1])


def test_two_fits_with_one_seed_have_the_same_bits(photos):
    one, other = classifier(dropout=0.3).fit(*photos), classifier(dropout=0.3).fit(*photos)
    assert equal(weights(one), weights(other))
    assert_array_equal(one.decision_function(photos[0]), other.decision_function(photos[0]))


def test_another_seed_gives_other_weights(photos):
    assert not equal(
        weights(classifier().fit(*photos)), weights(classifier(random_state=1).fit(*photos))
    )


def test_a_second_fit_starts_from_pristine_weights(photos):
    X, y = photos
    model = classifier().fit(X, np.roll(y, 5)).fit(X, y)
    assert equal(weights(model), weights(classifier().fit(X, y)))


def test_random_labels_score_chance_whatever_was_fitted_before(rng):
    X = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    y = rng.integers(0, 2, 60)
    model = classifier().fit(X, y)  # the first fit has seen all items
    scores = [clone(model).fit(X[a], y[a]).score(X[b], y[b]) for a, b in halves(60)]
    assert 0.3 < np.mean(scores) < 0.7


def halves(n):
    first, second = np.arange(n // 2), np.arange(n // 2, n)
    return [(first, second), (second, first)]


def test_a_fit_leaves_the_random_generators_of_the_caller_alone(photos):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 - the global generator is tested
    classifier(dropout=0.5, augment=v2.RandomHorizontalFlip()).fit(*photos).predict(photos[0])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002 - the global generator is tested
    assert random.getstate() == states[2]


def test_a_fit_changes_nothing_that_was_passed(photos):
    X, y = photos[0].copy(), photos[1].copy()
    callbacks = [ModelEMA(), EarlyStopping("train_loss"), Scheduled("weight_decay", Cosine())]
    before = [dict(vars(callback)) for callback in callbacks]
    model = classifier(skorch_callbacks=callbacks)
    parameters = model.get_params()
    model.fit(X, y)
    assert_array_equal(X, photos[0])
    assert_array_equal(y, photos[1])
    assert [vars(callback) for callback in callbacks] == before
    assert all(model.get_params()[name] is value for name, value in parameters.items())


def test_an_error_leaves_the_last_fit_in_place(photos):
    X, y = photos
    model = classifier().fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match=r"unfreeze must be .* from 0 to 3, "):
        model.set_params(unfreeze=7).fit(X[:5].reshape(5, -1), y[:5])
    assert_array_equal(model.predict_proba(X), before)
    assert not hasattr(model, "n_features_in_")


# Labels


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [3, 7], [-1, 1]])
def test_labels_come_back_as_they_went_in(labels):
    X, y = coloured_photos(names=("cold", "warm"))
    y = np.array(labels)[(y == "warm").astype(int)]
    model = classifier().fit(X, y)
    assert_array_equal(model.predict(X), y)
    assert model.predict(X).dtype == y.dtype
    scores = model.decision_function(X)
    assert scores.shape == (24,)
    assert_array_equal(model.classes_[(scores > 0).astype(int)], y)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-scores)))


def test_multi_label_targets_train_a_sigmoid_head(photos):
    X, y = photos
    Y = np.stack([y == "red", y != "blue", np.ones(len(y), bool)], axis=1).astype(int)
    model = classifier(fine_tune_lr=0.01, max_epochs=6).fit(X, Y)
    assert_array_equal(model.predict(X), Y)
    np.testing.assert_allclose(
        model.predict_proba(X), 1 / (1 + np.exp(-model.decision_function(X)))
    )
    assert_array_equal(model.classes_, [0, 1, 2])


# Sample weights


def table(n=24, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(y[:, None], 1, (n, 12)), y


def test_an_item_of_weight_two_counts_as_an_item_given_twice():
    X, y = table()
    weight = 1 + (np.arange(24) % 2)
    repeated = np.repeat(np.arange(24), weight)
    model = classifier(batch_size=64)
    once = clone(model).fit(X, y, sample_weight=weight).decision_function(X)
    twice = clone(model).fit(X[repeated], y[repeated]).decision_function(X)
    np.testing.assert_allclose(once, twice, rtol=1e-7)


def test_weights_of_one_change_nothing(photos):
    X, y = photos
    plain = classifier().fit(X, y)
    assert equal(weights(plain), weights(classifier().fit(X, y, sample_weight=np.ones(36))))


def test_an_item_of_weight_zero_is_left_out(photos):
    X, y = photos
    weight = (np.arange(36) < 24).astype(float)
    model = classifier(augment=None).fit(X, y, sample_weight=weight)
    assert equal(weights(model), weights(classifier(augment=None).fit(X[:24], y[:24])))


# Fitted models


def test_a_prediction_is_never_augmented(photos):
    model = classifier(augment="standard").fit(*photos)
    assert_array_equal(model.predict_proba(photos[0]), model.predict_proba(photos[0]))


@pytest.mark.parametrize("parameters", [{}, {"unfreeze": 1}, {"head": "mlp"}, {"max_epochs": 0}])
def test_a_pickle_holds_the_weights_once_and_predicts_the_same_bits(photos, parameters):
    model = classifier(**parameters).fit(*photos)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_proba(photos[0]), model.predict_proba(photos[0]))
    assert repr(again.history_) == repr(model.history_)
    assert again.report_.to_frame().equals(model.report_.to_frame())
    numbers = sum(t.nbytes for t in model._fitted.tail.state_dict().values())
    assert len(pickle.dumps(model)) < numbers + 40_000


def test_the_features_are_those_of_the_tuned_network(photos):
    X, y = photos
    model = classifier().fit(X, y)
    tuned = PretrainedFeatureExtractor(lambda: model.backbone_).fit_transform(X)
    np.testing.assert_allclose(model.transform(X), tuned, rtol=1e-4, atol=1e-5)
    assert list(model.get_feature_names_out()[:1]) == ["finetuneclassifier0"]
