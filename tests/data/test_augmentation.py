"""Augmentation: random variants that are pure functions of a photo and a seed."""

import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from sktransfer.data import augmentation as module
from sktransfer.data.augmentation import (
    Augmentation,
    Views,
    check_augment,
    describe,
    resolve_augment,
)
from sktransfer.data.digests import digest
from sktransfer.data.presets import ImagePreset
from sktransfer.data.variants import NAMED
from sktransfer.exceptions import DecodeError

some = settings(max_examples=30, deadline=None, derandomize=True)

PRESET = ImagePreset(size=28)  # of a short side of 32


def flipped(image):
    return image.flip(-1)


def jittered(image):
    """Draws from all three global generators."""
    drawn = torch.rand(()).item() + np.random.rand() + random.random()  # noqa: NPY002
    return (image * (drawn / 3)).to(image.dtype)


AUGMENTS = [*NAMED, v2.RandomResizedCrop(20), jittered]


@pytest.fixture
def photo(rng):
    """Soft shapes, 48 x 64: neighbours are alike, and the four quarters are not."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((64, 48), Image.Resampling.BICUBIC))


def variants(augment, item, n=8, preset=PRESET):
    """Variants of the first ``n`` seeds."""
    augmentation = resolve_augment(augment, preset)
    return [augmentation(item, seed) for seed in range(n)]


def states():
    return (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate())  # noqa: NPY002


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
def test_the_global_generators_are_left_as_they_were(augment, photo):
    before = states()
    variants(augment, photo)
    assert states() == before


def test_a_transform_that_raises_leaves_them_as_they_were(photo):
    def broken(image):
        jittered(image)
        raise KeyError("mine")

    before = states()
    with pytest.raises(KeyError, match="mine"):
        variants(broken, photo)
    assert states() == before


@pytest.mark.parametrize("augment", AUGMENTS)
def test_threads_make_the_variants_that_one_makes(augment, photo):
    augmentation = resolve_augment(augment, PRESET)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(augmentation, [photo] * 32, range(32)))
    assert all(map(torch.equal, rows, variants(augment, photo, 32)))


def test_what_is_built_in_waits_for_no_other_thread(photo):
    # The training step borrows the global generators for as long as it computes.
    with module.seeded_globals(0), ThreadPoolExecutor(1) as pool:
        for name in NAMED:
            pool.submit(variants, name, photo, 30).result(timeout=60)


@pytest.mark.parametrize("name", NAMED)
def test_a_variant_is_the_same_in_every_process(name, photo, tmp_path):
    np.save(tmp_path / "photo.npy", photo)
    code = (
        "import numpy as np; from sktransfer.data.augmentation import augmented;"
        "from sktransfer.data.presets import ImagePreset;"
        f"photo = np.load({str(tmp_path / 'photo.npy')!r});"
        f"print(augmented(ImagePreset(size=28), photo, {name!r}, 5).numpy().tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert bytes.fromhex(done.stdout) == variants(name, photo, 6)[5].numpy().tobytes()


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
def test_every_image_becomes_a_row_like_the_presets(
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
def test_a_long_strip_has_variants_too(augment, shape, rng):
    strip = rng.integers(0, 256, shape, dtype=np.uint8)
    assert variants(augment, strip, 1)[0].shape == (28, 28, 3)


def test_windows_of_a_strip_lie_anywhere(rng):
    strip = rng.integers(0, 256, (8, 256), dtype=np.uint8)
    rows = variants("light", strip, 20)
    assert len({row.numpy().tobytes() for row in rows}) > 15


@pytest.mark.parametrize("name", ["light", "standard"])
def test_grey_stays_grey(name, rng):
    for row in variants(name, rng.integers(0, 256, (40, 50), dtype=np.uint8)):
        assert torch.equal(row[:, :, 0], row[:, :, 1])
        assert torch.equal(row[:, :, 0], row[:, :, 2])


@pytest.mark.parametrize("name", NAMED)
def test_floats_show_what_eight_bits_show(name, photo):
    eight, deep = variants(name, photo, 40), variants(name, (photo / 255).astype(np.float32), 40)
    close = [(a / 255 - b).abs().mean() < 0.01 for a, b in zip(eight, deep, strict=True)]
    assert sum(close) > 30  # a threshold or a table of colours may fall on either side


@pytest.mark.parametrize("name", NAMED)
def test_an_image_of_one_colour_has_no_other_colour_at_its_edge(name):
    red = np.full((40, 50, 3), (200, 100, 50), np.uint8)
    for row in variants(name, red, 60):
        assert (row == row[0, 0]).all()


@pytest.mark.parametrize("name", NAMED)
def test_the_item_is_left_as_it_was(name, photo):
    before = photo.copy()
    variants(name, photo)
    assert np.array_equal(photo, before)


# A transform of the user's


def test_a_transform_sees_the_whole_photo_upright_and_in_eight_bits(photo):
    seen = []
    variants(lambda image: seen.append(image) or image, photo, 1)
    assert torch.equal(seen[0].permute(1, 2, 0), PRESET.whole(photo))
    assert seen[0].is_contiguous()
    assert seen[0].dtype == torch.uint8


def test_a_transform_that_changes_nothing_gives_the_presets_row(photo):
    (row,) = variants(lambda image: image, photo, 1)
    assert torch.equal(row, PRESET(photo))


def test_what_has_the_size_already_is_taken_as_it_is(photo):
    (row,) = variants(lambda image: image[:, :28, :28], photo, 1)
    assert torch.equal(row, PRESET.whole(photo)[:28, :28])


@pytest.mark.parametrize("sides", [(100, 50), (7, 9), (28, 29)])
def test_what_has_another_size_is_resized_and_cropped_as_a_photo_is(sides, photo):
    (row,) = variants(v2.Resize(sides), photo, 1)
    other = v2.functional.resize(PRESET.whole(photo).permute(2, 0, 1), sides)
    again = PRESET(other.permute(1, 2, 0).numpy())
    assert (row.int() - again.int()).abs().max() <= 1  # torch and Pillow round differently


def test_a_transform_may_return_floats_in_zero_to_one(photo):
    (row,) = variants(v2.ToDtype(torch.float64, scale=True), photo, 1)
    torch.testing.assert_close(row, PRESET(photo) / 255)


def test_a_transform_may_return_an_image_of_torchvisions(photo):
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
def test_normalised_pixels_are_an_error(transform, got, photo):
    photo = photo.copy()
    photo[:, ::2], photo[:, 1::2] = 0, 255
    preset = ImagePreset(size=42, crop=0.875)  # of 48: nothing is resized
    with pytest.raises(ValueError, match=rf"augment must return .*; {got}\. Leave the normal"):
        variants(transform, photo, 1, preset)


def test_floats_of_a_table_may_have_any_range(rng):
    table = rng.normal(0, 100, (32, 32)).astype(np.float32)
    for augment in ("light", "standard", flipped):
        (row,) = variants(augment, table, 1)
        assert row.abs().max() > 50


def test_a_file_that_is_broken_is_a_decode_error():
    with pytest.raises(DecodeError, match="an image of 8 bytes is not an image"):
        variants("light", b"no image", 1)


# Views


@pytest.fixture
def views():
    return Views("light", n=4)


def rows_of(views, *photos):
    preset = views.preset(PRESET)
    return [preset(item) for item in views.items(photos, [digest(photo) for photo in photos])]


@pytest.mark.parametrize("augment", AUGMENTS)
def test_views_of_a_photo_are_fixed(augment, photo):
    first, again = (rows_of(Views(augment, n=4), photo) for _ in range(2))
    assert all(map(torch.equal, first, again))


def test_views_of_a_photo_differ(views, photo):
    assert len({row.numpy().tobytes() for row in rows_of(views, photo)}) == 4


def test_views_depend_neither_on_their_neighbours_nor_on_n(views, photo, rng):
    other = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    alone = rows_of(views, photo)
    assert all(map(torch.equal, alone, rows_of(views, other, photo)[4:]))
    assert all(map(torch.equal, alone, rows_of(replace(views, n=9), photo)[:4]))


def test_views_depend_on_the_content_alone(views, photo, tmp_path):
    for name in ("one.png", "other.png"):
        Image.fromarray(photo).save(tmp_path / name)
    one, other = (rows_of(views, tmp_path / name) for name in ("one.png", "other.png"))
    assert all(map(torch.equal, one, other))


def test_every_view_has_a_name_of_its_own(views):
    items = views.items(["a", "b"], [b"a" * 16, b"b" * 16])
    assert [item.item for item in items] == ["a"] * 4 + ["b"] * 4
    assert len({item.digest for item in items}) == 8
    assert {len(item.digest) for item in items} == {16}


def test_a_digest_must_belong_to_each_item(views):
    with pytest.raises(ValueError, match="shorter"):
        views.items(["a", "b"], [b"a" * 16])


def test_views_of_other_augmentations_or_presets_have_other_fingerprints():
    presets = [
        PRESET,
        Views("light").preset(PRESET),
        Views("trivial").preset(PRESET),
        Views(v2.RandomRotation(30)).preset(PRESET),
        Views(v2.RandomRotation(31)).preset(PRESET),
        Views("light").preset(ImagePreset(size=32)),
    ]
    assert len({preset.fingerprint() for preset in presets}) == len(presets)


def test_the_fingerprint_does_not_tell_how_many_views_there_are():
    # so that more views find those that are in the cache
    few, many = (Views("light", n=n).preset(PRESET).fingerprint() for n in (2, 8))
    assert few == many


def test_the_preset_of_views_batches_and_checks_as_the_inner_one(views, photo):
    preset = views.preset(PRESET)
    rows = rows_of(views, photo)
    assert torch.equal(preset.collate(rows, 5), PRESET.collate(rows, 5))
    (item,) = preset.check([photo])
    assert np.array_equal(item, photo)
    with pytest.raises(ValueError, match="X must"):
        preset.check(["nowhere.jpg"])


def test_views_survive_pickling(views, photo):
    preset, items = views.preset(PRESET), views.items([photo], [digest(photo)])
    again, (first, *_) = pickle.loads(pickle.dumps((preset, items)))
    assert again == preset
    assert torch.equal(again(first), preset(items[0]))


def test_views_of_an_unknown_name_are_an_error():
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        Views("ligth")
    assert str(raised.value) == (
        "augment of Views must be one of 'light', 'standard', 'trivial', or a callable; got "
        "'ligth'. Did you mean 'light'?"
    )


@pytest.mark.parametrize("augment", [None, "auto", 3, Views("light")])
def test_views_need_something_random(augment):
    with pytest.raises(ValueError, match=r"augment of Views must be one of 'light', .*; got"):
        Views(augment)


def test_there_is_one_view_at_least():
    with pytest.raises(ValueError, match=r"^n must be an integer of at least 1; got 0\.$"):
        Views("light", 0)


# The parameter


def test_nothing_augments_nothing():
    assert resolve_augment(None, PRESET) is None
    assert resolve_augment(None, object()) is None


def test_views_are_not_drawn_one_by_one():
    with pytest.raises(ValueError, match=r"augment must be one of None, .*, or a callable; got V"):
        resolve_augment(Views("light"), PRESET)


def test_what_augments_can_be_compared_and_pickled(photo):
    augmentation = resolve_augment("light", PRESET)
    assert augmentation == Augmentation(PRESET, "light")
    again = pickle.loads(pickle.dumps(augmentation))
    assert torch.equal(again(photo, 3), augmentation(photo, 3))


@pytest.mark.parametrize("augment", ["auto", None, *NAMED, Views("light"), flipped])
def test_what_an_estimator_takes_is_taken(augment):
    assert check_augment(augment) is augment


@pytest.mark.parametrize("augment", ["ligth", 3, True, "", ["light"], v2.RandomHorizontalFlip])
def test_what_it_does_not_take_is_an_error_that_names_what_it_does(augment):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        check_augment(augment)
    guess = " Did you mean 'light'?" if "light" in str(augment) or augment == "ligth" else ""
    assert str(raised.value) == (
        "augment must be one of 'auto', None, 'light', 'standard', 'trivial', Views, or a "
        f"callable; got {augment!r}.{guess}"
    )


@pytest.mark.parametrize("make", [lambda p: resolve_augment("light", p), Views("light").preset])
def test_items_that_are_no_images_cannot_be_augmented(make):
    class TextPreset:
        pass

    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        make(TextPreset())
    assert str(raised.value) == (
        "augment must be None for items that are not images; got 'light' for a TextPreset."
    )


# Names


def test_a_name_stands_for_itself():
    assert [describe(augment) for augment in (None, *NAMED)] == ["None", *NAMED]


def test_alike_transforms_have_one_name_and_others_another():
    def rotation(degrees):
        return v2.Compose([v2.RandomRotation(degrees), v2.Lambda(flipped)])

    assert describe(rotation(30)) == describe(rotation(30)) != describe(rotation(31))
    assert describe(rotation(30)).startswith("Compose ")
    assert describe(flipped).startswith("flipped ")


def test_views_are_named_by_what_they_are_made_of():
    names = {describe(Views(augment, n)) for augment in ("light", flipped) for n in (2, 3)}
    assert len(names) == 4


def test_what_cannot_be_named_is_an_error():
    with pytest.raises(TypeError, match="augment must be a callable that can be named; generator"):
        describe(iter(x for x in ()).__next__)
