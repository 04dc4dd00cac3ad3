"""A cache stays on while another process removes its empty folders."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sktransfer.cache import folder as folders
from sktransfer.data.digests import digest

NAMES = [digest(bytes([i])) for i in range(6)]
ROWS = np.arange(18, dtype="float32").reshape(6, 3)


@pytest.fixture(params=[1, folders.N_ATTEMPTS - 1], ids=["once", "often"])
def vanishing(request, monkeypatch):
    """Remove a subfolder when a file is written into it, once or often, as a pruning process."""
    real, left = Path.open, [request.param]

    def open_late(path, mode="r", *args, **options):
        if mode == "xb" and left[0]:
            left[0] -= 1
            with suppress(FileNotFoundError):
                (path.parent / folders.ABOUT).unlink()
            path.parent.rmdir()
        return real(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", open_late)
    return left


def test_rows_are_written_again_if_their_folder_vanishes(cache, vanishing):
    table = cache.table("prefix")
    table.append(NAMES, ROWS)
    assert vanishing == [0]
    np.testing.assert_array_equal(cache.table("prefix").rows(NAMES), ROWS)
    assert cache.info()["prefix"]["rows"] == 6


def test_opportunistic_rows_are_written_again_if_their_folder_vanishes(cache, vanishing):
    cache.table("prefix", spare=True).append(NAMES, ROWS)
    assert vanishing == [0]
    np.testing.assert_array_equal(cache.table("prefix").rows(NAMES), ROWS)


def test_a_blob_is_written_again_if_its_folder_vanishes(cache, vanishing):
    cache.blobs("heads").put(b"key", b"content")
    assert vanishing == [0]
    assert cache.blobs("heads").get(b"key") == b"content"


def test_digests_are_remembered_although_their_folder_vanishes(cache, photos, read, vanishing):
    cache.digests(photos)
    cache.digests(photos)
    assert vanishing == [0]
    assert len(read) == len(photos)


def test_rows_saved_from_a_damaged_file_are_written_again_if_their_folder_vanishes(
    cache, monkeypatch
):
    cache.table("prefix").append(NAMES, ROWS)
    (path,) = Path(cache.dir).glob("*/*.safetensors")
    content = bytearray(path.read_bytes())
    content[content.index(ROWS[3].tobytes())] ^= 1
    path.write_bytes(content)
    real = Path.unlink
    monkeypatch.setattr(
        Path,
        "unlink",
        lambda gone, **how: shutil.rmtree(gone.parent) if gone == path else real(gone, **how),
    )
    assert cache.table("prefix").missing(NAMES) == [3]
    assert cache.info()["prefix"]["rows"] == 5


def test_a_folder_that_vanishes_every_time_turns_the_cache_off(cache, monkeypatch):
    real = Path.open

    def open_late(path, mode="r", *args, **options):
        if mode == "xb":
            path.parent.rmdir()
        return real(path, mode, *args, **options)

    table = cache.table("prefix")
    monkeypatch.setattr(Path, "open", open_late)
    with pytest.warns(UserWarning, match=r"cache is off .* The folder must stay where it is"):
        table.append(NAMES, ROWS)
    np.testing.assert_array_equal(table.rows(NAMES), ROWS)


def test_a_folder_that_vanishes_while_it_is_made_is_no_error(cache, monkeypatch):
    def mkdir(path, *args):  # the folder is there, and is gone at once
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

    cache.table("prefix")
    (folder,) = Path(cache.dir).iterdir()
    folder.rmdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", mkdir)
        table = cache.table("prefix")
    table.append(NAMES, ROWS)
    np.testing.assert_array_equal(cache.table("prefix").rows(NAMES), ROWS)


def test_rows_stay_in_memory_if_their_file_is_removed_at_once(cache, monkeypatch):
    real = Path.replace

    def replace(path, target):
        real(path, target)
        target.unlink()

    table = cache.table("prefix")
    rows = ROWS.copy()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        table.append(NAMES[:3], rows[:3])
    rows[:] = 0  # the caller may reuse its array
    table.append(NAMES[3:], ROWS[3:])
    np.testing.assert_array_equal(table.rows(NAMES), ROWS)
    assert cache.table("prefix").missing(NAMES) == [0, 1, 2]  # the cache stayed on
