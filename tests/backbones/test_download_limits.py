"""A download that is too slow, or that the disk does not take, ends with a clear error."""

import errno
import os
from itertools import count

import pytest
from helpers.disk import refuse_files
from helpers.server import BODY

from sktransfer.backbones import download as module
from sktransfer.backbones.download import download

ADDRESS = "acme/net"


def kept(folder):
    """List the files in ``folder`` without lock files."""
    return sorted(path.name for path in folder.rglob("*") if path.suffix != ".lock")


@pytest.fixture
def slow_clock(server, monkeypatch):
    """A clock that advances by 25 seconds whenever it is read; then the server sends a byte."""
    times = count(0, 25)

    def read():
        server.may_send.release()
        return next(times)

    monkeypatch.setattr(module, "monotonic", read)
    yield
    server.may_send.release(20)


@pytest.mark.parametrize("part", ["", "-chunks", "-sizes", "-status", "-headers"])
def test_a_download_that_trickles_is_given_up(server, tmp_path, slow_clock, part):
    message = r"is too slow: \d+ bytes in 75 seconds\. The file needed is net\.pth"
    with pytest.raises(ConnectionError, match=message):
        download(f"{server.url}/trickle{part}.pth", tmp_path, "net.pth", address=ADDRESS)
    assert kept(tmp_path) == []


def test_a_slow_download_that_is_fast_enough_is_completed(
    server, tmp_path, slow_clock, monkeypatch
):
    monkeypatch.setattr(module, "_SLOWEST", 1 / 26)  # a byte arrives in 25 seconds
    path = download(f"{server.url}/trickle.pth", tmp_path, "net.pth", address=ADDRESS)
    assert path.read_bytes() == BODY[:20]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, r" \(free some space, or choose a folder on another disk\)"),
        (errno.EACCES, r" \(change the permissions, or choose another folder\)"),
    ],
)
@pytest.mark.parametrize("method", ["open", "mkdir", "replace"])
def test_an_error_of_the_disk_names_the_file_and_the_remedy(
    server, tmp_path, monkeypatch, number, remedy, method
):
    refuse_files(monkeypatch, method, number)
    message = rf"could not be downloaded from .*{os.strerror(number)}{remedy}: .*net\.pth'?\. The "
    with pytest.raises(OSError, match=message) as caught:
        download(f"{server.url}/net.pth", tmp_path, "net.pth", address=ADDRESS)
    monkeypatch.undo()
    assert not isinstance(caught.value, ConnectionError)
    assert kept(tmp_path) == []
