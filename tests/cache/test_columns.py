"""Rows are read when they are needed, and compared with their checksums in every read."""

import errno
import gc
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from helpers.fresh import run_fresh
from hypothesis import given
from hypothesis import strategies as st

from sktransfer import ActivationCache
from sktransfer.cache import columns
from sktransfer.cache.columns import FileColumn, ShardFile, TornShardError
from sktransfer.cache.digest_memo import DigestMemo
from sktransfer.cache.folder import CacheFolder
from sktransfer.data.digests import digest

N = 50
NAMES = [digest(bytes([i])) for i in range(N)]
ROWS = np.random.default_rng(0).standard_normal((N, 2, 3), dtype=np.float32)
DAMAGED = "rows of the cache must stay readable .*; this file was damaged. Run again: .*: '.*'"

sizes = pytest.mark.parametrize("small_bytes", [0, 2**20], ids=["large", "small"])


def only_shard(folder):
    (path,) = Path(folder).glob("*/*.safetensors")
    return path


def flip(path, row):
    """Change one bit of a row in its file, and keep the time stamp."""
    stamp = path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[content.index(ROWS[row].tobytes())] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(stamp, stamp))


@pytest.fixture
def large(monkeypatch):
    """Treat all files as large ones, which stay open."""
    monkeypatch.setattr("sktransfer.cache.shard.SMALL_BYTES", 0)


@pytest.fixture
def folder(tmp_path):
    """A cache of 50 rows in one shard."""
    ActivationCache(tmp_path).table("prefix").append(NAMES, ROWS)
    return tmp_path


# Columns


def whole(path):
    return ShardFile(path, path.stat().st_size)


@given(
    st.lists(st.integers(0, 39), max_size=60),
    st.sampled_from([0, 8, 64]),
    st.sampled_from([1, 32, 2**20]),
)
def test_a_column_in_a_file_is_indexed_as_an_array_is(index, gap_bytes, block_bytes):
    values = np.arange(40 * 3, dtype="<u2").reshape(40, 3)
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "GAP_BYTES", gap_bytes)
        patch.setattr(columns, "BLOCK_BYTES", block_bytes)
        path = Path(name) / "values"
        path.write_bytes(b"head" + values.tobytes() + b"tail")
        column = FileColumn(values.shape, "<u2", whole(path), 4)
        assert len(column) == 40
        np.testing.assert_array_equal(column[:], values)
        np.testing.assert_array_equal(column[np.array(index, int)], values[index])


def test_there_is_no_item_past_the_end_of_a_column(tmp_path):
    (tmp_path / "values").write_bytes(bytes(100))
    column = FileColumn((10,), "<u4", whole(tmp_path / "values"), 0)
    with pytest.raises(IndexError):
        column[np.array([0, 10])]


def test_a_file_that_became_too_short_is_an_error(tmp_path):
    path = tmp_path / "values"
    path.write_bytes(bytes(40))
    file = whole(path)
    file.keep(file.open())
    column = FileColumn((10,), "<u4", file, 0)
    os.truncate(path, 20)
    assert list(column[:5]) == [0] * 5
    with pytest.raises(TornShardError):
        column[:]


def test_items_of_no_bytes_are_read(tmp_path):
    (tmp_path / "values").touch()
    assert FileColumn((5, 0), "<f4", whole(tmp_path / "values"), 0)[:].shape == (5, 0)


@pytest.mark.usefixtures("large")
def test_rows_are_read_on_systems_without_pread(folder, monkeypatch):
    monkeypatch.setattr(columns, "HAS_PREAD", False)
    found = ActivationCache(folder).table("prefix").rows(NAMES)
    np.testing.assert_array_equal(found[::-1], ROWS[::-1])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="lists the open files of a process")
@pytest.mark.usefixtures("large")
def test_the_file_is_closed_when_its_rows_are_dropped(folder):
    def is_open():
        return only_shard(folder) in [path.resolve() for path in Path("/proc/self/fd").iterdir()]

    rows = ActivationCache(folder).table("prefix").rows(NAMES)
    assert is_open()
    del rows
    gc.collect()
    assert not is_open()


# Damage while rows are in use


@sizes
def test_a_bit_that_turns_in_a_file_in_use_is_never_returned(folder, monkeypatch, small_bytes):
    monkeypatch.setattr("sktransfer.cache.shard.SMALL_BYTES", small_bytes)
    # on a disk, a bit turns without a new time stamp
    monkeypatch.setattr("sktransfer.cache.shard._stamp", lambda file: (0,))
    table = ActivationCache(folder).table("prefix")
    assert table.missing(NAMES) == []
    del table
    flip(only_shard(folder), 3)
    rows = ActivationCache(folder).table("prefix").rows(NAMES)
    np.testing.assert_array_equal(rows[[2, 4]], ROWS[[2, 4]])
    for index in (3, slice(None), [4, 3]):
        with pytest.raises(OSError, match=DAMAGED):
            rows[index]
    assert ActivationCache(folder).table("prefix").missing(NAMES) == [3]  # the others are saved


