"""A model that cannot be saved without code raises an error with the reason."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.saved import parts
from helpers.tiny import tiny_backbone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback
from torch import nn

from sktransfer import (
    FineTuneClassifier,
    ImagePreset,
    PretrainedFeatureExtractor,
)
from sktransfer.persistence import file_format, load, save


def test_an_estimator_of_another_class_is_refused(make, path):
    model = make_pipeline(PretrainedFeatureExtractor(), LogisticRegression())
    with pytest.raises(
        TypeError, match=r"FineTuneClassifier.* or a Pre.*got Pipeline\. joblib\.dump"
    ):
        save(model, path)
    assert not path.exists()


def test_a_path_in_place_of_the_model_is_refused(make, path):
    with pytest.raises(TypeError, match=r"got the path 'm'. Pass it second: save\(model, path\)"):
        save("m", make())
    with pytest.raises(TypeError, match=r"path must be a str or path-like; got int\."):
        save(make(), 5)
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


def own_head(n_features, n_outputs):
    return nn.Sequential(nn.Linear(n_features, 4), nn.Tanh(), nn.Linear(4, n_outputs))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("head", {"head": own_head}),
        ("augment", {"augment": lambda image: image, "tta": 1}),
    ],
)
def test_code_that_prediction_needs_is_refused(make, path, name, parameters):
    model = make(unfreeze=0, head_init="prior", **parameters)
    with pytest.raises(TypeError, match=rf"(?s){name} must be one of the library's.*joblib\.dump"):
        save(model, path)
    assert not path.exists()


def test_parameters_that_prediction_does_not_need_are_left_out_and_named(make, images, path):
    model = make(
        unfreeze=1,
        head_init=LogisticRegression(),
        augment=lambda image: image,
        optimizer=torch.optim.SGD,
        random_state=np.random.RandomState(0),
    )
    with pytest.warns(UserWarning, match="are left out of") as record:
        save(model, path)
    for name in ("head_init", "augment", "optimizer", "random_state"):
        assert name in str(record[0].message)
    assert sorted(parts(path)[0]["left out"]) == [
        "augment",
        "head_init",
        "optimizer",
        "random_state",
    ]
    loaded = load(path)
    assert (loaded.optimizer, loaded.augment, loaded.random_state) == ("adamw", "auto", None)
    np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))


@pytest.mark.parametrize(
    ("weights", "difference"),
    [
        ("wide", r"stages\.layer2\.0: was torch.*kernel_size=\(5, 5\).*, is torch.*\(3, 3\)"),
        ("leaky", r"fingerprint: was [0-9a-f]{32}, is [0-9a-f]{32}"),
    ],
)
def test_a_network_that_its_address_does_not_give_is_refused(make, path, weights, difference):
    model = make(unfreeze=0, weights=weights)
    with pytest.raises(
        ValueError, match=rf"(?s)'tiny/net', and its parameters.*{difference}.*joblib"
    ):
        save(model, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", -1, r"lr must be a number in \(0, inf\), or 'auto'; got -1"),
        ("tta", 5000, r"tta must be an integer in \[0, 1024\]; got 5000"),
    ],
)
def test_a_parameter_that_load_would_refuse_is_refused(make, path, name, value, message):
    model = make(unfreeze=0).set_params(**{name: value})
    with pytest.raises(ValueError, match=rf"attributes that load accepts; .*{message}.*joblib"):
        save(model, path)
    assert not path.exists()


class OddPreset(ImagePreset):
    """A preset that only its author knows."""


def test_a_preset_of_an_unknown_class_is_refused(make, path):
    model = make(unfreeze=0, preset=OddPreset(size=16))
    with pytest.raises(ValueError, match="preset: was OddPreset, is ImagePreset"):
        save(model, path)


def test_a_preset_that_is_not_a_dataclass_must_equal_that_of_the_provider(make, images, path):
    model = make(unfreeze=0)
    own = model.backbone_.preset

    class Plain(SimpleNamespace):
        def fingerprint(self):
            return self.name

    model.backbone_.preset = Plain(name=own.fingerprint())
    save(model, path)
    np.testing.assert_array_equal(load(path).predict(images), make(unfreeze=0).predict(images))
    model.backbone_.preset = Plain(name="another")
    with pytest.raises(ValueError, match=r"preset: Plain.*, but the address gives "):
        save(model, path)


@pytest.mark.parametrize("name", ["", "nowhere/model.safetensors"])
def test_a_path_that_cannot_be_written_is_refused(make, tmp_path, name):
    with pytest.raises(OSError, match="path must be a file in an existing folder; got "):
        save(make(unfreeze=0), tmp_path / name)


@pytest.mark.parametrize("name", ["m.pkl", "m.joblib", "m.pt", "m.v1"])
def test_the_suffix_of_another_format_is_refused_with_the_right_one(make, tmp_path, name):
    right = re.escape(repr(str(tmp_path / "m.safetensors")))
    with pytest.raises(ValueError, match=rf"path must end in '\.safetensors', .*\. Use {right}, "):
        save(make(unfreeze=0), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["m", "m.safetensors", "m.SafeTensors"])
def test_a_file_has_the_suffix_of_its_format_or_none(make, tmp_path, name):
    save(make(unfreeze=0), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_text_that_is_too_long_is_refused(make, path, monkeypatch):
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


def test_recorded_values_that_are_not_plain_are_left_out_with_a_warning(make, path):
    class Recorder(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("matrix", np.eye(2))
            net.history.record("object", self)
            net.history.record("counts", np.arange(3))

    model = make(max_epochs=1, skorch_callbacks=[Recorder()])
    with pytest.warns(UserWarning, match="skorch_callbacks, 'matrix' of history_, 'object'"):
        save(model, path)
    row = load(path).history_[-1]
    assert row["counts"].tolist() == [0, 1, 2]
    assert not {"matrix", "object"} & row.keys()
    assert {"matrix", "object"} < model.history_[-1].keys()  # the model is unchanged
