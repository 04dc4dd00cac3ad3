"""Features with the batch-norm statistics of the items, or of each domain of them."""

import io
import pickle

import joblib
import numpy as np
import pytest
import sklearn
import torch
from helpers.text_nets import text_backbone
from helpers.tiny import coloured_photos, tiny_backbone
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

import sktransfer
from sktransfer import ActivationCache, Backbone, ImagePreset, PretrainedFeatureExtractor

DOMAINS = np.repeat(["drawing", "photo"], 18)


@pytest.fixture(scope="module")
def photos():
    return coloured_photos()[0]


def as_files(photos):
    """The contents of PNG files."""
    files = [io.BytesIO() for _ in photos]
    for file, photo in zip(files, photos, strict=True):
        Image.fromarray(photo).save(file, "PNG")
    return [file.getvalue() for file in files]


def extractor(batch_norm, **how):
    return PretrainedFeatureExtractor(tiny_backbone, batch_norm=batch_norm, **how)


@pytest.fixture(scope="module")
def own(photos):
    return extractor("data").fit_transform(photos)


def plain_backbone():
    return Backbone({"stem": nn.Conv2d(3, 4, 3)}, ImagePreset(size=8, crop=1.0))


def test_the_features_have_a_variance_of_about_one_before_the_activation(photos, own):
    stored = extractor("stored").fit_transform(photos)
    assert own.shape == stored.shape
    maps = extractor("data", layer=["stem"], pooling="flatten").fit_transform(photos)
    maps = maps.reshape(36, 8, -1)
    share = (maps > 0).mean((0, 2))  # of a centred variable with the affine part (1, 0)
    assert np.abs(share - 0.5).max() < 0.2
    assert not np.allclose(own, stored, atol=0.1)


def test_fit_and_transform_give_the_features_of_fit_transform(photos, own):
    model = extractor("data").fit(photos)
    assert np.array_equal(model.transform(photos), own)
    assert np.array_equal(model.transform(photos[:5]), own[:5])


def test_the_features_depend_on_the_set_of_items_alone(photos, own):
    again = extractor("data", batch_size=16, n_jobs=2).fit([*photos[::-1], *photos[:7]])
    assert np.array_equal(again.transform(photos), own)


def test_both_are_the_stored_features_and_those_of_the_data(photos, own):
    model = extractor("both")
    features = model.fit_transform(photos)
    assert np.array_equal(features[:, :16], extractor("stored").fit_transform(photos))
    assert np.array_equal(features[:, 16:], own)
    names = model.get_feature_names_out()
    assert names[0] == "stored_last_0"
    assert names[31] == "data_last_15"
    assert len(set(names)) == 32
    assert model.set_output(transform="pandas").transform(photos[:2]).shape == (2, 32)


def test_several_layers_have_their_features_in_order(photos):
    features = extractor("both", layer=["stem", "last"]).fit_transform(photos)
    single = [
        extractor(kind, layer=layer).fit_transform(photos)
        for kind in ("stored", "data")
        for layer in ("stem", "last")
    ]
    assert np.array_equal(features, np.concatenate(single, axis=1))


def test_the_logits_use_the_statistics_of_the_data(photos):
    logits = extractor("data", layer="logits").fit_transform(photos)
    assert logits.shape == (36, 4)
    assert not np.allclose(logits, extractor("stored", layer="logits").fit_transform(photos))


def test_each_domain_has_statistics_of_its_own(photos):
    model = extractor("data").fit(photos, sample_domain=DOMAINS)
    features = model.transform(photos, sample_domain=DOMAINS)
    for part in (slice(0, 18), slice(18, 36)):
        assert np.array_equal(features[part], extractor("data").fit_transform(photos[part]))
    assert list(model.statistics_) == ["drawing", "photo"]
    target = model.transform(photos[18:20], sample_domain=["photo", "photo"])
    assert np.array_equal(target, features[18:20])
    mixed = np.arange(36)[::-1]
    shuffled = model.transform(photos[mixed], sample_domain=DOMAINS[mixed])
    assert np.array_equal(shuffled, features[mixed])


def test_integers_name_domains_too(photos):
    codes = np.where(DOMAINS == "photo", -2, 1)
    features = extractor("both").fit_transform(photos, sample_domain=codes)
    named = extractor("both").fit_transform(photos, sample_domain=DOMAINS)
    assert np.array_equal(features, named)


@pytest.mark.parametrize(
    ("fitted", "asked", "message"),
    [
        (DOMAINS, None, "must be passed, because it was passed to fit with the domains 'drawing'"),
        (None, DOMAINS, "must be None, because it was not passed to fit; got 'drawing'"),
        (DOMAINS, ["photo"] * 35 + ["map"], "must hold domains of fit: 'drawing', 'photo'; got"),
    ],
)
def test_unknown_domains_are_an_error(photos, fitted, asked, message):
    model = extractor("data").fit(photos, sample_domain=fitted)
    with pytest.raises(ValueError, match=f"sample_domain {message}"):
        model.transform(photos, sample_domain=asked)


def test_domains_have_no_effect_on_stored_statistics(photos):
    model = extractor("stored").fit(photos, sample_domain=DOMAINS)
    assert model.statistics_ == {}
    assert np.array_equal(model.transform(photos, sample_domain=DOMAINS), model.transform(photos))


