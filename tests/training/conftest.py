"""Fixtures of the tests of training."""

import pytest
from helpers.tiny import coloured_photos


@pytest.fixture(scope="module")
def photos():
    """36 photos of three colours, and their labels."""
    return coloured_photos()
