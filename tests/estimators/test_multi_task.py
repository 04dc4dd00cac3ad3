"""One network is fine-tuned for several tasks, and gives each of them an estimator."""

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from skorch.callbacks import EpochScoring
from torch import nn

from sktransfer import (
    FineTuneClassifier,
    FineTuneMultiTask,
    FineTuneRegressor,
    MLPHead,
    SnapshotEnsemble,
    load,
    save,
)

N = 24


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    levels = np.linspace(30, 200, N)[:, None, None, None]
    return (levels + rng.integers(0, 50, (N, 32, 32, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def y(images):
    """Labels of three tasks, some of them missing."""
    light = images.mean(axis=(1, 2, 3))
    light[::5] = np.nan
    kind = np.array(["dark", "grey", "light"] * (N // 3), dtype=object)
    kind[1::6] = None
    tags = [["even"] if row % 2 == 0 else ["odd", "other"] for row in range(N)]
    return pd.DataFrame({"light": light, "kind": kind, "tags": tags})


def fitted(images, y, **parameters):
    given = {"image_size": 32, "max_epochs": 1, "unfreeze": 1, "random_state": 0, "verbose": 0}
    return FineTuneMultiTask(**(given | parameters)).fit(images, y)


@pytest.fixture(scope="module")
def model(images, y):
    with pytest.warns(UserWarning, match="has only"):
        return fitted(images, y)


def test_predictions_are_a_table_with_the_columns_of_y(model, images):
    found = model.predict(images)
    assert found.columns.tolist() == ["light", "kind", "tags"]
    assert found["light"].dtype == float
    assert set(found["kind"]) <= {"dark", "grey", "light"}
    assert all(isinstance(labels, tuple) for labels in found["tags"])


def test_probabilities_are_those_of_the_classes_of_each_column(model, images):
    found = model.predict_proba(images)
    assert list(found) == list(model.classes_) == ["kind", "tags"]
    np.testing.assert_allclose(found["kind"].sum(1), 1)
    assert model.classes_["tags"].tolist() == ["even", "odd", "other"]


def test_the_score_is_the_mean_of_the_scores_of_the_tasks(model, images, y):
    scores = model.scores(images, y)
    assert list(scores) == ["light", "kind", "tags"]
    assert model.score(images, y) == pytest.approx(np.mean(list(scores.values())))
    known = y["kind"].notna().to_numpy()
    accuracy = (model.predict(images)["kind"] == y["kind"])[known].mean()
    assert scores["kind"] == pytest.approx(accuracy)


class Shifted(nn.Module):
    """A head without a linear layer."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.weight = nn.Parameter(
            torch.linspace(-1, 1, n_features * n_outputs).view(n_outputs, -1)
        )

    def forward(self, x):
        return x @ self.weight.T


@pytest.mark.parametrize(
    "head",
    [
        "linear",
        MLPHead((8,)),
        lambda n, k: nn.Linear(n, k, bias=False),
        lambda n, k: nn.Sequential(nn.Linear(n, k), nn.LayerNorm(k)),
        Shifted,
    ],
)
def test_the_estimator_of_a_task_predicts_the_same(images, y, head):
    model = fitted(images, y, head=head, max_epochs=0, freeze_epochs=0)
    table = model.predict(images)
    light, kind, tags = map(model.task, ("light", "kind", "tags"))
    assert isinstance(light, FineTuneRegressor)
    assert isinstance(kind, FineTuneClassifier)
    np.testing.assert_allclose(light.predict(images), table["light"])
    assert kind.predict(images).tolist() == table["kind"].tolist()
    np.testing.assert_allclose(kind.predict_proba(images), model.predict_proba(images)["kind"])
    indicators = [[name in labels for name in model.classes_["tags"]] for labels in table["tags"]]
    assert np.array_equal(tags.predict(images), indicators)
    assert (light.task_.names, tags.task_.names) == (("light",), tuple(model.classes_["tags"]))
    assert light.backbone_ is model.backbone_


def test_predictions_have_the_index_of_a_table(model, images):
    frame = pd.Series(list(images), index=range(100, 100 + len(images)))
    table = model.predict(frame)
    assert table.index.equals(frame.index)
    assert table.reset_index(drop=True).equals(model.predict(images))


def test_callbacks_score_the_validation_data(images, y):
    callbacks = [EpochScoring(None, name="own", lower_is_better=False)]
    model = FineTuneMultiTask(image_size=32, max_epochs=1, unfreeze=1, skorch_callbacks=callbacks)
    model.fit(images, y, X_val=images, y_val=y)
    assert np.isfinite(model.history_[-1]["own"])


def test_a_task_without_missing_labels_has_the_head_that_it_has_alone(images, y):
    whole = pd.DataFrame({"kind": ["a", "b"] * (N // 2), "light": y["light"]})
    model = fitted(images, whole, unfreeze=0, max_epochs=0)
    alone = FineTuneClassifier(image_size=32, unfreeze=0, max_epochs=0).fit(images, whole["kind"])
    expected = alone.predict_proba(images)
    np.testing.assert_allclose(model.predict_proba(images)["kind"], expected, atol=1e-6)


def test_two_data_sets_with_one_label_each_are_fitted_as_one(images, y):
    first = pd.DataFrame({"kind": ["a", "b"] * 6})
    second = pd.DataFrame({"light": images[12:].mean(axis=(1, 2, 3))})
    model = fitted(images, pd.concat([first, second], ignore_index=True), max_epochs=0)
    assert set(model.scores(images, pd.concat([first, second], ignore_index=True))) == {
        "kind",
        "light",
    }


def test_a_search_over_a_parameter_works_with_a_table(images):
    light = images.mean(axis=(1, 2, 3))
    y = pd.DataFrame({"light": light, "kind": np.where(light < np.median(light), "dark", "light")})
    model = FineTuneMultiTask(image_size=32, unfreeze=0, max_epochs=0, verbose=0)
    folds = KFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(model, {"head_init": ["exact", "prior"]}, cv=folds, error_score="raise")
    search.fit(images, y)
    assert search.best_params_ == {"head_init": "exact"}


def test_early_stopping_holds_out_labelled_items(images, y):
    with pytest.warns(UserWarning, match="has only"):
        model = fitted(images, y, early_stopping=True, validation_fraction=0.25, max_epochs=2)
    assert model.best_epoch_ in (0, 1, 2)
    assert np.isfinite([row["valid_loss"] for row in model.history_]).all()


def test_a_model_is_saved_and_pickled_with_the_same_bits(model, images, tmp_path):
    save(model, tmp_path / "model.safetensors")
    joblib.dump(model, tmp_path / "model.joblib")
    expected = model._outputs(images)
    for again in (load(tmp_path / "model.safetensors"), joblib.load(tmp_path / "model.joblib")):
        assert np.array_equal(again._outputs(images), expected)
        assert again.predict(images).equals(model.predict(images))
        assert again.get_params()["random_state"] == 0


def test_a_fit_with_checkpoints_has_the_same_bits(images, y, tmp_path):
    with pytest.warns(UserWarning, match="has only"):
        first = fitted(images, y, random_state=3)
    with pytest.warns(UserWarning, match="has only"):
        again = fitted(images, y, random_state=3, checkpoint=tmp_path)
    assert np.array_equal(first._outputs(images), again._outputs(images))


def test_clones_have_equal_parameters_and_no_fit():
    model = FineTuneMultiTask(tasks={"k": "class"}, task_weights={"k": 2.0})
    assert clone(model).get_params() == model.get_params()


def test_validation_data_must_have_the_same_columns(images, y):
    with pytest.raises(ValueError, match="y_val must have the columns 'light', 'kind', 'tags'"):
        FineTuneMultiTask(image_size=32, verbose=0).fit(images, y, X_val=images, y_val=y[["light"]])


def test_an_unknown_task_is_refused_with_the_columns(model):
    with pytest.raises(ValueError, match=r"name must be a column of y, one of 'light', .* got 'l'"):
        model.task("l")


def test_a_score_without_labels_of_a_task_is_refused(model, images, y):
    with pytest.raises(ValueError, match="column 'light' of y must have labels to compute a score"):
        model.scores(images[:1], y[:1])


def test_a_wrong_start_of_the_head_is_refused(images, y):
    with pytest.raises(ValueError, match="head_init must be one of 'auto', 'exact', 'prior'"):
        fitted(images, y, head_init="ridge")


@pytest.mark.filterwarnings("ignore:.*has only")
def test_an_ensemble_averages_numbers_and_probabilities_of_each_task(images, y):
    model = FineTuneMultiTask(image_size=32, max_epochs=2, unfreeze=1, random_state=0, verbose=0)
    ensemble = SnapshotEnsemble(model, every=1).fit(images, y)
    members = ensemble.estimators_
    assert len(members) == 2
    tables = [member.predict(images) for member in members]
    found = ensemble.predict(images)
    np.testing.assert_allclose(found["light"], np.mean([t["light"] for t in tables], axis=0))
    probabilities = ensemble.predict_proba(images)
    for name in ("kind", "tags"):
        mean = np.mean([member.predict_proba(images)[name] for member in members], axis=0)
        np.testing.assert_allclose(probabilities[name], mean, rtol=1e-6)
    best = ensemble.classes_["kind"][probabilities["kind"].argmax(1)]
    assert found["kind"].tolist() == best.tolist()
    labels = ensemble.classes_["tags"]
    assert found["tags"].tolist() == [tuple(labels[row > 0.5]) for row in probabilities["tags"]]
    assert 0 < ensemble.score(images, y) <= 1
