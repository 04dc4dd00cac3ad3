"""A shift between two domains is detected, and is not where there is none."""

import numpy as np
import pandas as pd
import pytest
from helpers.text_nets import text_backbone
from helpers.tiny import coloured_photos, tiny_backbone
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor, domain_shift
from sktransfer.display import DomainShiftDisplay
from sktransfer.estimators.shift import _areas


def test_a_shift_is_detected(rng):
    source, target = rng.normal(size=(40, 6)), rng.normal(size=(30, 6)) + 1
    shift = domain_shift(None, source, target, random_state=0)
    assert shift.auc > 0.9
    assert shift.p_value == 1 / 200
    assert shift.null.shape == (199,)
    assert abs(shift.null.mean() - 0.5) < 0.05


def test_no_shift_is_detected_between_halves():
    values = [
        domain_shift(None, *np.random.default_rng(seed).normal(size=(2, 30, 6)), random_state=0)
        for seed in range(20)
    ]
    assert sum(shift.p_value < 0.05 for shift in values) <= 3


def test_the_area_is_that_of_scikit_learn(rng):
    scores, labels = rng.normal(size=(50, 3)).round(1), rng.integers(0, 2, (50, 3))
    expected = [roc_auc_score(labels[:, k], scores[:, k]) for k in range(3)]
    assert np.allclose(_areas(scores, labels.astype(float)), expected)


def test_the_area_is_that_of_the_scores(rng):
    source, target = rng.normal(size=(40, 6)), rng.normal(size=(30, 6)) + 0.5
    shift = domain_shift(None, source, target, random_state=0)
    scores = np.concatenate([shift.source_scores, shift.target_scores])
    assert shift.auc == pytest.approx(roc_auc_score(np.arange(70) >= 40, scores))


def test_the_items_most_and_least_like_the_source_are_listed(rng):
    source, target = rng.normal(size=(40, 6)), rng.normal(size=(30, 6)) + 2
    target[7] -= 3
    target[11] += 3
    shift = domain_shift(None, source, target, random_state=0)
    assert 7 in shift.most_like_source(2)
    assert 11 in shift.least_like_source(2)
    assert len(shift.most_like_source(100)) == 30
    assert list(shift.most_like_source(30)[::-1]) == list(shift.least_like_source(30))


def test_the_seed_decides_the_result(rng):
    source, target = rng.normal(size=(2, 30, 6))
    a, b, c = (domain_shift(None, source, target, random_state=seed) for seed in (0, 0, 1))
    assert np.array_equal(a.null, b.null)
    assert not np.array_equal(a.null, c.null)


def test_an_extractor_computes_the_features():
    X, _ = coloured_photos()
    dark = X // 3
    extractor = PretrainedFeatureExtractor(tiny_backbone)
    shift = domain_shift(extractor, X[:18], dark[18:], random_state=0)
    assert shift.auc > 0.8
    assert not extractor.__sklearn_is_fitted__()
    extractor.fit(X)
    features = extractor.transform(X[:18]), extractor.transform(dark[18:])
    expected = domain_shift(None, *features, random_state=0)
    fitted = domain_shift(extractor, X[:18], dark[18:], random_state=0)
    assert shift.auc == expected.auc == fitted.auc


