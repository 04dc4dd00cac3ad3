"""imbalanced-learn resamples columns of paths, or features."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")

from imblearn.ensemble import BalancedBaggingClassifier
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline


@pytest.fixture
def imbalanced(paths):
    X, y = paths
    rare = np.flatnonzero(y != "red")[:8]
    rows = np.r_[np.flatnonzero(y == "red"), rare]
    return X[rows], y[rows]


@pytest.mark.parametrize("form", ["frame", "column"])
def test_a_sampler_repeats_paths(classifier, imbalanced, form):
    X, y = imbalanced
    column = pd.DataFrame({"path": X}) if form == "frame" else X[:, None]
    model = make_pipeline(RandomOverSampler(random_state=0), classifier()).fit(column, y)
    assert model.score(column, y) > 0.7


@pytest.mark.parametrize("sampler", [RandomOverSampler(random_state=0), SMOTE(k_neighbors=2)])
def test_a_sampler_follows_the_extractor(extractor, imbalanced, sampler):
    X, y = imbalanced
    if hasattr(sampler, "random_state"):
        sampler.set_params(random_state=0)
    model = make_pipeline(extractor, sampler, LogisticRegression()).fit(X, y)
    assert model.score(X, y) > 0.7


def test_a_sampler_refuses_a_list_of_paths(classifier, imbalanced):
    X, y = imbalanced
    model = make_pipeline(RandomOverSampler(random_state=0), classifier())
    with pytest.raises(ValueError, match="Expected 2D array"):
        model.fit(list(X), y)


def test_balanced_bags_hold_classifiers(classifier, imbalanced):
    X, y = imbalanced
    frame = pd.DataFrame({"path": X})
    bags = BalancedBaggingClassifier(classifier(), n_estimators=2, random_state=0)
    assert bags.fit(frame, y).score(frame, y) > 0.7
