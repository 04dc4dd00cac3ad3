"""What save wrote, load reads without running code: the same bits, or an error that says why."""

import errno
import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import vector
from helpers.provider import TinyProvider
from helpers.tiny import tiny_backbone
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
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


@pytest.fixture(autouse=True)
def tiny_provider(monkeypatch):
    monkeypatch.setitem(registry._registered, "tiny", TinyProvider())


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (12, 16, 16, 3), np.uint8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def make(images):
    """A function that fits a small classifier."""

    def made(y=tuple("abc" * 4), X=images, **parameters):
        parameters = {"backbone": "tiny/net", "max_epochs": 1, "random_state": 0} | parameters
        return FineTuneClassifier(**parameters).fit(X, np.asarray(y))

    return made


@pytest.fixture
def extractor(images):
    return PretrainedFeatureExtractor("tiny/net", layer=["stem", "last"]).fit(images)


@pytest.fixture
def saved(make, path):
    """The path of a small model."""
    save(make(unfreeze=0), path)
    return path


def parts(path):
    """The text, as a dict, and the tensors of a file."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no dict
        return json.loads(file.metadata()["sktransfer"]), tensors


def write(path, told, tensors):
    """A file whose text has its digest."""
    text = told if isinstance(told, str) else json.dumps(told)
    path.write_bytes(
        to_bytes(tensors, {"sktransfer": text, "digest": file_format._digest_of_text(text)})
    )


def assert_alike(model, again, X):
    """Every method gives the same bits, and every public attribute is the same."""
    for method in ("decision_function", "predict_proba", "predict", "transform"):
        np.testing.assert_array_equal(getattr(model, method)(X), getattr(again, method)(X), method)
    assert set(vars(again)) == set(vars(model))
    assert repr(again.get_params()) == repr(model.get_params())
    for name in ("history_", "report_", "n_iter_", "best_epoch_", "weights_info_", "skipped_"):
        assert repr(getattr(again, name)) == repr(getattr(model, name)), name
    assert type(again.history_) is type(model.history_)
    assert again.classes_.dtype == model.classes_.dtype
    assert again.classes_.tolist() == model.classes_.tolist()


# The same bits


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
def test_any_labels_come_back(make, images, path, y):
    model = make(y, unfreeze=1)
    save(model, path)
    again = load(path)
    assert_alike(model, again, images)
    assert again.score(images, y) == model.score(images, y)


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
def test_any_parameters_come_back(make, images, path, parameters):
    model = make(**parameters)
    save(model, path)
    assert_alike(model, load(path), images)


def test_a_table_in_double_precision_comes_back(path):
    X, y = load_digits(n_class=3, return_X_y=True, as_frame=True)
    model = FineTuneClassifier(image_size=32, max_epochs=1, random_state=0).fit(X[:40], y[:40])
    assert model._fitted.predictor.numerics.dtype == torch.float64
    save(model, path)
    again = load(path)
    assert_alike(model, again, X[:40])
    assert again.feature_names_in_.tolist() == list(X)
    assert again.n_features_in_ == 64


def test_a_network_of_vectors_comes_back_with_its_own_preset(path, rng, monkeypatch):
    monkeypatch.setitem(registry._registered, "tests", vector)
    X, y = rng.random((12, 48)), [0, 1, 2] * 4
    model = FineTuneClassifier("tests/vector", preset={"width": 64}, max_epochs=1, random_state=0)
    save(model.fit(X, y), path)
    assert_alike(model, load(path), X)


@pytest.mark.parametrize(
    "layer", ["stem", "last", ["layer1", "last"], "logits", ["stem", "probabilities"]], ids=str
)
def test_an_extractor_comes_back(images, path, layer):
    model = PretrainedFeatureExtractor("tiny/net", layer=layer, store_weights_in_pickle=False)
    expected = model.fit_transform(images)
    save(model, path)
    again = load(path)
    np.testing.assert_array_equal(again.transform(images), expected)
    assert again.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    assert again.get_params() == model.get_params()
    assert again.weights_info_ == model.weights_info_


def test_a_network_of_torchvision_comes_back(path, rng):
    X = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    model = PretrainedFeatureExtractor(
        "torchvision/squeezenet1_1", weights=None, image_size=64, pooling="max"
    )
    expected = model.fit_transform(X)
    save(model, path)
    np.testing.assert_array_equal(load(path).transform(X), expected)


def test_what_was_loaded_can_be_saved_pickled_and_fitted_again(make, images, path):
    model = make(unfreeze=1)
    save(model, path)
    again = load(path)
    save(again, path)
    assert_alike(model, load(path), images)
    assert_alike(model, pickle.loads(pickle.dumps(again)), images)
    again.fit(images, list("abc" * 4))
    np.testing.assert_array_equal(again.predict_proba(images), model.predict_proba(images))


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
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), model.decision_function(X))


# Somewhere else


def test_a_device_that_is_not_here_is_not_missed(make, images, path):
    model = make(unfreeze=0)
    save(model, path)
    told, tensors = parts(path)
    told["parameters"]["device"] = "cuda:7"
    told["parts"]["numerics"]["of"]["device"]["of"] = "cuda:7"
    write(path, told, tensors)
    again = load(path)
    assert again.device == "cuda:7"
    assert again.predict(images).shape == (12,)


def test_a_cache_of_somebody_else_is_not_missed(make, images, path, tmp_path, monkeypatch):
    model = make(unfreeze=1, cache=str(tmp_path / "cache"), augment=None)
    save(model, path)
    real = Path.is_dir

    def is_dir(folder):
        if folder == tmp_path / "cache":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    assert load(path).cache is None


def test_the_cache_is_not_missed(make, images, path, tmp_path):
    cache = ActivationCache(tmp_path / "cache", dtype="float32")
    model = make(unfreeze=1, cache=cache, augment=None)
    save(model, path)
    assert load(path).cache == cache
    expected = model.decision_function(images)
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    again = load(path)
    assert again.cache is None
    assert not (tmp_path / "cache").exists()
    np.testing.assert_allclose(again.decision_function(images), expected, rtol=1e-5, atol=1e-6)


def test_a_file_of_weights_is_not_missed(make, images, path, tmp_path):
    weights = tmp_path / "gone.safetensors"
    model = make(unfreeze=1, weights=weights)
    save(model, path)
    again = load(path)
    assert again.weights == weights
    assert_alike(model, again, images)


def test_other_versions_are_told_and_named(saved):
    told, tensors = parts(saved)
    told["versions"]["torch"] = "1.0.0"
    write(saved, told, tensors)
    with pytest.warns(UserWarning, match=rf"torch 1\.0\.0, here {torch.__version__[:3]}"):
        load(saved)


def test_the_package_of_the_provider_is_among_the_versions(monkeypatch, make, path):
    monkeypatch.setattr(file_format, "version", lambda name: f"{len(name)}.0")
    save(make(unfreeze=0), path)
    versions = parts(path)[0]["versions"]
    assert versions["tiny"] == "4.0"
    assert versions["pillow"] == "6.0"


# What cannot be saved


def test_another_estimator_is_refused(make, path):
    model = make_pipeline(PretrainedFeatureExtractor(), LogisticRegression())
    with pytest.raises(
        TypeError, match=r"FineTuneClassifier or a Pre.*got Pipeline\. joblib\.dump"
    ):
        save(model, path)
    assert not path.exists()


@pytest.mark.parametrize("kind", [FineTuneClassifier, PretrainedFeatureExtractor])
def test_an_estimator_that_was_not_fitted_is_refused(kind, path):
    with pytest.raises(NotFittedError):
        save(kind(), path)


@pytest.mark.parametrize("kind", [FineTuneClassifier, PretrainedFeatureExtractor])
def test_a_factory_is_refused(kind, images, path):
    model = kind(tiny_backbone).fit(images, list("abc" * 4))
    with pytest.raises(TypeError, match=r"backbone must be an address.*tiny_backbone.*joblib"):
        save(model, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("head", {"head": nn.Linear}),
        ("augment", {"augment": lambda image: image, "tta": 1}),
    ],
)
def test_code_that_prediction_needs_is_refused(make, path, name, parameters):
    model = make(unfreeze=0, head_init="prior", **parameters)
    with pytest.raises(TypeError, match=rf"{name} must be one of the library's own.*joblib\.dump"):
        save(model, path)
    assert not path.exists()


def test_what_prediction_does_not_need_is_left_out_and_named(make, images, path):
    model = make(
        unfreeze=1,
        head_init=LogisticRegression(),
        augment=lambda image: image,
        optimizer=torch.optim.SGD,
        random_state=np.random.RandomState(0),
    )
    with pytest.warns(UserWarning, match="are left out of") as told:
        save(model, path)
    for name in ("head_init", "augment", "optimizer", "random_state"):
        assert name in str(told[0].message)
    assert sorted(parts(path)[0]["left out"]) == [
        "augment",
        "head_init",
        "optimizer",
        "random_state",
    ]
    again = load(path)
    assert (again.optimizer, again.augment, again.random_state) == ("adamw", "auto", None)
    np.testing.assert_array_equal(again.predict_proba(images), model.predict_proba(images))


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ("wide", r"stages\.layer2\.0: was torch.*kernel_size=\(5, 5\).*, is torch.*\(3, 3\)"),
        ("leaky", r"fingerprint: was [0-9a-f]{32}, is [0-9a-f]{32}"),
    ],
)
def test_a_network_that_its_address_does_not_give_is_refused(make, path, weights, told):
    model = make(unfreeze=0, weights=weights)
    with pytest.raises(ValueError, match=rf"(?s)'tiny/net', and its parameters.*{told}.*joblib"):
        save(model, path)
    assert not path.exists()


def test_a_head_that_its_parameter_no_longer_gives_is_refused(make, path):
    model = make(unfreeze=0).set_params(head="mlp")
    with pytest.raises(ValueError, match=r"head\.weight: was torch.*, is none"):
        save(model, path)


class OddPreset(ImagePreset):
    """A preset that only its author knows."""


def test_a_preset_of_an_unknown_class_is_refused(make, path):
    model = make(unfreeze=0, preset=OddPreset(size=16))
    with pytest.raises(ValueError, match="preset: was OddPreset, is ImagePreset"):
        save(model, path)


def test_a_preset_that_is_no_dataclass_is_that_of_the_provider(make, images, path):
    model = make(unfreeze=0)
    own = model.backbone_.preset

    class Plain(SimpleNamespace):
        def fingerprint(self):
            return self.name

    model.backbone_.preset = Plain(name=own.fingerprint())
    save(model, path)
    np.testing.assert_array_equal(load(path).predict(images), make(unfreeze=0).predict(images))
    model.backbone_.preset = Plain(name="another")
    with pytest.raises(ValueError, match="preset: Plain"):
        save(model, path)


@pytest.mark.parametrize("name", ["", "nowhere/model.safetensors"])
def test_a_target_that_cannot_be_is_refused(make, tmp_path, name):
    with pytest.raises(OSError, match="path must be a file in a folder that is there; got "):
        save(make(unfreeze=0), tmp_path / name)


def test_a_text_without_end_is_refused(make, path, monkeypatch):
    monkeypatch.setattr(file_format, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="at most 50 characters"):
        save(make(unfreeze=0), path)


def test_a_save_that_fails_leaves_the_last_file(make, saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save(make(unfreeze=1), saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_class_that_is_none_of_ours_is_refused(saved):
    told, tensors = parts(saved)
    write(saved, told | {"class": "os.system"}, tensors)
    with pytest.raises(ValueError, match=r"its class is 'os\.system', none of FineTuneClassifier"):
        load(saved)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "[" * 100_000], ids=len)
def test_a_text_of_another_kind_is_refused(saved, text):
    write(saved, text, {})
    with pytest.raises(ValueError, match="its text cannot be read"):
        load(saved)


@pytest.mark.parametrize(
    "key", ["versions", "backbone", "parts", "parameters", "tail", "tensors", "class"]
)
def test_a_missing_key_is_named(saved, key):
    told, tensors = parts(saved)
    told.pop(key)
    write(saved, told, tensors)
    with pytest.raises(ValueError, match=rf"{key}|were changed"):
        load(saved)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("parameters", "random_state"), {"!": "os.system", "of": "true"}),
        (("parts", "task", "classes"), {"!": "array", "of": ["<U99999999", [99], ["a"] * 99]}),
        (("parts", "task", "classes"), {"!": "array", "of": ["O,O", [1], ["a"]]}),
        (("parameters", "augment"), {"!": "Views", "of": {"augment": "none such", "n": 1}}),
        (("parts", "numerics", "precision"), {"!": "dtype", "of": "load"}),
        (("tail", "cut"), {"!": "tuple"}),
        (("backbone", "preset", "fields"), {"nonsense": 1}),
        (("backbone", "address"), "nowhere/net"),
        (("parts", "numerics"), "three"),
        (("parameters", "fit"), "three"),
    ],
    ids=str,
)
def test_what_save_never_writes_is_a_value_error(saved, where, value):
    told, tensors = parts(saved)
    inner = told
    for key in where[:-1]:
        inner = inner[key]
        inner = inner.get("of", inner)
    inner[where[-1]] = value
    write(saved, told, tensors)
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own message
        load(saved)


def test_a_head_without_end_takes_no_memory(saved):
    told, tensors = parts(saved)
    told["parameters"]["head"] = {
        "!": "MLPHead",
        "of": {"hidden_sizes": [2**40, 2**20], "dropout": 0},
    }
    write(saved, told, tensors)
    with pytest.raises(ValueError, match=r"head\.0\.weight: was none, is torch.float32"):
        load(saved)


def test_a_network_that_is_another_here_is_named(saved, monkeypatch):
    class Other(TinyProvider):
        def load(self, name, weights):
            return super().load(name, "wide")

    monkeypatch.setitem(registry._registered, "tiny", Other())
    expected = r"(?s)stages\.layer2\.0: was .*, is .*The versions are the same"
    with pytest.raises(ValueError, match=expected):
        load(saved)
    told, tensors = parts(saved)
    told["versions"]["torch"] = "1.0.0"
    write(saved, told, tensors)
    with (
        pytest.warns(UserWarning, match="other versions"),
        pytest.raises(ValueError, match=r"Versions differ: torch 1\.0\.0, here"),
    ):
        load(saved)
