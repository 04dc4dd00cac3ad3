"""The built-in augmentations: ranges of their changes, and equality with torchvision."""

import numpy as np
import pytest
import torch
from helpers.augmented import PRESET, soft_photo, variants
from torchvision.transforms import v2

from sktransfer.data.presets import ImagePreset
from sktransfer.data.variants import LEVELS, OPERATIONS, resized


@pytest.fixture
def photo(rng):
    return soft_photo(rng)


def gradient(size=64):
    """Return an image whose red grows to the right and whose green grows downwards."""
    axis = np.linspace(0, 1, size, dtype=np.float32)
    down, right = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([right, down, 0 * right], axis=-1)


def slopes(row):
    """Return the mean growth of red and green for each pixel to the right, and downwards."""
    middle = row[8:-8, 8:-8, :2]
    return (middle[:, 1:] - middle[:, :-1]).mean((0, 1)), (middle[1:] - middle[:-1]).mean((0, 1))


def test_light_shows_at_least_half_of_the_image_upright_or_mirrored():
    rights, downs = zip(*map(slopes, variants("light", gradient(), 200)), strict=True)
    right, down = torch.stack(rights) * 28, torch.stack(downs) * 28  # shares of the sides
    assert right[:, 1].abs().max() < 1e-3  # neither rotated nor sheared
    assert down[:, 0].abs().max() < 1e-3
    assert 70 < (right[:, 0] < 0).sum() < 130
    area = right[:, 0].abs() * down[:, 1]
    assert 0.47 < area.min() < 0.55
    assert 0.9 < area.max() < 1.02
    assert 0.72 < (right[:, 0].abs() / down[:, 1]).min() < 0.85
    assert 1.15 < (right[:, 0].abs() / down[:, 1]).max() < 1.4


def test_standard_rotates_shears_zooms_and_flips():
    rights, downs = zip(*map(slopes, variants("standard", gradient(256), 200)), strict=True)
    # The preset crops 28 pixels of 32, so neighbours differ by about 1 / 31.
    matrices = torch.stack([torch.stack(rights), torch.stack(downs)], dim=1) * 32
    determinants = torch.linalg.det(matrices)
    assert 70 < (determinants < 0).sum() < 130
    zoom = determinants.abs()  # of both axes
    assert 0.6 < zoom.min() < 0.8
    assert 1.2 < zoom.max() < 1.5
    turned = torch.atan2(matrices[:, 1, 0], matrices[:, 1, 1]).abs()  # of the downward axis
    assert 0.6 < turned.max() < 0.75  # 40 degrees are 0.70


def test_standard_shifts_by_at_most_a_fifth():
    spot = np.zeros((256, 256), np.float32)
    spot[96:160, 96:160] = 1
    shifts = []
    for row in variants("standard", spot, 100, ImagePreset(size=128, crop=0.5)):
        mass = row[:, :, 0]
        centre = (mass.sum(0) * torch.arange(128)).sum() / mass.sum() - 63.5
        shifts.append(float(centre) / 128)
    assert 0.15 < max(shifts) < 0.3  # zoomed in, a fifth becomes a quarter
    assert -0.3 < min(shifts) < -0.15


@pytest.mark.parametrize("operation", range(len(OPERATIONS)))
def test_every_operation_of_trivial_but_the_first_changes_the_image(operation, photo):
    image = PRESET(photo).permute(2, 0, 1)
    out = OPERATIONS[operation](image, 0.9)[0]
    assert (out.shape, out.dtype) == (image.shape, image.dtype)
    assert torch.equal(out, image) == (operation == 0)


# operation -> its name and largest strength in torchvision's TrivialAugmentWide
TORCHVISION = {
    6: ("Brightness", 0.99),
    7: ("Color", 0.99),
    8: ("Contrast", 0.99),
    9: ("Sharpness", 0.99),
    10: ("Posterize", None),
    11: ("Solarize", None),
    12: ("AutoContrast", None),
    13: ("Equalize", None),
}


@pytest.mark.parametrize("operation", TORCHVISION)
@pytest.mark.parametrize("step", [0, 7, 15, 22, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_colours_change_as_in_torchvision_s_trivial_augment(operation, step, sign, photo):
    name, most = TORCHVISION[operation]
    theirs = v2.TrivialAugmentWide()
    magnitudes, _ = theirs._AUGMENTATION_SPACE[name]
    strengths = magnitudes(LEVELS, 28, 28)
    strength = 0 if strengths is None else float(strengths[step]) * (sign if most else 1)
    image = PRESET(photo).permute(2, 0, 1)
    expected = theirs._apply_image_or_video_transform(
        image, name, strength, v2.InterpolationMode.NEAREST, {torch.Tensor: None}
    )
    assert len(OPERATIONS) == len(theirs._AUGMENTATION_SPACE)
    got = OPERATIONS[operation](image, sign * step / (LEVELS - 1))[0]
    assert (got.int() - expected.int()).abs().max() <= 1


def test_a_rotation_of_trivial_equals_that_of_torchvision(photo):
    image = PRESET(photo).permute(2, 0, 1)
    expected = v2.functional.rotate(image, 135 / 3, v2.InterpolationMode.BILINEAR)
    middle = slice(8, -8)
    got = OPERATIONS[5](image, 1 / 3)[0]
    difference = (got.int() - expected.int())[:, middle, middle].abs()
    opposite = (OPERATIONS[5](image, -1 / 3)[0].int() - expected.int())[:, middle, middle].abs()
    assert min(difference.max(), opposite.max()) <= 2


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(3, 20, 20), (3, 1, 1), (3, 1, 7), (3, 7, 1), (1, 9, 9)])
def test_an_image_can_be_resized_to_a_single_pixel(shape, dtype):
    image = torch.full(shape, 7, dtype=dtype)
    for item in (image, image.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        expected = torch.full((shape[0], 1, 1), 7, dtype=dtype)
        torch.testing.assert_close(resized(item, 1, 1), expected)
