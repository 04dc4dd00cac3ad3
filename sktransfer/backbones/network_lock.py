"""A lock between running networks, tracing a network, and forking the process.

While torch.fx or torch.export traces, it replaces ``nn.Module.__call__`` in the whole process: a
network that ran in another thread meanwhile would become part of the trace, or compute other bits.
Any number of threads may run networks at once, or a single thread may trace.  A fork waits for
both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .._support.forks import check_process, networks
from .._support.threads import computing_threads


@contextmanager
def running(device: torch.device | None = None, n_threads: int | None = None) -> Iterator[None]:
    """Keep other threads from tracing, and the process from forking; a context manager.

    Meanwhile, this thread computes with ``n_threads`` threads at most, and with no more than the
    process has processors.

    Raises
    ------
    RuntimeError
        If no network can run in this process, which was forked; see :func:`check_process`.
    """
    check_process(device)
    with networks.shared(), computing_threads(n_threads):
        yield


@contextmanager
def tracing_alone() -> Iterator[None]:
    """Keep other threads from tracing, and from running networks within :func:`running`."""
    with networks.alone():
        yield
