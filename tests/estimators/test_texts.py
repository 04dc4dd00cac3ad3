"""Both estimators on texts: features, fine-tuning, and the parameters that are for texts only."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.killed import assert_same_fit, killed_after
from helpers.text_nets import text_backbone
from helpers.tiny import tiny_backbone
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import Backbone, FineTuneClassifier, PretrainedFeatureExtractor, TextPreset
from sktransfer.data import Text
from sktransfer.testing import check_backbone

GOOD, BAD, OTHER = ("good", "fine", "lovely"), ("bad", "dull", "awful"), "abcdefghijklmnopqrst"


@pytest.fixture(scope="module")
def texts():
    """Eighty reviews of 2 to 28 words, one of them empty, and their labels."""
    rng = np.random.default_rng(0)
    found = []
    for words in [GOOD, BAD] * 40:
        n = rng.integers(1, 15)
        found.append(" ".join([*rng.choice(words, n), *rng.choice(list(OTHER), n)]))
    return ["", *found[1:]], np.array(["good", "bad"] * 40)


def extractor(backbone=text_backbone, **parameters):
    return PretrainedFeatureExtractor(backbone, verbose=0, **parameters)


def classifier(backbone=text_backbone, **parameters):
    quick = {"max_epochs": 2, "batch_size": 16, "random_state": 0, "verbose": 0}
    return FineTuneClassifier(backbone, **quick | parameters)


def test_the_chain_of_the_tests_is_a_valid_backbone():
    check_backbone(text_backbone())


def test_features_are_those_of_the_plain_network(texts):
    X, _ = texts
    backbone = text_backbone().eval()
    found = extractor().fit_transform(X)
    for text, row in zip(X[:20], found, strict=False):
        ids = backbone.preset(Text(text))
        ids = ids[ids >= 0][None]  # without padding
        with torch.no_grad():
            expected = backbone(ids)[0, :, :-1].mean(0)
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-6)


def test_pooling_auto_is_what_the_weights_ask_for(texts):
    X, _ = texts
    asked = extractor(lambda: text_backbone(pooling="concat")).fit_transform(X)
    assert np.array_equal(asked, extractor(pooling="concat").fit_transform(X))
    assert np.array_equal(extractor(pooling="avg").fit_transform(X), extractor().fit_transform(X))
    model = classifier(lambda: text_backbone(pooling="last"), max_epochs=0).fit(*texts)
    assert model._fitted.tail.pooling == "last"


@pytest.mark.parametrize(
    ("parameters", "n", "C"),
    [
        ({"max_epochs": 0}, 128, 0.01),
        ({"unfreeze": 0}, 128, 0.01),
        ({}, 128, 0.001),
        ({}, 127, 0.01),
        ({"head_init": "logistic"}, 128, 0.01),
    ],
    ids=str,
)
def test_the_head_starts_from_a_stronger_penalty_if_stages_are_tuned_to_many_texts(
    texts, parameters, n, C
):
    X, y = (texts[0] * 2)[:n], np.tile(texts[1], 2)[:n]
    model = classifier(weight_interpolation=0, **parameters).fit(X, y)
    exact = LogisticRegression(C=C, max_iter=1000, tol=1e-6)
    expected = make_pipeline(extractor(), StandardScaler(), exact).fit(X, y).decision_function(X)
    np.testing.assert_allclose(model.decision_function(X), expected, atol=1e-5)


@pytest.mark.parametrize("make", [extractor, classifier])
def test_a_pooling_of_images_is_refused_for_texts(texts, make):
    with pytest.raises(ValueError, match="pooling must not be 'flatten'"):
        make(pooling="flatten").fit(*texts)
    with pytest.raises(ValueError, match="pooling must not be 'last'"):
        make(tiny_backbone, pooling="last").fit(np.zeros((4, 32, 32, 3), np.uint8), [0, 1, 0, 1])


def test_max_length_limits_the_tokens_of_a_text(texts):
    X, _ = texts
    with pytest.warns(UserWarning, match="texts are longer than max_length=8 tokens"):
        model = extractor(max_length=8).fit(X)
    assert model.backbone_.preset.max_length == 8
    head = " ".join(X[1].split()[:6])
    assert np.array_equal(model.transform([X[1]]), model.transform([head]))


@pytest.mark.parametrize("make", [extractor, classifier])
def test_texts_that_are_cut_are_a_warning_once_a_fit(texts, make):
    X, y = texts
    with pytest.warns(UserWarning, match="texts are longer") as caught:
        model = make(max_length=8).fit(X, y)
    (warning,) = [str(each.message) for each in caught]
    n_long = sum(len(text.split()) > 6 for text in X)
    assert warning.startswith(f"{n_long} of 80 texts are longer than max_length=8 tokens; the rest")
    model.transform(X)  # without a warning


@pytest.mark.parametrize("make", [extractor, classifier])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_size": 32}, "image_size must be None .* not images; got 32 for a TextPreset"),
        ({"image_shape": (8, 8)}, "image_shape must be None .* TextPreset"),
        ({"max_length": 2}, "max_length must be from 3 to 512 tokens"),
        ({"max_length": 0}, "max_length must be an integer of at least 1, or None; got 0"),
        ({"preset": {"size": 3}}, "a key of preset must be one of 'tokenizer', 'max_length'"),
    ],
)
def test_a_wrong_parameter_is_an_error(texts, make, parameters, message):
    with pytest.raises(ValueError, match=message):
        make(**parameters).fit(*texts)


@pytest.mark.parametrize("make", [extractor, classifier])
def test_max_length_is_an_error_for_images(make):
    with pytest.raises(ValueError, match=r"max_length must be None .* not texts; got 64"):
        make(tiny_backbone, max_length=64).fit(np.zeros((4, 32, 32, 3), np.uint8), [0, 1, 0, 1])


def test_texts_are_not_augmented(texts):
    with pytest.raises(ValueError, match="must be None for items that are not images"):
        classifier(augment="light").fit(*texts)


def test_a_column_of_a_table_is_recorded(texts):
    X, _ = texts
    frame = pd.DataFrame({"review": X})
    model = extractor().fit(frame)
    assert model.feature_names_in_.tolist() == ["review"]
    assert np.array_equal(model.transform(frame), extractor().fit_transform(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(frame.rename(columns={"review": "text"}))


@pytest.mark.parametrize("unfreeze", [0, 1, 2, "all"])
@pytest.mark.filterwarnings("ignore:cache saves the first pass")
def test_a_fit_from_a_cache_has_the_same_bits(texts, unfreeze, tmp_path):
    X, y = texts
    plain = classifier(unfreeze=unfreeze).fit(X, y)
    for _ in range(2):
        assert_same_fit(classifier(unfreeze=unfreeze, cache=tmp_path).fit(X, y), plain)
    assert plain.score(X, y) > 0.8
    n_frozen = 0 if unfreeze == "all" else 3 - unfreeze
    assert [row["frozen"] for row in plain.report_] == [True] * n_frozen + [False] * (4 - n_frozen)


@pytest.mark.parametrize("unfreeze", [1, "all"])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.filterwarnings("ignore:cache saves the first pass")
def test_a_prediction_does_not_depend_on_its_neighbours(texts, unfreeze, cached, tmp_path):
    X, y = texts
    model = classifier(unfreeze=unfreeze, cache=tmp_path if cached else None).fit(X, y)
    together = model.decision_function(X)
    assert np.array_equal(model.decision_function(X[::-1])[::-1], together)
    assert [model.decision_function([text])[0] for text in X[:5]] == together[:5].tolist()


def test_a_fit_and_its_predictions_read_the_weights_for_their_hash_once(
    texts, tmp_path, monkeypatch
):
    X, y = texts
    hashed, hash_along = [], Backbone._hash_along
    monkeypatch.setattr(
        Backbone, "_hash_along", lambda *given: hashed.append(given) or hash_along(*given)
    )
    model = classifier(unfreeze=1, cache=tmp_path).fit(X, y)
    model.predict(X[:9])
    model.predict(["a new text"])
    assert len(hashed) == 1
    hashed.clear()
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert len(hashed) == 1


def test_stages_are_unfrozen_one_at_a_time(texts):
    model = classifier(unfreeze="all", unfreeze_every=1, max_epochs=4, layer_decay=1 / 2.6)
    model.fit(*texts)
    tuned = [row for row in model.history_ if row["phase"] == "fine-tune"]
    assert [row["cut"] for row in tuned] == [2, 1, 0, 0]
    rates = {row["stage"]: row["lr_max"] for row in model.report_}
    assert rates["block2"] / rates["block1"] == pytest.approx(2.6)
    assert [row["frozen"] for row in model.report_] == [False] * 4
    assert all(row["moved"] > 0 for row in model.report_[:-1])


@pytest.mark.parametrize(
    "parameters",
    [
        {"unfreeze": 1},
        {"unfreeze": "all", "unfreeze_every": 1},
        {"unfreeze": 2, "early_stopping": True, "validation_fraction": 0.3},
    ],
)
def test_a_killed_fit_ends_with_the_weights_of_one_that_was_not(texts, parameters, tmp_path):
    whole = classifier(max_epochs=3, **parameters).fit(*texts)
    model = classifier(max_epochs=3, checkpoint=tmp_path, **parameters)
    with killed_after(2):
        model.fit(*texts)
    assert_same_fit(model.fit(*texts), whole)
    assert_same_fit(clone(whole).fit(*texts), whole)


def test_early_stopping_keeps_groups_together_and_the_best_epoch(texts):
    X, y = texts
    model = classifier(unfreeze=1, early_stopping=True, validation_fraction=0.3, max_epochs=3)
    model.fit(X, y, groups=np.arange(80) // 4)
    assert model.best_epoch_ is not None
    assert "valid_loss" in model.history_[-1]


def test_a_sample_weight_of_zero_leaves_a_text_out(texts):
    X, y = texts
    weight = np.r_[np.zeros(10), np.ones(70)]
    weighted = classifier(unfreeze=1).fit(X, y, sample_weight=weight)
    assert_same_fit(weighted, classifier(unfreeze=1).fit(X[10:], y[10:]))


def test_class_weights_and_several_labels_are_trained_on(texts):
    X, y = texts
    balanced = classifier(unfreeze=1, class_weight="balanced").fit(X[:60], y[:60])
    assert balanced.score(X, y) > 0.8
    several = np.stack([y == "good", np.arange(80) % 3 == 0], 1).astype(int)
    model = classifier(unfreeze=1).fit(X, several)
    assert model.predict(X).shape == (80, 2)
    assert model.predict_proba(X[:3]).shape == (3, 2)


def test_a_pipeline_learns_from_texts(texts, tmp_path):
    X, y = texts
    model = make_pipeline(extractor(cache=tmp_path), LogisticRegression(C=100))
    assert clone(model).fit(X, y).score(X, y) > 0.8


@pytest.mark.parametrize("make", [extractor, classifier])
def test_a_fit_changes_no_text_and_no_parameter_and_forgets_the_one_before(texts, make):
    X, y = texts
    model, before = make(), list(X)
    parameters = model.get_params()
    assert model.fit(X[:40], y[:40]).fit(X, y) is model
    assert (model.get_params(), X) == (parameters, before)
    assert np.array_equal(model.transform(X), make().fit(X, y).transform(X))


@pytest.mark.parametrize("make", [extractor, classifier])
def test_features_of_texts_can_be_a_frame_with_named_columns(texts, make):
    model = make().fit(*texts).set_output(transform="pandas")
    frame = model.transform(texts[0])
    assert frame.columns.tolist() == model.get_feature_names_out().tolist()
    assert np.array_equal(frame, model.set_output(transform="default").transform(texts[0]))


@pytest.mark.parametrize("make", [extractor, classifier])
def test_texts_before_a_fit_are_an_error(texts, make):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        make().transform(texts[0])


def test_another_number_of_labels_than_of_texts_is_an_error(texts):
    with pytest.raises(ValueError, match="one label for each of 80 items; got 79"):
        classifier().fit(texts[0], texts[1][:79])


@pytest.mark.parametrize("make", [extractor, classifier])
def test_a_pickle_gives_the_same_bits(texts, make):
    X, y = texts
    model = make().fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    assert isinstance(copy.backbone_.preset, TextPreset)
    assert np.array_equal(copy.transform(X), model.transform(X))


def test_the_module_maps_ids_to_logits(texts):
    X, y = texts
    model = classifier(unfreeze=1).fit(X, y)
    preset = model.backbone_.preset
    ids = preset.collate([preset(Text(text)) for text in X], len(X))
    with torch.no_grad():
        logits = model.module_(ids).numpy()
    scores = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(scores, model.decision_function(X), atol=1e-4)


def test_texts_have_no_views_to_average(texts):
    model = classifier(unfreeze=0, max_epochs=0, tta=4)
    with pytest.raises(ValueError, match=r"tta must be 0 for items that are not images; got 4\."):
        model.fit(*texts)
    model.set_params(tta=0).fit(*texts).set_params(tta=4)
    with pytest.raises(ValueError, match=r"tta must be 0 for items that are not images; got 4\."):
        model.predict(texts[0])
    assert len(model.set_params(tta=0).predict(texts[0])) == 80
