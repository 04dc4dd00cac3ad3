"""A table keeps rows by digest while other processes write to it."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from helpers.fresh import run_fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.torch import load_file

from sktransfer import ActivationCache
from sktransfer.cache import table as tables
from sktransfer.data.digests import digest

few = settings(max_examples=25, deadline=None, derandomize=True)
row_types = st.sampled_from(["float16", "float32", "float64", "uint8"])
INDICES = [0, -1, slice(None), slice(2, 7), slice(None, None, -3), [3, 0, 3], np.array([9, 1])]


def names(n, start=0):
    return [digest(b"%d" % i) for i in range(start, start + n)]


def shards(folder):
    return sorted(Path(folder).glob("*/*.safetensors"))


# Rows


@few
@given(st.data(), row_types, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
def test_rows_are_returned_as_they_were_appended(data, dtype, shape):
    wanted = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=12), label="digests")
    values = data.draw(arrays(dtype, (7, *shape)))
    digests = [digest(bytes([i])) for i in wanted]
    with TemporaryDirectory() as folder:
        table = ActivationCache(folder).table("prefix")
        assert table.missing(digests) == [i for i, w in enumerate(wanted) if w not in wanted[:i]]
        half = len(wanted) // 2
        table.append(digests[:half], values[wanted[:half]])
        table.append(digests, values[wanted])
        for seen in (table, ActivationCache(folder).table("prefix")):
            assert seen.missing(digests) == []
            found = seen.rows(digests)[:]
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found, values[wanted])


@pytest.fixture(params=["in memory", "small files", "large files"])
def kept(request, cache, rows, monkeypatch):
    """Rows of three shards, in memory, in small files or in large ones."""
    if request.param == "large files":
        monkeypatch.setattr("sktransfer.cache.shard.SMALL_BYTES", 0)
    table = cache.table("prefix")
    table._on = request.param != "in memory"
    for start, stop in ((0, 4), (4, 5), (5, 10)):
        table.append(names(stop - start, start), rows[start:stop])
    return table.rows(names(10))


@pytest.mark.parametrize("index", [*INDICES, np.arange(10) % 2 == 0, []], ids=str)
def test_rows_are_indexed_as_an_array_is(kept, rows, index):
    expected = (
        rows[np.array(index, int) if index == [] else index] if type(index) is list else rows[index]
    )
    np.testing.assert_array_equal(kept[index], expected)


def test_rows_have_the_attributes_of_an_array(kept, rows):
    assert (len(kept), kept.shape, kept.dtype) == (len(rows), rows.shape, rows.dtype)
    assert repr(kept) == "Rows(shape=(10, 4, 3), dtype=float32)"
    np.testing.assert_array_equal(kept, rows)
    np.testing.assert_array_equal(list(kept), rows)
    assert np.asarray(kept, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("index", [10, -11, [0, 10]], ids=str)
def test_there_is_no_row_past_the_end(kept, index):
    with pytest.raises(IndexError):
        kept[index]


def test_returned_rows_are_copies(kept, rows):
    kept[3][:] = 0
    kept[:][:] = 0
    np.testing.assert_array_equal(kept[:], rows)


def test_rows_are_not_one_array_in_memory(kept):
    with pytest.raises(ValueError, match="copy must be None or True"):
        kept.__array__(copy=False)  # as NumPy 2 calls it


def test_no_digests_give_no_rows(cache, filled):
    assert filled.table("prefix").rows([]).shape == (0, 4, 3)
    assert len(filled.table("another").rows([])[:]) == 0


def test_a_digest_without_a_row_is_an_error(filled):
    with pytest.raises(KeyError, match=r"digests must have rows in the table; [0-9a-f]{32} has"):
        filled.table("prefix").rows(names(11))


def test_rows_of_a_digest_that_is_asked_for_twice_are_equal(filled, rows):
    twice = names(3)[::-1] * 2
    np.testing.assert_array_equal(filled.table("prefix").rows(twice), rows[[2, 1, 0, 2, 1, 0]])


def test_the_first_row_of_a_digest_stays(filled, rows):
    filled.table("prefix").append(names(10), rows + 1)
    np.testing.assert_array_equal(filled.table("prefix").rows(names(10)), rows)
    assert filled.info()["prefix"]["rows"] == 10


def test_prefixes_do_not_see_each_others_rows(filled):
    assert filled.table("another prefix").missing(names(10)) == list(range(10))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_types_on_disk_do_not_see_each_others_rows(filled, dtype):
    other = ActivationCache(filled.dir, dtype=dtype)
    assert other.table("prefix").missing(names(10)) == list(range(10))


def test_float16_takes_half_the_space(filled, rows):
    half = ActivationCache(filled.dir, dtype="float16")
    half.table("prefix").append(names(10), rows)
    found = half.table("prefix").rows(names(10))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, rows.astype(np.float16))
    info = half.info()
    assert info["prefix"]["bytes"] - info["prefix/float16"]["bytes"] == rows.nbytes // 2


def test_values_too_large_for_float16_become_its_largest(tmp_path):
    table = ActivationCache(tmp_path, dtype="float16").table("prefix")
    table.append(names(1), np.array([[1e9, -np.inf, 1.0, np.nan]], np.float32))
    np.testing.assert_array_equal(table.rows(names(1))[0], [65504, -65504, 1, np.nan])


floats = arrays("float32", array_shapes(min_dims=2, max_dims=2, max_side=5))


@few
@given(rows=floats)
def test_bfloat16_takes_half_the_space_and_rounds_as_torch_does(rows):
    with TemporaryDirectory() as folder:
        table = ActivationCache(folder, dtype="bfloat16").table("prefix")
        table.append(names(len(rows)), rows)
        found = table.rows(names(len(rows)))
        rounded = torch.from_numpy(rows.copy()).bfloat16().float()
        largest = torch.finfo(torch.bfloat16).max
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[:], rounded.clamp(-largest, largest))
        (path,) = Path(folder).glob("*/*.safetensors")
        assert load_file(path)["rows"].dtype == torch.bfloat16


def test_a_digest_has_16_bytes_in_a_table_too(cache):
    with pytest.raises(ValueError, match="digests must be of 16 bytes"):
        cache.table("prefix").append([b"short"], np.zeros((1, 2)))


def test_a_table_finds_rows_that_others_append(cache, rows):
    early, late = cache.table("prefix"), cache.table("prefix")
    late.append(names(10), rows)
    assert early.missing(names(10)) == []
    np.testing.assert_array_equal(early.rows(names(10)), rows)


def test_large_appends_become_several_shards(cache, rows, monkeypatch):
    monkeypatch.setattr(tables, "SHARD_BYTES", 3 * rows[0].nbytes)
    cache.table("prefix").append(names(10), rows)
    assert cache.info()["prefix"] == {
        "rows": 10,
        "bytes": sum(path.stat().st_size for path in shards(cache.dir)),
        "shards": 4,
    }
    np.testing.assert_array_equal(cache.table("prefix").rows(names(10)), rows)


# Several processes

WRITERS = """
import os, sys
import numpy as np
from sktransfer import ActivationCache
from sktransfer.data.digests import digest

