"""ray's workers receive fitted estimators, and run the candidates of a search."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

ray = pytest.importorskip("ray", reason="ray is not installed")


@pytest.fixture(scope="module")
def _ray(importable):
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": importable}},
    )
    yield
    ray.shutdown()


pytestmark = pytest.mark.usefixtures("_ray")


def test_workers_predict_with_a_shared_classifier(classifier, paths):
    X, y = paths
    model = classifier().fit(X, y)

    @ray.remote
    def predict(model, X):
        return model.predict_proba(X)

    shared = ray.put(model)
    parts = ray.get([predict.remote(shared, part) for part in np.split(X, 3)], timeout=240)
    assert_array_equal(np.concatenate(parts), model.predict_proba(X))


def test_workers_run_a_search(classifier, paths):
    from ray.util.joblib import register_ray

    search = GridSearchCV(classifier(), {"unfreeze": [0, 1]}, cv=2, error_score="raise")
    expected = search.fit(*paths).cv_results_["mean_test_score"]
    register_ray()
    with joblib.parallel_config("ray", n_jobs=2):
        search.fit(*paths)
    assert_array_equal(search.cv_results_["mean_test_score"], expected)
