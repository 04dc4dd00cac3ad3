"""Small shards are joined to one, by one process at a time."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fresh import run_fresh

from sktransfer import ActivationCache
from sktransfer._support.files import claimed
from sktransfer.cache import joining
from sktransfer.cache import table as tables
from sktransfer.cache.joining import MANY
from sktransfer.data.digests import digest


def names(n, start=0):
    return [digest(b"%d" % i) for i in range(start, start + n)]


def shards(folder):
    return sorted(Path(folder).glob("*/*.safetensors"))


def test_small_shards_of_bfloat16_are_joined_as_they_are(tmp_path, rows):
    cache = ActivationCache(tmp_path, dtype="bfloat16")
    table = cache.table("prefix")
    for at in range(MANY + 2):
        table.append(names(1, at), rows[at % 10 : at % 10 + 1])
    assert len(shards(tmp_path)) < MANY
    found = cache.table("prefix").rows(names(MANY + 2))
    expected = torch.from_numpy(rows).bfloat16().float()
    np.testing.assert_array_equal(found[:10], expected)


def test_small_shards_are_not_joined_if_the_limit_is_near(tmp_path, rng):
    rows = rng.standard_normal((MANY + 8, 64)).astype("float32")
    of_one = ActivationCache(tmp_path / "one").table("prefix")
    of_one.append(names(1), rows[:1])
    one = shards(tmp_path / "one")[0].stat().st_size
    cache = ActivationCache(tmp_path / "all", max_bytes=MANY // 2 * one)
    table = cache.table("prefix")
    for start in range(len(rows)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # older rows are removed
            table.append(names(1, start), rows[start : start + 1])
        assert cache.n_bytes <= cache.max_bytes
    here = len(rows) - len(cache.table("prefix").missing(names(len(rows))))
    assert here == MANY // 2
    np.testing.assert_array_equal(table.rows(names(len(rows))), rows)


def test_many_small_appends_leave_few_files(cache, rng):
    rows = rng.standard_normal((100, 2))
    early = cache.table("prefix")
    for start in range(100):
        table = cache.table("prefix")  # as if each photo came in another process
        table.append(names(1, start), rows[start : start + 1])
        assert early.missing(names(start + 1)) == []
    assert len(shards(cache.dir)) <= MANY
    np.testing.assert_array_equal(cache.table("prefix").rows(names(100)), rows)
    np.testing.assert_array_equal(early.rows(names(100)), rows)


def test_rows_that_were_moved_to_a_joined_shard_are_found(cache, rng, monkeypatch):
    rows = rng.standard_normal((20, 2))
    writer = cache.table("prefix")
    for start in range(MANY):
        writer.append(names(1, start), rows[start : start + 1])
    early = cache.table("prefix")
    writer.append(names(4, 16), rows[16:])
    assert len(shards(cache.dir)) == 1
    np.testing.assert_array_equal(early.rows(names(16)), rows[:16])  # without missing()


def test_more_small_shards_than_fit_in_a_large_one_are_joined_in_parts(cache, rng, monkeypatch):
    monkeypatch.setattr(tables, "SHARD_BYTES", 9000)
    rows = rng.standard_normal((60, 2))
    with monkeypatch.context() as patch:
        patch.setattr(joining, "MANY", 60)
        for start in range(59):
            cache.table("prefix").append(names(1, start), rows[start : start + 1])
    cache.table("prefix").append(names(1, 59), rows[59:])
    assert len(shards(cache.dir)) < 60
    assert max(path.stat().st_size for path in shards(cache.dir)) <= 9000
    np.testing.assert_array_equal(cache.table("prefix").rows(names(60)), rows)


def test_a_folder_that_another_process_has_claimed_is_not_joined(cache, rows):
    table = cache.table("prefix")
    (folder,) = Path(cache.dir).iterdir()
    with claimed(folder) as is_mine:
        assert is_mine
        for at in range(MANY + 2):
            table.append(names(1, at), rows[at % 10 : at % 10 + 1])
        assert len(shards(cache.dir)) == MANY + 2
    table.append(names(1, MANY + 2), rows[:1])
    assert len(shards(cache.dir)) == 1
    assert not list(folder.glob("*.claim"))


def test_damaged_rows_are_not_joined(cache, rows):
    table = cache.table("prefix")
    for at in range(MANY):
        table.append(names(1, at), rows[at % 10 : at % 10 + 1])
    damaged = shards(cache.dir)[0]
    content = bytearray(damaged.read_bytes())
    content[-30] ^= 1
    damaged.write_bytes(content)
    cache.table("prefix").append(names(2, MANY), rows[:2])
    table = cache.table("prefix")
    (missing,) = table.missing(names(MANY + 2))
    here = [at for at in range(MANY + 2) if at != missing]
    expected = np.concatenate([rows, rows])[[*range(MANY), 0, 1]][here]
    np.testing.assert_array_equal(table.rows([names(MANY + 2)[at] for at in here]), expected)


@pytest.mark.parametrize("how", ["pruned", "joined"])
def test_there_is_no_warning_about_rows_that_others_pruned_or_joined(tmp_path, rows, how):
    cache = ActivationCache(tmp_path, max_bytes=10**6)
    table = cache.table("prefix")
    for start in range(9):
        table.append(names(1, start), rows[start : start + 1])
    if how == "pruned":
        cache.prune(0)
    else:
        other = cache.table("prefix")
        for start in range(10, 20):
            other.append(names(1, start), rows[:1])
    table.append(names(1, 9), rows[9:])  # every warning is an error
    np.testing.assert_array_equal(table.rows(names(10)), rows)


# Several processes


# Forks of one process write, because a new process would import torch each time.
JOINING = """
import os, sys
import numpy as np
from sktransfer import ActivationCache
from sktransfer.data.digests import digest

def write(number):
    for i in range(number, 240, 3):
        table = ActivationCache(sys.argv[1]).table("prefix")
        table.append([digest(b"%d" % i)], np.full((1, 3), i, "float32"))

pids = []
for number in range(3):
    pids.append(os.fork())
    if not pids[-1]:
        try:
            write(number)
            os._exit(0)
        finally:
            os._exit(1)
print(*[os.waitpid(pid, 0)[1] for pid in pids])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are made by forking")
def test_processes_that_join_at_the_same_time_write_no_row_twice(cache):
    assert run_fresh(JOINING, cache.dir) == "0 0 0\n"
    assert cache.info()["prefix"]["rows"] == 240
    assert len(shards(cache.dir)) <= MANY + 3
    found = cache.table("prefix").rows(names(240))
    np.testing.assert_array_equal(found, np.repeat(np.arange(240)[:, None], 3, axis=1))
