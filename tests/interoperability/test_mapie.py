"""MAPIE makes conformal sets of classes from the probabilities of the classifier."""

import pytest
from helpers.tiny import coloured_photos

pytest.importorskip("mapie", reason="MAPIE is not installed")

from mapie.classification import CrossConformalClassifier, SplitConformalClassifier


def covers(sets, y, classes):
    """Return the share of items whose set of classes contains the label."""
    return sets[range(len(y)), [list(classes).index(label) for label in y], 0].mean()


@pytest.mark.parametrize("form", ["paths", "images"])
def test_sets_of_a_fitted_classifier_cover_the_labels(classifier, paths, form):
    X, y = paths if form == "paths" else coloured_photos(n_each=10)
    model = classifier().fit(X, y)
    conformal = SplitConformalClassifier(model, confidence_level=0.9, prefit=True)
    labels, sets = conformal.conformalize(X, y).predict_set(X)
    assert (labels == model.predict(X)).all()
    assert covers(sets, y, model.classes_) >= 0.9


def test_sets_of_a_cross_validation_cover_the_labels(classifier, paths):
    X, y = paths
    conformal = CrossConformalClassifier(classifier(), confidence_level=0.9, cv=2)
    _, sets = conformal.fit_conformalize(X, y).predict_set(X)
    assert covers(sets, y, sorted(set(y))) >= 0.9


def test_a_list_of_paths_is_refused(classifier, paths):
    X, y = paths
    model = classifier().fit(list(X), y)
    conformal = SplitConformalClassifier(model, confidence_level=0.9, prefit=True)
    with pytest.raises(TypeError, match="number of features"):
        conformal.conformalize(list(X), y)
