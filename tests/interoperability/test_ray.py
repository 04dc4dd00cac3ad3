"""ray's workers receive fitted estimators, and run the candidates of a search."""

import joblib
import numpy as np
import pytest
from helpers.counted import STAGES, counts, once
from helpers.workers import Batches, Work, transform
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

ray = pytest.importorskip("ray", reason="ray is not installed")


@pytest.fixture(scope="module")
def _ray(importable):
    ray.init(
        num_cpus=3,  # one reads tables for two workers
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


def test_workers_share_a_cache_in_an_extraction_by_joblib(tmp_path):
    from ray.util.joblib import register_ray

    work = Work(tmp_path)
    parts = [work.paths[start : start + 3] for start in range(0, len(work.paths), 3)]
    register_ray()
    for _ in range(2):
        with joblib.parallel_config("ray", n_jobs=2):
            found = joblib.Parallel()(
                joblib.delayed(transform)(work.extractor, part) for part in parts
            )
        assert_array_equal(np.concatenate(found), work.expected)
    assert counts(work.log) == once(["decode", *STAGES], work.pixels)


def test_a_killed_worker_loses_nothing(tmp_path):
    data = pytest.importorskip("ray.data", reason="ray's data is not installed")
    work = Work(tmp_path)
    found = data.from_items([{"path": path} for path in work.paths]).map_batches(
        Batches,
        fn_constructor_args=[work],
        batch_size=3,
        compute=data.ActorPoolStrategy(size=2),
    )
    features = {row["path"]: row["features"] for row in found.take_all()}
    assert work.was_killed
    assert_array_equal([features[path] for path in work.paths], work.expected)
    assert counts(work.log) == once(["decode", *STAGES], work.pixels)
    assert work.n_loads in (2, 3)  # two workers, and one that began again if work was left
