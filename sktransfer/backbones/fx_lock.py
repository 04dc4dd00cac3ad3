"""A lock between tracing a network and running networks.

While torch.fx traces, it replaces ``nn.Module.__call__`` in the whole process: a network that ran
in another thread meanwhile would become part of the trace.  Any number of threads may run networks
at once, or a single thread may trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

_changed = Condition()
_n_running = 0
_is_tracing = False


@contextmanager
def running() -> Iterator[None]:
    """Keep other threads from tracing; any number of threads may run networks."""
    global _n_running  # noqa: PLW0603 - the lock guards a global: the class nn.Module
    with _changed:
        _changed.wait_for(lambda: not _is_tracing)
        _n_running += 1
    try:
        yield
    finally:
        with _changed:
            _n_running -= 1
            _changed.notify_all()


@contextmanager
def tracing() -> Iterator[None]:
    """Keep other threads from tracing and from running networks within :func:`running`."""
    global _is_tracing  # noqa: PLW0603 - the lock guards a global: the class nn.Module
    with _changed:
        _changed.wait_for(lambda: not (_is_tracing or _n_running))
        _is_tracing = True
    try:
        yield
    finally:
        with _changed:
            _is_tracing = False
            _changed.notify_all()
