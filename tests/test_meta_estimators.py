"""The table of scikit-learn's meta-estimators in docs/processes.md is right.

Those that check X themselves cannot pass on paths; they work on features.
"""

import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import coloured_files, coloured_photos, tiny_backbone
from sklearn.compose import make_column_transformer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes it importable
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils import all_estimators

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor

PAGE = Path(__file__).parents[1] / "docs" / "processes.md"
ANY, FRAME, FEATURES = "any form", "a data frame with one column", "features"
SELECTORS = ("SelectFromModel", "SequentialFeatureSelector")
PASSTHROUGH = "StackingClassifier(passthrough=True)"
INNER = {"estimator", "estimators", "steps", "transformer_list", "transformers", "regressor"}
FOUND = {
    name: cls for name, cls in all_estimators() if INNER & set(inspect.signature(cls).parameters)
}


def rows():
    """The rows of the table: a form of X, and the names of meta-estimators."""
    table = PAGE.read_text().partition("## Meta-estimators")[2].partition("\n## ")[0]
    for line in table.splitlines():
        form, names = [*line.split("|"), "", ""][1:3]
        if "`" in names:
            yield form.strip(), re.findall(r"`([^`]+)`", names)


DOCUMENTED = {name: form for form, names in rows() for name in names}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Paths in a data frame, with labels."""
    paths, y = coloured_files(tmp_path_factory.mktemp("photos"))
    return pd.DataFrame({"path": paths}), y


def extractor():
    return PretrainedFeatureExtractor(tiny_backbone)


def classifier():
    return FineTuneClassifier(tiny_backbone, max_epochs=0, unfreeze=0, random_state=0)


def targets(name, y):
    """Return targets of the kind that a meta-estimator needs."""
    numbers = np.unique(y, return_inverse=True)[1]
    if name in ("ClassifierChain", "MultiOutputClassifier"):
        return np.eye(3, dtype=int)[numbers][:, :2]
    if name in ("MultiOutputRegressor", "RegressorChain"):
        return np.eye(3)[numbers]
    if "Threshold" in name:
        return numbers == 0
    if name == "SelfTrainingClassifier":
        return np.where(np.arange(len(y)) % 4 == 0, -1, numbers)
    return numbers


def build(name, inner, X, y):
    """Build a meta-estimator around ``inner``; selectors and transformers get a last step."""
    if name == "FrozenEstimator":
        return FrozenEstimator(inner.fit(X, y))
    if name == "Pipeline":
        return make_pipeline(inner)
    if name == "FeatureUnion":
        return make_pipeline(FeatureUnion([("inner", inner)]), LogisticRegression())
    if name == "ColumnTransformer":
        return make_pipeline(make_column_transformer((inner, ["path"])), LogisticRegression())
    cls = FOUND[name.partition("(")[0]]
    parameters = inspect.signature(cls).parameters
    wanted = {
        "n_estimators": 2, "cv": 2, "n_iter": 1, "n_candidates": 1, "random_state": 0,
        "param_grid": {}, "param_distributions": {}, "min_samples": 5, "threshold": 0.4,
        "estimators": [("inner", inner)], "estimator": inner, "regressor": inner,
        "response_method": "predict_proba", "final_estimator": LogisticRegression(),
    }  # fmt: skip
    wanted = {key: value for key, value in wanted.items() if key in parameters}
    if "Threshold" not in name:
        wanted.pop("response_method", None)
    if name == "StackingRegressor":
        wanted.pop("final_estimator")
    model = cls(**wanted, **({"passthrough": True} if name == PASSTHROUGH else {}))
    return make_pipeline(model, LogisticRegression()) if name in SELECTORS else model


def fit(name, inner, X, y):
    y = targets(name, y)
    return build(name, inner, X, y).fit(X, y).predict(X)


def inner_for(name):
    return make_pipeline(extractor(), Ridge()) if "Regressor" in name else classifier()


def test_the_table_names_all_meta_estimators():
    assert set(DOCUMENTED) == {*FOUND, "FrozenEstimator", PASSTHROUGH}


# A halving search first draws a few items, which may lack a class that it scores.
RARE = "ignore:y contains labels that the classifier does not know:UserWarning"


@pytest.mark.filterwarnings(RARE)
@pytest.mark.parametrize("name", [name for name in DOCUMENTED if DOCUMENTED[name] != FEATURES])
def test_meta_estimators_accept_a_column_of_paths(name, data):
    assert len(fit(name, inner_for(name), *data)) == 30


@pytest.mark.filterwarnings(RARE)
@pytest.mark.parametrize("name", [name for name in DOCUMENTED if DOCUMENTED[name] == ANY])
def test_most_meta_estimators_accept_a_list_of_paths(name, data):
    X, y = data
    assert len(fit(name, inner_for(name), list(X["path"]), y)) == 30


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if DOCUMENTED[name] == FRAME])
def test_other_meta_estimators_refuse_a_list_of_paths(name, data):
    X, y = data
    with pytest.raises((ValueError, TypeError)):
        fit(name, inner_for(name), list(X["path"]), y)


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if DOCUMENTED[name] == FEATURES])
def test_meta_estimators_that_check_x_work_on_features_only(name, data):
    X, y = data
    with pytest.raises(ValueError):  # noqa: PT011 - scikit-learn's own messages, which vary
        fit(name, inner_for(name), X, y)
    last = Ridge() if "Regressor" in name else LogisticRegression()
    y = targets(name, y)
    features = extractor().fit(X)
    model = make_pipeline(extractor(), build(name, last, features.transform(X), y)).fit(X, y)
    assert len(model.predict(X)) == 30


@pytest.mark.parametrize(
    "name", ["ClassifierChain", "OneVsOneClassifier", "SelfTrainingClassifier"]
)
def test_meta_estimators_of_classifiers_accept_flattened_images(name):
    photos, y = coloured_photos(n_each=10)
    X = photos[:, ::4, ::4].reshape(30, -1) / 255
    assert len(fit(name, classifier(), X, y)) == 30
