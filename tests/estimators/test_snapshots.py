"""An ensemble of snapshots averages the states of one fit."""

import pickle
from unittest import mock

import numpy as np
import pytest
from helpers.fine_tuning import classifier, equal
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, cross_validate
from skorch.callbacks import EpochTimer

from sktransfer import SnapshotEnsemble
from sktransfer.schedules import SGDR

CYCLES = SGDR(cycle_length=1, multiplier=1)


def ensemble(schedule=CYCLES, every=None, most=5, **parameters):
    """Return an ensemble whose classifier has a cycle in each of three epochs."""
    defaults = {"lr_schedule": CYCLES, "max_epochs": 3, "fine_tune_lr": 0.01}
    estimator = classifier(**(defaults | parameters))
    return SnapshotEnsemble(estimator, schedule=schedule, every=every, most=most)


@pytest.fixture(scope="module")
def fitted(photos):
    return ensemble().fit(*photos)


def test_each_cycle_leaves_a_member(fitted):
    assert len(fitted.estimators_) == 3
    states = [member._fitted.tail.state_dict() for member in fitted.estimators_]
    assert not equal(states[0], states[1])
    assert not equal(states[1], states[2])


def test_the_last_member_is_the_classifier_at_its_end(fitted, photos):
    X, y = photos
    alone = clone(fitted.estimator).set_params(weight_interpolation=1).fit(X, y)
    assert_array_equal(fitted.estimators_[-1].predict_proba(X), alone.predict_proba(X))


def test_the_probabilities_are_the_mean_of_those_of_the_members(fitted, photos):
    X, y = photos
    members = [member.predict_proba(X) for member in fitted.estimators_]
    assert not np.array_equal(members[0], members[2])
    probabilities = fitted.predict_proba(X)
    assert_allclose(probabilities, sum(members) / 3, rtol=1e-12)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert_array_equal(fitted.predict(X), fitted.classes_[probabilities.argmax(axis=1)])
    assert_array_equal(fitted.classes_, ["blue", "green", "red"])
    assert fitted.score(X, y) == 1


@pytest.mark.parametrize(
    ("arguments", "n_members"),
    [
        ({"schedule": None, "every": 2}, 1),
        ({"schedule": None, "every": 1}, 3),
        ({"most": 2}, 2),
        ({"schedule": SGDR(cycle_length=9)}, 1),  # no cycle ends: the classifier itself
        ({"max_epochs": 0}, 1),
    ],
    ids=str,
)
def test_the_number_of_members_follows_from_the_cycles(photos, arguments, n_members):
    X, y = photos
    model = ensemble(**arguments).fit(X, y)
    assert len(model.estimators_) == n_members
    assert model.predict(X).shape == (36,)


def test_a_pickle_predicts_the_same_bits(fitted, photos):
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.predict_proba(photos[0]), fitted.predict_proba(photos[0]))
    assert_array_equal(again.predict(photos[0]), fitted.predict(photos[0]))


def test_multi_label_members_are_averaged_label_by_label(photos):
    X, y = photos
    Y = np.stack([y == "red", y != "blue"], axis=1).astype(int)
    model = ensemble().fit(X, Y)
    members = [member.predict_proba(X) for member in model.estimators_]
    assert_allclose(model.predict_proba(X), np.mean(members, axis=0), rtol=1e-12)
    assert_array_equal(model.predict(X), (model.predict_proba(X) > 0.5).astype(int))
    assert_array_equal(model.classes_, [0, 1])
    assert model.score(X, Y) > 0.9


def test_an_ensemble_works_in_cross_validation(photos):
    scores = cross_val_score(ensemble(max_epochs=2), *photos, cv=2, error_score="raise")
    assert scores.min() > 0.8


def test_further_arguments_of_fit_reach_the_classifier(photos):
    X, y = photos
    weight = (y != "red").astype(float)
    model = ensemble(max_epochs=1).fit(X, y, sample_weight=weight)
    assert_array_equal(model.classes_, ["blue", "green"])


def test_a_fit_does_not_change_the_estimator_or_its_callbacks(photos):
    timer = EpochTimer()
    model = ensemble(max_epochs=1, skorch_callbacks=[timer]).fit(*photos)
    assert model.estimator.skorch_callbacks == [timer]
    assert not hasattr(model.estimator, "net_")
    assert len(model.estimators_) == 1


def test_an_unfitted_ensemble_cannot_predict(photos):
    with pytest.raises(NotFittedError):
        ensemble().predict(photos[0])


@pytest.mark.parametrize(
    "arguments", [{"schedule": None}, {"every": 2}, {"most": 0}], ids=["neither", "both", "none"]
)
def test_an_ensemble_needs_either_a_schedule_or_a_number_of_epochs(photos, arguments):
    with pytest.raises(ValueError, match=r"either schedule or every|most must be"):
        ensemble(**arguments).fit(*photos)


def test_an_ensemble_takes_the_input_of_its_classifier():
    tags = ensemble().__sklearn_tags__()
    assert tags.input_tags.string
    assert tags.classifier_tags.multi_label
    assert not SnapshotEnsemble(LogisticRegression()).__sklearn_tags__().input_tags.string


def test_an_image_that_cannot_be_decoded_is_predicted_as_nan(fitted, photos):
    broken = Image.fromarray(photos[0][0])
    broken.load = mock.Mock(side_effect=OSError("cut short"))
    images = [Image.fromarray(photos[0][0]), broken]
    for member in fitted.estimators_:
        member.set_params(decode_error="ignore")
    predicted = fitted.predict(images)
    assert predicted[0] == fitted.predict(images[:1])[0]
    assert isinstance(predicted[1], float)
    assert np.isnan(predicted[1])


def test_members_have_records_of_their_own(photos):
    model = ensemble().fit(*photos, X_val=photos[0][:6], y_val=photos[1][:6])
    first, second = model.estimators_[:2]
    assert first.history_ is not second.history_
    assert first.best_epoch_ is second.best_epoch_ is None
    assert first.skorch_callbacks is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (SnapshotEnsemble(classifier(max_epochs=0)), "either schedule or every"),
        (SnapshotEnsemble(LogisticRegression(), every=1), "estimator must be a FineTuneClassifier"),
        (SnapshotEnsemble(classifier(skorch_callbacks=5), every=1), "skorch_callbacks must be"),
    ],
    ids=["no cycle", "no network", "no callbacks"],
)
def test_wrong_parameters_are_refused_before_training(photos, model, message):
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(*photos)


def test_metadata_reaches_the_fit_of_the_classifier(photos):
    with config_context(enable_metadata_routing=True):
        model = ensemble(max_epochs=1)
        model.estimator.set_fit_request(sample_weight=True)
        weight = np.linspace(1, 2, len(photos[1]))
        scores = cross_validate(
            model.set_score_request(sample_weight=False),
            *photos,
            params={"sample_weight": weight},
            cv=2,
        )["test_score"]
        model.fit(*photos, sample_weight=weight)
    assert len(scores) == 2


def test_each_member_is_adapted(photos):
    X, y = photos
    dark = [pixels // 4 for pixels in X]
    fitted = ensemble(freeze_bn="own").fit(X, y)
    before = fitted.predict_proba(dark)
    adapted = fitted.adapt(dark)
    members = [member.adapt(dark).predict_proba(dark) for member in fitted.estimators_]
    assert_allclose(adapted.predict_proba(dark), np.mean(members, axis=0))
    assert_array_equal(fitted.predict_proba(dark), before)
    assert not np.allclose(adapted.predict_proba(dark), before)
    with pytest.raises(NotFittedError):
        ensemble().adapt(dark)
