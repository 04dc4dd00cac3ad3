"""``save(frozen="fingerprint")`` leaves out what the original weights contain."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bert_tokens import WORDS
from helpers.text_folders import write_folder
from safetensors import safe_open
from safetensors.torch import save_file

from sktransfer import (
    FineTuneClassifier,
    FineTuneRegressor,
    PretrainedFeatureExtractor,
    get_backbone,
    load,
    save,
)

LABELS = np.array(["a", "b", "c"] * 4)


def stored(path):
    """The names of the tensors in a file."""
    with safe_open(path, "pt") as file:
        return set(file.keys())


def fitted(images, **parameters):
    parameters = {"image_size": 32, "max_epochs": 1, "random_state": 0} | parameters
    return FineTuneClassifier(**parameters).fit(images, LABELS)


def test_a_frozen_network_is_left_out_and_predictions_have_the_same_bits(images, path):
    model = fitted(images, unfreeze=0)
    save(model, path, frozen="fingerprint")
    assert not any(name.startswith("backbone.") for name in stored(path))
    assert path.stat().st_size < 30_000
    loaded = load(path)
    assert np.array_equal(loaded.predict_proba(images), model.predict_proba(images))
    assert loaded.backbone_.weights_fingerprint() == model.backbone_.weights_fingerprint()
    assert loaded.get_params() == model.get_params()


def test_only_the_stages_that_moved_are_stored(images, path):
    model = fitted(images, unfreeze=1)
    save(model, path, frozen="fingerprint")
    kept = {name.split(".")[2] for name in stored(path) if name.startswith("backbone.")}
    assert kept == {"layer4"}
    assert np.array_equal(load(path).predict_proba(images), model.predict_proba(images))


def test_a_regressor_and_an_extractor_have_it_too(images, path):
    model = FineTuneRegressor(image_size=32, unfreeze=0, max_epochs=0).fit(images, np.arange(12.0))
    save(model, path, frozen="fingerprint")
    assert np.array_equal(load(path).predict(images), model.predict(images))
    features = PretrainedFeatureExtractor(image_size=32, layer="layer2").fit(images)
    save(features, path, frozen="fingerprint")
    assert stored(path) == set()
    assert np.array_equal(load(path).transform(images), features.transform(images))


def test_the_texts_of_a_network_are_divided_by_its_own_tokenizer(path, tmp_path):
    folder = write_folder(tmp_path / "tiny")
    texts = ["a film", "good", "a play", "bad film"] * 3
    features = PretrainedFeatureExtractor(f"transformers/{folder}", max_length=16).fit(texts)
    save(features, path, frozen="fingerprint")
    assert np.array_equal(load(path).transform(texts), features.transform(texts))
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    first, second = WORDS[:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="preset: was"):
        load(path)


def own_weights(tmp_path, name, seed):
    """A file of weights for the embedded network, which differ from its own."""
    state = get_backbone("builtin/mini").stages.state_dict()
    generator = torch.Generator().manual_seed(seed)
    first = next(key for key in state if key.endswith("weight"))
    state[first] = state[first] + 0.01 * torch.randn(state[first].shape, generator=generator)
    save_file(state, tmp_path / name)
    return tmp_path / name


def test_a_file_of_weights_is_asked_for(images, path, tmp_path):
    weights = own_weights(tmp_path, "own.safetensors", 0)
    model = fitted(images, unfreeze=0, weights=weights)
    save(model, path, frozen="fingerprint")
    with pytest.raises(ValueError, match="weights must be the file of weights of builtin/mini"):
        load(path)
    moved = weights.rename(tmp_path / "moved.safetensors")
    assert np.array_equal(
        load(path, weights=moved).predict_proba(images), model.predict_proba(images)
    )


def test_other_weights_are_refused_with_both_fingerprints(images, path, tmp_path):
    model = fitted(images, unfreeze=0)
    save(model, path, frozen="fingerprint")
    other = own_weights(tmp_path, "other.safetensors", 1)
    expected = get_backbone("builtin/mini").weights_fingerprint()
    found = get_backbone("builtin/mini", other).weights_fingerprint()
    with pytest.raises(ValueError, match=f"(?s){expected}.*{re.escape(str(other))}.*{found}"):
        load(path, weights=other)


def test_weights_for_a_whole_file_are_refused(images, path):
    save(fitted(images, unfreeze=0), path)
    with pytest.raises(ValueError, match="weights must be None for a file that contains the whole"):
        load(path, weights="default")


def test_random_weights_cannot_be_left_out(images, path):
    model = fitted(images, unfreeze=0, weights=None)
    with pytest.raises(ValueError, match="frozen must be 'whole' if the weights are random"):
        save(model, path, frozen="fingerprint")
    assert not Path(path).exists()


def test_an_unknown_way_to_save_is_refused(images, path):
    with pytest.raises(ValueError, match="frozen must be one of 'whole', 'fingerprint'; got 'no'"):
        save(fitted(images, unfreeze=0), path, frozen="no")


def test_the_difference_of_a_real_network_has_at_most_30_kilobytes(shared, images, path):
    weights = shared / "weights/mobilenet_v2_imagenet.safetensors"
    model = FineTuneClassifier(
        "torchvision/mobilenet_v2", weights=weights, image_size=64, unfreeze=0, max_epochs=0
    ).fit(images, LABELS == "a")
    save(model, path, frozen="fingerprint")
    assert path.stat().st_size <= 30_000
    loaded = load(path, weights=weights)
    assert np.array_equal(loaded.predict_proba(images), model.predict_proba(images))
