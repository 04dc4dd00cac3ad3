"""Images in files, and estimators that processes of other libraries can import."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import coloured_photos, tiny_backbone
from PIL import Image

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor

TESTS = Path(__file__).parents[1]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            # other libraries warn of their own future
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Paths of images in an array, and labels."""
    folder = tmp_path_factory.mktemp("photos")
    photos, y = coloured_photos(n_each=10)
    names = [str(folder / f"{index}.png") for index in range(len(y))]
    for name, photo in zip(names, photos, strict=True):
        Image.fromarray(photo).save(name)
    return np.array(names), y


@pytest.fixture(scope="module")
def classifier():
    """A function that builds a classifier."""

    def build(**parameters):
        parameters = {"max_epochs": 1, "random_state": 0} | parameters
        return FineTuneClassifier(tiny_backbone, **parameters)

    return build


@pytest.fixture
def extractor():
    return PretrainedFeatureExtractor(tiny_backbone)


@pytest.fixture(scope="module")
def importable():
    """The path from which new processes import this package and the helpers of the tests."""
    entries = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, entries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        yield path
