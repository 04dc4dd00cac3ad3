"""Downloads are atomic, happen once, are compared with a hash, and can be forbidden."""

import ast
import re
import socket
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.server import BODY
from helpers.tokens import dead_token, temporary

from sktransfer._support.processes import token
from sktransfer.backbones import download as module
from sktransfer.backbones.download import download, is_offline, offline_mode

HASH = sha256(BODY).hexdigest()
ADDRESS = "acme/net"


@pytest.fixture
def closed():
    """The url of a port without a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def kept(folder):
    """List the files in ``folder`` without lock files."""
    return sorted(path.name for path in folder.rglob("*") if path.suffix != ".lock")


@pytest.mark.parametrize("name", ["net.pth", "moved.pth", "unannounced.pth"])
@pytest.mark.parametrize("prefix", [None, HASH[:8], HASH[:8].upper(), HASH])
def test_a_file_is_downloaded_once(server, tmp_path, name, prefix):
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        path = download(
            f"{server.url}/{name}", folder, "net.pth", address=ADDRESS, sha256_prefix=prefix
        )
        assert path == folder / "net.pth"
        assert path.read_bytes() == BODY
    assert server.asked.count(f"/{name}") == 1
    assert kept(folder) == ["net.pth"]


def test_a_file_that_exists_is_returned_unchanged(server, tmp_path):
    (tmp_path / "net.pth").write_bytes(b"mine")
    path = download(
        f"{server.url}/net.pth", tmp_path, "net.pth", address=ADDRESS, sha256_prefix=HASH
    )
    assert path.read_bytes() == b"mine"
    assert server.asked == []


def test_a_download_removes_what_killed_downloads_left(server, tmp_path):
    alive, dead = (tmp_path / temporary(maker) for maker in (token(), dead_token()))
    for path in (alive, dead):
        path.write_bytes(b"half a file")
    (tmp_path / "net.pth.lock").touch()
    path = download(f"{server.url}/net.pth", tmp_path, "net.pth", address=ADDRESS)
    assert path.read_bytes() == BODY
    assert kept(tmp_path) == ["net.pth", alive.name]


@pytest.mark.parametrize(
    ("name", "prefix", "error", "cause"),
    [
        ("missing.pth", None, ConnectionError, "HTTP Error 404: Not Found"),
        (
            "cut.pth",
            None,
            ConnectionError,
            f"the connection ended after {len(BODY)} of {len(BODY) + 7} bytes",
        ),
        (
            "net.pth",
            "00000000",
            OSError,
            (
                "the sha256 of the download must begin with 00000000; "
                f"got {HASH}. The file was removed"
            ),
        ),
        (
            "huge.pth",
            None,
            OSError,
            f"a file of weights must have at most {module.LARGEST} bytes; got {2**60}",
        ),
    ],
)
def test_a_failed_download_names_the_cause_and_leaves_no_file(
    server, tmp_path, name, prefix, error, cause
):
    url = f"{server.url}/{name}"
    with pytest.raises(
        error, match=re.escape(f"weights of acme/net could not be downloaded from {url}: ")
    ) as caught:
        download(url, tmp_path, "net.pth", address=ADDRESS, sha256_prefix=prefix)
    assert type(caught.value) is error
    assert cause in str(caught.value)
    assert kept(tmp_path) == []


def test_a_body_without_an_announced_length_is_limited(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1000)
    message = r"must have at most 1000 bytes; got \d+\. "
    with pytest.raises(OSError, match=message):
        download(f"{server.url}/unannounced.pth", tmp_path, "net.pth", address=ADDRESS)
    assert kept(tmp_path) == []


def test_a_silent_server_is_a_timeout(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUT", 0.05)
    server.may_answer.clear()
    with pytest.raises(ConnectionError, match="timed out"):
        download(f"{server.url}/net.pth", tmp_path, "net.pth", address=ADDRESS)
    server.may_answer.set()


@pytest.mark.parametrize("tag", [None, "v2"])
def test_the_error_without_a_network_describes_what_to_do(closed, tmp_path, tag):
    url = f"{closed}/net-1.pth"
    with pytest.raises(ConnectionError) as caught:
        download(url, tmp_path / "hub", "net.pth", address=ADDRESS, tag=tag)
    message = str(caught.value)
    assert message.startswith(f"weights of acme/net could not be downloaded from {url}: ")
    option = " --weights v2" if tag else ""
    assert message.endswith(
        f"The file needed is net.pth, and its place is {tmp_path / 'hub' / 'net.pth'}. On a "
        f"connected machine, `sktransfer fetch acme/net{option} --to DIR` writes a file: copy it "
        f"to this machine and pass weights=PATH; or copy {url} to that place."
    )


def test_a_folder_that_cannot_be_created_is_not_a_connection_error(server, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OSError, match=f"could not be downloaded .*{tmp_path / 'taken'}") as caught:
        download(f"{server.url}/net.pth", tmp_path / "taken", "net.pth", address=ADDRESS)
    assert not isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://a.b/c.pth", "http://a.b/c.pth", "c"]
)
def test_an_unencrypted_address_is_refused(tmp_path, url):
    message = re.escape(f"the address of weights must begin with https://; got {url!r}")
    with pytest.raises(OSError, match=message):
        download(url, tmp_path, "net.pth", address=ADDRESS)
    assert kept(tmp_path) == []


@pytest.mark.parametrize("target", ["http://a.b/net.pth", "ftp://a.b/net.pth"])
def test_a_redirect_to_an_unencrypted_address_is_refused(server, tmp_path, target):
    server.moved_to = target
    with pytest.raises(OSError, match=f"must begin with https://; got '{target}'"):
        download(f"{server.url}/moved.pth", tmp_path, "net.pth", address=ADDRESS)
    assert kept(tmp_path) == []


# --- offline -------------------------------------------------------------------------------------


@pytest.fixture(params=["argument", "variable"])
def offline(request, monkeypatch, server):
    """Downloads are forbidden, by the argument or by the variable."""
    if request.param == "variable":
        monkeypatch.setenv("SKTRANSFER_OFFLINE", "1")
        yield
    else:
        with offline_mode(True):
            yield


def test_offline_mode_attempts_no_download(offline, server, tmp_path):
    with pytest.raises(ConnectionError) as caught:
        download(f"{server.url}/net.pth", tmp_path / "hub", "net.pth", address=ADDRESS)
    message = str(caught.value)
    assert message.startswith(
        "weights of acme/net are not on this machine, and downloads are forbidden (offline=True, "
        "or SKTRANSFER_OFFLINE). The file needed is net.pth, and its place is "
    )
    assert "`sktransfer fetch acme/net --to DIR`" in message
    assert server.asked == []
    assert kept(tmp_path) == []


def test_offline_mode_uses_a_file_that_exists(offline, server, tmp_path):
    (tmp_path / "net.pth").write_bytes(b"mine")
    path = download(f"{server.url}/net.pth", tmp_path, "net.pth", address=ADDRESS)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("variable", "argument", "expected"),
    [
        (None, None, False),
        ("", None, False),
        ("0", None, False),
        ("1", None, True),
        ("1", False, False),
        (None, True, True),
    ],
)
def test_the_argument_overrides_the_variable(monkeypatch, variable, argument, expected):
    monkeypatch.delenv("SKTRANSFER_OFFLINE", raising=False)
    if variable is not None:
        monkeypatch.setenv("SKTRANSFER_OFFLINE", variable)
    with offline_mode(argument):
        assert is_offline() is expected
        with offline_mode(None):
            assert is_offline() is expected
    assert is_offline() is (variable == "1")


def test_offline_mode_affects_one_thread_only():
    found = []
    with offline_mode(True):
        thread = threading.Thread(target=lambda: found.append(is_offline()))
        thread.start()
        thread.join()
    assert found == [False]


def test_offline_mode_ends_when_an_error_is_raised():
    with pytest.raises(KeyError), offline_mode(True):
        raise KeyError
    assert not is_offline()


def test_offline_must_be_a_bool_or_none():
    with pytest.raises(ValueError, match="offline must be one of True, False, None; got 'no'"):
        offline_mode("no").__enter__()


# --- several processes ---------------------------------------------------------------------------


def process(code):
    """Start a Python process that runs ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def downloading(server, folder):
    call = f"download('{server.url}/net.pth', {str(folder)!r}, 'net.pth', address='acme/net')"
    return process(f"from sktransfer.backbones.download import download; print({call})")


