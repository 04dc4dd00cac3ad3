"""Rows of damaged files are never returned."""

import os
import struct
import time
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from sktransfer import ActivationCache
from sktransfer.cache import index
from sktransfer.cache.columns import KEY
from sktransfer.cache.shard import _head
from sktransfer.data.digests import digest

NAMES = [digest(bytes([i])) for i in range(5)]
ROWS = np.random.default_rng(0).standard_normal((5, 2, 3), dtype=np.float32)
SIZE = 5 * (24 + 20) + 256  # rows and keys behind a header

few = settings(max_examples=40, deadline=None, derandomize=True)


def filled(folder):
    """Make a cache of five rows and return its only shard."""
    ActivationCache(folder).table("prefix").append(NAMES, ROWS)
    return only_shard(folder)


def only_shard(folder):
    (path,) = Path(folder).glob("*/*.safetensors")
    return path


def refuse(*args, **options):
    raise PermissionError


def found_rows(folder, names=NAMES):
    """Return the rows of ``names`` in a new table, by position."""
    table = ActivationCache(folder).table("prefix")
    missing = set(table.missing(names))
    here = [i for i in range(len(names)) if i not in missing]
    return dict(zip(here, table.rows([names[i] for i in here])[:], strict=True))


@pytest.fixture
def shard(tmp_path):
    return filled(tmp_path)


def test_a_shard_is_a_safetensors_file(shard):
    columns = load_file(shard)
    assert set(columns) == {"rows", "keys"}
    np.testing.assert_array_equal(columns["rows"], ROWS)
    keys = columns["keys"].view(KEY).reshape(-1)
    assert [bytes(name) for name in keys["digest"]] == NAMES


def test_rows_lie_at_a_multiple_of_64_bytes(shard):
    content = shard.read_bytes()
    assert content.index(ROWS.tobytes()) % 64 == 0
    assert len(content) == SIZE


@few
@given(st.integers(0, SIZE - 1))
@example(0)
@example(7)
@example(8)
def test_a_truncated_shard_is_missing_and_can_be_written_again(length):
    with TemporaryDirectory() as folder:
        path = filled(folder)
        path.write_bytes(path.read_bytes()[:length])
        assert found_rows(folder) == {}
        assert not path.exists()
        filled(folder)
        np.testing.assert_array_equal(list(found_rows(folder).values()), ROWS)


@pytest.mark.parametrize("is_known", [False, True], ids=["new process", "known index"])
@few
@given(position=st.integers(0, SIZE - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_changes_a_row(is_known, position, bit):
    with TemporaryDirectory() as folder:
        path = filled(folder)
        content = bytearray(path.read_bytes())
        content[position] ^= 1 << bit
        path.write_bytes(content)
        if not is_known:
            index._known.cache_clear()
        found = found_rows(folder)
        assert is_known or len(found) < 5
        for i, row in found.items():
            np.testing.assert_array_equal(row, ROWS[i])


@pytest.mark.parametrize("small_bytes", [0, 2**20], ids=["large", "small"])
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-1], lambda b: b + b"\0"])
def test_a_shard_damaged_after_a_table_was_opened_is_missing(
    shard, monkeypatch, small_bytes, damage
):
    monkeypatch.setattr("sktransfer.cache.shard.SMALL_BYTES", small_bytes)
    table = ActivationCache(shard.parents[1]).table("prefix")
    shard.write_bytes(damage(shard.read_bytes()))
    assert table.missing(NAMES) == [0, 1, 2, 3, 4]
    table.append(NAMES, ROWS)
    np.testing.assert_array_equal(table.rows(NAMES), ROWS)


def test_a_shard_that_vanished_is_missing(shard):
    table = ActivationCache(shard.parents[1]).table("prefix")
    shard.unlink()
    assert table.missing(NAMES) == [0, 1, 2, 3, 4]


def test_a_row_is_checked_when_it_is_first_read(shard, tmp_path):
    flip(shard, 3)
    np.testing.assert_array_equal(found_rows(tmp_path, NAMES[:3])[2], ROWS[2])
    assert shard.exists()
    assert list(found_rows(tmp_path)) == [0, 1, 2, 4]
    assert not shard.exists()


def flip(path, row):
    """Change one bit of a row in its file."""
    content = bytearray(path.read_bytes())
    content[content.index(ROWS[row].tobytes())] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("small_bytes", [0, 2**20], ids=["large", "small"])
def test_whole_rows_stay_when_others_are_not(shard, monkeypatch, small_bytes):
    monkeypatch.setattr("sktransfer.cache.shard.SMALL_BYTES", small_bytes)
    flip(shard, 3)
    table = ActivationCache(shard.parents[1]).table("prefix")
    assert table.missing(NAMES[:2]) == []
    assert table.missing(NAMES[3:4]) == [0]
    assert table.missing(NAMES) == [3]
    np.testing.assert_array_equal(table.rows(NAMES[:3]), ROWS[:3])
    assert list(found_rows(shard.parents[1])) == [0, 1, 2, 4]
    table.append(NAMES, ROWS)
    np.testing.assert_array_equal(table.rows(NAMES), ROWS)


