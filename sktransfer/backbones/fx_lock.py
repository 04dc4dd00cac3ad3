"""A truce between tracing and running.

While torch.fx traces, it replaces ``nn.Module.__call__`` for the whole process: a network that runs
in another thread meanwhile would be taken for a part of what is traced.
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
    """A time in which nobody traces; any number of threads may run networks."""
    global _n_running  # noqa: PLW0603 - what is guarded is global: one class of torch
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
    """A time in which one thread traces, and none runs a network within :func:`running`."""
    global _is_tracing  # noqa: PLW0603 - likewise
    with _changed:
        _changed.wait_for(lambda: not (_is_tracing or _n_running))
        _is_tracing = True
    try:
        yield
    finally:
        with _changed:
            _is_tracing = False
            _changed.notify_all()
