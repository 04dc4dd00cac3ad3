"""A preset is adapted to the parameters of an estimator and to its items."""

from dataclasses import dataclass

import numpy as np
import pytest

from sktransfer import ImagePreset
from sktransfer.data import ImageSizes, Items, adapt, default_augment, smallest_preset


class PlainPreset:
    """The four methods of a preset, and nothing else."""

    def check(self, X):
        return Items(list(X), "word")

    def __call__(self, item):
        raise NotImplementedError

    def collate(self, rows, size):
        raise NotImplementedError

    def fingerprint(self):
        return "plain"


@dataclass(frozen=True)
class PresetWithFields(PlainPreset):
    length: int = 8


def items_of_side(height, width, kind="table"):
    return Items(np.zeros((2, height, width)), kind)


# Parameters


def test_no_parameter_leaves_the_preset_as_it_is():
    preset = PlainPreset()
    assert adapt(preset) is preset


def test_parameters_change_an_image_preset():
    preset = adapt(ImagePreset(), {"crop": 0.5}, image_size=64, image_shape=[8, 8])
    assert preset == ImagePreset(size=64, crop=0.5, image_shape=(8, 8))


def test_a_whole_preset_takes_the_place_of_that_of_the_weights():
    preset = PlainPreset()
    assert adapt(ImagePreset(), preset) is preset


def test_image_size_changes_a_preset_that_was_passed():
    assert adapt(PlainPreset(), ImagePreset(size=64), image_size=32) == ImagePreset(size=32)


def test_a_dict_changes_the_fields_of_any_preset():
    assert adapt(PresetWithFields(), {"length": 4}) == PresetWithFields(4)


@pytest.mark.parametrize(
    ("preset", "arguments", "error", "message"),
    [
        (
            ImagePreset(),
            {"overrides": {"men": 0}},
            ValueError,
            "a key of preset must be one of .*Did you mean 'mean'",
        ),
        (
            ImagePreset(),
            {"overrides": {"mean": 0.5}},
            TypeError,
            r"preset must hold values of the form of .*, {'mean': \(.*\)}; got {'mean': 0.5}: ",
        ),
        (ImagePreset(), {"overrides": 3}, TypeError, "preset must be a dict, .* got int"),
        (ImagePreset(), {"overrides": ImagePreset}, TypeError, "a preset, or None; got type"),
        (ImagePreset(), {"overrides": len}, TypeError, "got builtin_function_or_method"),
        (
            PlainPreset(),
            {"overrides": {"length": 3}},
            TypeError,
            "preset must be a whole preset.* of a PlainPreset, which has no fields .* got",
        ),
        (
            PlainPreset(),
            {"image_size": 32},
            ValueError,
            "image_size must be None .* items are not images; got 32 for a PlainPreset",
        ),
        (
            PlainPreset(),
            {"image_shape": [8, 8]},
            ValueError,
            r"image_shape must be None .* not images; got \(8, 8\) for a PlainPreset",
        ),
    ],
)
def test_an_override_that_does_not_suit_the_preset_is_an_error(preset, arguments, error, message):
    with pytest.raises(error, match=message):
        adapt(preset, **arguments)


# Items


@pytest.mark.parametrize(
    ("sides", "sizes", "expected"),
    [
        ((8, 8), ImageSizes(), 32),
        ((40, 50), ImageSizes(), 50),
        ((40, 50), ImageSizes(multiple=32), 64),
        ((300, 300), ImageSizes(multiple=32), 224),
        ((8, 8), ImageSizes(only=(224, 384)), 224),
    ],
)
def test_the_smallest_preset_of_a_table_keeps_every_pixel(sides, sizes, expected):
    preset = ImagePreset(sizes=sizes)
    assert smallest_preset(preset, items_of_side(*sides)) == preset.at(expected)


def test_the_smallest_preset_scales_the_short_side_too():
    preset = ImagePreset(size=64, resize=72)
    assert smallest_preset(preset, items_of_side(8, 8)) == ImagePreset(size=32, resize=36)


@pytest.mark.parametrize(
    ("preset", "kind"),
    [(ImagePreset(), "array"), (ImagePreset(), "path"), (PlainPreset(), "table")],
)
def test_only_images_of_a_table_have_a_smallest_preset(preset, kind):
    assert smallest_preset(preset, items_of_side(8, 8, kind)) is preset


@pytest.mark.parametrize(
    ("preset", "kind", "expected"),
    [
        (ImagePreset(), "path", "light"),
        (ImagePreset(), "array", "light"),
        (ImagePreset(), "table", None),
        (PlainPreset(), "word", None),
        (PlainPreset(), "table", None),
    ],
)
def test_only_images_that_are_not_rows_of_a_table_are_augmented_by_default(preset, kind, expected):
    assert default_augment(preset, items_of_side(8, 8, kind)) == expected
