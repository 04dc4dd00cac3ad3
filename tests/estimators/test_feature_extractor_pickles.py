"""A pickle of the extractor gives the same bits in any process."""

import copy
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers.fresh import run_fresh
from helpers.tiny import tiny_backbone
from torchvision.models import googlenet, squeezenet1_1

from sktransfer import PretrainedFeatureExtractor

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("layer", ["last", "logits", ["stem", "layer1"]])
def test_a_pickle_gives_the_same_bits(images, layer):
    extractor = PretrainedFeatureExtractor(tiny_backbone, layer=layer).fit(images)
    loaded = pickle.loads(pickle.dumps(extractor))
    assert np.array_equal(loaded.transform(images), extractor.transform(images))
    assert loaded.weights_info_ == extractor.weights_info_


def test_an_unfitted_pickle_is_unfitted(extractor):
    loaded = pickle.loads(pickle.dumps(extractor))
    assert vars(loaded).keys() == vars(extractor).keys()


def test_a_fresh_process_gives_the_same_bits(extractor, images, tmp_path):
    joblib.dump((extractor.fit(images), images, extractor.transform(images)), tmp_path / "m")
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); import joblib, numpy; "
        f"model, X, Z = joblib.load({str(tmp_path / 'm')!r}); "
        "assert numpy.array_equal(model.transform(X), Z)"
    )
    run_fresh(code)


def save_googlenet(path):
    """Save weights whose network rescales its input, which one with random weights does not."""
    torch.manual_seed(0)
    torch.save(googlenet(aux_logits=False, init_weights=False).state_dict(), path)


def save_five_classes(path):
    torch.manual_seed(0)
    torch.save(squeezenet1_1(num_classes=5).state_dict(), path)


@pytest.mark.parametrize(
    ("model", "save", "layer", "size"),
    [
        ("googlenet", save_googlenet, "last", 32),
        ("squeezenet1_1", save_five_classes, "logits", 32),
    ],
)
@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_a_copy_keeps_the_structure_that_the_weights_need(
    images, tmp_path, model, save, layer, size, copied
):
    save(tmp_path / "mine.pth")
    extractor = PretrainedFeatureExtractor(
        f"torchvision/{model}", weights=tmp_path / "mine.pth", layer=layer, image_size=size
    )
    expected = extractor.fit_transform(images)
    (tmp_path / "mine.pth").unlink()
    assert np.array_equal(copied(extractor).transform(images), expected)


def test_a_pickle_from_a_machine_with_another_device_loads(extractor, images, features):
    parts, backbone = extractor._parts()
    loaded = PretrainedFeatureExtractor(tiny_backbone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        loaded._set_parts(parts | {"device": torch.device("cuda")}, backbone)
    np.testing.assert_allclose(loaded.transform(images), features, rtol=1e-5)


def test_a_pickle_keeps_a_batch_size_that_was_set_after_fit(extractor, images, features):
    loaded = pickle.loads(pickle.dumps(extractor.set_params(batch_size=3)))
    assert np.array_equal(loaded.transform(images), extractor.transform(images))
    np.testing.assert_allclose(loaded.transform(images), features, rtol=1e-5)
