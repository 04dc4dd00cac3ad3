"""A loaded model gives the same bits as the saved one, also on another machine."""

import pickle

import numpy as np
import pytest
import torch
from helpers import vector
from helpers.fresh import run_fresh
from helpers.saved import parts, write
from sklearn.datasets import load_digits
from torch import nn

from sktransfer import (
    ActivationCache,
    FineTuneClassifier,
    ImagePreset,
    MLPHead,
    PretrainedFeatureExtractor,
    Views,
)
from sktransfer.backbones import registry
from sktransfer.persistence import file_format, load, save
from sktransfer.schedules import SGDR, OneCycle, Warmup


def assert_alike(model, loaded, X):
    """Check that every method gives the same bits, and that the public attributes are equal."""
    for method in ("decision_function", "predict_proba", "predict", "transform"):
        np.testing.assert_array_equal(getattr(model, method)(X), getattr(loaded, method)(X), method)
    assert set(vars(loaded)) == set(vars(model))
    assert repr(loaded.get_params()) == repr(model.get_params())
    for name in ("history_", "report_", "n_iter_", "best_epoch_", "weights_info_", "skipped_"):
        assert repr(getattr(loaded, name)) == repr(getattr(model, name)), name
    assert type(loaded.history_) is type(model.history_)
    assert loaded.classes_.dtype == model.classes_.dtype
    assert loaded.classes_.tolist() == model.classes_.tolist()


# On the same machine


@pytest.mark.parametrize(
    "y",
    [
        list("abc" * 4),
        np.array(list("abc" * 4), object),
        np.array(list("abc" * 4), "<U7"),
        [3, -1, 2] * 4,
        np.array([0, 1] * 6, np.int8),
        [True, False] * 6,
        [[1, 0, 1], [0, 1, 1], [0, 0, 0]] * 4,
    ],
    ids=["str", "objects", "wide str", "int", "int8", "bool", "multi-label"],
)
def test_labels_of_any_type_are_loaded_unchanged(make, images, path, y):
    model = make(y, unfreeze=1)
    save(model, path)
    loaded = load(path)
    assert_alike(model, loaded, images)
    assert loaded.score(images, y) == model.score(images, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"unfreeze": 0},
        {"unfreeze": 1},
        {"unfreeze": "all"},
        {"unfreeze": "layer1", "weights": None},
        {"unfreeze": 0, "max_epochs": 0},
        {"unfreeze": 1, "head": "mlp"},
        {"unfreeze": 0, "head": MLPHead(hidden_sizes=(5, 4), dropout=0.1)},
        {"pooling": "avgmax", "dropout": 0.2, "freeze_bn": "frozen"},
        {"unfreeze": 1, "augment": Views(n=2), "tta": 2},
        {"unfreeze": 1, "augment": "trivial"},
        {"early_stopping": True, "validation_fraction": 0.5, "class_weight": {"a": 2.0}},
        {"image_size": 32, "preset": {"mean": (0.5, 0.4, 0.3)}},
        {"preset": ImagePreset(size=24, crop=1.0)},
        {"lr_schedule": OneCycle(warmup=0.5)},
        {"lr_schedule": Warmup(SGDR(cycle_length=1)), "unfreeze_every": 1},
        {"precision": "bfloat16"},
        {
            "device": torch.device("cpu"),
            "n_jobs": 1,
            "skorch_callbacks": [],
        },
    ],
    ids=str,
)
def test_models_with_any_parameters_predict_the_same_after_loading(make, images, path, parameters):
    model = make(**parameters)
    save(model, path)
    assert_alike(model, load(path), images)


def test_a_model_of_float64_rows_predicts_the_same_after_loading(path):
    X, y = load_digits(n_class=3, return_X_y=True, as_frame=True)
    model = FineTuneClassifier(image_size=32, max_epochs=1, random_state=0).fit(X[:40], y[:40])
    assert model._fitted.predictor.numerics.dtype == torch.float64
    save(model, path)
    loaded = load(path)
    assert_alike(model, loaded, X[:40])
    assert loaded.feature_names_in_.tolist() == list(X)
    assert loaded.n_features_in_ == 64


def test_a_network_of_vectors_is_loaded_with_its_own_preset(path, rng, monkeypatch):
    monkeypatch.setitem(registry._registered, "tests", vector)
    X, y = rng.random((12, 48)), [0, 1, 2] * 4
    model = FineTuneClassifier("tests/vector", preset={"width": 64}, max_epochs=1, random_state=0)
    save(model.fit(X, y), path)
    assert_alike(model, load(path), X)


@pytest.mark.parametrize(
    "layer", ["stem", "last", ["layer1", "last"], "logits", ["stem", "probabilities"]], ids=str
)
def test_an_extractor_gives_the_same_features_after_loading(images, path, layer):
    model = PretrainedFeatureExtractor("tiny/net", layer=layer)
    expected = model.fit_transform(images)
    save(model, path)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.transform(images), expected)
    assert loaded.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    assert loaded.get_params() == model.get_params()
    assert loaded.weights_info_ == model.weights_info_


@pytest.mark.parametrize("batch_norm", ["data", "both"])
@pytest.mark.parametrize("domains", [None, list("ab" * 6), [1, -2] * 6])
def test_an_extractor_with_statistics_of_the_data_is_loaded_unchanged(
    images, path, batch_norm, domains
):
    model = PretrainedFeatureExtractor("tiny/net", batch_norm=batch_norm)
    features = model.fit_transform(images, sample_domain=domains)
    save(model, path)
    loaded = load(path)
    assert np.array_equal(loaded.transform(images, sample_domain=domains), features)
    assert list(loaded.statistics_) == list(model.statistics_)
    assert list(loaded.get_feature_names_out()) == list(model.get_feature_names_out())


