"""FineTuneSegmenter: masks that cannot be scored, broken items, and weights of 0."""

from pathlib import Path

import numpy as np
import pytest
from helpers.masks import masked_images
from helpers.tiny import tiny_backbone
from PIL import Image

from sktransfer import FineTuneSegmenter
from sktransfer.exceptions import DecodeError


@pytest.fixture(scope="module")
def images():
    return masked_images(6)


@pytest.fixture
def model(images):
    how = {"image_size": 32, "max_epochs": 1, "random_state": 0, "verbose": 0}
    return FineTuneSegmenter(tiny_backbone, head="linear", **how).fit(*images)


def test_unknown_classes_are_a_warning_and_only_unknown_ones_an_error(model, images):
    X, y = images
    doubled = [mask * 2 for mask in y]
    with pytest.warns(UserWarning, match=r"y has classes that the model does not know.*\[2\]"):
        assert model.score(X, doubled) <= model.score(X, y)
    with pytest.raises(ValueError, match=r"that the model knows, \[0, 1\]; got \[7, 16\]"):
        model.score(X, [mask * 9 + 7 for mask in y])


def test_masks_of_0_and_255_are_a_warning(model, images):
    X, y = images
    with pytest.warns(UserWarning, match=r"one class, 0, besides the ignored \[255\]"):
        model.score(X, [mask * 255 for mask in y])


def test_all_wrong_masks_are_named_before_the_prediction(model, images):
    y = images[1]
    wrong = [y[0] / 2, "missing.png", *y[2:]]
    with pytest.raises(ValueError, match="2 cannot be used") as caught:
        model.score([b"not decoded"] * 6, wrong)
    assert "y[0] holds float64, not integers" in str(caught.value)
    assert "y[1] cannot be read" in str(caught.value)


def test_all_masks_of_another_size_are_named(model, images):
    X, y = images
    with pytest.raises(ValueError, match="2 have others") as caught:
        model.score(X, [y[0][1:], *y[1:5], y[5][:, 1:]])
    assert "y[0] has " in str(caught.value)
    assert "y[5] has " in str(caught.value)


@pytest.fixture
def broken(images, tmp_path):
    """Paths of 12 files, of which those of three batches are broken."""
    paths = [str(tmp_path / f"{at}.png") for at in range(12)]
    for at, path in enumerate(paths):
        Image.fromarray(images[0][at % 6]).save(path)
        if at in (1, 6, 11):
            Path(path).write_bytes(b"broken")
    return paths


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_the_error_lists_the_broken_items_of_all_batches(model, broken, method):
    model.set_params(inference_batch_size=4, decode_error="raise")
    with pytest.raises(DecodeError) as caught:
        list(getattr(model, method)(broken))
    assert [at for at in range(12) if f"X[{at}]: " in str(caught.value)] == [1, 6, 11]


def test_one_warning_lists_the_broken_items_of_all_batches(model, broken):
    model.set_params(inference_batch_size=4, decode_error="warn")
    with pytest.warns(UserWarning, match="can be decoded") as caught:
        masks = model.predict(broken)
    assert [np.ndim(mask) for mask in masks].count(2) == 9
    assert [at for at in range(12) if f"X[{at}]: " in str(caught[0].message)] == [1, 6, 11]
    assert len(caught) == 1


def test_a_class_of_items_of_weight_0_is_removed(images):
    X, y = images
    y = [*y[:5], np.where(y[5] == 1, 2, y[5])]
    how = {"image_size": 32, "max_epochs": 1, "random_state": 0, "verbose": 0}
    model = FineTuneSegmenter(tiny_backbone, class_weight={2: 3}, **how)
    model.fit(X, y, sample_weight=[1] * 5 + [0])
    assert model.classes_.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"2 classes, of items with a positive weight; got \[0\]"):
        model.fit([X[0], X[5]], [y[0] * 0, y[5]], sample_weight=[1, 0])
