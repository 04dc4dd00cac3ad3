"""Texts in searches and in several processes: each goes through each frozen stage once."""

import numpy as np
import pytest
from helpers.text_nets import Embed, text_backbone
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor, SnapshotEnsemble, find_lr


@pytest.fixture(scope="module")
def texts():
    """Sixty different texts of 2 to 22 words, and their labels."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(300)])
    X = [
        f"{('good', 'bad')[number % 2]} {' '.join(rng.choice(words, rng.integers(1, 22)))}"
        for number in range(60)
    ]
    return X, np.arange(60) % 2


def classifier(**parameters):
    quick = {"max_epochs": 1, "batch_size": 16, "random_state": 0, "verbose": 0}
    return FineTuneClassifier(text_backbone, **quick | parameters)


@pytest.fixture
def embedded(monkeypatch):
    """The rows of ids that went through the first stage, without blank ones."""
    seen = []
    forward = Embed.forward

    def record(stage, ids):
        seen.extend(tuple(row) for row in ids.tolist() if max(row) > 0)
        return forward(stage, ids)

    monkeypatch.setattr(Embed, "forward", record)
    return seen


@pytest.mark.parametrize("depths", [[0, 1, 2], [2, 1, 0]])
def test_a_search_over_depth_runs_the_frozen_stages_once_for_each_text(
    texts, embedded, depths, tmp_path
):
    X, y = texts
    grid = {"unfreeze": depths, "fine_tune_lr": [1e-3, 1e-4]}
    GridSearchCV(classifier(cache=tmp_path), grid, cv=3, error_score="raise").fit(X, y)
    assert len(embedded) == len(set(embedded)) == len(X)


def test_two_processes_give_the_scores_of_one(texts, tmp_path):
    X, y = texts
    search = GridSearchCV(classifier(), {"unfreeze": [0, 1, 2]}, cv=2, error_score="raise")
    alone = clone(search).fit(X, y)
    shared = clone(search).set_params(n_jobs=2, estimator__cache=tmp_path).fit(X, y)
    assert np.array_equal(
        shared.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )


def test_two_processes_give_the_features_of_one(texts, tmp_path):
    X, _ = texts
    model = PretrainedFeatureExtractor(text_backbone, verbose=0, cache=tmp_path).fit(X)
    parts = [X[:40], X[::-1], X[20:], X[:1]]
    found = Parallel(n_jobs=2)(delayed(model.transform)(part) for part in parts)
    whole = clone(model).set_params(cache=None).fit_transform(X)
    for features, rows in zip(found, [whole[:40], whole[::-1], whole[20:], whole[:1]], strict=True):
        assert np.array_equal(features, rows)


@pytest.mark.parametrize("unfreeze", [1, "all"])
def test_the_range_test_and_snapshots_train_on_texts(texts, unfreeze):
    X, y = texts
    assert find_lr(classifier(unfreeze=unfreeze), X, y).suggestion > 0
    ensemble = SnapshotEnsemble(classifier(unfreeze=unfreeze, max_epochs=2), every=1)
    assert ensemble.fit(X, y).predict(X).shape == (60,)
