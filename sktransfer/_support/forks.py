"""Networks in processes that are forked.

A fork copies the memory of a process, but of its threads only the one that forks.  The child waits
for ever if it needs a thread that was not copied, or a lock that belongs to one.  So before each
fork

- the threads of GNU OpenMP end, on which torch and scikit-learn compute.  They start again when
  they are needed, in both processes.
- the fork waits until no other thread runs a network, because torch has locks of its own, and
  until none imports modules within :func:`importing`: Python locks a module while it is imported,
  and the child would wait for the thread that has the lock.

If this is not possible, :func:`check_process` computes with one thread, or raises an error.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from threadpoolctl import ThreadpoolController

from .locks import SharedLock
from .random import generators
from .warn import warn_user


class Renewable(Protocol):
    """A lock that can be used in a forked process after :meth:`renew`."""

    def renew(self) -> None:
        """Forget the other threads, which do not exist in a forked process."""


Lock = TypeVar("Lock", bound=Renewable)

# Shared by threads that run networks or import modules.  A thread that traces a network has it
# alone.
networks = SharedLock()

# The locks that a fork waits for.  A thread that has the first one may wait for the second one, but
# not the other way round.
LOCKS = (generators, networks)

# Locks that a fork does not wait for.
_renewed: list[Renewable] = []

# Maximum number of seconds that a fork waits for each lock.
PATIENCE = 10.0

# An argument of omp_pause_resource_all, which ends threads: omp_pause_hard.
HARD = 2

ADVICE = "Start processes with joblib's loky or multiprocessing's 'spawn' instead of 'fork'."


@dataclass
class Process:
    """The state of this process with respect to forks.

    Parameters
    ----------
    pid : int
        The process that this state describes; a fork can change the process without notice.
    lost_threads : bool, default=False
        If this process was forked while threads of OpenMP were waiting, so that it can compute
        with one thread only.
    ran_networks : bool, default=False
        If another thread ran a network, or imported modules, when this process was forked.
    used_cuda : bool, default=False
        If CUDA was in use when this process was forked.
    """

    pid: int
    lost_threads: bool = False
    ran_networks: bool = False
    used_cuda: bool = False


@dataclass
class Fork(threading.local):
    """The fork that this thread makes; several threads can fork at once.

    Parameters
    ----------
    child : Process
        The state of the child, whose pid is not known before the fork.
    held : ExitStack
        The locks that are held during the fork.  Only one fork at a time has them.
    """

    child: Process = field(default_factory=lambda: Process(0))
    held: ExitStack = field(default_factory=ExitStack)


_this = Process(os.getpid())
_fork = Fork()


def check_process(device: torch.device | None = None) -> None:
    """Make sure that a network can run in this process, which may be forked.

    Parameters
    ----------
    device : torch.device or None, default=None
        The device of the network.

    Raises
    ------
    RuntimeError
        If the network could wait for ever, or if the device cannot be used in this process.

    Warns
    -----
    UserWarning
        If torch has to compute with one thread; this warns once in a process.
    """
    pid = os.getpid()
    if _this.ran_networks:
        raise RuntimeError(
            f"Process {pid} cannot run a network, because it was forked while another thread ran "
            f"one, or imported modules, for more than {PATIENCE:g} seconds. {ADVICE}"
        )
    if device is not None and device.type == "cuda" and _this.used_cuda:
        raise RuntimeError(
            f"device must be 'cpu' in process {pid}, which was forked after its parent had used "
            f"CUDA; got {str(device)!r}. {ADVICE}"
        )
    if _this.pid != pid:
        for lock in (*LOCKS, *_renewed):  # a fork that does not call Python's hooks renews no lock
            lock.renew()
        torch.set_num_threads(1)
        _this.pid, _this.lost_threads = pid, True
        warn_user(
            f"torch computes with one thread in process {pid}, because the process was forked "
            "after its parent had started the threads of OpenMP: with several threads it would "
            f"wait for ever. {ADVICE}"
        )


@contextmanager
def importing() -> Iterator[None]:
    """Keep the process from forking while this thread imports modules; a context manager.

    It is for imports that are made when something is first used.
    """
    with networks.shared():
        yield


def renewed_in_children(lock: Lock) -> Lock:
    """Return ``lock``, which will be free in forked processes although other threads have it."""
    _renewed.append(lock)
    return lock


def has_lost_cuda() -> bool:
    """Return True if CUDA cannot be used, because this process was forked while it was in use."""
    return _this.used_cuda


def _before() -> None:
    _fork.held.enter_context(generators.held(PATIENCE))
    is_free = _fork.held.enter_context(networks.held(PATIENCE))
    # OpenMP cannot end threads that it has lost: it would wait for them.
    has_lost_threads = _this.lost_threads or _this.pid != os.getpid()
    _fork.child = Process(
        0,
        lost_threads=has_lost_threads or not _close_pools(),
        ran_networks=_this.ran_networks or not is_free,
        used_cuda=_this.used_cuda or torch.cuda.is_initialized(),  # type: ignore[no-untyped-call]  # torch does not annotate it
    )


def _after_in_parent() -> None:
    _fork.held.close()


def _after_in_child() -> None:
    global _this  # noqa: PLW0603 - the process is another one
    _fork.held.close()
    for lock in (*LOCKS, *_renewed):
        lock.renew()
    # If it lost threads, check_process notices the new pid.
    pid = _this.pid if _fork.child.lost_threads else os.getpid()
    _this = replace(_fork.child, pid=pid, lost_threads=_this.lost_threads)


def _close_pools() -> bool:
    """End the threads that GNU OpenMP keeps for this thread; return False if it cannot end torch's.

    Other implementations of OpenMP, such as LLVM's, handle forks themselves.
    """
    controller: Any = ThreadpoolController()
    closed = True
    for library in controller.select(prefix="libgomp").lib_controllers:
        pause = getattr(library.dynlib, "omp_pause_resource_all", None)  # GCC 9 or later
        if pause is None or pause(HARD) != 0:
            closed = closed and _belongs_to_another_wheel(library.filepath)
    return closed


def _belongs_to_another_wheel(library: str) -> bool:
    """Return True if torch does not compute with ``library``, a file of GNU OpenMP."""
    folder = Path(library).parent.name  # such as scikit_learn.libs
    return folder.endswith(".libs") and folder != "torch.libs"


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
