"""The extractor returns the same features for items of every kind, and names wrong parameters."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from helpers.tiny import tiny_backbone
from PIL import Image
from sklearn.base import clone

from sktransfer import ImagePreset, PretrainedFeatureExtractor
from sktransfer._support import progress

KINDS = {
    "list of str": list,
    "list of Path": lambda paths: [Path(p) for p in paths],
    "array of str": np.array,
    "array of objects": lambda paths: np.array(paths, dtype=object),
    "pandas column": pd.Series,
    "pandas frame": lambda paths: pd.DataFrame({"path": paths}),
    "polars column": pl.Series,
    "polars frame": lambda paths: pl.DataFrame({"path": paths}),
    "bytes": lambda paths: [Path(p).read_bytes() for p in paths],
    "PIL": lambda paths: [Image.open(p) for p in paths],
    "arrays": lambda paths: [np.asarray(Image.open(p)) for p in paths],
    "channels first": lambda paths: np.stack([np.asarray(Image.open(p)) for p in paths]).transpose(
        0, 3, 1, 2
    ),
    "flattened": lambda paths: np.stack([np.asarray(Image.open(p)).ravel() for p in paths]),
    "tensor": lambda paths: torch.stack([torch.from_numpy(np.array(Image.open(p))) for p in paths]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_item_does_not_change_a_bit(extractor, paths, features, kind):
    assert np.array_equal(extractor.fit_transform(KINDS[kind](paths)), features)


def test_the_features_are_float32_with_a_row_for_each_item(features):
    assert features.dtype == np.float32
    assert features.shape == (10, 16)


@pytest.mark.parametrize(
    ("params", "width"),
    [
        ({"layer": "stem"}, 8),
        ({"layer": ["stem", "layer2"]}, 24),
        ({"layer": ["layer2", "stem"], "pooling": "avgmax"}, 48),
        ({"layer": "logits"}, 4),
        ({"layer": "probabilities"}, 4),
        ({"layer": ["last", "logits"]}, 20),
        ({"pooling": "max"}, 16),
        ({"pooling": "flatten"}, 64),
        ({"pooling": "flatten", "image_size": 32}, 256),
    ],
)
def test_layer_and_pooling_decide_the_width(extractor, images, params, width):
    found = extractor.set_params(**params).fit_transform(images)
    assert found.shape == (10, width)
    assert len(set(extractor.get_feature_names_out())) == width


@pytest.mark.parametrize(
    "params",
    [
        {"layer": "layer1"},
        {"pooling": "max"},
        {"image_size": 32},
        {"preset": {"mean": (0.5, 0.5, 0.5)}},
        {"preset": ImagePreset(size=24)},
        {"precision": "bfloat16"},
        {"backbone": "builtin/mini"},
    ],
)
def test_a_parameter_set_after_fit_changes_the_next_fit(extractor, images, features, params):
    found = extractor.set_params(**params).fit_transform(images)
    assert not np.array_equal(found, features)


@pytest.mark.parametrize("params", [{"batch_size": 3}, {"n_jobs": 2}, {"verbose": 0}])
def test_batch_size_and_threads_do_not_change_the_features(extractor, images, features, params):
    found = extractor.set_params(**params).fit_transform(images)
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-6)


def test_the_preset_comes_with_the_weights_and_can_be_overridden(images):
    extractor = PretrainedFeatureExtractor("torchvision/squeezenet1_1", weights=None, image_size=32)
    assert extractor.fit(images).weights_info_["mean"] == (0.485, 0.456, 0.406)
    assert extractor.backbone_.preset.size == 32
    extractor.set_params(preset={"mean": (0.5, 0.5, 0.5)}).fit(images)
    assert extractor.backbone_.preset.mean == (0.5, 0.5, 0.5)


def test_weights_that_the_layer_does_not_need_are_not_kept(images):
    stem = PretrainedFeatureExtractor(tiny_backbone, layer="stem").fit(images)
    assert stem.backbone_.names == ["stem"]
    assert stem.backbone_.classifier is None


def test_a_progress_bar_shows_on_terminals_only(extractor, images, capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0)
    extractor.set_params(verbose=1).fit_transform(images)
    assert capsys.readouterr() == ("", "")


# Fits


def test_a_fit_forgets_the_one_before(extractor, images, features):
    extractor.set_params(layer="stem").fit(images)
    extractor.set_params(layer="last").fit(images)
    assert np.array_equal(extractor.transform(images), features)


def test_an_extractor_fitted_to_arrays_transforms_paths(extractor, images, paths, features):
    assert np.array_equal(extractor.fit(images).transform(paths), features)


def test_a_failed_fit_leaves_the_last_fit_in_place(extractor, images, features):
    extractor.set_params(layer="layer9")
    with pytest.raises(ValueError, match=r"layer must be one of"):
        extractor.fit(images)
    assert np.array_equal(extractor.transform(images), features)


def test_a_failed_fit_transform_leaves_the_last_fit_in_place(extractor, rng):
    table = rng.random((5, 64))
    expected = extractor.fit_transform(table)
    with pytest.raises(ValueError, match=r"X\[0\]"):
        extractor.set_params(layer="stem").fit_transform([b"no image"])
    assert extractor.n_features_in_ == 64
    assert np.array_equal(extractor.transform(table), expected)


def test_a_fit_does_not_change_the_backbone_that_a_factory_returns(images, features):
    same = tiny_backbone()
    PretrainedFeatureExtractor(lambda: same, layer="stem").fit(images)
    assert same.names == ["stem", "layer1", "layer2"]
    again = PretrainedFeatureExtractor(lambda: same)
    assert np.array_equal(again.fit_transform(images), features)


def test_a_clone_has_the_parameters_and_nothing_else(extractor, images):
    copy = clone(extractor.fit(images))
    assert vars(copy).keys() == extractor.get_params().keys()


def test_a_fit_leaves_the_random_generators_of_the_caller_alone(images):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    numpys = np.random.get_state()[1].copy()  # noqa: NPY002 - the caller's is the global one
    PretrainedFeatureExtractor("builtin/mini").fit_transform(images)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002 - the caller's is the global one


def test_a_fit_does_not_change_the_images(extractor, images):
    before = images.copy()
    extractor.fit_transform(images)
    assert np.array_equal(images, before)


# Errors


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"layer": "layer9"}, ValueError, "layer must be one of 'stem', .*; got 'layer9'."),
        ({"layer": []}, ValueError, "layer must name at least one stage; got an empty list."),
        ({"layer": ["stem", "stem"]}, ValueError, "layer must name each stage once; got"),
        ({"pooling": "avgg"}, ValueError, "pooling must be one of .*Did you mean 'avg'"),
        ({"pooling": "cls"}, ValueError, "pooling must not be 'cls': .* has no class token"),
        ({"precision": "float16"}, ValueError, "precision must be one of"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1"),
        ({"n_jobs": -2.5}, ValueError, "n_jobs must be an integer"),
        ({"image_size": 0}, ValueError, "image_size must be an integer of at least 1"),
        ({"decode_error": "skip"}, ValueError, "decode_error must be one of"),
        ({"verbose": -1}, ValueError, "verbose must be an integer of at least 0"),
        ({"device": "tpu"}, ValueError, "device must be one of"),
        ({"preset": {"men": 0}}, ValueError, "a key of preset must be one of.*Did you mean 'mean'"),
        ({"preset": {"mean": 0.5}}, TypeError, "preset must hold .*got {'mean': 0.5}"),
        (
            {"layer": None},
            TypeError,
            "layer must be one of 'stem', .*, or a list of them; got None.",
        ),
        (
            {"layer": [["stem"]]},
            TypeError,
            "layer must be one of 'stem', .*, or a list of them; got",
        ),
        ({"image_shape": 5}, (TypeError, ValueError), "image_shape must be"),
        ({"device": torch.device("meta")}, ValueError, "device must be one of .*got 'meta'"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be an integer of at least 1"),
        ({"weights": "a.pth"}, ValueError, "weights must be 'default' if backbone is a fac"),
        ({"preset": 3}, TypeError, "preset must be a dict, a preset, or None; got int"),
        ({"cache": joblib.Memory(None)}, TypeError, "cache must be .*folder.*got Memory"),
        ({"backbone": 3}, TypeError, "backbone must be an address"),
    ],
)
def test_a_wrong_parameter_is_named_and_fits_nothing(extractor, images, params, error, message):
    extractor.set_params(**params)
    with pytest.raises(error, match=message):
        extractor.fit(images)
    assert not hasattr(extractor, "backbone_")


@pytest.mark.parametrize(
    "params", [{"decode_error": "rase"}, {"n_jobs": 0}, {"verbose": -1}, {"cache": 3}]
)
def test_transform_checks_the_parameters_that_it_reads(extractor, images, features, params):
    extractor.set_params(**params)
    with pytest.raises((ValueError, TypeError), match=f"^{next(iter(params))} must be"):
        extractor.transform(images)


def test_a_backbone_without_classifier_has_no_logits(images):
    extractor = PretrainedFeatureExtractor(lambda: tiny_backbone().truncate(3), layer="logits")
    with pytest.raises(
        ValueError, match=r"layer must be a stage if the backbone has no classifier"
    ):
        extractor.fit(images)


def test_a_missing_device_is_named(extractor, images, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device must be one that torch finds here: .*got 'cuda'"):
        extractor.set_params(device="cuda").fit(images)


@pytest.mark.parametrize(
    ("device", "guess"),
    [
        *[("gpu", "'cuda'"), ("GPU:0", "'cuda'"), ("CUDA", "'cuda'"), ("cuda0", "'cuda:0'")],
        *[("cuda:x", "'cuda:0'"), ("cuda:", "'cuda:0'"), ("CPU", "'cpu'")],
    ],
)
def test_a_wrong_name_of_a_device_is_an_error_that_suggests_the_right_one(
    extractor, images, device, guess
):
    message = (
        r"device must be one of 'auto', 'cpu', 'cuda', 'mps', or a GPU by its number such as "
        rf"'cuda:1'; got '{device}'\. Did you mean {guess}\?"
    )
    with pytest.raises(ValueError, match=message):
        extractor.set_params(device=device).fit(images)


def test_a_gpu_is_called_mps_on_a_mac(extractor, images, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ValueError, match=r"got 'gpu'\. Did you mean 'mps'\?"):
        extractor.set_params(device="gpu").fit(images)


@pytest.mark.parametrize("device", ["cuda:1", "cuda:27"])
def test_a_gpu_that_is_missing_is_named(extractor, images, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    message = rf"device must be one that torch finds here: .*'cuda:0'.*; got '{device}'\."
    with pytest.raises(ValueError, match=message):
        extractor.set_params(device=device).fit(images)


def test_an_image_size_that_is_too_small_is_an_error(images):
    extractor = PretrainedFeatureExtractor("torchvision/alexnet", weights=None, image_size=16)
    with pytest.raises(ValueError, match=r"image_size must be"):
        extractor.fit(images)
