"""Files are whole or absent, and what dead processes left is removed."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from helpers.tokens import dead_token, foreign_token, temporary
from hypothesis import given
from hypothesis import strategies as st

from sktransfer._support import files
from sktransfer._support.files import (
    BLOCK,
    SEAL,
    STALE_SECONDS,
    BrokenSealError,
    check_folder,
    check_place,
    claimed,
    explained,
    explaining,
    open_whole,
    read_sealed,
    remove_stale,
    temporary_folder,
    temporary_name,
    write_file,
    write_sealed,
)
from sktransfer._support.processes import token


def make_old(path):
    os.utime(path, (time.time() - 2 * STALE_SECONDS,) * 2)


def test_a_file_is_not_accepted_as_a_folder_nor_as_a_parent_of_one(tmp_path):
    file = tmp_path / "file"
    file.touch()
    message = "^cache must be the path of a folder, which need not exist; got "
    with pytest.raises(NotADirectoryError, match=rf"{message}'{file}', which is a file\. Choose"):
        check_folder("cache", file)
    below = file / "a" / "b"
    with pytest.raises(NotADirectoryError, match=rf"{message}'{below}', and '{file}' is a file\."):
        check_folder("cache", below)


@pytest.mark.skipif(os.name == "nt", reason="other names are allowed there")
@pytest.mark.parametrize("path", ["a\0b", "\ud800", Path("a", "\ud800")], ids=ascii)
def test_a_path_that_no_file_has_is_not_accepted(path):
    with pytest.raises(ValueError, match=r"^cache must be .* that no name of a file has; got '"):
        check_folder("cache", path)


def test_a_folder_need_not_exist(tmp_path):
    for folder in (tmp_path, tmp_path / "a" / "b"):
        check_folder("cache", folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path, durable):
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        write_file(path, content[:2], memoryview(content)[2:], durable=durable)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_file(path, b"old")
    with pytest.raises(TypeError):
        write_file(path, b"new", "no bytes")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_written_in_parts_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    with open_whole(path) as file:
        for part in (b"one", b"two"):
            file.write(part)
            assert not path.exists()
    assert path.read_bytes() == b"onetwo"
    with pytest.raises(TypeError), open_whole(path) as file:
        file.writelines([b"half", "no bytes"])
    assert path.read_bytes() == b"onetwo"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_is_checked_with_a_block_that_is_removed(tmp_path, monkeypatch):
    path, dead = tmp_path / "file", tmp_path / temporary(dead_token())
    dead.touch()
    sizes = []
    remove_file = files.remove_file
    monkeypatch.setattr(
        files, "remove_file", lambda path: sizes.append(path.stat().st_size) or remove_file(path)
    )
    check_place(path)
    assert sizes == [0, BLOCK]  # of the file of the dead process, and of the block
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        check_place(tmp_path / "missing" / "file")


@pytest.fixture
def calls(monkeypatch):
    """The names of the calls that matter after a power cut, in their order."""
    calls = []

    def record(module, name):
        original = getattr(module, name)

        def wrapped(*args, **options):
            calls.append(name)
            return original(*args, **options)

        monkeypatch.setattr(module, name, wrapped)

    record(os, "fsync")
    record(Path, "replace")
    return calls


def test_a_durable_file_is_on_the_disk_before_it_gets_its_name(tmp_path, calls):
    write_file(tmp_path / "file", b"content", durable=True)
    assert calls == ["fsync", "replace", "fsync"]  # of the file, and then of the folder


def test_other_files_do_not_wait_for_the_disk(tmp_path, calls):
    write_file(tmp_path / "file", b"content")
    assert calls == ["replace"]


def test_a_folder_that_cannot_be_synchronised_is_no_error(tmp_path, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(path)

    monkeypatch.setattr(files.os, "open", refuse)
    write_file(tmp_path / "file", b"content", durable=True)
    assert (tmp_path / "file").read_bytes() == b"content"


# Sealed files


def test_a_sealed_file_comes_back(tmp_path):
    write_sealed(tmp_path / "file", b"con", memoryview(b"tent"), key=b"key", durable=True)
    assert read_sealed(tmp_path / "file", b"key") == b"content"
    write_sealed(tmp_path / "file", key=b"")
    assert read_sealed(tmp_path / "file", b"") == b""


@given(position=st.integers(0, SEAL.size + 6), bit=st.integers(0, 7))
def test_a_flipped_bit_breaks_a_seal(tmp_path_factory, position, bit):
    path = tmp_path_factory.mktemp("sealed") / "file"
    write_sealed(path, b"content", key=b"key")
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(BrokenSealError, match=r"file' must be a complete file that sktransfer"):
        read_sealed(path, b"key")


@pytest.mark.parametrize("length", [0, 5, SEAL.size, SEAL.size + 6])
def test_a_truncated_file_has_no_seal(tmp_path, length):
    path = tmp_path / "file"
    write_sealed(path, b"content", key=b"key")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BrokenSealError):
        read_sealed(path, b"key")


def test_a_file_of_another_key_has_no_seal(tmp_path):
    write_sealed(tmp_path / "file", b"content", key=b"key")
    for other in (b"", b"another key", b"keyc"):
        with pytest.raises(BrokenSealError):
            read_sealed(tmp_path / "file", other)


# What dead processes left


@pytest.fixture
def left(tmp_path):
    """Temporary files and folders by the state of their process and their age."""
    makers = {"dead": dead_token(), "alive": token(), "unknown": foreign_token()}
    left = {}
    for number, age in enumerate(("new", "old")):
        for state, maker in makers.items():
            left[state, "file", age] = tmp_path / temporary(maker, number=number)
            left[state, "file", age].write_bytes(b"half")
            left[state, "folder", age] = tmp_path / temporary(maker, "", number)
            left[state, "folder", age].mkdir()
            (left[state, "folder", age] / "rows").write_bytes(b"rows")
            if age == "old":
                make_old(left[state, "file", age])
                make_old(left[state, "folder", age])
    return left


REMOVED = {
    ("dead", "file", "new"), ("dead", "file", "old"),
    ("dead", "folder", "new"), ("dead", "folder", "old"),
    ("unknown", "file", "old"),
}  # fmt: skip


def test_files_of_dead_processes_are_removed_and_those_of_live_ones_stay(left, tmp_path):
    assert remove_stale(tmp_path) == 3 * len(b"half")
    assert {name for name, path in left.items() if not path.exists()} == REMOVED


def test_a_temporary_folder_removes_what_dead_processes_left(left, tmp_path):
    with temporary_folder(tmp_path):
        assert {name for name, path in left.items() if not path.exists()} == REMOVED


def test_files_of_other_programs_stay(tmp_path):
    names = ["file.tmp", "sktransfer-mine", f"{'a' * 32}.tmp", temporary(dead_token(), ".pth")]
    for name in names:
        (tmp_path / name).touch()
    link = tmp_path / temporary(dead_token(), "")
    link.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    remove_stale(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names, "elsewhere"}


def test_a_folder_that_does_not_exist_holds_nothing_stale(tmp_path):
    assert remove_stale(tmp_path / "absent") == 0


def test_what_cannot_be_removed_is_no_error(left, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(os, "rmdir", refuse)
    assert remove_stale(tmp_path) == 0
    monkeypatch.setattr(os, "scandir", refuse)
    assert remove_stale(tmp_path) == 0


def test_a_temporary_folder_is_deleted_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder() as folder:
        assert folder.parent == tmp_path
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), temporary_folder():
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # of os.fork
def test_a_fork_does_not_delete_the_temporary_folder_of_its_parent(tmp_path):
    with temporary_folder(tmp_path) as folder:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            assert folder.is_dir()
    if not pid:  # the child leaves the block first
        os._exit(0)
    assert not folder.exists()


def test_a_folder_has_one_claim_at_a_time(tmp_path):
    with claimed(tmp_path) as first:
        with claimed(tmp_path) as second:
            assert (first, second) == (True, False)
        assert len(list(tmp_path.iterdir())) == 1
    with claimed(tmp_path) as third:
        assert third


@pytest.mark.parametrize(
    ("maker", "is_free"),
    [(dead_token(), True), (foreign_token(), False)],
    ids=["dead", "of another machine"],  # workers must agree on the names of tests
)
def test_the_claim_of_a_dead_process_does_not_count(tmp_path, maker, is_free):
    (tmp_path / temporary(maker, ".claim")).touch()
    with claimed(tmp_path) as is_mine:
        assert is_mine is is_free


def test_names_of_temporary_files_do_not_repeat():
    assert len({temporary_name() for _ in range(100)}) == 100


SCRIPT = """
import os, sys
from pathlib import Path
from sktransfer._support import files