@pytest.mark.parametrize(
    ("domains", "error", "message"),
    [
        (DOMAINS[1:], ValueError, "inconsistent numbers of samples"),
        (np.arange(36) / 2, TypeError, "must hold integers, or strings; got float"),
        ([1, "photo"] * 18, TypeError, "must hold integers, or strings; got int, str"),
        (np.zeros((36, 2), int), ValueError, "1d array"),
    ],
)
def test_domains_that_are_no_domains_are_an_error(photos, domains, error, message):
    domains = np.array(domains, dtype=object) if isinstance(domains, list) else domains
    with pytest.raises(error, match=message):
        extractor("data").fit(photos, sample_domain=domains)


def test_a_pipeline_routes_the_domains(photos):
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(extractor("data"), LogisticRegression())
        y = np.arange(36) % 2
        pipeline.fit(photos, y, sample_domain=DOMAINS)
        expected = LogisticRegression().fit(
            extractor("data").fit_transform(photos, sample_domain=DOMAINS), y
        )
        predicted = pipeline.predict_proba(photos[:3], sample_domain=DOMAINS[:3])
    own = extractor("data").fit(photos[:18]).transform(photos[:3])
    assert np.array_equal(predicted, expected.predict_proba(own))


def test_a_network_without_batch_norm_is_an_error(photos):
    model = PretrainedFeatureExtractor(plain_backbone, batch_norm="data")
    with pytest.raises(ValueError, match="The backbone must have batch norm with stored"):
        model.fit(photos)


def test_texts_of_several_lengths_are_an_error():
    def with_batch_norm():
        backbone = text_backbone()
        name = backbone.names[-1]
        backbone.stages[name] = nn.Sequential(backbone.stages[name], nn.BatchNorm1d(4))
        return backbone

    model = PretrainedFeatureExtractor(with_batch_norm, batch_norm="data")
    with pytest.raises(ValueError, match="The items must have one length"):
        model.fit(["a film", "the film"])


def test_another_name_is_an_error(photos):
    with pytest.raises(
        ValueError, match="batch_norm must be one of 'stored', 'data', 'both'; got 'own'"
    ):
        extractor("own").fit(photos)


def test_the_parameter_does_not_change_what_was_fitted(photos, own):
    model = extractor("data").fit(photos).set_params(batch_norm="stored")
    assert np.array_equal(model.transform(photos), own)


@pytest.mark.parametrize("batch_norm", ["data", "both"])
def test_a_pickle_keeps_the_features(photos, batch_norm, tmp_path):
    model = extractor(batch_norm)
    features = model.fit_transform(photos, sample_domain=DOMAINS)
    joblib.dump(model, tmp_path / "model.joblib")
    for other in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        assert np.array_equal(other.transform(photos, sample_domain=DOMAINS), features)
        assert clone(other).get_params() == clone(model).get_params()


def test_the_cache_keeps_both_kinds_of_features_apart(photos, own, tmp_path):
    cache = ActivationCache(tmp_path)
    stored = extractor("stored", cache=cache).fit_transform(photos)
    assert np.array_equal(extractor("data", cache=cache).fit_transform(photos), own)
    assert np.array_equal(extractor("stored", cache=cache).fit_transform(photos), stored)
    assert sorted(row["rows"] for row in cache.info().values())[-2:] == [36, 36]


def test_both_reads_cached_features(photos, own, tmp_path, monkeypatch):
    cache = ActivationCache(tmp_path)
    extractor("stored", cache=cache).fit_transform(photos)
    extractor("data", cache=cache).fit_transform(photos)
    monkeypatch.setattr(ImagePreset, "__call__", lambda *_: pytest.fail("decoded again"))
    features = extractor("both", cache=cache).fit_transform(photos)
    assert np.array_equal(features[:, 16:], own)


def test_an_item_that_cannot_be_decoded_has_a_row_of_nan_and_one_warning(photos):
    X = [b"no image", *as_files(photos)]
    with pytest.warns(UserWarning, match=r"X\[0\]") as caught:
        features = extractor("both", decode_error="warn").fit_transform(X)
    assert len(caught) == 1
    assert np.isnan(features[0]).all()
    assert np.array_equal(features[1:, 16:], extractor("data").fit_transform(X[1:]))
    with pytest.raises(sktransfer.exceptions.DecodeError, match=r"X\[0\]"):
        extractor("data").fit(X)


def test_the_positions_in_messages_are_those_of_x(photos):
    files = as_files(photos)
    X = [*files[:30], b"no image", *files[31:]]
    with pytest.raises(sktransfer.exceptions.DecodeError, match=r"X\[30\]"):
        extractor("data").fit(X, sample_domain=DOMAINS)
    model = extractor("data").fit(files, sample_domain=DOMAINS)
    with pytest.raises(sktransfer.exceptions.DecodeError, match=r"X\[30\]"):
        model.transform(X, sample_domain=DOMAINS)


def test_the_network_of_the_result_has_stored_statistics(photos):
    model = extractor("data").fit(photos)
    stored = extractor("stored").fit(photos)
    assert model.backbone_.weights_fingerprint() == stored.backbone_.weights_fingerprint()
    assert {name.rpartition(".")[2] for name in model.statistics_[None]} == {
        "running_mean",
        "running_var",
    }
    assert not any(p.requires_grad for p in model._fitted.own[None].backbone.parameters())
    assert torch.is_tensor(next(model.backbone_.parameters()))
