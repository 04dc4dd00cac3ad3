"""Several columns of labels in one classifier."""

import pickle

import numpy as np
import pandas as pd
import pytest
from helpers.fine_tuning import classifier
from helpers.killed import assert_same_fit, killed_after
from helpers.text_nets import text_backbone
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

from sktransfer import FineTuneClassifier, SnapshotEnsemble, find_lr
from sktransfer.callbacks import CutMix
from sktransfer.display import TopLossesDisplay
from sktransfer.schedules import SGDR


@pytest.fixture(scope="module")
def data(photos):
    """Photos of three colours, each bright or dark, with both as labels."""
    X, colours = photos
    dark = np.arange(len(X)) % 2 == 0
    X = np.where(dark[:, None, None, None], X // 3, X)
    names = np.where(dark, "dark", "bright")
    return X, pd.DataFrame({"colour": colours, "light": names})


@pytest.fixture(scope="module")
def fitted(data):
    return classifier(unfreeze=1).fit(*data)


def test_the_columns_are_learned_and_returned_as_forests_do(fitted, data):
    X, y = data
    rows = X.reshape(len(X), -1)
    forest = RandomForestClassifier(5, random_state=0).fit(rows, y)
    assert fitted.score_columns(X, y).min() > 0.9
    for ours, theirs in zip(fitted.classes_, forest.classes_, strict=True):
        assert ours.tolist() == theirs.tolist()
    assert fitted.predict(X).shape == forest.predict(rows).shape == (36, 2)
    for ours, theirs in zip(fitted.predict_proba(X), forest.predict_proba(rows), strict=True):
        assert ours.shape == theirs.shape
        assert_allclose(ours.sum(axis=1), 1)
    assert [each.shape for each in fitted.decision_function(X)] == [(36, 3), (36,)]


def test_the_score_counts_items_with_every_column_right(fitted, data):
    X, y = data
    correct = fitted.predict(X) == y.to_numpy()
    assert fitted.score(X, y) == correct.all(axis=1).mean()
    assert_array_equal(fitted.score_columns(X, y), correct.mean(axis=0))
    weight = np.arange(36)
    assert fitted.score(X, y, weight) == np.average(correct.all(axis=1), weights=weight)


def test_one_column_and_indicators_have_scores_of_columns_too(data):
    X, y = data
    one = classifier(unfreeze=0).fit(X, y["light"])
    assert_array_equal(one.score_columns(X, y["light"]), [one.score(X, y["light"])])
    flags = np.column_stack([y["light"] == "dark", y["colour"] == "red"]).astype(int)
    several = classifier(unfreeze=0).fit(X, flags)
    assert_array_equal(several.score_columns(X, flags), (several.predict(X) == flags).mean(axis=0))
    assert several.classes_.tolist() == [0, 1]


def test_a_frozen_head_is_that_of_fits_of_single_columns(data):
    X, y = data
    quick = {"unfreeze": 0, "max_epochs": 0}
    both = classifier(**quick).fit(X, y)
    for name, probabilities in zip(y, both.predict_proba(X), strict=True):
        alone = classifier(**quick).fit(X, y[name])
        assert_allclose(probabilities, alone.predict_proba(X), atol=1e-5)


def test_columns_of_other_types_keep_their_types(data):
    X, y = data
    mixed = y.assign(light=(y["light"] == "dark") + 3)
    model = classifier(unfreeze=0, max_epochs=0).fit(X, mixed)
    assert model.predict(X[:1]).dtype == object
    assert type(model.predict(X)[0, 1]) is int
    assert model.score_columns(X, mixed).min() > 0.9
    lists = [[colour, light] for colour, light in mixed.itertuples(index=False)]
    assert_array_equal(
        classifier(unfreeze=0, max_epochs=0).fit(X, lists).predict(X), model.predict(X)
    )


def test_weights_have_the_effect_of_repeated_items_in_each_column(rng):
    X, weight = rng.normal(size=(24, 12)), np.arange(24) % 3
    y = np.column_stack([np.arange(24) // 2 % 3, np.arange(24) % 2 + 5])
    quick = {"unfreeze": 1, "batch_size": 64, "max_epochs": 3}
    weighted = classifier(**quick).fit(X, y, sample_weight=weight)
    repeated = classifier(**quick).fit(np.repeat(X, weight, 0), np.repeat(y, weight, 0))
    for one, other in zip(weighted.predict_proba(X), repeated.predict_proba(X), strict=True):
        assert_allclose(one, other, rtol=1e-7)


@pytest.mark.parametrize("groups", [None, np.arange(36) // 3], ids=["combinations", "groups"])
def test_early_stopping_has_validation_data_of_the_columns(data, groups):
    model = classifier(early_stopping=True, validation_fraction=0.25).fit(*data, groups=groups)
    assert all(0 <= row["valid_score"] <= 1 for row in model.history_)
    assert model.best_epoch_ is not None


def test_a_rare_class_may_be_missing_from_the_training_part(data):
    X, y = data
    rare = y.copy()
    rare.loc[0, "colour"] = "violet"
    held_out = 0
    for seed in range(6):
        quick = {"unfreeze": 0, "max_epochs": 0, "validation_fraction": 0.5}
        model = classifier(early_stopping=True, random_state=seed, **quick).fit(X, rare)
        assert model.classes_[0].tolist() == ["blue", "green", "red", "violet"]
        assert np.isfinite(model.predict_proba(X)[0]).all()
        held_out += not model.head_.weight[3].any()  # only its bias is not 0
    assert 0 < held_out < 6


def test_validation_data_are_columns_too(data):
    X, y = data
    model = classifier(unfreeze=0).fit(X[:24], y[:24], X_val=X[24:], y_val=y[24:])
    assert "valid_loss" in model.history_[-1]
    with pytest.raises(ValueError, match=r"y_val must be of shape \(12, 2\), as y has; got"):
        classifier(unfreeze=0).fit(X[:24], y[:24], X_val=X[24:], y_val=y["light"][24:])


@pytest.mark.parametrize("parameters", [{"unfreeze": 1}, {"early_stopping": True}], ids=str)
def test_a_killed_fit_ends_with_the_weights_of_one_that_was_not(data, parameters, tmp_path):
    whole = classifier(**parameters).fit(*data)
    model = classifier(checkpoint=tmp_path, **parameters)
    with killed_after(1):
        model.fit(*data)
    assert_same_fit(model.fit(*data), whole)


def test_a_fit_from_a_cache_a_pickle_and_a_clone_have_the_same_bits(fitted, data, tmp_path):
    X, _ = data
    model = classifier(unfreeze=1, cache=tmp_path, augment=None)
    assert_same_fit(model.fit(*data), clone(model).set_params(cache=None).fit(*data))
    assert_same_fit(clone(fitted).fit(*data), fitted)
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.predict(X), fitted.predict(X))


def test_an_image_that_cannot_be_decoded_has_no_labels(data, tmp_path):
    X, y = data
    paths = [str(tmp_path / f"{index}.png") for index in range(len(X))]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    (tmp_path / "5.png").write_text("no image")
    model = classifier(decode_error="ignore", unfreeze=0).fit(paths, y)
    predicted = model.predict(paths)
    assert pd.isna(predicted).sum(axis=1).tolist() == [2 * (index == 5) for index in range(36)]
    assert np.isnan(model.predict_proba(paths)[1][5]).all()
    assert model.score(paths, y) < 1


def test_an_ensemble_averages_the_probabilities_of_each_column(data):
    X, y = data
    cycles = SGDR(cycle_length=1, multiplier=1)
    model = classifier(lr_schedule=cycles, fine_tune_lr=0.01)
    ensemble = SnapshotEnsemble(model, schedule=cycles).fit(X, y)
    members = [member.predict_proba(X) for member in ensemble.estimators_]
    for column, found in enumerate(ensemble.predict_proba(X)):
        assert_allclose(found, np.mean([member[column] for member in members], axis=0))
    assert ensemble.predict(X).shape == (36, 2)
    assert 0.8 < ensemble.score(X, y) <= 1
    assert [len(classes) for classes in ensemble.classes_] == [3, 2]


def test_a_search_and_the_range_test_take_columns(data):
    search = GridSearchCV(classifier(unfreeze=0), {"max_epochs": [0, 1]}, cv=2)
    assert search.fit(*data).best_score_ > 0.3
    assert find_lr(classifier(head_init="prior"), *data, n_steps=20).suggestion > 0


def test_mixed_images_have_mixed_labels(data):
    model = classifier(skorch_callbacks=[CutMix()]).fit(*data)
    assert model.score_columns(*data).min() > 0.6


def test_class_weights_and_a_plot_of_losses_need_one_column(fitted, data):
    with pytest.raises(ValueError, match="class_weight must be None if y has several columns"):
        classifier(class_weight="balanced").fit(*data)
    with pytest.raises(ValueError, match=r"y_true must be one label for each of 36 items"):
        TopLossesDisplay.from_estimator(fitted, *data)


def test_the_net_predicts_the_columns(fitted, data):
    preset = fitted.backbone_.preset
    inputs = preset.collate([preset(item) for item in preset.check(data[0])], 36)
    assert_array_equal(fitted.net_.predict(inputs), fitted.predict(data[0]))


def test_texts_have_columns_of_labels():
    rng = np.random.default_rng(0)
    moods, topics = rng.choice(["good", "bad"], 80), rng.choice(["cats", "dogs", "fish"], 80)
    X = [f"{mood} {topic} {mood} {topic}" for mood, topic in zip(moods, topics, strict=True)]
    y = np.column_stack([moods, topics])
    model = FineTuneClassifier(text_backbone, max_epochs=2, random_state=0, verbose=0).fit(X, y)
    assert model.score_columns(X, y).min() > 0.9