def test_two_processes_download_once(server, tmp_path):
    server.may_answer.clear()
    both = [downloading(server, tmp_path) for _ in range(2)]
    while not server.asked:
        assert [one.poll() for one in both] == [None, None]
    server.may_answer.set()
    answers = [one.communicate()[0].strip() for one in both]
    assert answers == 2 * [str(tmp_path / "net.pth")]
    assert server.asked == ["/net.pth"]
    assert (tmp_path / "net.pth").read_bytes() == BODY


def test_a_download_waits_for_another_process(server, tmp_path, monkeypatch):
    holder = process(
        "import filelock, pathlib, sys; "
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "with filelock.FileLock(folder / 'net.pth.lock'):\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
        "    (folder / 'net.pth').write_bytes(b'theirs')"
    )
    assert holder.stdout.readline() == "held\n"
    started = threading.Event()
    monkeypatch.setattr(module, "is_offline", started.set)  # it is called before the lock is taken
    found = SimpleNamespace()
    url = f"{server.url}/net.pth"
    thread = threading.Thread(
        target=lambda: vars(found).update(path=download(url, tmp_path, "net.pth", address=ADDRESS))
    )
    thread.start()
    started.wait()
    holder.communicate("\n")
    thread.join()
    assert found.path.read_bytes() == b"theirs"
    assert server.asked == []


def test_a_killed_process_does_not_block_others(server, tmp_path):
    server.may_answer.clear()
    killed = downloading(server, tmp_path)
    while not server.asked:
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    assert len(kept(tmp_path)) == 1
    server.may_answer.set()
    download(f"{server.url}/net.pth", tmp_path, "net.pth", address=ADDRESS)
    assert (tmp_path / "net.pth").read_bytes() == BODY
    assert kept(tmp_path) == ["net.pth"]


def test_the_progress_bar_is_shown_on_a_terminal_only(server, tmp_path, capsys, monkeypatch):
    download(f"{server.url}/net.pth", tmp_path, "quiet.pth", address=ADDRESS)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    download(f"{server.url}/net.pth", tmp_path, "shown.pth", address=ADDRESS)
    assert "shown.pth: 100%" in capsys.readouterr().err


def test_downloads_do_not_import_torch():
    tree = ast.parse(Path(module.__file__).read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert "torch" not in " ".join(map(ast.unparse, nodes))
