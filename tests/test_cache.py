"""The cache's promises: a row is right or it is missing, whatever became of the files."""

import errno
import os
import pickle
import subprocess
import sys
import time
import warnings
from io import BytesIO, FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from safetensors.torch import load_file
from sklearn.base import BaseEstimator, clone

from sktransfer import ActivationCache, store, tables
from sktransfer import digests as digests_module
from sktransfer.cache import check_cache
from sktransfer.digests import digest
from sktransfer.shards import STALE_SECONDS

few = settings(max_examples=25, deadline=None, derandomize=True)
row_types = st.sampled_from(["float16", "float32", "float64", "uint8"])
INDICES = [0, -1, slice(None), slice(2, 7), slice(None, None, -3), [3, 0, 3], np.array([9, 1])]


def names(n, start=0):
    return [digest(b"%d" % i) for i in range(start, start + n)]


def shards(folder):
    return sorted(Path(folder).glob("*/*.safetensors"))


def make_old(path, seconds=10.0):
    """A file that was not changed just now: one that was may change again unnoticed."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def cache(tmp_path):
    return ActivationCache(tmp_path / "cache")


@pytest.fixture
def rows(rng):
    return rng.standard_normal((10, 4, 3), dtype=np.float32)


@pytest.fixture
def filled(cache, rows):
    """A cache of ten rows in one shard."""
    cache.table("prefix").append(names(10), rows)
    return cache


@pytest.fixture
def photos(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(b"photo %d" % i)
        make_old(path)
    return paths


@pytest.fixture
def read(monkeypatch):
    """The items that were digested, and so read."""
    seen = []
    real = digests_module.digest
    monkeypatch.setattr(digests_module, "digest", lambda item: seen.append(item) or real(item))
    return seen


# Digests


def test_a_digest_has_16_bytes():
    assert len(digest(b"")) == 16


def test_a_path_stands_for_the_bytes_of_its_file(photos):
    expected = digest(b"photo 0")
    assert digest(photos[0]) == expected
    assert digest(str(photos[0])) == expected
    assert digest(np.str_(photos[0])) == expected
    assert digest(bytearray(b"photo 0")) == digest(memoryview(b"photo 0")) == expected


@few
@given(st.data(), row_types)
def test_arrays_have_one_digest_where_type_shape_and_bytes_agree(data, dtype):
    shape = data.draw(array_shapes(max_dims=3, max_side=3))
    some = arrays(dtype, shape, elements=st.integers(0, 2))
    a, b = data.draw(some), data.draw(some)
    assert (digest(a) == digest(b)) == (a.tobytes() == b.tobytes())
    assert digest(a) == digest(np.asfortranarray(a))
    assert digest(a) != digest(a[np.newaxis])
    assert digest(a) != digest(a.astype("int64"))


def test_kinds_of_items_never_share_a_digest():
    array = np.zeros((2, 2), np.uint8)
    equal_bytes = [array.tobytes(), array, Image.fromarray(array)]
    assert len(set(map(digest, equal_bytes))) == 3


@pytest.fixture
def picture():
    image = Image.new("P", (2, 2))
    image.putpalette([0, 0, 0, 255, 255, 255])
    return image


def turned(image):
    exif = Image.Exif()
    exif[digests_module.ORIENTATION] = 6
    file = BytesIO()
    image.save(file, "PNG", exif=exif)
    return Image.open(file)


def cleared(image):
    image.info["transparency"] = 0
    return image


def recoloured(image):
    image.putpalette([0, 0, 0, 255, 0, 0])
    return image


def painted(image):
    image.putpixel((0, 0), 1)
    return image


@pytest.mark.parametrize(
    "change",
    [
        turned,
        cleared,
        recoloured,
        painted,
        lambda image: image.convert("L"),
        lambda image: image.resize((4, 1)),
    ],
    ids=["orientation", "transparency", "palette", "pixels", "mode", "size"],
)
def test_whatever_changes_how_an_image_looks_changes_its_digest(picture, change):
    before = digest(picture)
    assert digest(picture.copy()) == before
    assert digest(change(picture)) != before


@pytest.mark.parametrize("item", [None, object(), {"a": 1}])
def test_what_is_no_item_is_refused(item):
    with pytest.raises(TypeError, match=r"item must be a path, bytes, a PIL image or an array"):
        digest(item)


# The parameter of estimators


class Holder(BaseEstimator):
    def __init__(self, cache=None):
        self.cache = cache


def test_a_cache_is_equal_to_its_copies(cache):
    for copy in (pickle.loads(pickle.dumps(cache)), clone(Holder(cache)).cache):
        assert copy == cache
        assert hash(copy) == hash(cache)
        assert joblib.hash(copy) == joblib.hash(cache)


@pytest.mark.parametrize(
    "other",
    [
        ActivationCache("b"),
        ActivationCache("a", max_bytes=1),
        ActivationCache("a", dtype="float16"),
        ActivationCache("a", cuts=2),
        "a",
    ],
)
def test_caches_with_other_parameters_differ(other):
    assert ActivationCache("a") != other


def test_use_leaves_the_parameters_as_they_are(filled, photos):
    before = joblib.hash(filled)
    filled.digests(photos)
    filled.info()
    assert joblib.hash(filled) == before


@pytest.mark.parametrize(
    "text", ["ActivationCache('a')", "ActivationCache('a', max_bytes=9, dtype='float16', cuts=1)"]
)
def test_a_cache_is_shown_as_it_was_made(text):
    assert repr(eval(text)) == text


def test_a_path_is_shown_as_text():
    assert repr(ActivationCache(Path("a"))) == "ActivationCache('a')"


@pytest.mark.parametrize("given", ["a", Path("a"), ActivationCache("a"), None])
def test_the_parameter_cache_takes_a_folder_or_a_cache(given):
    made = check_cache(given)
    assert made is given or made.dir == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (1, r"^cache must be None, the path of a folder, or an ActivationCache; got int\.$"),
        (joblib.Memory(None), r"got Memory\. A joblib\.Memory keys on whole arrays; pass its fold"),
    ],
)
def test_the_parameter_cache_takes_nothing_else(given, message):
    with pytest.raises(TypeError, match=message):
        check_cache(given)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"dir": None}, TypeError, r"cache must be the path of a folder; got None\."),
        ({"dir": ""}, TypeError, r"cache must be the path of a folder; got ''\."),
        ({"max_bytes": 0}, ValueError, r"max_bytes must be an integer of at least 1, or None; got"),
        ({"max_bytes": "1"}, ValueError, r"max_bytes must be an integer .* got '1'"),
        ({"cuts": 0}, ValueError, r"cuts must be .*at least 1.*; got 0"),
        ({"cuts": "all"}, ValueError, r"cuts must be .*; got 'all'"),
        (
            {"dtype": "int8"},
            ValueError,
            r"dtype must be one of None, 'float16', 'bfloat16', 'float32'; got",
        ),
    ],
)
def test_wrong_parameters_are_told_at_first_use(tmp_path, parameters, error, message):
    cache = ActivationCache(**{"dir": tmp_path, **parameters})
    for use in (lambda: cache.table("prefix"), lambda: check_cache(cache)):
        with pytest.raises(error, match=message):
            use()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    message = r"cache must be a folder that can be written; Not a directory: '.*/file/folder'"
    with pytest.raises(OSError, match=message):
        ActivationCache(tmp_path / "file" / "folder").table("prefix")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_not_be_made_turns_the_cache_off(cache, rows, monkeypatch, number):
    monkeypatch.setattr(Path, "mkdir", refuse_as(number))
    table = cache.table("prefix")
    assert table.missing(names(10)) == list(range(10))
    message = rf"cache is off .* stay in memory: {os.strerror(number)} in .* be writable\."
    with pytest.warns(UserWarning, match=message):
        table.append(names(10), rows)
    np.testing.assert_array_equal(table.rows(names(10)), rows)


def test_a_folder_that_may_not_be_read_turns_the_cache_off(cache, rows, monkeypatch):
    cache.table("prefix").append(names(10), rows)
    monkeypatch.setattr(os, "scandir", refuse_as(errno.EACCES))
    monkeypatch.setattr(Path, "mkdir", refuse_as(errno.EACCES))
    table = cache.table("prefix")
    with pytest.warns(UserWarning, match="cache is off .*: Permission denied in "):
        table.append(names(10), rows)
    np.testing.assert_array_equal(table.rows(names(10)), rows)


def test_shards_of_others_are_passed_over(filled, rows, monkeypatch):
    (theirs,) = shards(filled.dir)
    real = Path.open

    def guarded(path, *args, **options):
        if path == theirs:
            refuse_as(errno.EACCES)()
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", guarded)
    monkeypatch.setattr(os, "access", lambda path, mode: path != theirs)
    table = filled.table("prefix")
    assert table.missing(names(10)) == list(range(10))
    table.append(names(10), rows)
    np.testing.assert_array_equal(filled.table("prefix").rows(names(10)), rows)
    assert filled.info()["prefix"]["shards"] == 1
    filled.prune()
    assert theirs in shards(filled.dir)


def test_a_folder_that_goes_while_it_is_in_use_is_named(cache, rows, monkeypatch):
    table = cache.table("prefix")
    monkeypatch.setattr(Path, "mkdir", refuse_as(errno.EACCES))
    with pytest.warns(UserWarning, match=r"Permission denied in .*\. The folder must stay where"):
        table.append(names(10), rows)
    np.testing.assert_array_equal(table.rows(names(10)), rows)


def test_a_missing_folder_is_made(tmp_path):
    ActivationCache(tmp_path / "a" / "b").table("prefix")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("use", [ActivationCache.info, ActivationCache.prune])
def test_a_missing_folder_is_not_made_to_look_at_it(cache, use):
    with pytest.raises(FileNotFoundError, match="cache must be a folder that exists and can be"):
        use(cache)
    assert not cache.dir.exists()


# Rows


@few
@given(st.data(), row_types, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
def test_rows_come_back_as_they_went(data, dtype, shape):
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


@pytest.fixture(params=["in memory", "read", "mapped"])
def kept(request, cache, rows, monkeypatch):
    """Rows of three shards, in each of the ways they may be held."""
    if request.param != "read":
        monkeypatch.setattr("sktransfer.shards.SMALL_BYTES", 0)
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


def test_rows_tell_what_an_array_tells(kept, rows):
    assert (len(kept), kept.shape, kept.dtype) == (len(rows), rows.shape, rows.dtype)
    assert repr(kept) == "Rows(shape=(10, 4, 3), dtype=float32)"
    np.testing.assert_array_equal(kept, rows)
    np.testing.assert_array_equal(list(kept), rows)
    assert np.asarray(kept, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("index", [10, -11, [0, 10]], ids=str)
def test_there_is_no_row_past_the_end(kept, index):
    with pytest.raises(IndexError):
        kept[index]


def test_what_comes_back_is_the_callers_own(kept, rows):
    kept[3][:] = 0
    kept[:][:] = 0
    np.testing.assert_array_equal(kept[:], rows)


def test_rows_are_not_one_array_in_memory(kept):
    with pytest.raises(ValueError, match="copy must be None or True"):
        kept.__array__(copy=False)  # as NumPy 2 calls it


def test_no_digest_no_row(cache, filled):
    assert filled.table("prefix").rows([]).shape == (0, 4, 3)
    assert len(filled.table("another").rows([])[:]) == 0


def test_a_digest_without_a_row_is_told(filled):
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


def test_small_shards_of_bfloat16_are_joined_as_they_are(tmp_path, rows):
    cache = ActivationCache(tmp_path, dtype="bfloat16")
    table = cache.table("prefix")
    for at in range(tables.MANY + 2):
        table.append(names(1, at), rows[at % 10 : at % 10 + 1])
    assert len(shards(tmp_path)) < tables.MANY
    found = cache.table("prefix").rows(names(tables.MANY + 2))
    expected = torch.from_numpy(rows).bfloat16().float()
    np.testing.assert_array_equal(found[:10], expected)


@pytest.mark.parametrize(
    ("dtype", "computed", "kept"),
    [
        (None, "bfloat16", True),
        ("float32", "float32", True),
        ("bfloat16", "bfloat16", True),
        ("bfloat16", "float32", False),
        ("float16", "float32", False),
    ],
)
def test_a_cache_knows_whether_it_keeps_every_bit(tmp_path, dtype, computed, kept):
    assert ActivationCache(tmp_path, dtype=dtype).keeps(getattr(torch, computed)) == kept


def test_a_cache_tells_its_size(filled, rows):
    sizes = [path.stat().st_size for path in shards(filled.dir)]
    assert filled.n_bytes == sum(sizes) > rows.nbytes
    assert ActivationCache(filled.dir / "nothing").n_bytes == 0


# Rows that nobody waits for


def test_spare_rows_are_kept_where_there_is_room(filled, rows):
    filled.table("another", spare=True).append(names(10), rows)
    np.testing.assert_array_equal(filled.table("another").rows(names(10)), rows)


def test_spare_rows_make_no_others_go(filled, rows):
    tight = ActivationCache(filled.dir, max_bytes=filled.n_bytes + 10)
    spare = tight.table("another", spare=True)
    spare.append(names(10), rows)
    assert spare.missing(names(10)) == list(range(10))
    assert filled.table("prefix").missing(names(10)) == []


def test_spare_rows_that_a_full_disk_refuses_are_dropped_in_silence(filled, rows, full_disk):
    spare = filled.table("another", spare=True)
    spare.append(names(10), rows)
    assert spare.missing(names(10)) == list(range(10))


def test_to_look_for_spare_rows_makes_no_folder(filled):
    before = list(filled.dir.iterdir())
    assert filled.table("another", spare=True).missing(names(2)) == [0, 1]
    assert list(filled.dir.iterdir()) == before


def test_a_disk_is_never_filled_to_the_last_byte(cache, rows, monkeypatch):
    free = SimpleNamespace(total=10**12, used=0, free=store.FREE_BYTES + 100)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: free)
    table = cache.table("prefix")
    with pytest.warns(UserWarning, match=r"cache is off .* No space left on device"):
        table.append(names(10), rows)
    np.testing.assert_array_equal(table.rows(names(10)), rows)
    assert not shards(cache.dir)


def test_old_rows_make_room_on_a_disk_that_has_no_more(filled, rows, monkeypatch):
    before = filled.n_bytes
    limited = ActivationCache(filled.dir, max_bytes=before)

    def disk_usage(_):  # there is room for as much as has gone
        free = store.FREE_BYTES + before - filled.n_bytes
        return SimpleNamespace(total=10**12, used=0, free=free)

    monkeypatch.setattr(store.shutil, "disk_usage", disk_usage)
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


def test_a_digest_has_16_bytes_in_a_table_too(cache):
    with pytest.raises(ValueError, match="digests must be of 16 bytes"):
        cache.table("prefix").append([b"short"], np.zeros((1, 2)))


def test_a_table_takes_notice_of_what_others_append(cache, rows):
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


def test_small_shards_are_not_joined_where_the_limit_is_near(tmp_path, rng):
    rows = rng.standard_normal((tables.MANY + 8, 64)).astype("float32")
    of_one = ActivationCache(tmp_path / "one").table("prefix")
    of_one.append(names(1), rows[:1])
    one = shards(tmp_path / "one")[0].stat().st_size
    cache = ActivationCache(tmp_path / "all", max_bytes=tables.MANY // 2 * one)
    table = cache.table("prefix")
    for start in range(len(rows)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # older rows make room
            table.append(names(1, start), rows[start : start + 1])
        assert cache.n_bytes <= cache.max_bytes
    here = len(rows) - len(cache.table("prefix").missing(names(len(rows))))
    assert here == tables.MANY // 2
    np.testing.assert_array_equal(table.rows(names(len(rows))), rows)


def test_many_small_appends_leave_few_files(cache, rng):
    rows = rng.standard_normal((100, 2))
    early = cache.table("prefix")
    for start in range(100):
        table = cache.table("prefix")  # as one photo at a time comes, in one process after another
        table.append(names(1, start), rows[start : start + 1])
        assert early.missing(names(start + 1)) == []
    assert len(shards(cache.dir)) <= tables.MANY
    np.testing.assert_array_equal(cache.table("prefix").rows(names(100)), rows)
    np.testing.assert_array_equal(early.rows(names(100)), rows)


def test_rows_that_joined_others_meanwhile_are_found(cache, rng, monkeypatch):
    rows = rng.standard_normal((20, 2))
    writer = cache.table("prefix")
    for start in range(tables.MANY):
        writer.append(names(1, start), rows[start : start + 1])
    early = cache.table("prefix")
    writer.append(names(4, 16), rows[16:])
    assert len(shards(cache.dir)) == 1
    np.testing.assert_array_equal(early.rows(names(16)), rows[:16])  # no missing() came before


# Digests of files are remembered


def test_a_warm_run_reads_no_file(cache, photos, read):
    first = cache.digests(photos)
    assert first == [digest(b"photo %d" % i) for i in range(5)]
    assert len(read) == 5
    assert ActivationCache(cache.dir).digests(photos[::-1]) == first[::-1]
    assert len(read) == 5


def test_only_new_files_are_read(cache, photos, read):
    cache.digests(photos[:4])
    cache.digests([*photos, b"bytes"])
    assert read[4:] == [photos[4], b"bytes"]


def test_a_file_given_twice_is_read_once(cache, photos, read):
    one, other = cache.digests([photos[0], str(photos[0])])
    assert one == other
    assert len(read) == 1


def test_the_way_to_a_file_does_not_matter(cache, photos, read, monkeypatch):
    cache.digests(photos)
    monkeypatch.chdir(photos[0].parent)
    assert cache.digests([photos[0].name]) == [digest(b"photo 0")]
    assert len(read) == 5


def test_a_changed_file_is_read_again(cache, photos):
    cache.digests(photos)
    photos[2].write_bytes(b"another photo")
    make_old(photos[2])
    assert cache.digests(photos)[2] == digest(b"another photo")


def test_a_file_that_was_just_written_is_read_again(cache, photos, read):
    photos[0].touch()
    cache.digests(photos)
    cache.digests(photos)
    assert read[5:] == photos[:1]


def test_a_file_changed_under_its_old_time_stamp_is_read_again(cache, photos):
    cache.digests(photos)
    before = photos[0].stat()
    photos[0].write_bytes(b"photo X")
    os.utime(photos[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.digests(photos)[0] == digest(b"photo X")


def test_a_file_changed_under_the_time_stamp_of_now_is_read_again(cache, photos):
    stamp = time.time_ns()
    for content in (b"photo a", b"photo b"):  # of one size, and under one time stamp
        photos[0].write_bytes(content)
        os.utime(photos[0], ns=(stamp, stamp))
        assert cache.digests(photos[:1]) == [digest(content)]


def test_a_file_that_changes_while_it_is_read_is_not_remembered(cache, photos, monkeypatch):
    def slow(item):
        seen = digest(item)
        if item == photos[0]:
            item.write_bytes(b"a longer photo")
            make_old(item)
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(digests_module, "digest", slow)
        cache.digests(photos)
    assert cache.digests(photos)[0] == digest(b"a longer photo")


@pytest.mark.parametrize("item", ["nowhere.jpg", Path("nowhere.jpg"), "nul\0", "."], ids=repr)
def test_what_cannot_be_read_has_a_digest_of_its_own(cache, photos, item):
    first, second = (cache.digests([item, *photos]) for _ in range(2))
    assert first[0] != second[0]
    assert first[1:] == second[1:]
    assert {len(name) for name in (*first, *second)} == {16}


def test_a_truncated_image_has_a_digest_of_its_own(cache):
    file = BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    image = Image.open(BytesIO(file.getvalue()[:-200]))
    assert cache.digests([image]) != cache.digests([image])


def test_items_that_are_no_files_make_no_memo(cache):
    cache.digests([b"bytes", np.zeros((2, 2))])
    assert not cache.dir.exists()


# Several processes

WRITER = """
import sys
import numpy as np
from sktransfer import ActivationCache
from sktransfer.digests import digest