def write():
    table = ActivationCache(sys.argv[1]).table("prefix")
    rows = np.arange(600, dtype="float32").reshape(200, 3)
    os.close(go)
    os.read(ready, 1)  # to the end, which is there when no process can write
    for start in range(0, 200, 10):
        names = [digest(b"%d" % i) for i in range(start, start + 10)]
        missing = table.missing(names)
        table.append([names[i] for i in missing], rows[start : start + 10][missing])
        assert (table.rows(names)[:] == rows[start : start + 10]).all()

ready, go = os.pipe()  # both write from the moment when it is closed
pids = []
for _ in range(2):
    pids.append(os.fork())
    if not pids[-1]:
        try:
            write()
            os._exit(0)
        finally:
            os._exit(1)
os.close(go)
print(*[os.waitpid(pid, 0)[1] for pid in pids])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are made by forking")
def test_two_processes_fill_one_cache(cache):
    assert run_fresh(WRITERS, cache.dir) == "0 0\n"
    found = cache.table("prefix").rows(names(200))
    np.testing.assert_array_equal(found, np.arange(600).reshape(200, 3))


# Each child counts the lines it runs in these modules, and kills itself at a given line.
KILLED = """
import os, signal, sys
import numpy as np
from sktransfer import ActivationCache
from sktransfer._support import files
from sktransfer.cache import folder as folders, shard, table as tables
from sktransfer.data.digests import digest

FILES = [module.__file__ for module in (tables, folders, shard, files)]
names = [digest(b"%d" % i) for i in range(60)]
rows = np.arange(180, dtype="float32").reshape(60, 3)

def work(table, n_lines):
    def trace(frame, event, argument):
        nonlocal n_lines
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            n_lines -= 1
            if n_lines < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    for start in range(0, 60, 3):  # the last of these join the first
        table.append(names[start : start + 3], rows[start : start + 3])

def run(folder, n_lines):
    child = os.fork()
    if not child:
        try:
            work(ActivationCache(folder).table("prefix"), n_lines)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)

n_kills = n_lines = 0
while True:
    folder = os.path.join(sys.argv[1], str(n_lines))
    was_killed = run(folder, n_lines)
    n_kills += was_killed
    table = ActivationCache(folder).table("prefix")
    missing = table.missing(names)
    here = sorted(set(range(60)) - set(missing))
    assert not here or (table.rows([names[i] for i in here])[:] == rows[here]).all(), n_lines
    table.append([names[i] for i in missing], rows[missing])
    assert (ActivationCache(folder).table("prefix").rows(names)[:] == rows).all(), n_lines
    if not was_killed:
        break
    n_lines += 151
print(n_kills)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are made by forking")
def test_a_writer_killed_at_any_instant_does_no_harm(tmp_path):
    assert int(run_fresh(KILLED, tmp_path)) > 20
