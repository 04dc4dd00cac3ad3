"""dask's workers receive fitted estimators, and run the candidates of a search."""

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers.counted import STAGES, counts, once
from helpers.tiny import coloured_photos
from helpers.workers import Work, extract_part, transform
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

dask = pytest.importorskip("dask", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="dask's distributed is not installed")


@pytest.fixture(scope="module")
def client(importable):
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, scheduler_port=0
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def fitted(classifier, paths):
    return classifier().fit(*paths)


def predict(model, X):
    return model.predict_proba(X)


def test_workers_predict_with_a_scattered_classifier(client, fitted, paths):
    X, _ = paths
    model = client.scatter(fitted, broadcast=True)
    parts = [client.submit(predict, model, part) for part in np.split(X, 3)]
    assert_array_equal(
        np.concatenate(client.gather(parts, errors="raise")), fitted.predict_proba(X)
    )


def test_workers_run_a_search(client, classifier, paths):
    search = GridSearchCV(classifier(), {"unfreeze": [0, 1]}, cv=2, error_score="raise")
    expected = search.fit(*paths).cv_results_["mean_test_score"]
    with joblib.parallel_config("dask"):
        search.fit(*paths)
    assert_array_equal(search.cv_results_["mean_test_score"], expected)


@pytest.mark.parametrize("form", ["frame", "series", "column"])
def test_a_column_of_dask_is_read_into_memory(fitted, paths, form):
    dataframe = pytest.importorskip("dask.dataframe", reason="dask's dataframe is not installed")
    X, _ = paths
    frame = dataframe.from_pandas(pd.DataFrame({"path": X}), npartitions=2)
    column = {"frame": frame, "series": frame["path"], "column": frame[["path"]]}[form]
    assert_array_equal(fitted.predict_proba(column), fitted.predict_proba(X))


def test_each_partition_of_a_column_is_predicted(fitted, paths):
    dataframe = pytest.importorskip("dask.dataframe", reason="dask's dataframe is not installed")
    X, _ = paths
    series = dataframe.from_pandas(pd.Series(X), npartitions=2)

    def label(part):
        return pd.Series(fitted.predict(part), index=part.index)

    with dask.config.set(scheduler="threads"):
        labels = series.map_partitions(label, meta=pd.Series([], dtype=object)).compute()
    assert_array_equal(labels.to_numpy(), fitted.predict(X))


def test_an_array_of_dask_is_read_into_memory(fitted):
    array = pytest.importorskip("dask.array", reason="dask's array is not installed")
    photos, _ = coloured_photos(n_each=3)
    lazy = array.from_array(photos, chunks=(2, *photos.shape[1:]))
    assert_array_equal(fitted.predict_proba(lazy), fitted.predict_proba(photos))


def test_workers_share_a_cache_in_an_extraction_by_joblib(client, tmp_path):
    work = Work(tmp_path)
    parts = [work.paths[start : start + 3] for start in range(0, len(work.paths), 3)]
    for _ in range(2):
        with joblib.parallel_config("dask"):
            found = joblib.Parallel()(
                joblib.delayed(transform)(work.extractor, part) for part in parts
            )
        assert_array_equal(np.concatenate(found), work.expected)
    assert counts(work.log) == once(["decode", *STAGES], work.pixels)


def test_a_killed_worker_loses_nothing(client, tmp_path):
    dataframe = pytest.importorskip("dask.dataframe", reason="dask's dataframe is not installed")
    work = Work(tmp_path)

    class Load(distributed.WorkerPlugin):
        name = "load"

        def setup(self, worker):
            worker.extractor = work.load()

    client.register_plugin(Load())
    frame = dataframe.from_pandas(pd.DataFrame({"path": work.paths}), npartitions=6)
    meta = pd.DataFrame(columns=range(work.expected.shape[1]), dtype="float32")
    found = frame.map_partitions(extract_part, work, distributed.get_worker, meta=meta).compute()
    assert work.was_killed
    assert_array_equal(found.to_numpy(), work.expected)
    assert counts(work.log) == once(["decode", *STAGES], work.pixels)
    assert work.n_loads in (2, 3)  # two workers, and one that began again if work was left
