"""AugmentationDisplay: the grid of images and variants, and wrong augmentations."""

from itertools import chain

import numpy as np
import pytest
from helpers.plots import classifier

from sktransfer import ImagePreset, PretrainedFeatureExtractor, Views
from sktransfer.data.augmentation import resolve_augment
from sktransfer.data.digests import digest
from sktransfer.display import AugmentationDisplay

PRESET = ImagePreset(size=32)


def words(ax):
    return [text.get_text() for text in ax.texts]


def pixels(ax):
    """Return the images of ``ax`` with eight bits."""
    return [np.rint(np.asarray(image.get_array()) * 255).astype(np.uint8) for image in ax.images]


def test_each_row_shows_a_photo_as_the_network_sees_it_and_its_variants(photos):
    display = AugmentationDisplay.from_augment("light", PRESET, photos, n_items=2, n_views=3)
    shown = pixels(display.ax_)
    assert len(shown) == 2 * (1 + 3)
    assert np.array_equal(shown[0], PRESET(photos[0]).numpy())
    assert np.array_equal(shown[4], PRESET(photos[1]).numpy())
    assert np.array_equal(shown[1], np.asarray(display.variants[0][0]))
    assert words(display.ax_) == ["photo", "variants: light"]


def test_the_grid_has_a_row_for_each_photo_and_a_gap_after_the_photo(photos):
    ax = AugmentationDisplay.from_augment("light", PRESET, photos, n_items=2, n_views=2).ax_
    corners = [(image.get_extent()[0], image.get_extent()[3]) for image in ax.images]
    np.testing.assert_allclose(corners[:3], [(0, 0), (1.24, 0), (2.3, 0)])
    np.testing.assert_allclose(corners[3:], [(0, 1.06), (1.24, 1.06), (2.3, 1.06)])


def test_variants_are_made_by_the_augmentation_of_the_training(photos, monkeypatch):
    seeds = []

    def noted(augment, preset):
        augmentation = resolve_augment(augment, preset)
        return lambda item, seed: seeds.append(seed) or augmentation(item, seed)

    monkeypatch.setattr("sktransfer.display.augmentation.resolve_augment", noted)
    display = AugmentationDisplay.from_augment("standard", PRESET, photos, n_items=1, n_views=2)
    expected = [resolve_augment("standard", PRESET)(photos[0], seed) for seed in seeds]
    assert len(set(seeds)) == 2
    for variant, row in zip(display.variants[0], expected, strict=True):
        assert np.array_equal(variant, row)


def test_the_same_seed_draws_the_same_variants(photos):
    first, again, other = (
        pixels(AugmentationDisplay.from_augment("light", PRESET, photos, random_state=seed).ax_)
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fixed_views_are_shown_as_they_are(photos):
    views = Views("standard", n=3)
    display = AugmentationDisplay.from_augment(views, PRESET, photos, n_items=2)
    make = views.preset(PRESET)
    expected = [make(view) for view in views.items(photos[:2], list(map(digest, photos[:2])))]
    assert [len(variants) for variants in display.variants] == [3, 3]
    for shown, row in zip(chain(*display.variants), expected, strict=True):
        assert np.array_equal(shown, row)
    assert words(display.ax_)[1] == "variants: 3 fixed views, standard"


def halved(image):
    return image.float() / 255 / 2


def test_floats_of_a_callable_are_drawn_on_the_scale_of_eight_bits(photos):
    ax = AugmentationDisplay.from_augment(halved, PRESET, photos[:1], n_views=1).ax_
    whole, half = pixels(ax)
    np.testing.assert_allclose(half, whole / 2, atol=1)
    assert words(ax)[1] == "variants: halved"


def test_a_red_image_is_drawn_red():
    red = np.zeros((1, 40, 40, 3), np.uint8)
    red[..., 0] = 255
    ax = AugmentationDisplay.from_augment("light", PRESET, red, n_views=1).ax_
    assert [image[0, 0].tolist() for image in pixels(ax)] == [[255, 0, 0]] * 2


def test_values_of_a_table_above_one_are_drawn_from_minimum_to_maximum(digits):
    X = digits[0] * 16
    ax = AugmentationDisplay.from_augment("light", PRESET, X, n_items=1, n_views=1).ax_
    photo = np.asarray(ax.images[0].get_array())
    assert photo.min() == 0
    assert photo.max() == 1
    assert len(np.unique(photo)) > 10


@pytest.mark.parametrize("fitted", [False, True])
def test_an_estimator_shows_its_own_augmentation(digits, fitted, monkeypatch):
    X, y = digits
    estimator = classifier(augment="standard", image_size=64, max_epochs=1)
    if fitted:
        estimator.fit(X, y)
    display = AugmentationDisplay.from_estimator(estimator, X, n_items=1, n_views=2)
    assert display.name == "standard"
    assert display.photos[0].shape == (64, 64, 3)
    assert hasattr(estimator, "backbone_") == fitted


def test_auto_means_light_for_photos(photos):
    display = AugmentationDisplay.from_estimator(classifier(), photos, n_items=1, n_views=1)
    assert display.name == "light"


def test_the_rows_of_a_table_are_shown_at_the_size_that_fit_takes(digits):
    display = AugmentationDisplay.from_estimator(
        classifier(augment="light"), digits[0], n_items=1, n_views=1
    )
    assert display.photos[0].shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"augment": None}, "augment must make variants, to be shown; got None, .*augment='light'"),
        ({}, "got 'auto', which is None for the rows of a table"),
    ],
)
def test_an_estimator_that_does_not_augment_is_refused(parameters, message, digits):
    with pytest.raises(ValueError, match=message):
        AugmentationDisplay.from_estimator(classifier(**parameters), digits[0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"augment": None}, "augment must be an augmentation; got None"),
        ({"augment": "strong"}, "augment must be one of .*; got 'strong'"),
        ({"n_items": 0}, "n_items must be an integer of at least 1; got 0"),
        ({"n_views": 0}, "n_views must be an integer of at least 1; got 0"),
    ],
)
def test_a_wrong_augmentation_is_refused(parameters, message, photos):
    arguments = {"augment": "light", "preset": PRESET, "X": photos} | parameters
    with pytest.raises(ValueError, match=message):
        AugmentationDisplay.from_augment(**arguments)


def test_an_estimator_without_augmentation_is_refused(photos):
    with pytest.raises(TypeError, match=r"must have a parameter augment.*FeatureExtractor"):
        AugmentationDisplay.from_estimator(PretrainedFeatureExtractor(), photos)


@pytest.mark.parametrize(("photos", "variants"), [([], []), ([0, 0], [[0], [0, 0]]), ([0], [])])
def test_rows_of_unequal_lengths_are_refused(photos, variants):
    with pytest.raises(ValueError, match="variants must hold the same number of variants"):
        AugmentationDisplay(photos, variants).plot()
