"""Fine-tuned networks with the batch-norm statistics of their training data or of a new domain."""

import io
import pickle

import numpy as np
import pytest
from helpers.provider import TinyProvider
from helpers.tiny import coloured_photos, tiny_backbone
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from torch import nn

from sktransfer import (
    ActivationCache,
    Backbone,
    FineTuneClassifier,
    FineTuneRegressor,
    ImagePreset,
    PretrainedFeatureExtractor,
    find_lr,
    load,
    save,
)
from sktransfer.backbones import get_statistics, registry


def classifier(**how):
    how = {"unfreeze": "all", "max_epochs": 0, "freeze_bn": "own", "random_state": 0} | how
    return FineTuneClassifier(tiny_backbone, **how)


@pytest.fixture(scope="module")
def data():
    return coloured_photos()


@pytest.fixture(scope="module")
def target(data):
    """Darker negatives, another domain."""
    return (255 - data[0]) // 2


@pytest.fixture(scope="module")
def model(data):
    return classifier().fit(*data)


def as_files(photos):
    files = [io.BytesIO() for _ in photos]
    for file, photo in zip(files, photos, strict=True):
        Image.fromarray(photo).save(file, "PNG")
    return [file.getvalue() for file in files]


def statistics_of(X):
    extractor = PretrainedFeatureExtractor(tiny_backbone, batch_norm="data").fit(X)
    return extractor.statistics_[None]


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_own_statistics_are_those_of_the_training_data(data, model):
    assert equal(get_statistics(model.backbone_), statistics_of(data[0]))
    assert not equal(get_statistics(tiny_backbone()), statistics_of(data[0]))


def test_the_head_starts_from_features_with_own_statistics(data):
    X, y = data
    model = classifier(head_init=LogisticRegression(C=0.01)).fit(X, y)
    F = PretrainedFeatureExtractor(tiny_backbone, batch_norm="data").fit_transform(X)
    expected = LogisticRegression(C=0.01).fit((F - F.mean(0)) / F.std(0), y)
    found = model.predict_proba(X)
    assert np.allclose(found, expected.predict_proba((F - F.mean(0)) / F.std(0)), atol=1e-3)


def test_frozen_stages_keep_their_statistics_and_cached_rows(data, tmp_path):
    cache = ActivationCache(tmp_path)
    model = classifier(unfreeze=1, cache=cache).fit(*data)
    found, stored = get_statistics(model.backbone_), get_statistics(tiny_backbone())
    same = [name for name in found if np.array_equal(found[name], stored[name])]
    assert same == [name for name in found if "layer2" not in name]
    before = {key for key, row in cache.info().items() if "not pooled" in str(row)}
    classifier(unfreeze=1, cache=cache, freeze_bn="all").fit(*data)
    after = {key for key, row in cache.info().items() if "not pooled" in str(row)}
    assert before <= after


def test_training_does_not_change_own_statistics(data):
    model = classifier(max_epochs=2).fit(*data)
    assert equal(get_statistics(model.backbone_), statistics_of(data[0]))
    assert {row["batch_norm"] for row in model.report_} == {"eval", ""}
    assert all(row["moved"] > 0 for row in model.report_ if row["stage"] != "head")


def test_items_of_weight_zero_have_no_part_in_own_statistics(data):
    X, y = data
    weight = (np.arange(len(y)) < 30).astype(float)
    model = classifier().fit(X, y, sample_weight=weight)
    assert equal(get_statistics(model.backbone_), statistics_of(X[:30]))


def test_validation_items_have_no_part_in_own_statistics(data):
    X, y = data
    model = classifier().fit(X[:30], y[:30], X_val=X[30:], y_val=y[30:])
    assert equal(get_statistics(model.backbone_), statistics_of(X[:30]))


def test_a_table_of_float64_can_have_own_statistics():
    X = np.random.default_rng(0).random((20, 3 * 16 * 16)) * 255
    model = classifier(unfreeze=1).fit(X, np.arange(20) % 2)
    assert model.adapt(X[:10]).predict(X).shape == (20,)


def test_an_item_that_cannot_be_decoded_is_left_out_with_one_warning(data):
    files = [pickle.dumps(0), *as_files(data[0])]
    with pytest.warns(UserWarning, match=r"X\[0\]") as caught:
        model = classifier(decode_error="warn").fit(files, ["blue", *data[1]])
    assert len(caught) == 1
    assert equal(get_statistics(model.backbone_), statistics_of(files[1:]))


