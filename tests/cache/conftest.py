"""Caches to look into, and files to digest."""

import os
import time

import numpy as np
import pytest

from sktransfer import ActivationCache
from sktransfer.data import digests as digests_module
from sktransfer.data.digests import digest


@pytest.fixture
def cache(tmp_path):
    return ActivationCache(tmp_path / "cache")


@pytest.fixture
def rows(rng):
    return rng.standard_normal((10, 4, 3), dtype=np.float32)


@pytest.fixture
def filled(cache, rows):
    """A cache of ten rows in one shard."""
    cache.table("prefix").append([digest(b"%d" % i) for i in range(10)], rows)
    return cache


@pytest.fixture
def photos(tmp_path):
    """Files that have not changed in the last seconds."""
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    then = time.time() - 10
    for i, path in enumerate(paths):
        path.write_bytes(b"photo %d" % i)
        os.utime(path, (then, then))
    return paths


@pytest.fixture
def read(monkeypatch):
    """The items that were digested, and therefore read."""
    seen = []
    real = digests_module.digest
    monkeypatch.setattr(digests_module, "digest", lambda item: seen.append(item) or real(item))
    return seen
