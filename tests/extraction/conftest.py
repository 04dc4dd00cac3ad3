"""Fixtures of the tests of frozen stages."""

import numpy as np
import pytest
from helpers.tiny import tiny_backbone


@pytest.fixture
def images(rng):
    return list(rng.integers(0, 256, (21, 20, 20, 3), dtype=np.uint8))


@pytest.fixture
def backbone():
    return tiny_backbone().freeze_to(3).eval()
