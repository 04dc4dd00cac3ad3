"""Fixtures of the tests of estimators."""

import numpy as np
import pytest
from helpers.tiny import coloured_photos, tiny_backbone
from PIL import Image

from sktransfer import PretrainedFeatureExtractor


@pytest.fixture(scope="module")
def photos():
    """36 photos of three colours, and their labels."""
    return coloured_photos()


@pytest.fixture
def extractor():
    return PretrainedFeatureExtractor(tiny_backbone)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (10, 20, 20, 3), dtype=np.uint8)


@pytest.fixture
def paths(images, tmp_path):
    """The same images as files."""
    names = [tmp_path / f"{index}.png" for index in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(name)
    return [str(name) for name in names]


@pytest.fixture
def features(extractor, images):
    """The features of the images."""
    return extractor.fit_transform(images)
