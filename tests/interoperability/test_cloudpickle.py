"""cloudpickle, with which dask, ray and Spark send objects, copies fitted estimators."""

import pytest
from numpy.testing import assert_array_equal

cloudpickle = pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")


def test_a_copy_of_a_classifier_predicts_the_same_bits(classifier, paths):
    X, y = paths
    model = classifier().fit(X, y)
    copy = cloudpickle.loads(cloudpickle.dumps(model))
    assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


def test_a_factory_may_be_local(classifier, paths):
    X, y = paths
    build = classifier().backbone

    def factory():
        return build()

    model = classifier().set_params(backbone=factory).fit(X, y)
    copy = cloudpickle.loads(cloudpickle.dumps(model))
    assert_array_equal(copy.fit(X, y).predict_proba(X), model.predict_proba(X))


def test_a_copy_of_an_extractor_returns_the_same_bits(extractor, paths):
    X, _ = paths
    features = extractor.fit_transform(X)
    copy = cloudpickle.loads(cloudpickle.dumps(extractor))
    assert_array_equal(copy.transform(X), features)
