"""The images and texts whose numbers have the largest errors."""

import numpy as np
import pytest
from helpers.text_nets import text_backbone
from helpers.tiny import tiny_backbone
from sklearn.linear_model import Ridge

from sktransfer import FineTuneRegressor
from sktransfer.display import AugmentationDisplay, TopLossesDisplay, TrainingCurvesDisplay


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def test_the_largest_errors_come_first(images):
    true, predicted = [1.0, 2, 3, 4, 5, 6], [1.5, 2, 1, 4, np.nan, 1234.5]
    display = TopLossesDisplay.from_numbers(true, predicted, images, k=3)
    assert display.indices.tolist() == [5, 2, 0]
    assert display.losses.tolist() == [1228.5, 2, 0.5]
    assert texts_of(display.ax_)[:9:3] == ["true", "pred", "error"]
    assert {"6", "1234", "1228", "3", "1", "2"} <= set(texts_of(display.ax_))


def test_a_regressor_of_images_or_texts_is_shown(images):
    y = np.arange(6) + 0.5
    model = FineTuneRegressor(tiny_backbone, max_epochs=1, early_stopping=True, verbose=0)
    display = TopLossesDisplay.from_estimator(model.fit(images, y), images, y, k=2)
    errors = np.abs(model.predict(images) - y)
    assert display.losses.tolist() == sorted(errors, reverse=True)[:2]
    curves = TrainingCurvesDisplay.from_estimator(model)
    assert curves.score_ax_ is not None
    texts = [f"word {index}" for index in range(6)]
    model = FineTuneRegressor(text_backbone, max_epochs=0, head_init=Ridge(1), verbose=0)
    display = TopLossesDisplay.from_estimator(model.fit(texts, y), texts, y, k=2)
    assert texts_of(display.ax_)[:4] == ["error", "true", "pred", "text"]


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (
            np.zeros((6, 2)),
            np.zeros(6),
            "y_true must be one number .* columns, pass one",
        ),
        (
            np.zeros(6),
            np.zeros(5),
            "y_pred must be one number for each of 6 items",
        ),
        (np.zeros(6), np.full(6, np.nan), "y_pred must have a row without NaN"),
    ],
)
def test_wrong_numbers_are_an_error(images, true, predicted, message):
    with pytest.raises(ValueError, match=f"(?i){message}"):
        TopLossesDisplay.from_numbers(true, predicted, images)


def test_a_regressor_without_an_augmentation_has_no_variants_to_show(images):
    model = FineTuneRegressor(tiny_backbone)
    with pytest.raises(ValueError, match=r"which is None .* for numbers in y, and if no"):
        AugmentationDisplay.from_estimator(model, images)
    AugmentationDisplay.from_estimator(model.set_params(augment="light"), images, n_items=1)
