"""A digest is found without going through all digests of a shard."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sktransfer import ActivationCache
from sktransfer.cache.columns import KEY
from sktransfer.cache.shard import Shard
from sktransfer.data.digests import digest

few = settings(max_examples=40, deadline=None, derandomize=True)
digests_ = st.binary(min_size=16, max_size=16)


def names(n, start=0):
    return [digest(b"%d" % i) for i in range(start, start + n)]


@pytest.mark.parametrize("is_open", [False, True], ids=["in a file", "open"])
def test_a_lookup_of_one_digest_does_not_go_through_all(cache, monkeypatch, is_open):
    rows = np.arange(2000, dtype="float32")[:, None]
    cache.table("prefix").append(names(2000), rows)
    monkeypatch.setattr(Shard, "digests", property(lambda shard: pytest.fail("all are read")))
    table = cache.table("prefix")
    for at in (0, 7, 1999):
        table = table if is_open else cache.table("prefix")
        assert table.missing(names(1, at)) == []
        np.testing.assert_array_equal(table.rows(names(1, at)), rows[at : at + 1])
    assert table.missing(names(1, 2000)) == [0]


@few
@given(held=st.lists(digests_, min_size=1, unique=True), data=st.data())
def test_a_search_finds_what_a_list_of_all_digests_finds(held, data):
    asked = data.draw(st.lists(st.sampled_from(held) | digests_))
    expected = {name: held.index(name) for name in asked if name in held}
    with TemporaryDirectory() as folder:
        shard = Shard.of(Path(folder), held, np.zeros((len(held), 2)))
        for searched in (shard, Shard.read(shard.written().path)):
            assert searched.find(asked) == expected
            assert searched.digests == held


@few
@given(st.integers(0, 4), st.integers(0, 7))
def test_a_damaged_order_never_finds_a_wrong_row(entry, bit):
    held, rows = names(5), np.arange(5.0)
    with TemporaryDirectory() as folder:
        ActivationCache(folder).table("prefix").append(held, rows)
        (path,) = Path(folder).glob("*/*.safetensors")
        content = bytearray(path.read_bytes())
        content[-5 * KEY.itemsize + KEY.itemsize * entry + KEY.fields["order"][1]] ^= 1 << bit
        path.write_bytes(content)
        found = Shard.read(path).find(held)
        assert found.items() <= {name: at for at, name in enumerate(held)}.items()
        table = ActivationCache(folder).table("prefix")
        assert len(table.missing(held)) == 1  # its checksum covers the entry
        table.append(held, rows)
        np.testing.assert_array_equal(table.rows(held), rows)


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


def test_a_row_is_found_in_the_shards_that_come_later(cache):
    table, other = cache.table("prefix"), cache.table("prefix")
    for start in (0, 500, 1000):
        rows = np.arange(start, start + 500, dtype="float32")[:, None]
        other.append(names(500, start), rows)
        assert table.missing(names(1, start)) == []
        assert table.missing(names(1, start + 500)) == [0]
    assert table.missing(names(1500)) == []
    np.testing.assert_array_equal(table.rows(names(1500)), np.arange(1500)[:, None])
