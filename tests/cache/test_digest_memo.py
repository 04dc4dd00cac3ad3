"""The memo knows the digests of files, however many files it knows."""

import os
from pathlib import Path

import numpy as np
import pytest

from sktransfer import ActivationCache
from sktransfer.cache.digest_memo import NAME, DigestMemo
from sktransfer.cache.folder import CacheFolder
from sktransfer.cache.shard import Shard


@pytest.fixture
def folder(tmp_path):
    return CacheFolder(tmp_path / "cache")


def pairs(n):
    """Keys and digests of n files."""
    numbers = np.random.default_rng(0).bytes(32 * n)
    return {numbers[at : at + 16]: numbers[at + 16 : at + 32] for at in range(0, 32 * n, 32)}


@pytest.mark.parametrize("n", [0, 1, 500])
def test_digests_come_back_by_key(folder, n):
    DigestMemo(folder).put(pairs(n))
    known = DigestMemo(folder).get([*pairs(n), bytes(16)])
    assert known == pairs(n)


def test_a_key_may_be_asked_for_twice(folder):
    DigestMemo(folder).put(pairs(3))
    assert DigestMemo(folder).get([*pairs(3), *pairs(2)]) == pairs(3)


def test_a_memo_finds_what_others_put(folder):
    early = DigestMemo(folder)
    DigestMemo(folder).put(pairs(3))
    assert DigestMemo(folder).get(list(pairs(3))) == pairs(3)
    early.put(pairs(5))
    assert DigestMemo(folder).get(list(pairs(5))) == pairs(5)


def test_a_lookup_does_not_go_through_all_digests(folder, monkeypatch):
    DigestMemo(folder).put(pairs(2000))
    monkeypatch.setattr(Shard, "digests", property(lambda shard: pytest.fail("all are read")))
    for key in list(pairs(2000))[::500]:
        assert DigestMemo(folder).get([key]) == {key: pairs(2000)[key]}
    assert DigestMemo(folder).get([bytes(16)]) == {}


def test_a_damaged_digest_is_unknown(folder):
    DigestMemo(folder).put(pairs(3))
    (path,) = folder.root.glob("*/*.safetensors")
    digest = list(pairs(3).values())[1]
    path.write_bytes(path.read_bytes().replace(digest, bytes(16)))
    known = DigestMemo(folder).get(list(pairs(3)))
    assert list(known.values()) == [list(pairs(3).values())[at] for at in (0, 2)]


def test_the_cache_counts_the_files_of_the_memo(tmp_path):
    photos = [tmp_path / f"{i}.jpg" for i in range(3)]
    for photo in photos:
        photo.write_bytes(photo.name.encode())
        os.utime(photo, (1e9, 1e9))
    cache = ActivationCache(tmp_path / "cache")
    cache.digests(photos)
    assert cache.info()[NAME]["rows"] == 3
    assert cache.n_bytes == cache.info()[NAME]["bytes"] > 0


def test_a_disk_that_takes_nothing_is_no_error(folder, monkeypatch):
    def refuse(*args, **options):
        raise OSError

    memo = DigestMemo(folder)
    monkeypatch.setattr(Path, "replace", refuse)
    memo.put(pairs(3))
    assert DigestMemo(folder).get(list(pairs(3))) == {}
