"""The classifier works in the searches, pipelines, ensembles and callbacks of scikit-learn."""

import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers.callbacks import Recorder
from helpers.tiny import coloured_photos, tiny_backbone
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes it importable
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sktransfer import FineTuneClassifier


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    X, y = coloured_photos(n_each=12)
    names = []
    for index, photo in enumerate(X):
        names.append(str(folder / f"{index}.png"))
        Image.fromarray(photo).save(names[-1])
    return np.array(names), y


def classifier(**parameters):
    defaults = {"max_epochs": 1, "random_state": 0, "verbose": 0}
    return FineTuneClassifier(tiny_backbone, **(defaults | parameters))


GRID = {"unfreeze": [0, 1, "all"], "layer_decay": [0.1, 1.0]}


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_unfreeze_depth_is_searched_on_paths(paths, n_jobs):
    search = GridSearchCV(classifier(augment=None), GRID, cv=2, n_jobs=n_jobs, error_score="raise")
    search.fit(*paths)
    assert search.best_score_ > 0.7
    assert len(search.cv_results_["params"]) == 6


def test_two_processes_give_the_scores_of_one(paths):
    results = [
        GridSearchCV(classifier(), {"unfreeze": [0, 1]}, cv=2, n_jobs=n_jobs).fit(*paths)
        for n_jobs in (1, 2)
    ]
    scores = [search.cv_results_["mean_test_score"] for search in results]
    assert_array_equal(*scores)
    assert_array_equal(*(search.predict_proba(paths[0]) for search in results))


def test_a_search_reaches_into_a_pipeline(paths):
    pipeline = Pipeline([("same", FunctionTransformer()), ("clf", classifier())])
    grid = {"clf__unfreeze": [0, 1], "clf__fine_tune_lr": [1e-3]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(*paths)
    assert search.score(*paths) > 0.9


def test_a_randomized_search_draws_candidates(paths):
    search = RandomizedSearchCV(
        classifier(), GRID, n_iter=2, cv=2, random_state=0, error_score="raise"
    )
    assert search.fit(*paths).best_score_ > 0.7


def test_a_halving_search_can_use_epochs_as_its_resource(paths):
    search = HalvingGridSearchCV(
        classifier(), {"unfreeze": [0, 1, 2]}, resource="max_epochs", max_resources=4,
        min_resources=1, factor=2, cv=2, error_score="raise",
    )  # fmt: skip
    search.fit(*paths)
    assert search.best_estimator_.n_iter_ > 1


def test_a_calibrator_scales_the_logits_of_the_classifier(paths):
    X, y = paths
    fitted = classifier().fit(X, y)
    for model in (
        CalibratedClassifierCV(classifier(), cv=2, method="sigmoid"),
        CalibratedClassifierCV(FrozenEstimator(fitted), method="sigmoid"),
    ):
        probabilities = model.fit(X, y).predict_proba(X)
        assert_array_equal(model.classes_[probabilities.argmax(1)], y)


def test_cross_val_predict_and_stacking_work(paths):
    X, y = paths
    assert (cross_val_predict(classifier(), X, y, cv=2) == y).mean() > 0.7
    frame = pd.DataFrame({"path": X})
    stack = StackingClassifier([("tuned", classifier())], LogisticRegression(), cv=2)
    assert stack.fit(frame, y).score(frame, y) > 0.7


def test_the_classifier_is_a_transformer_too(paths):
    X, y = paths
    model = make_pipeline(classifier(), LogisticRegression()).fit(X, y)
    assert model.score(X, y) == 1
    frame = classifier().set_output(transform="pandas").fit_transform(X, y)
    assert frame.shape == (36, 16)


def test_groups_and_sample_weights_are_routed(paths):
    X, y = paths
    groups = np.arange(36) // 3
    with sklearn.config_context(enable_metadata_routing=True):
        model = classifier(early_stopping=True, validation_fraction=0.3)
        model.set_fit_request(groups=True, sample_weight=True)
        model.set_score_request(sample_weight=False)
        result = cross_validate(
            model, X, y, cv=GroupKFold(3), error_score="raise",
            params={"groups": groups, "sample_weight": np.ones(36)},
        )  # fmt: skip
    assert len(result["test_score"]) == 3


def test_a_clone_is_unfitted(paths):
    model = classifier().fit(*paths)
    again = clone(model)
    assert not hasattr(again, "backbone_")
    assert again.get_params() == model.get_params()


LOAD = """
import sys, warnings
warnings.simplefilter("error")
sys.path.insert(0, sys.argv[3])
import joblib, numpy as np
np.save(sys.argv[2], joblib.load(sys.argv[1]).predict_proba(np.load(sys.argv[4])))
"""


def test_a_fresh_process_predicts_the_same_bits(paths, tmp_path):
    X, y = paths
    model = classifier().fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    np.save(tmp_path / "X.npy", X)
    tests = str(Path(__file__).parent)
    arguments = [tmp_path / "model.joblib", tmp_path / "p.npy", tests, tmp_path / "X.npy"]
    subprocess.run([sys.executable, "-c", LOAD, *map(str, arguments)], check=True)
    assert_array_equal(np.load(tmp_path / "p.npy"), model.predict_proba(X))


# scikit-learn 1.9's callbacks

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 has callbacks")


def test_each_epoch_is_a_task(paths):
    recorder = Recorder()
    classifier(freeze_epochs=2, max_epochs=3).set_callbacks(recorder).fit(*paths)
    assert recorder.names == ["epoch"] * 5 + ["fit"]


def test_a_callback_can_stop_the_fit(paths):
    class Stop(Recorder):
        def on_fit_task_end(self, estimator, context):
            super().on_fit_task_end(estimator, context)
            return len(self.names) == 2

    model = classifier(freeze_epochs=1, max_epochs=5).set_callbacks(Stop()).fit(*paths)
    assert model.n_iter_ == 2
    assert model.score(*paths) > 0.9


def test_a_callback_sees_the_model_of_each_epoch(paths):
    seen = []

    class Scores(Recorder):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "epoch":
                seen.append(fitted_estimator.score(*paths))

    model = classifier(max_epochs=2).set_callbacks(Scores()).fit(*paths)
    assert len(seen) == 2
    assert seen[-1] == model.score(*paths)


def test_a_callback_of_a_search_sees_the_fits_of_its_candidates(paths):
    recorder = Recorder()
    search = GridSearchCV(classifier(), {"unfreeze": [0, 1]}, cv=2).set_callbacks(recorder)
    search.fit(*paths)
    assert "fit" in recorder.names