table = ActivationCache(sys.argv[1]).table("prefix")
rows = np.arange(600, dtype="float32").reshape(200, 3)
print("ready", flush=True)
sys.stdin.readline()
for start in range(0, 200, 10):
    names = [digest(b"%d" % i) for i in range(start, start + 10)]
    missing = table.missing(names)
    table.append([names[i] for i in missing], rows[start : start + 10][missing])
    assert (table.rows(names)[:] == rows[start : start + 10]).all()
"""


def test_two_processes_fill_one_cache(cache):
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, cache.dir],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.communicate("go\n")
        assert process.returncode == 0
    found = cache.table("prefix").rows(names(200))
    np.testing.assert_array_equal(found, np.arange(600).reshape(200, 3))


# Each child traces the lines it runs in these modules, and is killed at the one given.
KILLED = """
import os, signal, sys
import numpy as np
from sktransfer import ActivationCache, shards, store, tables
from sktransfer.digests import digest

FILES = (tables.__file__, store.__file__, shards.__file__)
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
def test_a_writer_killed_at_any_instant_harms_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert int(done.stdout) > 20


# A full disk


def refuse_as(number):
    """What a system call does that fails."""

    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    return refuse


refuse = refuse_as(errno.ENOSPC)


class FullFile(FileIO):
    """A file that takes a little, and then nothing more."""

    def writelines(self, parts):
        self.write(next(iter(parts))[:10])
        refuse()


