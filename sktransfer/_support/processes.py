"""Tokens that name processes, so that what a dead process left behind can be recognised."""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

# Machine, boot and process namespace, hashed; the number of the process; its start time.
TOKEN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9]+-[0-9]+")

IS_WINDOWS = os.name == "nt"

DEAD_STATES = ("Z", "X")  # in /proc: a process that has ended, whose parent has not noticed yet


def token() -> str:
    """Return a name of this process that no other process has, now or later.

    It consists of the machine, the boot, the process namespace, the process ID, and the start time
    of the process.  On systems without ``/proc`` the start time is 0, so a later process can have
    the same name.  A fork has another name than its parent.

    Examples
    --------
    >>> from sktransfer._support.processes import is_alive, token
    >>> is_alive(token())
    True
    """
    pid = os.getpid()
    return "-".join([*_place(pid), str(pid), _state_and_start(pid)[1]])


def is_alive(name: str) -> bool | None:
    """Return True if the process that :func:`token` named is running, and False if it has ended.

    None means that this is unknown, because the process ran on another machine or in another
    container, or because this is Windows.

    Parameters
    ----------
    name : str
        A name that :func:`token` returned in this process or in another one.
    """
    machine, boot, namespace, pid, start = name.split("-")
    here = _place(os.getpid())
    if machine != here[0]:
        return None
    if boot != here[1]:  # the machine has been started again
        return False
    if namespace != here[2]:
        return None
    if int(pid) == os.getpid():
        return name == token()
    if IS_WINDOWS:  # os.kill would end the process
        return None
    return _is_running(int(pid), start)


def _is_running(pid: int, start: str) -> bool:
    """Return True if a process of this namespace is running and began at ``start``."""
    try:
        os.kill(pid, 0)
    except PermissionError:  # it belongs to another user
        pass
    except (OSError, OverflowError):
        return False
    state, started = _state_and_start(pid)
    return state not in DEAD_STATES and started in (start, "0")


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the state and the start time of a process, in ticks since the boot.

    The start time is 0 if the system does not show it.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "", "0"
    # The name of the program, in parentheses, can contain anything.
    fields = status.rpartition(b")")[2].split()
    return fields[0].decode(), fields[19].decode()


@lru_cache(maxsize=1)
def _place(pid: int) -> tuple[str, str, str]:  # noqa: ARG001 - a fork may be in another namespace
    """Return hashes of this machine, of its last boot, and of the namespace of the processes."""
    boot, machine, namespace = "", "", ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    with suppress(OSError):  # machines of one name, such as localhost, usually differ here
        machine = Path("/etc/machine-id").read_text()
    with suppress(OSError):  # containers on one machine share the boot, but not the processes
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return _hash(f"{socket.gethostname()} {machine}"), _hash(boot), _hash(namespace)


def _hash(text: str) -> str:
    return blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()
