"""TopLossesDisplay: the order of the losses, captions, kinds of images, wrong input."""

import numpy as np
import pytest
from helpers.plots import classifier
from PIL import Image
from sklearn.dummy import DummyClassifier, DummyRegressor

from sktransfer import ImagePreset, PretrainedFeatureExtractor
from sktransfer.display import TopLossesDisplay

PRESET = ImagePreset(size=32)


def words(ax):
    return [text.get_text() for text in ax.texts]


def pixels(ax):
    """Return the images of ``ax`` with eight bits."""
    return [np.rint(np.asarray(image.get_array()) * 255).astype(np.uint8) for image in ax.images]


PROBA = [[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [np.nan, np.nan], [0.6, 0.4]]
LABELS = ["ant", "ant", "bee", "bee", "bee"]


def test_the_least_probable_labels_come_first(photos):
    display = TopLossesDisplay.from_predictions(LABELS, PROBA, photos, k=3)
    assert display.indices.tolist() == [1, 4, 2]
    assert display.labels.tolist() == ["ant", "bee", "bee"]
    assert display.predictions.tolist() == ["bee", "ant", "bee"]
    assert display.probabilities.tolist() == [0.7, 0.6, 0.8]
    np.testing.assert_allclose(display.losses, -np.log([0.3, 0.4, 0.8]))


def test_the_caption_of_a_photo_has_its_label_the_prediction_and_the_loss(photos):
    ax = TopLossesDisplay.from_predictions(LABELS, PROBA, photos, k=1, preset=PRESET).ax_
    assert words(ax) == ["true", "ant", "0.30", "pred", "bee", "0.70", "loss", "1.20", ""]
    assert np.array_equal(pixels(ax)[0], PRESET(photos[1]).numpy())


def test_a_right_prediction_has_another_colour(photos):
    ax = TopLossesDisplay.from_predictions(LABELS, PROBA, photos, k=4).ax_
    colors = [text.get_color() for text in ax.texts[4::9]]
    assert len(set(colors[:2])) == len(set(colors[2:])) == 1
    assert colors[0] != colors[-1]


def test_rows_with_nan_are_left_out(photos):
    display = TopLossesDisplay.from_predictions(LABELS, PROBA, photos, k=9)
    assert sorted(display.indices) == [0, 1, 2, 4]
    assert len(display.ax_.images) == 4


def test_a_probability_of_zero_has_a_finite_loss(photos):
    display = TopLossesDisplay.from_predictions([0, 1], [[0, 1], [0, 1]], photos[:2])
    assert np.isfinite(display.losses).all()


def test_long_labels_are_shortened(photos):
    classes = ["a" * 30, "b"]
    display = TopLossesDisplay.from_predictions([classes[0]] * 5, PROBA, photos, classes=classes)
    assert words(display.ax_)[1] == "a" * 14 + "…"


@pytest.mark.parametrize("kind", ["path", "bytes", "PIL image", "array"])
def test_photos_of_every_kind_are_shown(kind, photos, tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo).save(path)
    items = {
        "path": paths,
        "bytes": [path.read_bytes() for path in paths],
        "PIL image": list(map(Image.fromarray, photos)),
        "array": photos,
    }[kind]
    ax = TopLossesDisplay.from_predictions(LABELS, PROBA, items, k=1, preset=PRESET).ax_
    assert np.array_equal(pixels(ax)[0], PRESET(photos[1]).numpy())


def test_a_photo_that_is_not_shown_is_not_decoded(photos, tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo).save(path)
    paths[3].write_bytes(b"broken")  # its row is NaN
    assert len(TopLossesDisplay.from_predictions(LABELS, PROBA, paths).photos) == 4


def test_the_photos_of_a_fitted_model_are_those_that_its_network_sees(model, digits):
    X, y = digits
    display = TopLossesDisplay.from_estimator(model, X, y, k=4)
    proba = model.predict_proba(X)
    losses = -np.log(proba[np.arange(len(y)), y])
    np.testing.assert_allclose(display.losses, np.sort(losses)[::-1][:4])
    assert display.photos[0].shape == (32, 32, 3)


def test_another_classifier_of_photos_can_be_used(photos):
    y = [0, 1, 0, 1, 1]
    display = TopLossesDisplay.from_estimator(DummyClassifier().fit(photos, y), photos, y, k=2)
    assert display.indices.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k must be an integer of at least 1; got 0"),
        ({"y_true": LABELS[:4]}, r"y_true must be one label for each of 5 items of X; got shape"),
        ({"y_true": np.eye(5)}, r"y_true must be one label for each of 5 items .* \(5, 5\)"),
        ({"y_pred_proba": [0.1] * 5}, r"y_pred_proba must be of shape \(5, 2\).*; got \(5,\)"),
        ({"classes": ["ant"]}, r"y_pred_proba must be of shape \(5, 1\)"),
        ({"classes": ["ant", "wasp"]}, r"got others:\n  y_true\[2\]: 'bee'"),
        (
            {"y_pred_proba": np.full((5, 2), np.nan)},
            "must have a row without NaN; got NaN in every row",
        ),
    ],
)
def test_wrong_predictions_are_refused(changes, message, photos):
    arguments = {"y_true": LABELS, "y_pred_proba": PROBA, "X": photos} | changes
    with pytest.raises(ValueError, match=message):
        TopLossesDisplay.from_predictions(**arguments)


def test_a_model_without_probabilities_is_refused(photos):
    with pytest.raises(TypeError, match="with predict_proba; got PretrainedFeatureExtractor"):
        TopLossesDisplay.from_estimator(PretrainedFeatureExtractor(), photos, LABELS)


@pytest.mark.parametrize("proba", [{"a": PROBA}, iter([PROBA])])
def test_a_model_of_several_tasks_or_of_masks_is_refused(photos, proba):
    model = DummyClassifier().fit(photos, LABELS)
    model.predict_proba = lambda X: proba
    with pytest.raises(TypeError, match=r"DummyClassifier predicts several.* MasksDisplay"):
        TopLossesDisplay.from_estimator(model, photos, LABELS)


def test_points_are_refused(photos):
    points = np.zeros((5, 2, 2))
    model = DummyRegressor().fit(photos, points.reshape(5, 4))
    with pytest.raises(ValueError, match=r"one number for each of 5 items of X; got shape"):
        TopLossesDisplay.from_estimator(model, photos, points)


def test_a_model_that_is_not_fitted_is_refused(photos):
    with pytest.raises(ValueError, match="not fitted yet"):
        TopLossesDisplay.from_estimator(classifier(), photos, LABELS)


def test_an_empty_sequence_of_photos_is_refused():
    with pytest.raises(
        ValueError, match="photos must hold at least one image; got an empty sequence"
    ):
        TopLossesDisplay([], [], [], [], [], [], []).plot()


@pytest.mark.parametrize(("k", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (9, 3)])
def test_photos_are_drawn_in_a_grid_that_is_nearly_square(k, columns):
    ones = np.ones(k)
    display = TopLossesDisplay(np.zeros((k, 4, 4, 3)), ones, ones, ones, ones, ones, ones).plot()
    lefts = {image.get_extent()[0] for image in display.ax_.images}
    assert len(lefts) == columns
