"""FineTuneSegmenter.score: masks that cannot be used, and unknown classes."""

import pytest
from helpers.masks import masked_images
from helpers.tiny import tiny_backbone

from sktransfer import FineTuneSegmenter


@pytest.fixture(scope="module")
def images():
    return masked_images(6)


@pytest.fixture(scope="module")
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
