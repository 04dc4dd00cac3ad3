"""A row is found with the same work among few rows and many."""

import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sktransfer import ActivationCache
from sktransfer.cache import index as indexes
from sktransfer.cache import joining
from sktransfer.cache.index import Index
from sktransfer.cache.shard import Shard
from sktransfer.data.digests import digest

few = settings(max_examples=40, deadline=None, derandomize=True)
digests_ = st.binary(min_size=16, max_size=16)


def names(n, start=0):
    return [digest(b"%d" % i) for i in range(start, start + n)]


def filled(cache, n_shards, n=20):
    """Fill a table with shards of ``n`` rows, and return all rows."""
    rows = np.arange(n * n_shards, dtype="float32")[:, None]
    for start in range(0, len(rows), n):
        cache.table("prefix").append(names(n, start), rows[start : start + n])
    return rows


def n_calls(function):
    """Return the number of functions that are called in a call of ``function``."""
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(event.endswith("call")))
    try:
        function()
    finally:
        sys.setprofile(None)
    return sum(calls)


def test_the_work_of_a_lookup_does_not_grow_with_the_number_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "MANY", 10**9)
    monkeypatch.setattr(indexes, "RACY_SECONDS", 0)
    work = []
    for n_shards in (3, 100):
        cache = ActivationCache(tmp_path / str(n_shards))
        rows = filled(cache, n_shards)
        indexes._known.cache_clear()

        def look_up(cache=cache, expected=rows[30:31]):
            table = cache.table("prefix")
            assert table.missing(names(1, 30)) == []
            assert table.rows(names(1, 30))[:] == expected

        look_up()
        work.append([n_calls(look_up) for _ in range(3)])
    assert work[1] == work[0]


def test_a_row_takes_24_bytes_in_an_index(cache):
    filled(cache, 5)
    (folder,) = Path(cache.dir).iterdir()
    index = indexes.read_index(folder)
    assert sum(array.nbytes for run in index.runs for array in run) == 24 * 100


@pytest.mark.parametrize("n_shards", [1, 7, 40])
def test_an_index_has_few_runs_however_shards_are_added(n_shards):
    index, of_one = Index(), Shard(Path("folder"), 1, ((), np.dtype("<f4")))
    for i in range(n_shards):
        index = index.adding([(of_one, np.array([digest(bytes([i]))]))])
    assert len(index.runs) <= 2
    found = list(index.find([digest(bytes([i])) for i in range(n_shards)]))
    assert sum(len(at) for _, at, _ in found) == n_shards


@few
@given(st.data(), st.lists(st.lists(digests_, min_size=1, max_size=5, unique=True), max_size=6))
def test_an_index_finds_what_a_list_of_all_digests_finds(data, held):
    every = [name for names in held for name in names]
    asked = data.draw(st.lists(st.sampled_from(every) | digests_ if every else digests_))
    gone = data.draw(st.sets(st.sampled_from(range(len(held)))) if held else st.just(set()))
    asked = list(dict.fromkeys(asked))
    with TemporaryDirectory() as folder:
        index = Index()
        for number, digests in enumerate(held):
            shard = Shard.of(Path(folder), digests, np.zeros((len(digests), 2)))
            shard.path = Path(str(number))
            assert shard.digests == digests
            index = index.adding([(shard, shard.sortable_digests())])
    index = index.without([Path(str(number)) for number in gone])
    found = {}
    for shard, at, rows in index.find(asked):
        assert int(str(shard.path)) not in gone
        for position, row in zip(at, rows, strict=True):
            assert shard.digests[row] == asked[position]
            found[asked[position]] = row
    left = [names for number, names in enumerate(held) if number not in gone]
    assert set(found) == {name for names in left for name in names} & set(asked)


