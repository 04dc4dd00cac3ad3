"""Labels that a fitted classifier does not know: folders of other classes, integers and names."""

from functools import partial

import numpy as np
import pytest
from helpers.fine_tuning import classifier
from sklearn.model_selection import cross_val_score

from sktransfer import SnapshotEnsemble


@pytest.fixture
def photos(rng):
    """Six images and the names of their classes."""
    return rng.integers(0, 256, (6, 8, 8, 3), np.uint8), np.array(list("abcabc"))


@pytest.mark.parametrize("wrap", [lambda model: model, partial(SnapshotEnsemble, every=1)])
def test_the_integers_of_a_folder_cannot_be_scored_by_a_classifier_of_names(photos, wrap):
    X, y = photos
    model = wrap(classifier()).fit(X, y)
    with pytest.raises(ValueError, match=r"got 0, 1, 2\. It knows 'a', 'b', 'c'.*pass names"):
        model.score(X, np.arange(6) % 3)


def test_the_integers_of_a_folder_cannot_be_validation_labels_of_names(photos):
    X, y = photos
    with pytest.raises(ValueError, match=r"y_val must contain only labels .*; got 0.*pass names"):
        classifier().fit(X, y, X_val=X[:1], y_val=[0])


def test_a_fold_without_a_rare_class_is_scored_with_a_warning(photos):
    X, _ = photos
    y = np.array(list("aaabbc"))
    folds = [(np.arange(5), [5, 0]), ([0, 1, 3, 5], [2, 4])]
    with pytest.warns(UserWarning, match=r"as wrong: 'c'\..*In cross-validation"):
        scores = cross_val_score(classifier(), X, y, cv=folds)
    assert np.isfinite(scores).all()
