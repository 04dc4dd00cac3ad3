"""A search pays for each photo once: whatever the candidates, folds, epochs and processes."""

import numpy as np
import pytest
from counted import STAGES, counts, logged, once, photos
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from sktransfer import ActivationCache, FineTuneClassifier, Views

GRID = {"unfreeze": [0, 1, 2], "fine_tune_lr": [1e-3, 1e-2]}
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def data():
    return photos()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def classifier(log, cache=None, **params):
    params = {"augment": None, "max_epochs": 2, "random_state": 0, "verbose": 0} | params
    return FineTuneClassifier(logged(log), cache=cache, **params)


def search(model, data, grid=GRID, **params):
    return GridSearchCV(model, grid, cv=FOLDS, error_score="raise", **params).fit(*data)


@pytest.fixture(scope="module")
def uncached(data, tmp_path_factory):
    return search(classifier(tmp_path_factory.mktemp("uncached") / "log"), data)


def test_each_photo_is_decoded_and_goes_through_each_stage_once(log, tmp_path, data, uncached):
    found = search(classifier(log, tmp_path / "cache"), data)
    assert counts(log) == once(["decode", *STAGES], data[0])
    for scores in ("split0_test_score", "split1_test_score", "split2_test_score"):
        np.testing.assert_array_equal(found.cv_results_[scores], uncached.cv_results_[scores])
    np.testing.assert_array_equal(found.predict_proba(data[0]), uncached.predict_proba(data[0]))


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0], [0, 2]])
def test_in_whatever_order_the_candidates_come(log, tmp_path, data, order):
    search(classifier(log, tmp_path / "cache"), data, {"unfreeze": order})
    assert counts(log) == once(["decode", *STAGES], data[0])


def test_a_second_search_with_other_rates_runs_no_stage(log, tmp_path, data):
    search(classifier(log, tmp_path / "cache"), data)
    search(classifier(log, tmp_path / "cache"), data, {"unfreeze": [1, 2], "layer_decay": [0.1]})
    assert counts(log) == once(["decode", *STAGES], data[0])


def test_two_cold_processes_do_it_at_most_twice(log, tmp_path, data, uncached):
    found = search(classifier(log, tmp_path / "cache"), data, n_jobs=2)
    assert set(counts(log)) == set(once(["decode", *STAGES], data[0]))
    assert set(counts(log).values()) <= {1, 2}
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], uncached.cv_results_["mean_test_score"]
    )


def test_without_a_cache_the_epochs_of_a_fit_share_one_pass(log, data):
    classifier(log, unfreeze=2, max_epochs=3).fit(*data)
    assert counts(log) == once(["decode", *STAGES], data[0])


def test_poolings_share_the_stages_before_the_last(log, tmp_path, data):
    grid = {"pooling": ["avg", "max"]}
    search(classifier(log, tmp_path / "cache", unfreeze=0), data, grid)
    assert counts(log) == once(["decode", *STAGES, "stage5"], data[0])


@pytest.mark.parametrize(
    ("cuts", "again"),
    [(1, ["decode", *STAGES[:4]]), (2, []), (4, [])],
)
def test_cuts_says_how_many_of_the_last_cuts_are_kept(log, tmp_path, data, cuts, again):
    cache = ActivationCache(tmp_path / "cache", cuts=cuts)
    classifier(log, cache, unfreeze=0).fit(*data)
    classifier(log, cache, unfreeze=1).fit(*data)
    assert counts(log) == once(["decode", *STAGES, *again], data[0])


def test_views_go_through_each_stage_once_too(log, tmp_path, data):
    model = classifier(log, tmp_path / "cache", augment=Views("light", n=3), head_init="prior")
    search(model, data, refit=False)
    lines = counts(log)
    of_stages = [n for line, n in lines.items() if line.startswith("stage")]
    # photos and their views; a view has the red of its photo
    assert set(of_stages) == {4}
