"""Images in files, and estimators that processes of other libraries can import."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import coloured_files, tiny_backbone

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
    names, y = coloured_files(tmp_path_factory.mktemp("photos"))
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
