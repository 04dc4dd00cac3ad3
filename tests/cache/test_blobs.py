"""A blob is returned whole or not at all."""

import os
from pathlib import Path

import pytest
from helpers.tokens import dead_token, temporary
from hypothesis import given, settings
from hypothesis import strategies as st

from sktransfer import ActivationCache
from sktransfer._support import files as support
from sktransfer._support.files import SEAL
from sktransfer.cache.blobs import Blobs

few = settings(max_examples=40, deadline=None, derandomize=True)
CONTENT = b"the weights of a head"
SIZE = SEAL.size + len(CONTENT)


@pytest.fixture
def filled(cache):
    """A cache that holds one blob."""
    cache.blobs("heads").put(b"key", CONTENT)
    return cache


def files(cache):
    return sorted(Path(cache.dir).glob("*/*.blob"))


def refuse(*args, **options):
    raise PermissionError


@few
@given(key=st.binary(max_size=50), content=st.binary(max_size=200))
def test_content_comes_back_as_it_was_put(tmp_path_factory, key, content):
    folder = tmp_path_factory.mktemp("cache")
    ActivationCache(folder).blobs("heads").put(key, memoryview(content))
    assert ActivationCache(folder).blobs("heads").get(key) == content


def test_keys_and_kinds_do_not_see_each_others_content(filled):
    assert filled.blobs("heads").get(b"another key") is None
    assert filled.blobs("another kind").get(b"key") is None


def test_content_of_the_same_key_is_replaced(filled):
    filled.blobs("heads").put(b"key", b"newer")
    assert filled.blobs("heads").get(b"key") == b"newer"
    assert len(files(filled)) == 1


def test_a_lookup_makes_no_folder(cache):
    assert cache.blobs("heads").get(b"key") is None
    assert not Path(cache.dir).exists()


# Damage


@pytest.mark.parametrize("length", [0, 5, SEAL.size, SIZE - 1])
def test_a_truncated_blob_is_absent_and_removed(filled, length):
    (path,) = files(filled)
    path.write_bytes(path.read_bytes()[:length])
    assert filled.blobs("heads").get(b"key") is None
    assert files(filled) == []


@few
@given(position=st.integers(0, SIZE - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_makes_a_blob_absent(tmp_path_factory, position, bit):
    cache = ActivationCache(tmp_path_factory.mktemp("cache"))
    cache.blobs("heads").put(b"key", CONTENT)
    (path,) = files(cache)
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
    assert cache.blobs("heads").get(b"key") is None
    assert files(cache) == []


def test_a_file_of_another_key_is_absent_and_removed(filled):
    filled.blobs("heads").put(b"another key", b"content")
    one, other = files(filled)
    one.write_bytes(other.read_bytes())
    found = [filled.blobs("heads").get(key) for key in (b"key", b"another key")]
    assert found.count(None) == 1
    assert files(filled) == [other]


def test_pruning_removes_blobs_of_the_wrong_length(filled):
    (path,) = files(filled)
    path.write_bytes(path.read_bytes()[:-1])
    assert filled.prune() == SIZE - 1
    assert files(filled) == []


def test_temporary_files_of_dead_processes_are_removed(filled):
    (path,) = files(filled)
    dead = path.with_name(temporary(dead_token()))
    dead.write_bytes(b"half a blob")
    filled.blobs("heads").put(b"another key", b"content")
    assert not dead.exists()


# Limits


def test_info_and_the_size_of_the_cache_count_blobs(filled):
    assert filled.info() == {"heads": {"rows": 1, "bytes": SIZE, "shards": 1}}
    assert filled.n_bytes == SIZE


def test_the_least_recently_used_blob_is_removed_first(filled):
    blobs = filled.blobs("heads")
    blobs.put(b"another key", CONTENT)
    for path in files(filled):
        os.utime(path, (0, 0))
    blobs.get(b"key")
    assert filled.prune(SIZE) == SIZE
    assert blobs.get(b"key") == CONTENT
    assert blobs.get(b"another key") is None


def test_a_blob_that_exceeds_the_limit_removes_nothing(filled):
    limited = ActivationCache(filled.dir, max_bytes=filled.n_bytes + 10)
    limited.blobs("heads").put(b"another key", CONTENT)
    assert limited.blobs("heads").get(b"another key") is None
    assert limited.blobs("heads").get(b"key") == CONTENT


def test_pruning_everything_leaves_an_empty_folder(filled):
    assert filled.prune(0) == SIZE
    assert list(Path(filled.dir).iterdir()) == []


@pytest.mark.parametrize("owner", [Path, support], ids=["no folder", "no space"])
def test_a_disk_that_takes_nothing_is_no_error(cache, monkeypatch, owner):
    name = "mkdir" if owner is Path else "write_file"
    monkeypatch.setattr(owner, name, refuse)
    cache.blobs("heads").put(b"key", CONTENT)
    assert cache.blobs("heads").get(b"key") is None


def test_a_file_that_cannot_be_read_is_absent(filled, monkeypatch):
    monkeypatch.setattr(Path, "open", refuse)
    assert filled.blobs("heads").get(b"key") is None
    assert len(files(filled)) == 1


def test_a_folder_that_can_only_be_read_serves(filled, monkeypatch):
    monkeypatch.setattr(os, "utime", refuse)
    assert filled.blobs("heads").get(b"key") == CONTENT


def test_blobs_need_no_cache_around_them(tmp_path):
    blobs = Blobs(tmp_path, keep=lambda n_bytes, write: write() if n_bytes <= SIZE else None)
    blobs.put(b"key", CONTENT)
    blobs.put(b"another key", CONTENT + b"!")
    assert blobs.get(b"key") == CONTENT
    assert blobs.get(b"another key") is None