@pytest.mark.parametrize(
    ("fitted", "later"), [("linear", "mlp"), (MLPHead((5,), 0.1), "linear"), (nn.Linear, "mlp")]
)
def test_the_fitted_head_is_saved_if_the_parameter_has_changed(make, images, path, fitted, later):
    model = make(unfreeze=0, head=fitted, head_init="prior")
    expected = model.predict_proba(images)
    model.set_params(head=later, pooling="max", dropout=0.3, preset={"size": 20}, unfreeze="all")
    save(model, path)
    loaded = load(path)
    assert (loaded.head, loaded.pooling, loaded.dropout) == (later, "max", 0.3)
    np.testing.assert_array_equal(loaded.predict_proba(images), expected)


def test_a_head_of_the_library_is_saved_if_the_parameter_is_code(make, images, path):
    model = make(unfreeze=0, head=nn.Linear, head_init="prior")
    with pytest.warns(UserWarning, match="left out of .*: head"):
        save(model, path)
    np.testing.assert_array_equal(load(path).predict_proba(images), model.predict_proba(images))


@pytest.mark.parametrize("name", ["layer", "pooling", "image_size"])
def test_the_features_of_the_fit_are_saved_if_a_parameter_has_changed(images, path, name):
    model = PretrainedFeatureExtractor("tiny/net", layer=["stem", "last"])
    expected = model.fit_transform(images)
    model.set_params(**{name: {"layer": "layer1", "pooling": "max", "image_size": 64}[name]})
    save(model, path)
    np.testing.assert_array_equal(load(path).transform(images), expected)


def test_a_torchvision_network_gives_the_same_features_after_loading(path, rng):
    X = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    model = PretrainedFeatureExtractor(
        "torchvision/squeezenet1_1", weights=None, image_size=64, pooling="max"
    )
    expected = model.fit_transform(X)
    save(model, path)
    np.testing.assert_array_equal(load(path).transform(X), expected)


def test_a_loaded_model_can_be_saved_pickled_and_fitted_again(make, images, path):
    model = make(unfreeze=1)
    save(model, path)
    loaded = load(path)
    save(loaded, path)
    assert_alike(model, load(path), images)
    assert_alike(model, pickle.loads(pickle.dumps(loaded)), images)
    loaded.fit(images, list("abc" * 4))
    np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))


def test_a_fresh_process_gives_the_same_bits(path, rng, tmp_path):
    X = rng.integers(0, 256, (6, 40, 48, 3), np.uint8)
    model = FineTuneClassifier(image_size=32, unfreeze=1, max_epochs=1, random_state=0)
    model.fit(X, ["a", "b", "c"] * 2)
    save(model, path)
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy as np, torch\ntorch.set_num_threads(1)\n"
        "from sktransfer.persistence import load\n"
        "folder, path = sys.argv[1:]\n"
        "scores = load(path).decision_function(np.load(folder + '/X.npy'))\n"
        "np.save(folder + '/scores.npy', scores)"
    )
    run_fresh(code, tmp_path, path)
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), model.decision_function(X))


# On another machine


def test_a_model_loads_without_its_device(make, images, path):
    model = make(unfreeze=0)
    save(model, path)
    description, tensors = parts(path)
    description["parameters"]["device"] = "cuda:7"
    description["parts"]["numerics"]["of"]["device"]["of"] = "cuda:7"
    write(path, description, tensors)
    loaded = load(path)
    assert loaded.device == "cuda:7"
    assert loaded.predict(images).shape == (12,)


def test_a_model_loads_without_the_folders_of_the_other_machine(make, images, path, tmp_path):
    cache = ActivationCache(tmp_path / "cache", dtype="float32")
    model = make(unfreeze=1, cache=cache, checkpoint=tmp_path / "fits", augment=None)
    save(model, path)
    assert str(tmp_path).encode() not in path.read_bytes()
    loaded = load(path)
    assert (loaded.cache, loaded.checkpoint) == (None, None)
    n_bytes = cache.n_bytes
    expected = model.decision_function(images)
    np.testing.assert_allclose(loaded.decision_function(images), expected, rtol=1e-5, atol=1e-6)
    assert cache.n_bytes == n_bytes


@pytest.mark.parametrize("kind", [str, ActivationCache])
def test_a_model_loads_with_a_cache_on_request(make, images, path, tmp_path, kind):
    save(make(unfreeze=1), path)
    cache = kind(tmp_path / "cache")
    loaded = load(path, cache=cache)
    assert loaded.cache is cache
    loaded.predict(images)
    assert (tmp_path / "cache").is_dir()


def test_an_invalid_cache_is_refused_before_the_file_is_read(path):
    with pytest.raises(TypeError, match="cache must be None, the path of a folder"):
        load(path, cache=3)


def test_a_model_loads_without_its_file_of_weights(make, images, path, tmp_path):
    weights = tmp_path / "gone.safetensors"
    model = make(unfreeze=1, weights=weights)
    save(model, path)
    loaded = load(path)
    assert loaded.weights == weights
    assert_alike(model, loaded, images)


def test_a_warning_names_other_versions(saved):
    description, tensors = parts(saved)
    description["versions"]["torch"] = "1.0.0"
    write(saved, description, tensors)
    with pytest.warns(UserWarning, match=rf"torch 1\.0\.0, here {torch.__version__[:3]}"):
        load(saved)


def test_the_package_of_the_provider_is_among_the_versions(monkeypatch, make, path):
    monkeypatch.setattr(file_format, "version", lambda name: f"{len(name)}.0")
    save(make(unfreeze=0), path)
    versions = parts(path)[0]["versions"]
    assert versions["tiny"] == "4.0"
    assert versions["pillow"] == "6.0"
