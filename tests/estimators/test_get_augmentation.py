"""An estimator describes the augmentation that its fit uses, before and after the fit."""

import numpy as np
import pytest
from helpers.fine_tuning import classifier
from torchvision.transforms import v2

from sktransfer import Views


@pytest.mark.parametrize("fitted", [False, True])
def test_auto_augments_images_but_not_tables(photos, fitted):
    X, y = photos
    model = classifier(max_epochs=0)
    for items, expected in ((X, "light"), (X[:, ::8, ::8].reshape(36, -1) / 255, None)):
        if fitted:
            model.fit(items, y)
        _, augment = model.get_augmentation(items)
        assert augment == expected


def test_auto_does_not_augment_without_a_stage_to_train(photos):
    assert classifier(unfreeze=0).get_augmentation(photos[0])[1] is None


@pytest.mark.parametrize(
    "augment", [None, "standard", Views("light", n=2), v2.RandomHorizontalFlip()], ids=str
)
def test_an_augmentation_of_the_user_is_kept(photos, augment):
    assert classifier(augment=augment).get_augmentation(photos[0])[1] is augment


def test_the_preset_is_that_of_the_fit(photos):
    X, y = photos
    model = classifier(max_epochs=0, image_size=32, preset={"mean": (0.1, 0.2, 0.3)})
    before, _ = model.get_augmentation(X)
    after, _ = model.fit(X, y).get_augmentation(X)
    assert (before.size, before.mean) == (32, (0.1, 0.2, 0.3))
    assert before == after == model.backbone_.preset


def test_the_description_changes_nothing(photos):
    X, y = photos
    table = X[:, ::8, ::8].reshape(36, -1) / 255
    model = classifier(max_epochs=0)
    model.get_augmentation(table)
    assert vars(model).keys() == model.get_params().keys()
    before = dict(vars(model.fit(X, y)))
    model.get_augmentation(table)
    assert vars(model) == before


def test_a_wrong_parameter_is_named(photos):
    with pytest.raises(ValueError, match="augment must be one of"):
        classifier(augment="strong").get_augmentation(photos[0])
    with pytest.raises(ValueError, match=r"X\[1\]"):
        classifier().get_augmentation([np.zeros((8, 8, 3)), None])