def test_appending_replaces_damaged_rows(shard, tmp_path):
    flip(shard, 3)
    table = ActivationCache(tmp_path).table("prefix")
    table.append(NAMES, ROWS)  # without a call of missing() before
    np.testing.assert_array_equal(table.rows(NAMES), ROWS)


def test_whole_rows_of_a_damaged_shard_are_saved_even_if_nobody_asked_for_them(shard, tmp_path):
    flip(shard, 3)
    assert found_rows(tmp_path, NAMES[3:4]) == {}
    assert not shard.exists()
    assert list(found_rows(tmp_path)) == [0, 1, 2, 4]


def test_a_file_that_changes_is_checked_again(shard, tmp_path):
    assert len(found_rows(tmp_path)) == 5
    flip(shard, 3)
    assert list(found_rows(tmp_path)) == [0, 1, 2, 4]


def test_swapped_digests_do_not_swap_rows(shard, tmp_path):
    content = bytearray(shard.read_bytes())
    keys = np.frombuffer(content, KEY, offset=len(content) - 5 * KEY.itemsize)
    keys["digest"][:2] = keys["digest"][1::-1].copy()
    shard.write_bytes(content)
    assert list(found_rows(tmp_path)) == [2, 3, 4]


def test_a_lookup_checks_a_row_once_in_a_process(shard, tmp_path, monkeypatch):
    found_rows(tmp_path)
    monkeypatch.setattr("sktransfer.cache.shard.crc32", lambda *args: 0)  # would find damage now
    assert ActivationCache(tmp_path).table("prefix").missing(NAMES) == []


def test_a_copy_serves_for_a_damaged_row(tmp_path):
    first, second = (ActivationCache(tmp_path).table("prefix") for _ in range(2))
    first.append(NAMES, ROWS)
    damaged = only_shard(tmp_path)
    second.append(NAMES, ROWS)
    flip(damaged, 2)
    np.testing.assert_array_equal(list(found_rows(tmp_path).values()), ROWS)


def test_a_damaged_file_that_cannot_be_removed_is_skipped(shard, tmp_path, monkeypatch):
    flip(shard, 2)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert list(found_rows(tmp_path)) == [0, 1, 3, 4]


def with_header(text):
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 300,  # a header of 2**64 bytes
        with_header(b"[" * 4000),  # nested too deeply
        with_header(b"{}"),
        with_header(b'{"rows": {"dtype": "F32", "shape": [0, 3]}}'),
        with_header(b'{"rows": {"dtype": "F32", "shape": [-1, 3]}}'),
        with_header(b'{"rows": {"dtype": "F32", "shape": ["a"]}}'),
        with_header(b'{"rows": {"dtype": "I8", "shape": [1]}}'),
        with_header(b'{"rows": {"dtype": "F32", "shape": [1000000000000, 1000000000000]}}'),
        with_header(b'{"rows": {"dtype": "F32", "shape": 5}}'),
        with_header(b'{"rows": 5}'),
        with_header(b"5"),
        with_header(b"\xff\xfe"),
    ],
    ids=range(13),
)
def test_a_file_that_is_no_shard_is_removed(shard, tmp_path, content):
    impostor = shard.with_name(f"{'a' * 32}.safetensors")
    impostor.write_bytes(content)
    assert len(found_rows(tmp_path)) == 5
    assert not impostor.exists()


@pytest.mark.parametrize("shape", [(1,) * 99, (-5,), (0, 10**30)], ids=str)
def test_a_file_of_a_shape_that_no_array_has_is_removed(shard, tmp_path, shape):
    impostor = shard.with_name(f"{'a' * 32}.safetensors")
    head = _head((shape, np.dtype("<f4")), 1, shard.parent.name)
    impostor.write_bytes(head + bytes(4 * prod(shape) + KEY.itemsize))
    assert len(found_rows(tmp_path)) == 5
    assert not impostor.exists()


@pytest.mark.usefixtures("shard")
@pytest.mark.parametrize("error", [PermissionError, OSError])
def test_a_shard_that_can_no_longer_be_opened_is_missing(tmp_path, monkeypatch, error):
    def fail(*args, **options):
        raise error

    table = ActivationCache(tmp_path).table("prefix")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)  # os.access would report that the file is readable
        assert table.missing(NAMES) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(list(found_rows(tmp_path).values()), ROWS)


def test_shards_of_another_shape_are_skipped(shard, tmp_path):
    other = ActivationCache(tmp_path / "other")
    other.table("prefix").append(NAMES[:1], np.ones((1, 7)))  # two prefixes with one fingerprint
    path = only_shard(other.dir)
    path.rename(shard.with_name(f"{'f' * 32}.safetensors"))
    table = ActivationCache(tmp_path).table("prefix")
    shapes = {table.rows(NAMES[:1]).shape}
    assert shapes <= {(1, 2, 3), (1, 7)}
    assert table.missing(NAMES[:1]) == []


def test_reading_a_row_sets_the_time_stamp_of_its_shard(shard, tmp_path):
    os.utime(shard, (0, 0))
    found_rows(tmp_path, [])
    assert shard.stat().st_mtime == 0
    found_rows(tmp_path)
    assert shard.stat().st_mtime > time.time() - 60


def test_a_time_stamp_that_cannot_be_set_is_no_error(shard, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "utime", refuse)
    assert len(found_rows(tmp_path)) == 5