def test_the_range_test_uses_own_statistics(data):
    own, stored = (
        find_lr(classifier(max_epochs=1, freeze_bn=kind), *data, n_steps=5)
        for kind in ("own", "all")
    )
    assert list(own.losses) != list(stored.losses)


def test_an_adapted_model_has_the_statistics_of_the_target(data, model, target):
    before = model.predict_proba(target)
    adapted = model.adapt(target)
    assert equal(get_statistics(adapted.backbone_), statistics_of(target))
    assert np.array_equal(model.predict_proba(target), before)
    assert not np.allclose(adapted.predict_proba(target), before)
    assert equal(get_statistics(adapted.adapt(data[0]).backbone_), statistics_of(data[0]))


def test_an_adapted_model_has_the_weights_of_the_model(model, target):
    pairs = zip(model.module_.parameters(), model.adapt(target).module_.parameters(), strict=True)
    assert all((a == b).all() for a, b in pairs)


def test_the_order_of_the_target_does_not_change_a_bit(model, target):
    a, b = model.adapt(target), model.adapt([*target[::-1], *target[:5]])
    assert np.array_equal(a.predict_proba(target), b.predict_proba(target))


def test_the_tail_alone_is_adapted_by_default(data, target):
    model = classifier(unfreeze=1).fit(*data)
    found = get_statistics(model.adapt(target).backbone_)
    stored = get_statistics(tiny_backbone())
    assert {
        name.split(".")[1] for name in found if not np.array_equal(found[name], stored[name])
    } == {"layer2"}
    whole = model.adapt(target, stages="all")
    assert equal(get_statistics(whole.backbone_), statistics_of(target))


def test_the_tail_is_adapted_from_cached_activations(data, target, tmp_path, monkeypatch):
    model = classifier(unfreeze=1, cache=tmp_path).fit(*data)
    expected = model.predict_proba(target)  # caches the activations at the cut
    monkeypatch.setattr(ImagePreset, "__call__", lambda *_: pytest.fail("decoded again"))
    adapted = model.adapt(target)
    assert not np.allclose(adapted.predict_proba(target), expected)


def test_a_regressor_is_adapted(data, target):
    model = FineTuneRegressor(tiny_backbone, max_epochs=0, freeze_bn="own", random_state=0)
    model.fit(data[0], np.arange(36.0))
    adapted = model.adapt(target)
    assert type(adapted) is FineTuneRegressor
    assert equal(get_statistics(adapted.backbone_), statistics_of(target))


def test_an_adapted_model_is_pickled_and_saved(data, target, tmp_path, monkeypatch):
    monkeypatch.setitem(registry._registered, "tiny", TinyProvider())
    model = classifier().set_params(backbone="tiny/net").fit(*data).adapt(target)
    expected = model.predict_proba(target)
    save(model, tmp_path / "model.safetensors")
    for other in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model.safetensors")):
        assert np.array_equal(other.predict_proba(target), expected)


def test_stages_are_the_tail_or_all(model, target):
    with pytest.raises(ValueError, match="stages must be one of 'tail', 'all'; got 'head'"):
        model.adapt(target, stages="head")


def test_an_unfitted_model_cannot_be_adapted(target):
    with pytest.raises(NotFittedError):
        classifier().adapt(target)


def test_a_model_without_trainable_stages_is_adapted_as_a_whole(data, target):
    model = classifier(unfreeze=0, freeze_bn="all").fit(*data)
    message = "must have batch norm after the frozen stages.* Unfreeze the last stages that have"
    with pytest.raises(ValueError, match=message):
        model.adapt(target)
    whole = model.adapt(target, stages="all")
    assert equal(get_statistics(whole.backbone_), statistics_of(target))


@pytest.mark.parametrize("unfreeze", [0, "all"])
def test_own_statistics_need_batch_norm_after_the_cut(data, unfreeze):
    def without():
        return Backbone({"stem": nn.Conv2d(3, 4, 3)}, ImagePreset(size=8, crop=1.0))

    model = FineTuneClassifier(without, freeze_bn="own", unfreeze=unfreeze, max_epochs=0)
    with pytest.raises(ValueError, match="The backbone must have batch norm"):
        model.fit(*data)
