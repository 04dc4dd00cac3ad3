"""FineTuneRegressor: numbers of images and texts, with all that a classifier has."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
from helpers.killed import assert_same_fit, killed_after
from helpers.text_nets import text_backbone
from helpers.tiny import tiny_backbone
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone, is_regressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch.callbacks import Callback
from torch import nn

from sktransfer import FineTuneClassifier, FineTuneRegressor, SnapshotEnsemble, Views, find_lr
from sktransfer.callbacks import MixUp
from sktransfer.schedules import SGDR


@pytest.fixture(scope="module")
def data():
    """60 grey images of different brightness, and their brightness between 40 and 200."""
    rng = np.random.default_rng(0)
    y = rng.uniform(40, 200, 60)
    X = np.clip(y[:, None, None, None] + rng.normal(0, 20, (60, 16, 16, 3)), 0, 255)
    return X.astype(np.uint8), y


def regressor(backbone=tiny_backbone, **parameters):
    quick = {"max_epochs": 2, "batch_size": 16, "random_state": 0, "verbose": 0}
    return FineTuneRegressor(backbone, **quick | parameters)


SHALLOW = {"head_init": Ridge(10), "unfreeze": 0, "max_epochs": 0}


def test_shared_parameters_have_the_same_defaults_and_descriptions():
    ours, theirs = (
        inspect.signature(kind).parameters for kind in (FineTuneRegressor, FineTuneClassifier)
    )
    assert ours.keys() - theirs.keys() == {"flip_pairs", "loss", "points"}
    assert theirs.keys() - ours.keys() == {"class_weight", "label_smoothing"}
    assert [n for n in ours if n in theirs] == [n for n in theirs if n in ours]
    assert all(ours[n].default == theirs[n].default for n in ours.keys() & theirs.keys())
    doc = inspect.getdoc(FineTuneRegressor)
    assert "\nunfreeze : int" in doc
    assert "\nbest_epoch_ : int or None" in doc
    assert "classes_ :" not in doc


@pytest.mark.parametrize("unfreeze", [0, 1, "all"])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_numbers_are_learned(data, unfreeze, loss):
    X, y = data
    model = regressor(unfreeze=unfreeze, loss=loss, head_init=Ridge(10)).fit(X[:40], y[:40])
    assert model.score(X[40:], y[40:]) > 0.8
    assert model.predict(X).dtype == np.float64
    assert model.predict(X).shape == (60,)
    assert (model.task_.criterion, is_regressor(model)) == (loss, True)


def test_gradient_steps_lower_the_loss_from_the_prior(data):
    model = regressor(head_init="prior", freeze_epochs=2, fine_tune_lr=0.01, max_epochs=8)
    model.fit(*data)
    losses = [row["train_loss"] for row in model.history_]
    assert losses[0] == pytest.approx(1, abs=0.3)  # of the mean
    assert losses[-1] < 0.4
    assert model.score(*data) > 0.5


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_the_loss_changes_the_fit(data, loss):
    X, y = data
    outlying = np.r_[y[:-1], 1e4]
    model = regressor(loss=loss, head_init="prior", max_epochs=0, freeze_epochs=0).fit(X, outlying)
    (constant,) = set(model.predict(X).tolist())
    assert (constant == pytest.approx(np.mean(outlying))) == (loss == "squared_error")
    if loss == "absolute_error":
        assert constant == pytest.approx(np.sort(outlying)[29])


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_the_units_of_y_do_not_matter(data, factor):
    X, y = data
    plain, other = regressor().fit(X, y), regressor().fit(X, factor * y - 3 * factor)
    assert_allclose(other.predict(X), factor * plain.predict(X) - 3 * factor, rtol=1e-5)


def test_several_columns_are_predicted_and_scored_one_by_one(data):
    X, y = data
    several = pd.DataFrame({"brightness": y, "darkness": 255 - y})
    model = regressor(**SHALLOW).fit(X, several)
    assert model.predict(X).shape == (60, 2)
    assert_allclose(model.predict(X).sum(axis=1), 255, rtol=1e-5)
    each = r2_score(several, model.predict(X), multioutput="raw_values")
    assert_allclose(model.score_columns(X, several), each)
    assert model.score(X, several) == pytest.approx(each.mean())
    assert regressor(**SHALLOW).fit(X, y[:, None]).predict(X).shape == (60, 1)


def test_a_frozen_fit_is_the_ridge_regression_of_its_features(data):
    X, y = data
    model = regressor(unfreeze=0, max_epochs=0).fit(X, y)
    features = model.transform(X).astype(float)
    scaled = (features - features.mean(0)) / np.where(features.std(0) > 0, features.std(0), 1)
    expected = Ridge(1000).fit(scaled, (y - y.mean()) / y.std()).predict(scaled)
    assert_allclose(model.predict(X), expected * y.std() + y.mean(), rtol=1e-4)


def test_the_loss_of_a_frozen_fit_is_in_standardised_units(data):
    X, y = data
    model = regressor(unfreeze=0, max_epochs=1, lr=1e-9, batch_size=60).fit(X, y)
    error = np.mean((model.predict(X) - y) ** 2) / y.var()
    assert model.history_[0]["train_loss"] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("shape", [(24,), (24, 2)])
def test_weights_have_the_effect_of_repeated_items(shape, rng):
    X, y, weight = rng.normal(size=(24, 12)), rng.normal(size=shape), np.arange(24) % 3
    quick = {"unfreeze": 1, "batch_size": 64, "max_epochs": 3}
    weighted = regressor(**quick).fit(X, y, sample_weight=weight)
    repeated = regressor(**quick).fit(np.repeat(X, weight, 0), np.repeat(y, weight, 0))
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7)
    assert_allclose(weighted.task_.mean, np.average(y.reshape(24, -1), 0, weight))


def test_pixels_are_not_moved_unless_the_user_asks_for_it(data):
    X, y = data
    assert FineTuneClassifier(tiny_backbone).get_augmentation(X)[1] == "light"
    assert regressor().get_augmentation(X)[1] is None
    assert_same_fit(regressor().fit(X, y), regressor(augment=None).fit(X, y))
    moved = regressor(augment="light").fit(X, y)
    assert not np.array_equal(moved.predict(X), regressor().fit(X, y).predict(X))


@pytest.mark.parametrize("augment", [None, "auto"])
def test_variants_of_predictions_need_an_augmentation(data, augment):
    message = f"tta must be 0 if augment is {augment!r}, because numbers may depend on the"
    with pytest.raises(ValueError, match=message):
        regressor(augment=augment, tta=2).fit(*data)
    model = regressor(augment=augment, **SHALLOW).fit(*data)
    with pytest.raises(ValueError, match=message):
        model.set_params(tta=2).predict(data[0])
    assert model.set_params(augment=Views("light", 2)).predict(data[0]).shape == (60,)


@pytest.mark.parametrize(
    ("init", "error", "message"),
    [
        ("logistic", ValueError, "head_init must be one of 'auto', 'ridge', 'prior', or an unfit"),
        (LogisticRegression(), TypeError, "head_init must be a regressor whose fit accepts sample"),
        (Ridge, TypeError, "head_init must be one of 'auto', 'ridge', 'prior'"),
    ],
)
def test_a_head_starts_only_from_a_linear_regressor(data, init, error, message):
    with pytest.raises(error, match=message):
        regressor(head_init=init).fit(*data)


def test_the_head_of_a_classifier_is_not_ridge_and_other_heads_start_from_the_prior(data):
    with pytest.raises(ValueError, match="head_init must be one of 'auto', 'logistic', 'prior'"):
        FineTuneClassifier(tiny_backbone, head_init="ridge").fit(data[0], data[1] > 100)
    with pytest.raises(ValueError, match="head_init must be 'prior' if head is not 'linear'"):
        regressor(head="mlp", head_init="ridge").fit(*data)
    with pytest.raises(ValueError, match="loss must be one of 'squared_error', 'absolute_error'"):
        regressor(loss="hinge").fit(*data)
    model = regressor(head="mlp", max_epochs=1).fit(*data)
    assert [row["phase"] for row in model.history_] == ["head"] * 3 + ["fine-tune"]


def test_a_cross_validated_penalty_is_a_head(data):
    model = regressor(unfreeze=0, max_epochs=0, head_init=RidgeCV([0.1, 1, 10])).fit(*data)
    assert model.score(*data) > 0.85


@pytest.mark.parametrize("groups", [None, np.arange(60) // 10], ids=["quantiles", "groups"])
def test_early_stopping_holds_out_every_part_of_the_range(data, groups):
    X, y = np.asarray(data[0])[np.argsort(data[1])], np.sort(data[1])  # groups are parts of it
    seen = []

    class Seen(Callback):
        def on_train_begin(self, net, X=None, **_):
            seen.append(X[1].labels)

    model = regressor(early_stopping=True, validation_fraction=0.2, skorch_callbacks=[Seen()])
    model.fit(X, y, groups=groups)
    assert model.best_epoch_ is not None
    assert all("valid_score" in row for row in model.history_)
    held = np.sort(np.searchsorted(y, seen[0] + 1e-6) - 1)
    if groups is None:
        assert len(held) == 12
        assert np.bincount(held // 6, minlength=10).min() >= 1  # of ten quantiles of six items
    else:
        assert len(set(groups[held].tolist())) * 10 == len(held)


@pytest.mark.parametrize("n", [3, 8, 20])
def test_early_stopping_works_with_few_numbers(data, n):
    model = regressor(early_stopping=True, max_epochs=1).fit(data[0][:n], data[1][:n])
    assert 0 <= model.best_epoch_ <= 1


def test_held_out_numbers_have_no_say_in_the_moments(data):
    X, y = data
    model = regressor(max_epochs=1).fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:] + 1e5)
    assert_allclose(model.task_.mean, y[:40].mean())
    assert model.history_[0]["valid_score"] < -100


@pytest.mark.parametrize(
    "parameters",
    [
        {"unfreeze": 1},
        {"unfreeze": "all", "unfreeze_every": 1, "loss": "huber", "dropout": 0.2},
        {"head_init": "prior", "freeze_epochs": 1, "early_stopping": True, "augment": "light"},
    ],
    ids=str,
)
def test_a_killed_fit_ends_with_the_weights_of_one_that_was_not(data, parameters, tmp_path):
    whole = regressor(max_epochs=3, **parameters).fit(*data)
    model = regressor(max_epochs=3, checkpoint=tmp_path, **parameters)
    with killed_after(2):
        model.fit(*data)
    assert_same_fit(model.fit(*data), whole)


def test_a_fit_from_a_cache_has_the_same_bits(data, tmp_path):
    plain = regressor(unfreeze=1).fit(*data)
    for _ in range(2):
        assert_same_fit(regressor(unfreeze=1, cache=tmp_path).fit(*data), plain)


def test_fits_with_other_numbers_do_not_share_a_head(data, tmp_path):
    X, y = data
    one = regressor(unfreeze=0, max_epochs=0, cache=tmp_path).fit(X, y)
    other = regressor(unfreeze=0, max_epochs=0, cache=tmp_path).fit(X, y[::-1])
    assert not np.array_equal(one.predict(X), other.predict(X))


def test_a_pickle_and_a_clone_predict_the_same_bits(data):
    model = regressor(unfreeze=1).fit(*data)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(data[0]), model.predict(data[0]))
    assert_same_fit(clone(model).fit(*data), model)


def test_images_that_cannot_be_decoded_get_nan_and_are_left_out(data, tmp_path):
    X, y = data
    paths = [tmp_path / f"{index}.png" for index in range(20)]
    for path, image in zip(paths, X, strict=False):
        Image.fromarray(image).save(path)
    paths[3].write_text("no image")
    paths = [str(path) for path in paths]
    wrong = np.r_[y[:3], 1e9, y[4:20]]
    model = regressor(decode_error="ignore", max_epochs=1).fit(paths, wrong)
    assert_array_equal(model.skipped_, [3])
    assert_allclose(model.task_.mean, np.delete(y[:20], 3).mean())
    predicted = model.predict(paths)
    assert predicted.dtype == np.float64
    assert_array_equal(np.flatnonzero(np.isnan(predicted)), [3])
    with pytest.raises(ValueError, match=r"X must have items that can be decoded.*\n  X\[3\]\n"):
        model.score(paths, y[:20])


def test_mixed_images_have_mixed_numbers(data):
    model = regressor(head_init=Ridge(10), skorch_callbacks=[MixUp()]).fit(*data)
    assert model.score(*data) > 0.8


def test_the_module_and_the_net_give_the_predictions(data):
    model = regressor(unfreeze=1).fit(*data)
    preset = model.backbone_.preset
    inputs = preset.collate([preset(item) for item in preset.check(data[0])], 60)
    outputs = model.module_(inputs).detach().numpy()
    assert isinstance(model.module_, nn.Module)
    expected = model.predict(data[0])
    assert_allclose(outputs[:, 0] * model.task_.scale + model.task_.mean, expected, rtol=1e-4)
    assert_allclose(model.net_.predict(inputs), expected, rtol=1e-4)
    assert not hasattr(model.net_, "predict_proba")


def test_a_search_and_a_cross_validation_score_r2(data):
    scores = cross_val_score(regressor(**SHALLOW), *data, cv=3)
    assert scores.min() > 0.8
    search = GridSearchCV(regressor(**SHALLOW), {"head_init": [Ridge(1), Ridge(1e5)]}, cv=2)
    assert search.fit(*data).best_params_["head_init"].alpha == 1


def test_a_learning_rate_is_found_for_numbers(data):
    curve = find_lr(regressor(head_init="prior"), *data, n_steps=40)
    assert 1e-6 < curve.suggestion < 1
    model = regressor(head_init="prior", freeze_epochs=1, lr="auto", max_epochs=0).fit(*data)
    assert model.history_[0]["lr"]["head"] > 0


def test_an_ensemble_predicts_the_mean_of_its_snapshots(data):
    X, y = data
    cycles = SGDR(cycle_length=1, multiplier=1)
    estimator = regressor(lr_schedule=cycles, fine_tune_lr=0.01, max_epochs=3)
    ensemble = SnapshotEnsemble(estimator, schedule=cycles).fit(X, y)
    members = [member.predict(X) for member in ensemble.estimators_]
    assert len(members) == 3
    assert_allclose(ensemble.predict(X), np.mean(members, axis=0))
    assert ensemble.score(X, y) == pytest.approx(r2_score(y, ensemble.predict(X)))
    assert is_regressor(ensemble)
    assert not hasattr(ensemble, "predict_proba")
    assert not hasattr(ensemble, "classes_")


@pytest.mark.parametrize("unfreeze", [0, 1, "all"])
def test_texts_have_numbers(unfreeze):
    rng = np.random.default_rng(0)
    share = rng.uniform(size=80)
    X = [" ".join(np.where(rng.uniform(size=20) < each, "good", "bad")) for each in share]
    model = regressor(text_backbone, unfreeze=unfreeze, head_init=Ridge(1)).fit(X[:60], share[:60])
    assert model.score(X[60:], share[60:]) > 0.8
    assert model.predict(X[:1]) == model.predict(X)[:1]
