"""ImageSizes: the sizes that a network accepts, and errors for others."""

import pytest

from sktransfer import ImagePreset
from sktransfer.data.image_sizes import ImageSizes


@pytest.mark.parametrize(
    ("sizes", "size", "message"),
    [
        (ImageSizes(), 31, "image_size must be at least 32; got 31"),
        (
            ImageSizes(multiple=32),
            100,
            "image_size must be at least 32 and a multiple of 32; got 100",
        ),
        (ImageSizes(only=(224, 384)), 256, "image_size must be 224, 384 for this network; got 256"),
        (ImageSizes(), "big", "image_size must be an integer of at least 1; got 'big'"),
    ],
)
def test_a_size_that_the_network_does_not_accept_is_an_error(sizes, size, message):
    with pytest.raises(ValueError, match=message):
        ImagePreset(sizes=sizes).at(size)


@pytest.mark.parametrize(
    ("sizes", "size"),
    [(ImageSizes(), 32), (ImageSizes(multiple=7), 35), (ImageSizes(only=(8,)), 8)],
)
def test_a_size_that_the_network_accepts_is_used(sizes, size):
    assert ImagePreset(sizes=sizes).at(size).size == size