@pytest.mark.parametrize("n_asked", [1, 600])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_shard_that_vanishes_is_missing_in_every_kind_of_lookup(cache, n_asked, damage):
    rows = np.arange(600, dtype="float32")[:, None]
    cache.table("prefix").append(names(600), rows)
    table = cache.table("prefix")
    (path,) = Path(cache.dir).glob("*/*.safetensors")
    damage(path)
    with pytest.raises(KeyError):
        table.rows(names(n_asked))
    table.append(names(600), rows)
    np.testing.assert_array_equal(table.rows(names(n_asked)), rows[:n_asked])


@pytest.mark.parametrize("racy_seconds", [0, 2], ids=["trusted", "listed again"])
def test_a_row_is_found_in_the_shards_that_come_later(cache, monkeypatch, racy_seconds):
    monkeypatch.setattr(indexes, "RACY_SECONDS", racy_seconds)
    table, other = cache.table("prefix"), cache.table("prefix")
    for start in (0, 500, 1000):
        rows = np.arange(start, start + 500, dtype="float32")[:, None]
        other.append(names(500, start), rows)
        assert table.missing(names(1, start)) == []
        assert table.missing(names(1, start + 500)) == [0]
    assert table.missing(names(1500)) == []
    np.testing.assert_array_equal(table.rows(names(1500)), np.arange(1500)[:, None])


def test_a_folder_that_has_not_changed_is_not_listed_again(cache, monkeypatch):
    monkeypatch.setattr(indexes, "RACY_SECONDS", 0)
    rows = filled(cache, 2)
    cache.table("prefix")
    monkeypatch.setattr(indexes, "find_files", lambda *args: pytest.fail("listed"))
    np.testing.assert_array_equal(cache.table("prefix").rows(names(40)), rows)


def test_a_shard_that_could_not_be_read_is_read_later(cache, monkeypatch):
    monkeypatch.setattr(indexes, "RACY_SECONDS", 0)
    rows = filled(cache, 2)
    indexes._known.cache_clear()

    def fail(path):
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(Shard, "read", fail)
        assert cache.table("prefix").missing(names(40)) == list(range(40))
    np.testing.assert_array_equal(cache.table("prefix").rows(names(40)), rows)


@pytest.mark.parametrize("small_bytes", [0, 2**20], ids=["large", "small"])
@pytest.mark.parametrize("how", ["in place", "renamed"])
def test_files_exchanged_within_a_table_never_exchange_rows(cache, monkeypatch, small_bytes, how):
    monkeypatch.setattr("sktransfer.cache.shard.SMALL_BYTES", small_bytes)
    monkeypatch.setattr(indexes, "RACY_SECONDS", 0)
    rows = filled(cache, 2)
    in_use = cache.table("prefix").rows(names(40))
    one, other = Path(cache.dir).glob("*/*.safetensors")
    if how == "in place":
        contents = one.read_bytes(), other.read_bytes()
        one.write_bytes(contents[1])
        other.write_bytes(contents[0])
    else:
        one.rename(one.with_suffix(".old"))
        other.rename(one)
        one.with_suffix(".old").rename(other)
    table = cache.table("prefix")
    here = sorted(set(range(40)) - set(table.missing(names(40))))
    np.testing.assert_array_equal(table.rows([names(40)[i] for i in here]), rows[here])
    with suppress(OSError):
        np.testing.assert_array_equal(in_use, rows)
    table.append(names(40), rows)
    np.testing.assert_array_equal(table.rows(names(40)), rows)


@pytest.mark.parametrize("name", [b"", b"short", bytes(17)], ids=len)
def test_a_digest_of_another_length_has_no_row(cache, name):
    filled(cache, 1)
    assert cache.table("prefix").missing([name, *names(3)]) == [0]


# The number of open files


def test_a_table_of_more_files_than_a_process_may_open_is_read(cache, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr("sktransfer.cache.shard.SMALL_BYTES", 0)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    rows = filled(cache, 120, n=1)
    n_open = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 50
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 60, before[1]))
    try:
        table = cache.table("prefix")
        assert table.missing(names(120)) == []
        found = table.rows(names(120))
        np.testing.assert_array_equal(found, rows)
        np.testing.assert_array_equal(found[::-7], rows[::-7])
        table.append(names(1, 120), rows[:1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