@pytest.mark.usefixtures("large")
def test_a_table_computes_a_row_again_that_was_damaged_while_it_was_in_use(folder):
    table = ActivationCache(folder).table("prefix")
    rows = table.rows(NAMES)
    flip(only_shard(folder), 3)
    with pytest.raises(OSError, match=DAMAGED):
        rows[:]
    assert table.missing(NAMES) == [3]
    table.append(NAMES, ROWS)
    np.testing.assert_array_equal(table.rows(NAMES), ROWS)


CUT_SHORT = """
import os, sys
from pathlib import Path
import numpy as np
from sktransfer import ActivationCache
from sktransfer.cache import shard
from sktransfer.data.digests import digest

shard.SMALL_BYTES = 0
names = [digest(bytes([i])) for i in range(50)]
for folder, length in zip(sys.argv[1:], (0, 1000), strict=True):
    table = ActivationCache(folder).table("prefix")
    rows = table.rows(names)
    (path,) = Path(folder).glob("*/*.safetensors")
    os.truncate(path, length)
    try:
        rows[:]
    except OSError as error:
        print(len(table.missing(names)), error)
"""


def test_a_file_that_is_cut_short_in_use_does_not_kill_the_process(folder, tmp_path_factory):
    other = shutil.copytree(folder, tmp_path_factory.mktemp("copy") / "cache")
    lines = run_fresh(CUT_SHORT, folder, other).splitlines()
    start = "50 [Errno 5] rows of the cache must stay readable"
    assert [line.startswith(start) for line in lines] == [True, True]


@pytest.mark.usefixtures("large")
def test_rows_that_the_disk_does_not_return_are_missing(folder, monkeypatch):
    def fail(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    table = ActivationCache(folder).table("prefix")
    rows = table.rows(NAMES)
    with monkeypatch.context() as patch:
        patch.setattr(columns, "_read_at", fail)
        with pytest.raises(OSError, match=DAMAGED):
            rows[:]
        assert table.missing(NAMES) == list(range(N))
        assert ActivationCache(folder).table("prefix").missing(NAMES) == list(range(N))
    assert only_shard(folder).exists()  # it can be another fault than that of the file
    np.testing.assert_array_equal(ActivationCache(folder).table("prefix").rows(NAMES), ROWS)


@pytest.mark.usefixtures("large")
def test_a_digest_of_a_file_that_was_damaged_in_use_is_unknown(tmp_path):
    pairs = {bytes([i] * 16): bytes([99 - i] * 16) for i in range(9)}
    memo = DigestMemo(CacheFolder(tmp_path))
    memo.put(pairs)
    assert memo.get(list(pairs)) == pairs
    path = only_shard(tmp_path)
    with path.open("r+b") as file:
        content = file.read()
        file.seek(content.index(bytes([95] * 16)))
        file.write(b"\0")
    assert memo.get(list(pairs)) == {key: pairs[key] for key in pairs if key[0] != 4}


# Threads


@pytest.mark.usefixtures("large")
def test_rows_that_another_thread_reads_are_not_missing(folder, monkeypatch):
    path, read_at = only_shard(folder), columns._read_at
    in_read, is_over = threading.Event(), threading.Event()
    first = ActivationCache(folder).table("prefix").rows(NAMES[:10])
    other = threading.Thread(target=lambda: first[:])

    def read_together(file, size, start):
        if threading.current_thread() is other:  # reads until the lookup is over
            in_read.set()
            is_over.wait(60)
        elif size == ROWS[10:].nbytes and other.ident is None:
            other.start()
            in_read.wait(60)
        return read_at(file, size, start)

    monkeypatch.setattr(columns, "_read_at", read_together)
    missing = ActivationCache(folder).table("prefix").missing(NAMES)
    is_over.set()
    other.join()
    assert missing == []
    assert path.exists()


@sizes
def test_threads_that_share_a_cache_keep_its_files(folder, monkeypatch, small_bytes):
    monkeypatch.setattr("sktransfer.cache.shard.SMALL_BYTES", small_bytes)
    path = only_shard(folder)

    def use(_):
        table = ActivationCache(folder).table("prefix")
        return table.missing(NAMES), (table.rows(NAMES)[:] == ROWS).all()

    with ThreadPoolExecutor(4) as pool:
        assert all(result == ([], True) for result in pool.map(use, range(100)))
    assert only_shard(folder) == path
