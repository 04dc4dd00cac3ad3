"""A token names one process, and shows if it is running."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tokens import dead_token, foreign_token

from sktransfer._support import processes
from sktransfer._support.processes import TOKEN, is_alive, token

NAME_ITSELF = "from sktransfer._support.processes import token; print(token(), flush=True)"


@pytest.fixture
def child():
    """A process that has printed its token and waits."""
    code = f"{NAME_ITSELF}; input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_a_process_is_alive_to_itself():
    assert TOKEN.fullmatch(token())
    assert token() == token()
    assert is_alive(token()) is True


def test_a_child_is_alive_until_it_is_killed(child):
    name = child.stdout.readline().strip()
    assert name != token()
    assert is_alive(name) is True
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(name) is False  # although its parent has not noticed yet
    child.wait()
    assert is_alive(name) is False


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # of os.fork
def test_a_fork_has_a_token_of_its_own():
    parent = token()
    read, write = os.pipe()
    pid = os.fork()
    if not pid:  # the child
        os.write(write, f"{token()} {is_alive(parent)} {is_alive(token())}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    name, *alive = os.read(read, 1000).decode().split()
    os.close(read)
    os.close(write)
    assert name != parent
    assert alive == ["True", "True"]
    assert is_alive(name) is False


def test_a_process_with_a_recycled_number_is_dead():
    assert is_alive(dead_token()) is False


def test_a_process_of_an_earlier_boot_is_dead():
    machine, _, *rest = token().split("-")
    assert is_alive("-".join([machine, "0" * 8, *rest])) is False


def test_a_process_of_another_machine_or_container_is_unknown():
    assert is_alive(foreign_token()) is None
    machine, boot, _, *rest = token().split("-")
    assert is_alive("-".join([machine, boot, "0" * 8, *rest])) is None


def test_a_process_of_another_user_is_alive(child, monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    name = child.stdout.readline().strip()
    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(name) is True


def test_a_number_that_no_process_can_have_is_dead():
    assert is_alive(f"{token().rpartition('-')[0].rpartition('-')[0]}-{2**70}-1") is False


def test_the_number_of_a_process_suffices_if_the_system_shows_no_more(child, monkeypatch):
    number = child.stdout.readline().strip().split("-")[3]

    def absent(path):
        raise FileNotFoundError(path)

    for method in ("read_text", "read_bytes", "readlink"):
        monkeypatch.setattr(Path, method, absent)
    *place, own, start = token().split("-")
    assert TOKEN.fullmatch(token())
    assert (own, start) == (str(os.getpid()), "0")
    assert is_alive(token()) is True
    assert is_alive("-".join([*place, number, "0"])) is True
    child.kill()
    child.wait()
    assert is_alive("-".join([*place, number, "0"])) is False


def test_other_processes_are_unknown_on_windows(child, monkeypatch):
    name = child.stdout.readline().strip()
    monkeypatch.setattr(processes, "IS_WINDOWS", True)
    monkeypatch.setattr(os, "kill", None)  # it would end the process there
    assert is_alive(name) is None
    assert is_alive(token()) is True
