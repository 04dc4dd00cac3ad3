"""Digests: equal for equal content, different for different content."""

import os
import time
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from sktransfer.data import digests as digests_module
from sktransfer.data.digests import digest

few = settings(max_examples=25, deadline=None, derandomize=True)
row_types = st.sampled_from(["float16", "float32", "float64", "uint8"])


def make_old(path, seconds=10.0):
    """Set the time of the last change to some seconds ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def photos(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(b"photo %d" % i)
        make_old(path)
    return paths


def test_a_digest_has_16_bytes():
    assert len(digest(b"")) == 16


def test_the_digest_of_a_path_is_that_of_its_file(photos):
    expected = digest(b"photo 0")
    assert digest(photos[0]) == expected
    assert digest(str(photos[0])) == expected
    assert digest(np.str_(photos[0])) == expected
    assert digest(bytearray(b"photo 0")) == digest(memoryview(b"photo 0")) == expected


@few
@given(st.data(), row_types)
def test_arrays_have_equal_digests_if_and_only_if_type_shape_and_bytes_are_equal(data, dtype):
    shape = data.draw(array_shapes(max_dims=3, max_side=3))
    some = arrays(dtype, shape, elements=st.integers(0, 2))
    a, b = data.draw(some), data.draw(some)
    assert (digest(a) == digest(b)) == (a.tobytes() == b.tobytes())
    assert digest(a) == digest(np.asfortranarray(a))
    assert digest(a) != digest(a[np.newaxis])
    assert digest(a) != digest(a.astype("int64"))


def test_items_of_different_kinds_have_different_digests():
    array = np.zeros((2, 2), np.uint8)
    equal_bytes = [array.tobytes(), array, Image.fromarray(array)]
    assert len(set(map(digest, equal_bytes))) == 3


@pytest.fixture
def picture():
    image = Image.new("P", (2, 2))
    image.putpalette([0, 0, 0, 255, 255, 255])
    return image


def turned(image):
    exif = Image.Exif()
    exif[digests_module.ORIENTATION] = 6
    file = BytesIO()
    image.save(file, "PNG", exif=exif)
    return Image.open(file)


def cleared(image):
    image.info["transparency"] = 0
    return image


def recoloured(image):
    image.putpalette([0, 0, 0, 255, 0, 0])
    return image


def painted(image):
    image.putpixel((0, 0), 1)
    return image


@pytest.mark.parametrize(
    "change",
    [
        turned,
        cleared,
        recoloured,
        painted,
        lambda image: image.convert("L"),
        lambda image: image.resize((4, 1)),
    ],
    ids=["orientation", "transparency", "palette", "pixels", "mode", "size"],
)
def test_every_property_of_a_pil_image_changes_its_digest(picture, change):
    before = digest(picture)
    assert digest(picture.copy()) == before
    assert digest(change(picture)) != before


@pytest.mark.parametrize("item", [None, object(), {"a": 1}])
def test_an_object_that_is_not_an_item_is_refused(item):
    with pytest.raises(TypeError, match=r"item must be a path, bytes, a PIL image or an array"):
        digest(item)
