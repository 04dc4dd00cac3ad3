"""The folder of a cache stays within its limits."""

import errno
import os
import time
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.tokens import dead_token, temporary

from sktransfer import ActivationCache
from sktransfer._support.processes import token
from sktransfer.cache import folder as folders
from sktransfer.data.digests import digest


def names(n, start=0):
    return [digest(b"%d" % i) for i in range(start, start + n)]


def shards(folder):
    return sorted(Path(folder).glob("*/*.safetensors"))


def make_old(path, seconds=10.0):
    """Set the time of change back; the digest of a file that has just changed is not remembered."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_cache_reports_its_size(filled, rows):
    sizes = [path.stat().st_size for path in shards(filled.dir)]
    assert filled.n_bytes == sum(sizes) > rows.nbytes
    assert ActivationCache(filled.dir / "nothing").n_bytes == 0


# Opportunistic rows


def test_opportunistic_rows_are_kept_if_there_is_space(filled, rows):
    filled.table("another", spare=True).append(names(10), rows)
    np.testing.assert_array_equal(filled.table("another").rows(names(10)), rows)


def test_opportunistic_rows_never_remove_other_rows(filled, rows):
    tight = ActivationCache(filled.dir, max_bytes=filled.n_bytes + 10)
    spare = tight.table("another", spare=True)
    spare.append(names(10), rows)
    assert spare.missing(names(10)) == list(range(10))
    assert filled.table("prefix").missing(names(10)) == []


def test_opportunistic_rows_are_dropped_in_silence_if_the_disk_is_full(filled, rows, full_disk):
    spare = filled.table("another", spare=True)
    spare.append(names(10), rows)
    assert spare.missing(names(10)) == list(range(10))


def test_a_lookup_of_opportunistic_rows_makes_no_folder(filled):
    before = list(filled.dir.iterdir())
    assert filled.table("another", spare=True).missing(names(2)) == [0, 1]
    assert list(filled.dir.iterdir()) == before


def test_a_disk_is_never_filled_to_the_last_byte(cache, rows, monkeypatch):
    free = SimpleNamespace(total=10**12, used=0, free=folders.FREE_BYTES + 100)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: free)
    table = cache.table("prefix")
    with pytest.warns(UserWarning, match=r"cache is off .* No space left on device"):
        table.append(names(10), rows)
    np.testing.assert_array_equal(table.rows(names(10)), rows)
    assert not shards(cache.dir)


def test_old_rows_are_removed_from_a_full_disk_for_new_ones(filled, rows, monkeypatch):
    before = filled.n_bytes
    limited = ActivationCache(filled.dir, max_bytes=before)

    def disk_usage(_):  # as much space as the removed files took
        free = folders.FREE_BYTES + before - filled.n_bytes
        return SimpleNamespace(total=10**12, used=0, free=free)

    monkeypatch.setattr(folders.shutil, "disk_usage", disk_usage)
    limited.table("another").append(names(2), rows[:2])
    assert limited.table("another").missing(names(2)) == []
    assert filled.n_bytes <= before


@pytest.mark.parametrize(
    ("n", "given", "message"),
    [
        (2, np.zeros((3, 4)), r"digests must be of 16 bytes, one for each row; got 2 digests and"),
        (0, np.float32(1), r"got 0 digests and rows of shape \(\)\."),
        (3, np.zeros((3, 4), "int32"), r"rows must be of type float16, .*, uint8; got int32\."),
        (
            3,
            np.zeros((3, 4), "f4"),
            r"rows must be like those of the table, float32 of shape \(4, 3",
        ),
        (3, np.zeros((3, 4, 3)), r"got float64 of shape \(4, 3\)\. Two prefixes have one fingerpr"),
    ],
)
def test_rows_that_do_not_fit_change_nothing(filled, rows, n, given, message):
    table = filled.table("prefix")
    with pytest.raises(ValueError, match=message):
        table.append(names(n, 20), given)
    np.testing.assert_array_equal(table.rows(names(10)), rows)
    assert table.missing(names(3, 20)) == [0, 1, 2]


# A full disk


def refuse_as(number):
    """Return a function that fails as a system call does."""

    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    return refuse


refuse = refuse_as(errno.ENOSPC)


class FullFile(FileIO):
    """A file that takes ten bytes and then fails."""

    def writelines(self, parts):
        self.write(next(iter(parts))[:10])
        refuse()


@pytest.fixture(params=["write", "replace", "mkdir"])
def full_disk(request, monkeypatch):
    """Make the disk full: a write, a rename or a new folder fails."""
    real = Path.open

    def write_fails(path, mode="r", **options):
        return FullFile(path, mode) if mode == "xb" else real(path, mode, **options)

    if request.param == "write":
        monkeypatch.setattr(Path, "open", write_fails)
    else:
        monkeypatch.setattr(Path, request.param, refuse)


def test_a_full_disk_turns_the_cache_off_and_rows_stay_in_memory(cache, rows, full_disk):
    table = cache.table("prefix")
    with pytest.warns(
        UserWarning, match="cache is off for these rows, which .* No space left"
    ) as w:
        table.append(names(6), rows[:6])
    rows, given = rows.copy(), rows
    table.append(names(4, 6), given[6:])
    given[6:] = 0  # the caller may reuse its array
    assert len(w) == 1
    assert table.missing(names(10)) == []
    np.testing.assert_array_equal(table.rows(names(10)), rows)
    assert not [path for path in cache.dir.glob("*/*") if path.name != folders.ABOUT]


def test_rows_on_a_full_disk_can_still_be_read(filled, rows, full_disk):
    table = filled.table("prefix")
    with pytest.warns(UserWarning, match="cache is off"):
        table.append(names(2, 10), rows[:2])
    np.testing.assert_array_equal(table.rows(names(12)), [*rows, *rows[:2]])
    assert filled.table("prefix").missing(names(12)) == [10, 11]


def test_digests_need_no_space(cache, photos, full_disk):
    assert cache.digests(photos) == [digest(b"photo %d" % i) for i in range(5)]


# Limits


def set_used(path, seconds_ago):
    make_old(path, seconds_ago)


@pytest.fixture
def aged(cache, rows):
    """A cache of five shards in two tables; shard i was last used 10 - i minutes ago."""
    for i in range(5):
        before = set(shards(cache.dir)) if cache.dir.exists() else set()
        cache.table("odd" if i % 2 else "even").append(names(2, 2 * i), rows[2 * i : 2 * i + 2])
        (path,) = set(shards(cache.dir)) - before
        set_used(path, 60 * (10 - i))
    return cache


def kept_rows(cache):
    """Return which of the ten rows are there; looking them up counts as use."""
    missing = [set(cache.table(name).missing(names(10))) for name in ("even", "odd")]
    return sorted(set(range(10)) - set.intersection(*missing))


def test_info_counts_what_is_on_disk(aged):
    size = shards(aged.dir)[0].stat().st_size
    assert aged.info() == {
        "even": {"rows": 6, "bytes": 3 * size, "shards": 3},
        "odd": {"rows": 4, "bytes": 2 * size, "shards": 2},
    }


@pytest.mark.parametrize("n_shards", range(6))
def test_pruning_keeps_the_rows_that_were_used_last(aged, n_shards):
    size = shards(aged.dir)[0].stat().st_size
    assert aged.prune((n_shards + 1) * size - 1) == (5 - n_shards) * size
    assert kept_rows(aged) == list(range(10 - 2 * n_shards, 10))


def test_pruning_keeps_rows_that_were_just_used(aged, rows):
    size = shards(aged.dir)[0].stat().st_size
    np.testing.assert_array_equal(aged.table("even").rows(names(1)), rows[:1])
    aged.prune(2 * size)
    assert kept_rows(aged) == [0, 1, 8, 9]


def test_pruning_without_a_limit_keeps_every_row(aged):
    assert aged.prune() == 0
    assert kept_rows(aged) == list(range(10))


def test_pruning_takes_the_limit_of_the_cache(aged):
    size = shards(aged.dir)[0].stat().st_size
    assert ActivationCache(aged.dir, max_bytes=size).prune() == 4 * size


def test_a_negative_limit_is_an_error(aged):
    with pytest.raises(ValueError, match="max_bytes must be an integer of at least 0, or None"):
        aged.prune(-1)


def test_pruning_everything_leaves_an_empty_folder(aged):
    aged.prune(0)
    assert list(aged.dir.iterdir()) == []
    assert aged.info() == {}


def test_a_table_survives_the_removal_of_its_folder(cache, rows):
    table = cache.table("prefix")
    table.append(names(5), rows[:5])
    cache.prune(0)
    table.append(names(5, 5), rows[5:])
    np.testing.assert_array_equal(table.rows(names(10)), rows)
    assert cache.info()["prefix"]["rows"] == 5


def test_pruning_drops_the_second_copy(cache, rows):
    both = cache.table("prefix"), cache.table("prefix")  # neither sees the other's rows
    for table in both:
        table.append(names(10), rows)
    assert cache.info()["prefix"]["rows"] == 20
    old, new = shards(cache.dir)
    set_used(old, 60)
    assert cache.prune() == new.stat().st_size
    assert shards(cache.dir) == [new]
    np.testing.assert_array_equal(cache.table("prefix").rows(names(10)), rows)


def test_pruning_removes_no_files_of_other_programs(filled, tmp_path):
    (folder,) = filled.dir.iterdir()
    others = [
        filled.dir / "notes.txt",
        filled.dir / "models" / "net.safetensors",
        folder / "net.safetensors",
        tmp_path / ("a" * 32) / f"{'b' * 32}.safetensors",
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"precious")
    links = [filled.dir / ("c" * 32), folder / f"{'d' * 32}.safetensors"]
    links[0].symlink_to(others[3].parent, target_is_directory=True)
    links[1].symlink_to(others[3])
    filled.prune(0)
    assert shards(folder.parent) == sorted(
        [others[1], others[2], links[0] / others[3].name, links[1]]
    )
    assert all(path.read_bytes() == b"precious" for path in others)


@pytest.mark.parametrize("clean", [ActivationCache.prune, lambda c: c.table("prefix")])
def test_files_left_by_killed_writers_are_removed(filled, clean):
    (folder,) = filled.dir.iterdir()
    dead, alive = (folder / temporary(maker) for maker in (dead_token(), token()))
    for path in (dead, alive):
        path.write_bytes(b"half a shard")
    clean(filled)
    assert alive.exists()
    assert not dead.exists()


def test_a_cache_stays_within_its_limit(tmp_path, rows):
    cache = ActivationCache(tmp_path, max_bytes=1000)
    for start in range(0, 60, 3):  # each time as another search in the same folder
        table = cache.table("prefix")
        table.append(names(3, start), rows[:3])
        np.testing.assert_array_equal(table.rows(names(3, start)), rows[:3])
        assert sum(path.stat().st_size for path in shards(tmp_path)) <= cache.max_bytes
    assert cache.table("prefix").missing(names(3, 57)) == []


def test_a_limit_holds_at_every_instant(tmp_path, rows, monkeypatch):
    sizes = []
    real = Path.replace

    def replace(path, target):
        real(path, target)
        sizes.append(sum(path.stat().st_size for path in shards(tmp_path)))

    monkeypatch.setattr(Path, "replace", replace)
    for start in range(0, 60, 3):
        ActivationCache(tmp_path, max_bytes=1000).table("prefix").append(names(3, start), rows[:3])
    assert 500 < max(sizes) <= 1000


def test_rows_that_exceed_the_limit_are_kept_in_part(tmp_path, rows):
    cache = ActivationCache(tmp_path, max_bytes=700)
    with pytest.warns(UserWarning, match="max_bytes must be more than the rows of one run take"):
        cache.table("prefix").append(names(10), rows)
    assert cache.table("prefix").missing(names(10)) == list(range(8))


def test_a_row_larger_than_the_limit_stays_in_memory(tmp_path, rows):
    cache = ActivationCache(tmp_path, max_bytes=100)
    table = cache.table("prefix")
    with pytest.warns(UserWarning, match="max_bytes must be more than the rows of one run take"):
        table.append(names(10), rows)
    np.testing.assert_array_equal(table.rows(names(10)), rows)
    assert shards(tmp_path) == []


@pytest.mark.parametrize("small_bytes", [0, 2**20], ids=["large", "small"])
def test_rows_in_use_stay_readable_after_their_removal(tmp_path, rows, monkeypatch, small_bytes):
    monkeypatch.setattr("sktransfer.cache.shard.SMALL_BYTES", small_bytes)
    cache = ActivationCache(tmp_path, max_bytes=1000)
    table = cache.table("prefix")
    table.append(names(3), rows[:3])
    with pytest.warns(
        UserWarning, match=r"max_bytes must be more than the rows of one run take; got 1000"
    ):
        table.append(names(3, 3), rows[3:6])
    table.append(names(3, 6), rows[6:9])  # the warning comes once
    assert table.missing(names(9)) == []
    np.testing.assert_array_equal(table.rows(names(9)), rows[:9])


def test_a_folder_describes_its_content(filled):
    (folder,) = filled.dir.iterdir()
    about = (folder / folders.ABOUT).read_text()
    assert '"fingerprint": "prefix"' in about
    assert '"made with"' in about


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,  # nested too deeply
        b'{"fingerprint": ' + b"[" * 100_000,
        b'{"fingerprint": ["prefix"]}',
        b'{"fingerprint": 5}',
        b'{"fingerprint": null}',
        b'{"fingerprint": "\\ud800"}',  # half a character
        b'{"fingerprint": "\\u001b[31m"}',  # a colour for the terminal
        b'{"fingerprint": ' + b"9" * 5000 + b"}",
        b'{"fingerprint": "prefix"' + b" " * folders.ABOUT_BYTES + b"}",
    ],
    ids=range(13),
)
def test_rows_are_counted_even_if_their_description_is_damaged(filled, content):
    (folder,) = filled.dir.iterdir()
    (folder / folders.ABOUT).write_bytes(content)
    assert filled.info()[folder.name]["rows"] == 10


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("lost", ["description", "shard", "blob"])
def test_a_pipe_instead_of_a_file_does_not_block(filled, lost):
    filled.blobs("heads").put(b"key", b"content")
    name = {"description": folders.ABOUT, "shard": "*.safetensors", "blob": "*.blob"}[lost]
    for path in list(filled.dir.glob(f"*/{name}")):
        path.unlink()
        os.mkfifo(path)
    assert filled.table("prefix").missing(names(10)) == (list(range(10)) if lost == "shard" else [])
    assert filled.blobs("heads").get(b"key") == (None if lost == "blob" else b"content")
    filled.info()
    filled.prune()
