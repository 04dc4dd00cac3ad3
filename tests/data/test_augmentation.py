"""Augmentation: variants as pure functions of an image and a seed, and what is refused."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers.augmented import AUGMENTS, PRESET, flipped, jittered, soft_photo, variants
from helpers.fresh import run_fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from sktransfer.data import augmentation as module
from sktransfer.data.augmentation import Augmentation, Views, check_augment, resolve_augment
from sktransfer.data.presets import ImagePreset
from sktransfer.data.variants import NAMED
from sktransfer.exceptions import DecodeError

some = settings(max_examples=30, deadline=None, derandomize=True)


@pytest.fixture
def photo(rng):
    return soft_photo(rng)


def states():
    return (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate())  # noqa: NPY002 - the global generator is tested


# Seeds


@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_seed_decides_every_bit(augment, photo):
    first, again = variants(augment, photo), variants(augment, photo)
    assert all(map(torch.equal, first, again))
    assert len({row.numpy().tobytes() for row in first}) > 4  # "trivial" may do nothing, twice


@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_variant_shows_other_pixels(augment, photo):
    assert sum(torch.equal(row, PRESET(photo)) for row in variants(augment, photo)) == 0


@pytest.mark.parametrize("augment", AUGMENTS)
def test_augmentation_leaves_the_global_generators_as_they_were(augment, photo):
    before = states()
    variants(augment, photo)
    assert states() == before


def test_a_transform_that_raises_leaves_the_global_generators_as_they_were(photo):
    def broken(image):
        jittered(image)
        raise KeyError("mine")

    before = states()
    with pytest.raises(KeyError, match="mine"):
        variants(broken, photo)
    assert states() == before


@pytest.mark.parametrize("augment", AUGMENTS)
def test_four_threads_make_the_same_variants_as_one(augment, photo):
    augmentation = resolve_augment(augment, PRESET)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(augmentation, [photo] * 32, range(32)))
    assert all(map(torch.equal, rows, variants(augment, photo, 32)))


def test_a_built_in_augmentation_does_not_wait_for_another_thread(photo):
    # A training step locks the global generators while it computes.
    with module.seeded_globals(0), ThreadPoolExecutor(1) as pool:
        for name in NAMED:
            pool.submit(variants, name, photo, 30).result(timeout=60)


def test_a_variant_is_the_same_in_every_process(photo, tmp_path):
    np.save(tmp_path / "photo.npy", photo)
    code = (
        "import numpy as np; from sktransfer.data.augmentation import augmented;"
        "from sktransfer.data.presets import ImagePreset;"
        f"photo, preset = np.load({str(tmp_path / 'photo.npy')!r}), ImagePreset(size=28);"
        f"found = [augmented(preset, photo, name, 5).pixels.numpy() for name in {[*NAMED]}];"
        "print(*[pixels.tobytes().hex() for pixels in found])"
    )
    expected = [variants(name, photo, 6)[5].numpy().tobytes() for name in NAMED]
    assert [bytes.fromhex(each) for each in run_fresh(code).split()] == expected


# Shapes and depths


@some
@given(
    augment=st.sampled_from(AUGMENTS),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    channels=st.sampled_from([None, 3, 4]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    size=st.integers(1, 40),
    crop=st.sampled_from([0.5, 0.875, 1.0]),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_image_becomes_a_row_like_that_of_the_preset(
    augment, height, width, channels, dtype, size, crop, seed
):
    shape = (height, width) if channels is None else (height, width, channels)
    unit = np.random.default_rng(seed).random(shape)
    item = (unit * {"uint8": 255, "uint16": 65535}.get(dtype, 1)).astype(dtype)
    preset = ImagePreset(size=size, crop=crop)
    row, plain = resolve_augment(augment, preset)(item, seed), preset(item)
    assert (row.shape, row.dtype, row.is_contiguous()) == (plain.shape, plain.dtype, True)
    if row.is_floating_point():
        assert row.min() >= 0
        assert row.max() <= 1
    assert preset.collate([row], 2).shape == (2, 3, size, size)


@pytest.mark.parametrize("augment", [*NAMED, flipped])
@pytest.mark.parametrize("shape", [(4, 4000), (4000, 4), (1, 100_000)])
def test_a_long_strip_can_be_augmented(augment, shape, rng):
    strip = rng.integers(0, 256, shape, dtype=np.uint8)
    assert variants(augment, strip, 1)[0].shape == (28, 28, 3)


def test_windows_of_a_strip_lie_anywhere(rng):
    strip = rng.integers(0, 256, (8, 256), dtype=np.uint8)
    rows = variants("light", strip, 20)
    assert len({row.numpy().tobytes() for row in rows}) > 15


@pytest.mark.parametrize("name", ["light", "standard"])
def test_a_grey_image_stays_grey(name, rng):
    for row in variants(name, rng.integers(0, 256, (40, 50), dtype=np.uint8)):
        assert torch.equal(row[:, :, 0], row[:, :, 1])
        assert torch.equal(row[:, :, 0], row[:, :, 2])


@pytest.mark.parametrize("name", NAMED)
def test_floats_become_nearly_the_variant_of_eight_bits(name, photo):
    eight, deep = variants(name, photo, 40), variants(name, (photo / 255).astype(np.float32), 40)
    close = [(a / 255 - b).abs().mean() < 0.01 for a, b in zip(eight, deep, strict=True)]
    assert sum(close) > 30  # solarize, posterize and equalize are not continuous


@pytest.mark.parametrize("name", NAMED)
def test_an_image_of_one_colour_has_no_other_colour_at_its_edge(name):
    red = np.full((40, 50, 3), (200, 100, 50), np.uint8)
    for row in variants(name, red, 60):
        assert (row == row[0, 0]).all()


@pytest.mark.parametrize("name", NAMED)
def test_augmentation_does_not_change_the_item(name, photo):
    before = photo.copy()
    variants(name, photo)
    assert np.array_equal(photo, before)


# Callables


def test_a_transform_sees_the_whole_photo_upright_and_in_eight_bits(photo):
    seen = []
    variants(lambda image: seen.append(image) or image, photo, 1)
    assert torch.equal(seen[0].permute(1, 2, 0), PRESET.whole(photo))
    assert seen[0].is_contiguous()
    assert seen[0].dtype == torch.uint8


def test_a_transform_that_changes_nothing_gives_the_preset_s_row(photo):
    (row,) = variants(lambda image: image, photo, 1)
    assert torch.equal(row, PRESET(photo))


def test_a_result_of_the_right_size_is_kept_as_it_is(photo):
    (row,) = variants(lambda image: image[:, :28, :28], photo, 1)
    assert torch.equal(row, PRESET.whole(photo)[:28, :28])


@pytest.mark.parametrize("sides", [(100, 50), (7, 9), (28, 29)])
def test_a_result_of_another_size_is_resized_and_cropped_as_an_image_is(sides, photo):
    (row,) = variants(v2.Resize(sides), photo, 1)
    other = v2.functional.resize(PRESET.whole(photo).permute(2, 0, 1), sides)
    again = PRESET(other.permute(1, 2, 0).numpy())
    assert (row.int() - again.int()).abs().max() <= 1  # torch and Pillow round differently


def test_a_transform_may_return_floats_between_0_and_1(photo):
    (row,) = variants(v2.ToDtype(torch.float64, scale=True), photo, 1)
    torch.testing.assert_close(row, PRESET(photo) / 255)


def test_a_transform_may_return_an_image_of_torchvision(photo):
    (row,) = variants(v2.ToImage(), photo, 1)
    assert type(row) is torch.Tensor


def test_a_transform_may_write_into_its_input(photo):
    before = photo.copy()
    variants(lambda image: image.zero_(), photo, 1)
    assert np.array_equal(photo, before)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda _: None, "augment must return a tensor (3, h, w); got NoneType."),
        (v2.ToPILImage(), "augment must return a tensor (3, h, w); got Image."),
        (v2.Grayscale(), "augment must return a tensor (3, h, w); got a tensor (1, 32, 42)."),
        (lambda x: x[0], "augment must return a tensor (3, h, w); got a tensor (32, 42)."),
        (lambda x: x[:, :0], "augment must return a tensor (3, h, w); got a tensor (3, 0, 42)."),
        (lambda x: x.int(), "augment must return uint8 or floats; got torch.int32."),
    ],
)
def test_a_transform_that_returns_no_image_is_an_error(transform, message, photo):
    with pytest.raises(TypeError) as raised:
        variants(transform, photo, 1)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("transform", "got"),
    [
        (lambda x: x.float(), "got floats from 0 to 255"),
        (lambda x: x / 255 * 4 - 2, "got floats from -2 to 2"),
        (lambda x: x * torch.nan, "got floats from nan to nan"),
    ],
)
def test_a_transform_that_normalises_is_an_error(transform, got, photo):
    photo = photo.copy()
    photo[:, ::2], photo[:, 1::2] = 0, 255
    preset = ImagePreset(size=42, crop=0.875)  # of 48: nothing is resized
    with pytest.raises(ValueError, match=rf"augment must return .*; {got}\. Remove the normal"):
        variants(transform, photo, 1, preset)


def test_floats_of_a_table_may_have_any_range(rng):
    table = rng.normal(0, 100, (32, 32)).astype(np.float32)
    for augment in ("light", "standard", flipped):
        (row,) = variants(augment, table, 1)
        assert row.abs().max() > 50


def test_a_broken_file_raises_a_decode_error():
    with pytest.raises(DecodeError, match="an image of 8 bytes is not an image"):
        variants("light", b"no image", 1)


# The parameter


def test_augment_none_gives_no_augmentation():
    assert resolve_augment(None, PRESET) is None
    assert resolve_augment(None, object()) is None


def test_views_cannot_be_resolved_to_an_augmentation():
    with pytest.raises(ValueError, match=r"augment must be one of None, .*, or a callable; got V"):
        resolve_augment(Views("light"), PRESET)


def test_an_augmentation_can_be_compared_and_pickled(photo):
    augmentation = resolve_augment("light", PRESET)
    assert augmentation == Augmentation(PRESET, "light")
    again = pickle.loads(pickle.dumps(augmentation))
    assert torch.equal(again(photo, 3), augmentation(photo, 3))


@pytest.mark.parametrize("augment", ["auto", None, *NAMED, Views("light"), flipped])
def test_a_valid_parameter_of_an_estimator_is_returned(augment):
    assert check_augment(augment) is augment


@pytest.mark.parametrize("augment", ["ligth", 3, True, "", ["light"], v2.RandomHorizontalFlip])
def test_an_invalid_parameter_of_an_estimator_is_an_error_that_lists_the_valid_ones(augment):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        check_augment(augment)
    guess = " Did you mean 'light'?" if "light" in str(augment) or augment == "ligth" else ""
    assert str(raised.value) == (
        "augment must be one of 'auto', None, 'light', 'standard', 'trivial', Views, or a "
        f"callable; got {augment!r}.{guess}"
    )


@pytest.mark.parametrize("make", [lambda p: resolve_augment("light", p), Views("light").preset])
def test_items_that_are_not_images_cannot_be_augmented(make):
    class TextPreset:
        pass

    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        make(TextPreset())
    assert str(raised.value) == (
        "augment must be None for items that are not images; got 'light' for a TextPreset."
    )
