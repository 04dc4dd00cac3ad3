"""dask's workers receive fitted estimators, and run the candidates of a search."""

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers.tiny import coloured_photos
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
