"""Labels of one domain classify another one: standardised apart, then self-trained."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers.text_nets import text_backbone
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from sktransfer import DomainSelfTrainingClassifier, PretrainedFeatureExtractor

EXPECTED_TO_FAIL = {"check_classifiers_classes": "-1 is no class, as in SelfTrainingClassifier"}
CHECKS = [
    check
    for _, check in estimator_checks_generator(DomainSelfTrainingClassifier())
    if check.func.__name__ not in EXPECTED_TO_FAIL
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.func.__name__)
def test_the_checks_of_scikit_learn_pass(check):
    check(DomainSelfTrainingClassifier())


def make_domains(n=60, seed=0):
    """Three classes in a source, and the same in a target with other means and scales."""
    rng = np.random.default_rng(seed)
    centres = 3 * np.eye(3, 8)
    y = np.arange(2 * n) % 3
    X = centres[y] + rng.normal(size=(2 * n, 8))
    X[n:] = X[n:] * rng.uniform(0.2, 5, 8) + rng.normal(0, 20, 8)
    return X, y, np.arange(2 * n) < n


@pytest.fixture
def domains():
    return make_domains()


def quiet(**how):
    return DomainSelfTrainingClassifier(max_share_distance=1, **how)


@pytest.fixture
def fitted(domains):
    X, y, source = domains
    return quiet().fit(X, np.where(source, y, -1))


def test_the_target_is_classified_with_labels_of_the_source(domains, fitted):
    X, y, source = domains
    without = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(X[source], y[source])
    assert without.score(X[~source], y[~source]) < 0.7
    assert fitted.score(X[~source], y[~source]) > 0.9


def test_each_domain_is_standardised_by_itself(domains):
    X, y, source = domains
    model = quiet(max_iter=0).fit(X, np.where(source, y, -1))
    scaled = np.concatenate(
        [StandardScaler().fit_transform(part) for part in (X[source], X[~source])]
    )
    expected = LogisticRegression(C=0.01, max_iter=1000).fit(scaled[source], y[source])
    found = model.predict_proba(X[~source])
    assert np.array_equal(found, expected.predict_proba(scaled[~source]))
    assert model.n_iter_ == 1
    assert (model.transduction_[~source] == -1).all()


def test_self_training_uses_confident_predictions_in_the_shares_of_the_source(domains, fitted):
    _, y, source = domains
    assert fitted.n_iter_ == 11
    assert (fitted.transduction_[source] == y[source]).all()
    labels = fitted.transduction_[~source].astype(int)
    counts = np.bincount(labels[labels >= 0], minlength=3)
    assert (counts <= 20).all()
    assert counts.sum() > 50
    assert (labels[labels >= 0] == y[~source][labels >= 0]).mean() > 0.9


def test_named_domains_give_the_same_predictions(domains, fitted):
    X, y, source = domains
    names = np.where(source, "photo", "drawing")
    model = quiet().fit(X, np.where(source, y, -1), sample_domain=names)
    assert model.target_domains_ == ["drawing"]
    assert np.array_equal(model.predict_proba(X[~source]), fitted.predict_proba(X[~source]))
    both = model.predict(X, sample_domain=names)
    assert np.array_equal(both[~source], fitted.predict(X[~source]))
    as_source = fitted.predict(X[source], sample_domain=["source"] * source.sum())
    assert np.array_equal(both[source], as_source)
    assert model.score(X, y, sample_domain=names) > 0.9


def test_the_domains_of_skada_are_accepted(domains, fitted):
    X, y, source = domains
    model = quiet().fit(X, np.where(source, y, -1), sample_domain=np.where(source, 1, -2))
    assert np.array_equal(model.predict(X[~source]), fitted.predict(X[~source]))


def test_labels_can_be_strings(domains, fitted):
    X, y, source = domains
    labels = np.array(["a", "b", "c"], dtype=object)[y]
    labels[~source] = -1
    model = quiet().fit(X, labels)
    assert model.classes_.tolist() == ["a", "b", "c"]
    found = model.predict(X[~source])
    assert np.array_equal(found, np.array(["a", "b", "c"])[fitted.predict(X[~source])])


def test_several_targets_need_their_names(domains):
    X, y, source = domains
    names = np.where(source, "photo", np.where(np.arange(120) % 2, "map", "drawing"))
    model = quiet().fit(X, np.where(source, y, -1), sample_domain=names)
    with pytest.raises(ValueError, match="there are several targets: 'drawing', 'map'; got None"):
        model.predict(X)
    with pytest.raises(ValueError, match="sample_domain must hold domains of fit"):
        model.predict(X, sample_domain=["film"] * 120)
    assert model.score(X, y, sample_domain=names) > 0.8


def test_labelled_domains_are_only_standardised(domains):
    X, y, source = domains
    names = np.where(source, "photo", "drawing")
    model = DomainSelfTrainingClassifier().fit(X, y, sample_domain=names)
    assert model.target_domains_ == []
    assert model.share_distance_ == 0
    assert model.score(X, y, sample_domain=names) > 0.9


def test_labels_of_some_target_items_are_used(domains):
    X, y, source = domains
    names = np.where(source, "photo", "drawing")
    some = source | (np.arange(120) % 4 == 0)
    model = quiet().fit(X, np.where(some, y, -1), sample_domain=names)
    assert model.target_domains_ == ["drawing"]
    assert model.score(X[~source], y[~source]) > 0.9


def test_a_target_with_few_of_the_classes_is_a_warning(domains):
    X, y, _ = domains
    source = make_domains(seed=1)
    target = X[:60][y[:60] == 0]  # one class of the same domain
    labels = np.r_[source[1][:60], np.full(len(target), -1)]
    model = DomainSelfTrainingClassifier()
    with pytest.warns(UserWarning, match="The target seems to hold other classes than the source"):
        model.fit(np.concatenate([source[0][:60], target]), labels)
    assert model.share_distance_ > 0.5


def test_a_target_with_the_same_shares_is_no_warning(domains):
    X = domains[0]
    source = make_domains(seed=1)
    labels = np.r_[source[1][:60], np.full(60, -1)]
    model = DomainSelfTrainingClassifier().fit(np.concatenate([source[0][:60], X[:60]]), labels)
    assert model.share_distance_ < 0.1


def test_a_list_of_strings_has_unlabelled_items(domains, fitted):
    X, y, source = domains
    labels = [
        name if known else -1 for name, known in zip(np.array([*"abc"])[y], source, strict=True)
    ]
    model = quiet().fit(X, labels)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.target_domains_ == ["target"]
    floats = np.array([-1.0 if label == -1 else label for label in labels], dtype=object)
    assert np.array_equal(quiet().fit(X, floats).predict(X), model.predict(X))


def test_minus_one_as_a_string_is_an_error(domains):
    X, y, source = domains
    labels = np.array([*"abc"]).astype("U2")[y]
    labels[~source] = -1
    for given in (labels, pd.Series(labels, dtype="string"), labels.tolist()):
        with pytest.raises(
            ValueError, match=r"y must have the number -1 for .* got the string '-1'"
        ):
            quiet().fit(X, given)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "y must have -1 for an item without a label; got None"),
        (7, "y must have labels of one kind, besides -1; got strings and numbers"),
    ],
)
def test_another_label_among_strings_is_an_error(domains, label, message):
    X, y, _ = domains
    labels = np.array([*"abc"], dtype=object)[y]
    labels[3] = label
    with pytest.raises(ValueError, match=message):
        quiet().fit(X, labels)


@pytest.mark.parametrize(
    ("sample_domain", "message"),
    [
        ("day", "sample_domain must have the domain of each item; got one string, 'day'"),
        ([1] * 119 + ["x"], "sample_domain must hold integers, or strings; got int, str"),
    ],
)
def test_wrong_domains_are_an_error(domains, sample_domain, message):
    X, y, _ = domains
    with pytest.raises(TypeError, match=message):
        quiet().fit(X, y, sample_domain=sample_domain)


def test_another_classifier_is_cloned(domains):
    X, y, source = domains
    estimator = LogisticRegression()
    model = quiet(estimator=estimator).fit(X, np.where(source, y, -1))
    assert model.estimator_.C == 1
    assert not hasattr(estimator, "coef_")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"estimator": RidgeClassifier()}, "estimator must have predict_proba"),
        ({"max_iter": -1}, "max_iter must be an integer of at least 0; got -1"),
        ({"max_share_distance": 2}, r"max_share_distance must be a number in \[0, 1\]; got 2"),
    ],
)
def test_invalid_parameters_are_an_error(domains, how, message):
    with pytest.raises(ValueError, match=message):
        DomainSelfTrainingClassifier(**how).fit(*domains[:2])


def test_one_class_is_an_error(domains):
    X, y, _ = domains
    with pytest.raises(ValueError, match=r"y must have labels of at least two classes.*got 1"):
        quiet().fit(X, np.where(y == 0, 0, -1))


def test_an_unfitted_model_cannot_predict(domains):
    with pytest.raises(NotFittedError):
        quiet().predict(domains[0])


def test_a_fitted_model_is_pickled_and_cloned(domains, fitted):
    X = domains[0]
    other = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(other.predict_proba(X), fitted.predict_proba(X))
    assert clone(fitted).get_params() == fitted.get_params()


def test_the_names_of_columns_are_compared(domains):
    X, y, source = domains
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    model = quiet().fit(frame, np.where(source, y, -1))
    assert model.feature_names_in_.tolist() == list("abcdefgh")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("hgfedcba")])


def test_a_pipeline_behind_the_extractor_takes_texts_with_their_domains():
    texts = [f"{word} film" for word in ("good", "fine", "bad", "poor")] * 3
    texts += [f"the play was {word}" for word in ("good", "fine", "bad", "poor")] * 3
    y = np.r_[np.tile([1, 1, 0, 0], 3), np.full(12, -1)]
    domains = np.repeat(["film", "play"], 12)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(PretrainedFeatureExtractor(text_backbone), quiet())
        pipeline.fit(texts, y, sample_domain=domains)
        predicted = pipeline.predict(texts, sample_domain=domains)
    assert (predicted[12:] == np.tile([1, 1, 0, 0], 3)).mean() > 0.9
    without = make_pipeline(PretrainedFeatureExtractor(text_backbone), quiet()).fit(texts, y)
    assert np.array_equal(without.predict(texts[12:]), predicted[12:])
