"""skada's pipelines for domain adaptation accept paths, and adapt features."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

pytest.importorskip("skada", reason="skada is not installed")

from skada import CORALAdapter, SelectSource, make_da_pipeline


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
