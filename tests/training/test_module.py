"""The module of a fitted model computes its predictions, and is an ordinary module of torch."""

import pickle

import numpy as np
import pytest
import torch
from helpers.fine_tuning import classifier, equal
from helpers.provider import TinyProvider
from sklearn.exceptions import NotFittedError
from torch import nn

from sktransfer import FineTuneClassifier, load, save
from sktransfer.backbones import registry
from sktransfer.callbacks import ModelEMA


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(registry._registered, "tiny", TinyProvider())


def batch_of(model, X):
    """Return the inputs of the network for items."""
    preset = model.backbone_.preset
    return preset.collate([preset(item) for item in X], len(X))


def logits_of(model, X):
    with torch.inference_mode():
        return model.module_(batch_of(model, X)).numpy()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"unfreeze": 0},
        {"unfreeze": 1, "dropout": 0.5, "pooling": "avgmax"},
        {"pooling": "flatten", "freeze_bn": "frozen"},
        {"head": "mlp"},
        {"weights": None},
        {"skorch_callbacks": [ModelEMA(0.8)]},
        {"backbone": "builtin/mini", "image_size": 32},
    ],
    ids=lambda parameters: ", ".join(parameters) or "defaults",
)
def test_the_module_agrees_with_predict(photos, parameters):
    X, y = photos
    model = classifier().set_params(**({"backbone": "tiny/net"} | parameters)).fit(X, y)
    logits = logits_of(model, X)
    np.testing.assert_array_equal(model.classes_[logits.argmax(1)], model.predict(X))
    np.testing.assert_allclose(logits, model.decision_function(X), atol=1e-4)
    probabilities = torch.softmax(torch.from_numpy(logits), 1).numpy()
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-4)


def test_the_module_agrees_with_predict_for_multi_label_targets(photos):
    X, y = photos[0], np.stack([photos[1] == "red", photos[1] != "blue"], 1).astype(int)
    model = classifier().fit(X, y)
    probabilities = torch.sigmoid(torch.from_numpy(logits_of(model, X))).numpy()
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-4)


def test_the_module_of_a_float64_table_takes_inputs_in_float32():
    X, y = np.random.default_rng(0).random((20, 48)), np.arange(20) % 3
    model = classifier().fit(X, y)
    logits = logits_of(model, [row.reshape(4, 4, 3) for row in X])
    np.testing.assert_allclose(logits, model.decision_function(X), atol=1e-5)


def test_the_head_on_the_backbone_lacks_the_standardisation(photos):
    model = classifier(unfreeze=0).fit(*photos)
    module, batch = model.module_, batch_of(model, photos[0])
    with torch.inference_mode():
        features = model.backbone_(batch).mean((2, 3))
        standardised = (features - module.mean) / module.scale
        np.testing.assert_allclose(model.head_(standardised), module(batch), atol=1e-5)
        assert not torch.allclose(model.head_(features), module(batch), atol=1e-2)


@pytest.mark.parametrize("stored", ["pickled", "saved"])
def test_a_stored_model_has_the_same_module(photos, tmp_path, stored):
    model = classifier().set_params(backbone="tiny/net").fit(*photos)
    if stored == "saved":
        save(model, tmp_path / "model.safetensors")
        again = load(tmp_path / "model.safetensors")
    else:
        size = len(pickle.dumps(model))
        assert model.module_ is not None
        content = pickle.dumps(model)
        assert abs(len(content) - size) < 100  # the copy is not part of a pickle
        again = pickle.loads(content)
    np.testing.assert_array_equal(logits_of(again, photos[0]), logits_of(model, photos[0]))


def test_an_unfitted_model_has_no_module():
    with pytest.raises(NotFittedError, match="no attribute 'module_', because it is not fitted"):
        _ = FineTuneClassifier().module_


def test_the_module_is_a_copy_that_can_be_trained(photos):
    X, _ = photos
    model = classifier(unfreeze=1, freeze_bn="all").fit(*photos)
    before, predicted = model.net_.module_.state_dict(), model.predict_proba(X)
    module = model.module_
    assert module is model.module_
    assert not module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not any(parameter.requires_grad for parameter in model.backbone_.parameters())
    module.train()
    module(batch_of(model, X)).sum().backward()
    torch.optim.SGD(module.parameters(), 1.0).step()
    assert equal(before, model.net_.module_.state_dict())
    np.testing.assert_array_equal(model.predict_proba(X), predicted)


@pytest.mark.parametrize("unfreeze", [0, "all"])
def test_grad_cam_gets_the_gradients_of_a_stage(photos, unfreeze):
    X, y = photos
    model = classifier(unfreeze=unfreeze).fit(X, y)
    module, seen = model.module_, {}

    def keep(stage, inputs, output):
        seen["maps"] = output.detach()
        output.register_hook(lambda gradient: seen.update(gradient=gradient))

    handle = module.backbone.stages["layer2"].register_forward_hook(keep)
    module(batch_of(model, X[:1]))[0, 2].backward()
    handle.remove()
    n_positions = seen["maps"].shape[2] * seen["maps"].shape[3]
    # The score of a class is linear in the mean of each map.
    expected = module.head.weight[2] / module.scale / n_positions
    np.testing.assert_allclose(
        seen["gradient"][0].mean((1, 2)), expected.detach(), rtol=1e-4, atol=1e-6
    )
    weights = seen["gradient"].mean((2, 3), keepdim=True)
    cam = nn.functional.relu((weights * seen["maps"]).sum(1))
    assert cam.shape == (1, *seen["maps"].shape[2:])
    assert cam.isfinite().all()


def test_the_module_can_be_exported_for_batches_of_any_size(photos):
    X, y = photos
    model = classifier().fit(X, y)
    batch, n = batch_of(model, X), torch.export.Dim("n", min=2)
    program = torch.export.export(model.module_, (batch[:4],), dynamic_shapes={"x": {0: n}})
    with torch.inference_mode():
        found = program.module()(batch)
    np.testing.assert_allclose(found, logits_of(model, X), atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_the_module_can_be_traced(photos):
    X, y = photos
    model = classifier().fit(X, y)
    batch = batch_of(model, X)
    traced = torch.jit.trace(model.module_, batch[:4])
    with torch.inference_mode():
        np.testing.assert_allclose(traced(batch), logits_of(model, X), atol=1e-5)
