"""Estimators compute in forked processes, with all threads and without a warning."""

import json
import multiprocessing
import sys
import threading
from functools import partial

import joblib
import numpy as np
import pytest
from helpers.forked import in_fork, needs_computing_forks, run_program
from helpers.tiny import tiny_backbone
from numpy.testing import assert_array_equal
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import sktransfer
from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor

pytestmark = needs_computing_forks


def classifier(**parameters):
    return FineTuneClassifier(tiny_backbone, max_epochs=1, random_state=0, **parameters)


def fitted(X, y):
    return classifier().fit(X, y)


def n_threads():
    import torch

    return torch.get_num_threads()


def predict(X, y):
    model = fitted(X, y)
    assert_array_equal(in_fork(lambda: model.predict_proba(X)), model.predict_proba(X))


def transform(X, y):
    extractor = PretrainedFeatureExtractor(tiny_backbone).fit(X)
    features = extractor.transform(X)
    assert_array_equal(in_fork(lambda: extractor.transform(X)), features)


def fit(X, y):
    model = fitted(X, y)
    again = in_fork(lambda: fitted(X, y).predict_proba(X))
    assert_array_equal(again, model.predict_proba(X))


def load(X, y):
    model = FineTuneClassifier(image_size=32, unfreeze=0, max_epochs=0, random_state=0).fit(X, y)
    sktransfer.save(model, sys.argv[2])
    loaded = sktransfer.load(sys.argv[2])
    for make in (lambda: loaded, partial(sktransfer.load, sys.argv[2])):
        again = in_fork(lambda: make().predict_proba(X))  # noqa: B023 - called at once
        assert_array_equal(again, model.predict_proba(X))


def pool(X, y):
    model = fitted(X, y)
    for n_jobs in (None, 2, -1):
        model.set_params(n_jobs=n_jobs)
        with multiprocessing.get_context("fork").Pool(2) as processes:
            results = processes.map_async(model.predict_proba, [X[:5], X[5:9]]).get(60)
        assert_array_equal(np.concatenate(results), model.predict_proba(X[:9]))


def joblib_backend(X, y):
    search = GridSearchCV(classifier(), {"unfreeze": [0, 1]}, cv=2, error_score="raise", n_jobs=2)
    fitted(X, y)
    with joblib.parallel_config("multiprocessing"):
        score = search.fit(X, y).best_score_
    assert score == search.set_params(n_jobs=None).fit(X, y).best_score_


def grandchild(X, y):
    model = fitted(X, y)

    def both():
        return model.predict_proba(X), in_fork(lambda: model.predict_proba(X))

    assert_array_equal(*in_fork(both))


def parent(X, y):
    model = fitted(X, y)
    before = model.predict_proba(X)
    for _ in range(3):
        in_fork(int)
        assert_array_equal(model.predict_proba(X), before)


def fork_in_a_thread(X, y):
    model, results = fitted(X, y), []
    thread = threading.Thread(
        target=lambda: results.append(
            (model.predict_proba(X), in_fork(lambda: model.predict_proba(X)))
        )
    )
    thread.start()
    thread.join(60)
    assert_array_equal(*results[0])


def pipeline(X, y):
    # scikit-learn's wheel brings a second OpenMP, with threads of its own
    last = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2)
    for step in (last, LogisticRegression()):
        model = make_pipeline(PretrainedFeatureExtractor(tiny_backbone), step).fit(X, y)
        assert_array_equal(in_fork(lambda: model.predict_proba(X)), model.predict_proba(X))  # noqa: B023 - called at once


def import_only(X, y):
    in_fork(lambda: fitted(X, y).predict(X))


def threads_of_users(X, y):
    # torch ran in the parent, but not by this library
    import torch

    torch.randn(1000, 1000).relu_()
    in_fork(lambda: torch.randn(1000, 1000).relu_())


CASES = (
    predict, transform, fit, load, pool, joblib_backend, grandchild, parent, fork_in_a_thread,
    pipeline, threads_of_users,
)  # fmt: skip

PROGRAM = """
import json, os, sys, traceback
import test_forked as tests
from helpers.tiny import coloured_photos
failed = {}
X, y = coloured_photos(n_each=12)
assert tests.in_fork(tests.n_threads) == 2
tests.import_only(X, y)
for case in tests.CASES:
    try:
        case(X, y)
        assert tests.in_fork(tests.n_threads) == 2
    except Exception:
        failed[case.__name__] = traceback.format_exc()
with open(sys.argv[1], "w") as file:
    json.dump(failed, file)
"""


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The cases that fail or hang in a process with two threads, with the reason."""
    folder = tmp_path_factory.mktemp("forked")
    run_program(PROGRAM, folder / "failed.json", folder / "model.safetensors")
    return json.loads((folder / "failed.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_forked_process_computes_what_its_parent_computes(failed, case):
    assert case.__name__ not in failed, failed[case.__name__]