def sync(number):
    print("ready", flush=True)
    input()

os.fsync = sync  # the process stops when the file is written and has no name yet
folder = Path(sys.argv[1])
with files.temporary_folder(folder):
    files.write_file(folder / "file", b"content", durable=True)
"""


def test_what_a_killed_process_left_is_removed_after_its_death(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        assert remove_stale(tmp_path) == 0
        assert len(list(tmp_path.iterdir())) == 2  # a file and a folder
        process.send_signal(signal.SIGKILL)
    assert remove_stale(tmp_path) == len(b"content")
    assert list(tmp_path.iterdir()) == []


# Errors of the disk


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, OSError, " (free some space, or choose a folder on another disk)"),
        (errno.EDQUOT, OSError, " (free some space, or choose a folder on another disk)"),
        (errno.EFBIG, OSError, " (raise the limit of the size of files, or choose "),
        (errno.EACCES, PermissionError, " (change the permissions, or choose another folder)"),
        (errno.EPERM, PermissionError, " (change the permissions, or choose another folder)"),
        (errno.EROFS, OSError, " (choose a folder on a disk that can be written)"),
        (errno.ENOTDIR, NotADirectoryError, ""),
    ],
)
def test_an_error_of_the_disk_names_the_file_and_the_remedy(tmp_path, number, kind, remedy):
    error = explained(OSError(number, os.strerror(number)), "path must be writable", tmp_path)
    assert type(error) is kind
    assert error.errno == number
    start = f"[Errno {number}] path must be writable; {os.strerror(number)}{remedy}"
    assert str(error).startswith(start)
    assert str(error).endswith(f": {str(tmp_path)!r}")


def test_an_error_without_a_number_keeps_its_text(tmp_path):
    error = explained(OSError("the disk is gone"), "path must be writable", tmp_path)
    assert str(error) == f"path must be writable; the disk is gone: {str(tmp_path)!r}"


def test_an_error_without_a_path_names_none():
    error = explained(OSError(errno.EIO, "Input/output error"), "path must be writable", None)
    assert str(error) == f"[Errno {errno.EIO}] path must be writable; Input/output error"


def test_errors_in_a_block_are_explained(tmp_path):
    with (
        pytest.raises(PermissionError, match="path must be writable; Permission denied"),
        explaining("path must be writable", tmp_path),
    ):
        raise PermissionError(errno.EACCES, "Permission denied")