@pytest.fixture(params=["write", "replace", "mkdir"])
def full_disk(request, monkeypatch):
    """A disk that takes nothing more."""
    real = Path.open
    if request.param == "write":
        monkeypatch.setattr(
            Path,
            "open",
            lambda path, mode: FullFile(path, mode) if mode == "xb" else real(path, mode),
        )
    else:
        monkeypatch.setattr(Path, request.param, refuse)


def test_a_full_disk_turns_the_cache_off_and_work_goes_on(cache, rows, full_disk):
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
    assert not [path for path in cache.dir.glob("*/*") if path.name != store.ABOUT]


def test_what_is_on_a_full_disk_still_serves(filled, rows, full_disk):
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
    """Which of the ten rows are there; looking at them counts as use."""
    missing = [set(cache.table(name).missing(names(10))) for name in ("even", "odd")]
    return sorted(set(range(10)) - set.intersection(*missing))


def test_info_counts_what_is_on_disk(aged):
    size = shards(aged.dir)[0].stat().st_size
    assert aged.info() == {
        "even": {"rows": 6, "bytes": 3 * size, "shards": 3},
        "odd": {"rows": 4, "bytes": 2 * size, "shards": 2},
    }


@pytest.mark.parametrize("n_shards", range(6))
def test_pruning_keeps_what_was_used_last(aged, n_shards):
    size = shards(aged.dir)[0].stat().st_size
    assert aged.prune((n_shards + 1) * size - 1) == (5 - n_shards) * size
    assert kept_rows(aged) == list(range(10 - 2 * n_shards, 10))