def test_a_fine_tuned_network_computes_the_features():
    X, y = coloured_photos()
    model = FineTuneClassifier(tiny_backbone, max_epochs=0).fit(X, y)
    assert domain_shift(model, X[:18], X[18:] // 3, random_state=0).auc > 0.8


def test_an_estimator_that_needs_labels_must_be_fitted(rng):
    X = rng.integers(0, 256, (8, 8, 8, 3), np.uint8)
    with pytest.raises(
        ValueError, match=r"its fit needs labels; got a FineTuneClassifier that is n"
    ):
        domain_shift(FineTuneClassifier(), X[:4], X[4:])


def test_texts_can_shift():
    films = [f"the film was {word} and long" for word in ("good", "bad", "old", "new")] * 4
    plays = [f"a play of {word} people" for word in ("good", "bad", "old", "new")] * 4
    shift = domain_shift(PretrainedFeatureExtractor(text_backbone), films, plays, random_state=0)
    assert shift.p_value < 0.05


def test_items_that_cannot_be_decoded_have_no_score(rng):
    source, target = rng.normal(size=(20, 4)), rng.normal(size=(20, 4)) + 2
    target[3] = np.nan
    shift = domain_shift(None, source, target, random_state=0)
    assert np.flatnonzero(np.isnan(shift.target_scores)).tolist() == [3]
    assert 3 not in shift.most_like_source(100)
    assert 3 not in shift.least_like_source(100)


def test_a_shift_is_plotted(rng):
    shift = domain_shift(None, rng.normal(size=(20, 4)), rng.normal(size=(20, 4)), random_state=0)
    display = shift.plot()
    assert isinstance(display, DomainShiftDisplay)
    assert display.ax_.get_title() == f"AUC {shift.auc:.2f}, p = {shift.p_value:.2g}"
    assert display.ax_.get_legend_handles_labels()[1] == ["source", "target"]


def test_sparse_features_can_shift(rng):
    texts = [["a good film", "a film of the year"] * 10, ["stocks fell", "the market rose"] * 10]
    sparse = domain_shift(TfidfVectorizer(), *texts, random_state=0)
    vectors = TfidfVectorizer().fit(texts[0] + texts[1])
    dense = [vectors.transform(part).toarray() for part in texts]
    assert sparse.auc == domain_shift(None, *dense, random_state=0).auc > 0.9


@pytest.mark.parametrize("d", [3, 50])
def test_the_scores_are_those_of_ridge_regressions(rng, d):
    source, target = rng.normal(size=(2, 20, d))
    shift = domain_shift(None, source, target + 0.3, cv=2, n_permutations=1, random_state=0)
    F = StandardScaler().fit_transform(np.concatenate([source, target + 0.3]))
    y = np.arange(40) >= 20.0
    state = np.random.RandomState(0)
    state.permutation(y)  # the draw of the permutation
    model = Ridge(alpha=(F**2).sum() / 40)
    expected = np.empty(40)
    for train, test in KFold(2, shuffle=True, random_state=state).split(F):
        model.set_params(fit_intercept=False).fit(F[train], y[train] - y[train].mean())
        expected[test] = model.predict(F[test]) + 0.5
    found = np.concatenate([shift.source_scores, shift.target_scores])
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_items_in_both_sets_hide_no_shift(rng):
    shared, own = rng.normal(size=(60, 20)), rng.normal(size=(40, 20)) + 1.5
    source = np.concatenate([shared, rng.normal(size=(40, 20))])
    shift = domain_shift(None, source, np.concatenate([shared, own]), random_state=0)
    assert shift.p_value < 0.01
    same = domain_shift(None, source, source, random_state=0)
    assert same.auc == pytest.approx(0.5)


def test_constant_features_have_no_shift():
    shift = domain_shift(None, np.ones((20, 3)), np.ones((20, 3)), random_state=0)
    assert shift.auc == 0.5
    assert shift.p_value == 1


@pytest.mark.parametrize("form", [list, np.array, pd.DataFrame])
def test_an_estimator_is_fitted_to_both_sets(rng, form):
    source, target = (rng.normal(size=(60, 30)) for _ in range(2))
    values = [
        domain_shift(
            PCA(20, whiten=True), form(source), form(target), random_state=0, n_permutations=49
        ).p_value
    ]
    F = PCA(20, whiten=True).fit(np.concatenate([source, target]))
    features = F.transform(source), F.transform(target)
    expected = domain_shift(None, *features, random_state=0, n_permutations=49).p_value
    assert values == [expected]


def test_a_negative_number_of_items_is_an_error(rng):
    shift = domain_shift(None, *rng.normal(size=(2, 9, 3)), n_permutations=1)
    for method in (shift.most_like_source, shift.least_like_source):
        assert len(method(0)) == 0
        with pytest.raises(ValueError, match="n must be an integer of at least 0; got -1"):
            method(-1)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (
            {"X_source": np.ones((20, 3))},
            ValueError,
            "X_source and X_target must have the same number of features; got 3 and 4",
        ),
        ({"n_permutations": 0}, ValueError, "n_permutations must be an integer of at least 1"),
        ({"cv": 1}, ValueError, "cv must be an integer of at least 2"),
        (
            {"cv": 25},
            ValueError,
            "must have at least cv=25 items that can be decoded; got 20 and 20",
        ),
        (
            {"estimator": 3},
            TypeError,
            "estimator must have a method transform, or be None; got int",
        ),
    ],
)
def test_invalid_arguments_are_an_error(rng, how, error, message):
    source, target = rng.normal(size=(2, 20, 4))
    arguments = {"estimator": None, "X_source": source, "X_target": target} | how
    with pytest.raises(error, match=message):
        domain_shift(**arguments)
