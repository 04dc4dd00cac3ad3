"""skada's pipelines for domain adaptation accept paths, and adapt features."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression

from sktransfer import DomainSelfTrainingClassifier

with config_context():  # skada enables metadata routing when it is imported
    pytest.importorskip("skada", reason="skada is not installed")

    from skada import CORALAdapter, SelectSource, SubspaceAlignmentAdapter, make_da_pipeline


@pytest.fixture(autouse=True)
def routing():
    """Enable metadata routing, as skada does."""
    with config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def domains(paths):
    """A source domain with labels and a target domain without them: -1."""
    source = np.arange(len(paths[1])) < 20
    labels = np.unique(paths[1], return_inverse=True)[1]
    return np.where(source, 1, -1), np.where(source, labels, -1)


@pytest.mark.parametrize("form", ["array", "frame"])
def test_a_selector_of_domains_accepts_paths(classifier, paths, domains, form):
    X, y = paths
    column = X if form == "array" else pd.DataFrame({"path": X})
    domain, labels = domains
    model = make_da_pipeline(SelectSource(classifier()))
    model.fit(column, labels, sample_domain=domain)
    right = np.unique(y, return_inverse=True)[1][20:]
    assert (model.predict(column[20:]) == right).mean() > 0.7


def test_an_adapter_follows_the_extractor(extractor, paths, domains):
    X, _ = paths
    domain, labels = domains
    model = make_da_pipeline(extractor, CORALAdapter(), LogisticRegression())
    model.fit(X, labels, sample_domain=domain)
    assert set(model.predict(X[20:])) <= {0, 1, 2}


def test_each_domain_of_a_pipeline_has_statistics_of_its_own(extractor, paths, domains):
    X, _ = paths
    domain, labels = domains
    extractor.set_params(batch_norm="data")
    model = make_da_pipeline(
        extractor, SubspaceAlignmentAdapter(n_components=4), LogisticRegression()
    )
    model.fit(X, labels, sample_domain=domain)
    fitted = model[0].base_estimator_
    assert list(fitted.statistics_) == [-1, 1]
    own = extractor.fit_transform(X, sample_domain=domain)
    assert np.array_equal(fitted.transform(X, sample_domain=domain), own)
    assert set(model.predict(X[20:], sample_domain=domain[20:])) <= {0, 1, 2}


def test_self_training_takes_the_domains_of_a_pipeline(extractor, paths, domains):
    X, y = paths
    domain, labels = domains
    extractor.set_params(batch_norm="data")
    model = make_da_pipeline(extractor, DomainSelfTrainingClassifier(max_share_distance=1))
    model.fit(X, labels, sample_domain=domain)
    right = np.unique(y, return_inverse=True)[1][20:]
    assert (model.predict(X[20:], sample_domain=domain[20:]) == right).mean() > 0.7
