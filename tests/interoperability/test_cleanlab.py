"""cleanlab finds wrong labels with the probabilities of the classifier."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_predict

pytest.importorskip("cleanlab", reason="cleanlab is not installed")

from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues

WRONG = [1, 5]


@pytest.fixture
def labels(paths):
    """Integer labels, right ones and ones of which two are wrong."""
    right = np.unique(paths[1], return_inverse=True)[1]
    wrong = right.copy()
    wrong[WRONG] = (wrong[WRONG] + 1) % 3
    return right, wrong


def test_wrong_labels_are_found(classifier, paths, labels):
    probabilities = cross_val_predict(
        classifier(), paths[0], labels[1], cv=3, method="predict_proba"
    )
    issues = np.flatnonzero(find_label_issues(labels[1], probabilities))
    assert set(issues) == set(WRONG)


@pytest.mark.parametrize("form", ["array", "frame"])
def test_a_classifier_learns_from_clean_labels(classifier, paths, labels, form):
    X, right = paths[0], labels[0]
    column = X if form == "array" else pd.DataFrame({"path": X})
    model = CleanLearning(classifier(), cv_n_folds=3, seed=0).fit(column, labels[1])
    assert (model.predict(column) == right).mean() > 0.7


def test_a_list_of_paths_is_refused(classifier, paths, labels):
    with pytest.raises(TypeError, match="must support list-based indexing"):
        CleanLearning(classifier()).fit(list(paths[0]), labels[1])
