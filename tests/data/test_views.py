"""Views: fixed variants of each image, their digests, and texts that describe augmentations."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.augmented import AUGMENTS, PRESET, flipped, soft_photo
from PIL import Image
from torchvision.transforms import v2

from sktransfer.data.augmentation import Views, describe
from sktransfer.data.digests import digest
from sktransfer.data.presets import ImagePreset
from sktransfer.data.variants import NAMED


@pytest.fixture
def photo(rng):
    return soft_photo(rng)


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


def test_every_view_has_its_own_digest(views):
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


def test_the_fingerprint_of_views_does_not_depend_on_their_number():
    # A larger number of views finds the first ones in the cache.
    few, many = (Views("light", n=n).preset(PRESET).fingerprint() for n in (2, 8))
    assert few == many


def test_the_preset_of_views_batches_and_checks_like_the_inner_one(views, photo):
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
def test_views_need_a_random_augmentation(augment):
    with pytest.raises(ValueError, match=r"augment of Views must be one of 'light', .*; got"):
        Views(augment)


def test_views_need_a_positive_number():
    with pytest.raises(ValueError, match=r"^n must be an integer of at least 1; got 0\.$"):
        Views("light", 0)


# describe


def test_a_name_is_described_by_itself():
    assert [describe(augment) for augment in (None, *NAMED)] == ["None", *NAMED]


def test_equal_transforms_have_equal_descriptions_and_others_do_not():
    def rotation(degrees):
        return v2.Compose([v2.RandomRotation(degrees), v2.Lambda(flipped)])

    assert describe(rotation(30)) == describe(rotation(30)) != describe(rotation(31))
    assert describe(rotation(30)).startswith("Compose ")
    assert describe(flipped).startswith("flipped ")


def test_views_are_described_by_their_augmentation_and_number():
    names = {describe(Views(augment, n)) for augment in ("light", flipped) for n in (2, 3)}
    assert len(names) == 4


def test_a_callable_that_cannot_be_described_is_an_error():
    with pytest.raises(
        TypeError, match="augment must be a callable that can be described; generator"
    ):
        describe(iter(x for x in ()).__next__)
