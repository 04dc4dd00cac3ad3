"""A file is taken for content of its own folder only."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import coloured_photos

from sktransfer import ActivationCache, PretrainedFeatureExtractor
from sktransfer.data.digests import digest

NAMES = [digest(bytes([i])) for i in range(4)]
ROWS = np.random.default_rng(0).standard_normal((4, 3), dtype=np.float32)


def only_file(folder, pattern="*.safetensors"):
    (path,) = Path(folder).glob(f"*/{pattern}")
    return path


def exchange(one, other):
    """Exchange the content of two files, and keep their time stamps."""
    stamps = [path.stat().st_mtime_ns for path in (one, other)]
    contents = [path.read_bytes() for path in (one, other)]
    for path, content, stamp in zip((one, other), contents[::-1], stamps, strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(stamp, stamp))


@pytest.fixture
def both(tmp_path):
    """Two tables of one cache, which hold different rows for the same digests, and their files."""
    cache = ActivationCache(tmp_path / "cache")
    files = []
    for name, rows in (("one", ROWS), ("other", -ROWS)):
        before = set(Path(cache.dir).glob("*/*.safetensors"))
        cache.table(name).append(NAMES, rows)
        (path,) = set(Path(cache.dir).glob("*/*.safetensors")) - before
        files.append(path)
    return cache, files


@pytest.mark.parametrize("used_before", [False, True], ids=["new", "in use"])
def test_exchanged_shards_are_missing_in_both_tables(both, used_before):
    cache, files = both
    if used_before:
        assert all(cache.table(name).missing(NAMES) == [] for name in ("one", "other"))
    exchange(*files)
    for name, rows in (("one", ROWS), ("other", -ROWS)):
        table = cache.table(name)
        assert table.missing(NAMES) == [0, 1, 2, 3]
        table.append(NAMES, rows)
        np.testing.assert_array_equal(cache.table(name).rows(NAMES), rows)
    assert not any(path.exists() for path in files)


def test_a_shard_moved_to_another_table_is_removed(both):
    cache, (one, other) = both
    moved = other.with_name(one.name)
    one.rename(moved)
    assert cache.table("one").missing(NAMES) == [0, 1, 2, 3]
    np.testing.assert_array_equal(cache.table("other").rows(NAMES), -ROWS)
    assert not moved.exists()


def test_a_foreign_shard_of_another_shape_does_not_stop_a_table(tmp_path, both):
    cache, (one, _) = both
    another = ActivationCache(tmp_path / "another cache")
    another.table("wide").append(NAMES, np.ones((4, 9), np.float32))
    one.write_bytes(only_file(another.dir).read_bytes())
    table = cache.table("one")
    assert table.missing(NAMES) == [0, 1, 2, 3]
    table.append(NAMES, ROWS)
    np.testing.assert_array_equal(cache.table("one").rows(NAMES), ROWS)


def test_a_copy_of_a_whole_folder_serves(tmp_path, both):
    _, (one, _) = both
    shutil.copytree(one.parent, tmp_path / "another cache" / one.parent.name)
    copied = ActivationCache(tmp_path / "another cache").table("one")
    np.testing.assert_array_equal(copied.rows(NAMES), ROWS)


def test_pruning_removes_foreign_shards(both):
    cache, (one, other) = both
    exchange(one, other)
    size = one.stat().st_size
    assert [counts["rows"] for counts in cache.info().values()] == [0, 0]
    assert cache.prune() == 2 * size
    assert cache.info() == {}


def test_features_of_another_image_size_are_not_returned(tmp_path):
    photos, _ = coloured_photos(4)
    of_size = {
        size: PretrainedFeatureExtractor(
            "builtin/mini", image_size=size, cache=tmp_path / "cache", verbose=0
        ).fit(photos)
        for size in (32, 48)
    }
    files, features = {}, {}
    for size, model in of_size.items():
        before = set((tmp_path / "cache").glob("*/*.safetensors"))
        features[size] = model.transform(photos)
        files[size] = sorted(set((tmp_path / "cache").glob("*/*.safetensors")) - before)
    for one, other in zip(*files.values(), strict=True):
        exchange(one, other)
    for size, model in of_size.items():
        np.testing.assert_array_equal(model.transform(photos), features[size])


# Blobs


@pytest.fixture
def kinds(tmp_path):
    """A cache that keeps content of two kinds under one key, and the files of both."""
    cache = ActivationCache(tmp_path / "cache")
    files = []
    for kind in ("heads", "tails"):
        before = set(Path(cache.dir).glob("*/*.blob"))
        cache.blobs(kind).put(b"key", kind.encode())
        (path,) = set(Path(cache.dir).glob("*/*.blob")) - before
        files.append(path)
    return cache, files


def test_exchanged_blobs_of_one_key_are_absent_in_both_kinds(kinds):
    cache, files = kinds
    exchange(*files)
    assert [cache.blobs(kind).get(b"key") for kind in ("heads", "tails")] == [None, None]
    assert not any(path.exists() for path in files)


def test_a_copy_of_a_folder_of_blobs_serves(tmp_path, kinds):
    _, (one, _) = kinds
    shutil.copytree(one.parent, tmp_path / "another cache" / one.parent.name)
    assert ActivationCache(tmp_path / "another cache").blobs("heads").get(b"key") == b"heads"