def test_use_renews_what_pruning_would_remove(aged, rows):
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
    both = cache.table("prefix"), cache.table("prefix")  # neither knows of the other's rows
    for table in both:
        table.append(names(10), rows)
    assert cache.info()["prefix"]["rows"] == 20
    old, new = shards(cache.dir)
    set_used(old, 60)
    assert cache.prune() == new.stat().st_size
    assert shards(cache.dir) == [new]
    np.testing.assert_array_equal(cache.table("prefix").rows(names(10)), rows)


def test_pruning_removes_nothing_that_is_not_ours(filled, tmp_path):
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
def test_what_killed_writers_left_goes_after_an_hour(filled, clean):
    (folder,) = filled.dir.iterdir()
    old, new = folder / f"{'a' * 32}.tmp", folder / f"{'b' * 32}.tmp"
    for path in (old, new):
        path.write_bytes(b"half a shard")
    make_old(old, 2 * STALE_SECONDS)
    clean(filled)
    assert new.exists()
    assert not old.exists()


def test_a_cache_stays_within_its_limit(tmp_path, rows):
    cache = ActivationCache(tmp_path, max_bytes=1000)
    for start in range(0, 60, 3):  # each time, another search in the same folder
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


def test_what_does_not_fit_is_kept_in_part(tmp_path, rows):
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


