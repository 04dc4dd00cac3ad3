"""A lock that threads can share, and that survives a fork of the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, get_ident


class SharedLock:
    """A lock that many threads can share, or that one thread can have alone.

    A thread can nest it.  A thread that waits to have the lock alone comes before those that
    begin to share it later.

    Examples
    --------
    >>> from sktransfer._support.locks import SharedLock
    >>> lock = SharedLock()
    >>> with lock.shared():
    ...     pass
    >>> with lock.alone():
    ...     pass
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._sharing: Counter[int] = Counter()  # thread -> how many times it shares the lock
        self._alone: int | None = None  # the thread that has the lock alone
        self._n_waiting = 0  # the number of threads that wait until no other thread has the lock

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Wait until no other thread has the lock alone, and share it; a context manager."""
        me = get_ident()
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    me == self._alone
                    or self._sharing[me]
                    or (self._alone is None and not self._n_waiting)
                )
            )
            self._sharing[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing[me] -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other thread has or shares the lock, and keep it; a context manager.

        Raises
        ------
        RuntimeError
            If this thread shares the lock.  Two threads that did so would wait for each other.
        """
        me = get_ident()
        with self._changed:
            if self._sharing[me] and self._alone != me:
                raise RuntimeError(
                    "A thread that shares a lock cannot have it alone: end sharing it first."
                )
            self._wait()
            outer, self._alone = self._alone, me
        try:
            yield
        finally:
            with self._changed:
                self._alone = outer
                self._changed.notify_all()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Leave the lock, which this thread has alone, to others for a while; a context manager."""
        me = get_ident()
        with self._changed:
            self._alone = None
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._wait()
                self._alone = me

    @contextmanager
    def held(self, seconds: float) -> Iterator[bool]:
        """Keep the state of the lock while the process forks; a context manager.

        First, it waits until no other thread has or shares the lock.  Its value is False if that
        takes longer than ``seconds``.
        """
        with self._changed:
            yield self._wait(seconds)

    def _wait(self, seconds: float | None = None) -> bool:
        """Wait until no other thread has or shares the lock; return False if it takes longer."""
        me = get_ident()
        self._n_waiting += 1
        try:
            return self._changed.wait_for(
                lambda: self._alone in (None, me) and self._sharing.total() == self._sharing[me],
                seconds,
            )
        finally:
            self._n_waiting -= 1
            self._changed.notify_all()

    def renew(self) -> None:
        """Forget the other threads, which do not exist in a forked process."""
        me = get_ident()
        self._changed = Condition()
        self._sharing = Counter({me: self._sharing[me]})
        self._alone = me if self._alone == me else None
        self._n_waiting = 0
