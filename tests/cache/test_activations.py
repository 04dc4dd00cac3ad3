"""A cache is a parameter of estimators, and remembers the digests of files."""

import errno
import json
import os
import pickle
import time
from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers.disk import refuse_files
from PIL import Image
from sklearn.base import BaseEstimator, clone

from sktransfer import ActivationCache
from sktransfer.cache.activations import check_cache
from sktransfer.data import digests as digests_module
from sktransfer.data.digests import digest


def names(n, start=0):
    return [digest(b"%d" % i) for i in range(start, start + n)]


def shards(folder):
    return sorted(Path(folder).glob("*/*.safetensors"))


def make_old(path, seconds=10.0):
    """Set the time of change back; the digest of a file that has just changed is not remembered."""
    then = time.time() - seconds
    os.utime(path, (then, then))


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
def test_wrong_parameters_are_an_error_at_first_use(tmp_path, parameters, error, message):
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


@pytest.mark.parametrize(
    ("number", "max_bytes", "remedy"),
    [
        (errno.ENOSPC, None, r"Free some space, or set a limit: .*max_bytes=\.\.\.\)\."),
        (errno.EDQUOT, 10**6, r"Free some space, or lower max_bytes\."),
        (errno.EFBIG, None, r"Raise the limit of the size of files, or choose a folder on an"),
        (errno.EACCES, None, r"The folder must stay where it is, and be writable\."),
    ],
)
def test_the_remedy_fits_the_error_and_the_limit(
    tmp_path, rows, monkeypatch, number, max_bytes, remedy
):
    table = ActivationCache(tmp_path, max_bytes).table("prefix")
    refuse_files(monkeypatch, "open", number)
    message = rf"cache is off .*: {os.strerror(number)} in .*\. {remedy}"
    with pytest.warns(UserWarning, match=message):
        table.append(names(10), rows)


def test_a_folder_that_may_not_be_read_turns_the_cache_off(cache, rows, monkeypatch):
    cache.table("prefix").append(names(10), rows)
    monkeypatch.setattr(os, "scandir", refuse_as(errno.EACCES))
    monkeypatch.setattr(Path, "mkdir", refuse_as(errno.EACCES))
    table = cache.table("prefix")
    with pytest.warns(UserWarning, match="cache is off .*: Permission denied in "):
        table.append(names(10), rows)
    np.testing.assert_array_equal(table.rows(names(10)), rows)


def test_shards_of_other_users_are_skipped(filled, rows, monkeypatch):
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


def test_the_warning_names_a_folder_that_vanishes_while_it_is_in_use(cache, rows, monkeypatch):
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


def test_a_relative_path_has_the_digest_of_the_absolute_path(cache, photos, read, monkeypatch):
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
    for content in (b"photo a", b"photo b"):  # of the same size and time stamp
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
def test_an_item_that_cannot_be_read_has_a_digest_of_its_own(cache, photos, item):
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


# A full disk


def refuse_as(number):
    """Return a function that fails as a system call does."""

    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    return refuse


refuse = refuse_as(errno.ENOSPC)


def test_info_describes_activations(cache):
    about = {"network": "builtin/mini", "layer": "layer4, avg"}
    table = cache.table("prefix", about=about)
    table.append(cache.digests([b"a photo"]), np.ones((1, 2), np.float32))
    assert cache.info()["prefix"]["about"] == about
    assert cache.table("prefix").missing(cache.digests([b"a photo"])) == []


@pytest.mark.parametrize("about", [["network"], {"network": 3}, {"network": "a\x1b[31m"}, "mini"])
def test_a_damaged_description_is_not_shown(cache, about):
    cache.table("prefix").append(cache.digests([b"a photo"]), np.ones((1, 2), np.float32))
    (file,) = cache.dir.rglob("about.json")
    file.write_text(json.dumps({"fingerprint": "prefix", "about": about}))
    assert list(cache.info()) == [file.parent.name]
    assert "about" not in cache.info()[file.parent.name]