@pytest.mark.parametrize("small_bytes", [0, 2**20], ids=["mapped", "read"])
def test_rows_in_use_stay_readable_when_they_make_room(tmp_path, rows, monkeypatch, small_bytes):
    monkeypatch.setattr("sktransfer.shards.SMALL_BYTES", small_bytes)
    cache = ActivationCache(tmp_path, max_bytes=800)
    table = cache.table("prefix")
    table.append(names(3), rows[:3])
    with pytest.warns(
        UserWarning, match=r"max_bytes must be more than the rows of one run take; got 800"
    ):
        table.append(names(3, 3), rows[3:6])
    table.append(names(3, 6), rows[6:9])  # told once
    assert table.missing(names(9)) == []
    np.testing.assert_array_equal(table.rows(names(9)), rows[:9])


def test_a_folder_says_what_it_is_for(filled):
    (folder,) = filled.dir.iterdir()
    about = (folder / store.ABOUT).read_text()
    assert '"fingerprint": "prefix"' in about
    assert '"made with"' in about


@pytest.mark.parametrize("text", ["", "[]", "{}", "\xff"])
def test_rows_are_counted_where_it_is_lost_what_they_are_of(filled, text):
    (folder,) = filled.dir.iterdir()
    (folder / store.ABOUT).write_bytes(text.encode("latin-1"))
    assert filled.info()[folder.name]["rows"] == 10
