"""Before it trains, a fit holds items out, standardises features and initializes the head."""

import numpy as np
import pytest
import torch
from helpers.fine_tuning import classifier, named
from helpers.tiny import coloured_photos, tiny_backbone
from numpy.testing import assert_array_equal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch.callbacks import EarlyStopping

from sktransfer import PretrainedFeatureExtractor


def test_the_exact_head_is_that_of_scikit_learn(photos):
    X, y = photos
    model = classifier(max_epochs=0).fit(X, y)
    features = PretrainedFeatureExtractor(tiny_backbone).fit_transform(X)
    exact = LogisticRegression(C=0.01, max_iter=1000, tol=1e-6)
    expected = exact.fit(StandardScaler().fit(features).transform(features), y)
    scores = expected.decision_function(StandardScaler().fit(features).transform(features))
    np.testing.assert_allclose(model.decision_function(X), scores, atol=1e-5)
    assert model.net_ is None
    assert model.history_ == []


def test_the_exact_head_of_two_classes_is_that_of_scikit_learn():
    X, y = coloured_photos(names=("cold", "warm"))
    model = classifier(max_epochs=0, head_init=LogisticRegression(C=1.0)).fit(X, y)
    features = PretrainedFeatureExtractor(tiny_backbone).fit_transform(X)
    scaled = StandardScaler().fit(features).transform(features)
    expected = LogisticRegression(C=1.0).fit(scaled, y).decision_function(scaled)
    np.testing.assert_allclose(model.decision_function(X), expected, atol=1e-5)


def test_an_untrained_head_predicts_the_class_priors(photos):
    X, y = photos
    model = classifier(head_init="prior", freeze_epochs=0, max_epochs=0).fit(X[:9], y[:9])
    shares = np.unique(y[:9], return_counts=True)[1] / 9
    np.testing.assert_allclose(model.predict_proba(X[:1])[0], shares, atol=0.04)


@pytest.mark.parametrize("init", [SVC(kernel="linear"), Ridge()], ids=named)
def test_a_head_starts_only_from_a_linear_classifier(photos, init):
    with pytest.raises(ValueError, match="head_init must be a linear classifier of scikit-learn"):
        classifier(head_init=init, max_epochs=0).fit(*photos)


def test_a_head_starts_only_from_a_classifier_that_takes_sample_weight(photos):
    with pytest.raises(
        TypeError, match="head_init must be a classifier whose fit accepts sample_weight"
    ):
        classifier(head_init=LinearDiscriminantAnalysis(), max_epochs=0).fit(*photos)


def test_a_random_solver_draws_from_random_state(photos):
    fits = [classifier(head_init=SGDClassifier(), max_epochs=0).fit(*photos) for _ in range(2)]
    assert_array_equal(*(model.decision_function(photos[0]) for model in fits))


def test_class_weights_do_not_change_how_features_are_standardised(photos):
    X, y = photos
    plain, weighed = (
        classifier(max_epochs=0, class_weight=weight).fit(X, y)
        for weight in (None, {"blue": 1000.0, "green": 1e-4, "red": 1e-4})
    )
    for name in ("mean", "scale"):
        tails = (model._fitted.tail for model in (plain, weighed))
        assert torch.equal(*(getattr(tail, name) for tail in tails))
    assert (weighed.predict(X) == "blue").all()


# Validation data


def test_the_items_of_a_group_are_held_out_together(photos):
    X, y = photos
    groups = np.arange(36) // 3
    seen = []

    class Spy(EarlyStopping):
        def on_train_begin(self, net, X=None, **kwargs):
            super().on_train_begin(net)
            seen.append([samples.source.items for samples in X])

    classifier(early_stopping=True, skorch_callbacks=[Spy("train_loss")]).fit(X, y, groups=groups)
    train, valid = ({item.tobytes() for item in items} for items in seen[0])
    for group in range(12):
        members = {X[index].tobytes() for index in np.flatnonzero(groups == group)}
        assert members <= train or members <= valid
    assert len(train) + len(valid) == 36
    assert valid


def test_a_class_of_one_photo_cannot_be_held_out(photos):
    X, y = photos
    y = y.copy()
    y[0] = "pink"
    with pytest.raises(ValueError, match=r"at least 2 items of every class(.|\n)*'pink': 1"):
        classifier(early_stopping=True).fit(X, y)


def test_groups_must_have_one_entry_for_each_item(photos):
    with pytest.raises(ValueError, match="groups must have one entry for each of 36 items"):
        classifier(early_stopping=True).fit(*photos, groups=[1, 2])
