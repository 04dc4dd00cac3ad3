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
        self._alone: int | None = None  # the thread that has the lock alone, or waits for it

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Wait until no other thread has the lock alone, and share it; a context manager."""
        me = get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._alone in (None, me) or self._sharing[me])
            self._sharing[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing[me] -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other thread has or shares the lock, and keep it; a context manager."""
        me = get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._alone in (None, me))
            outer, self._alone = self._alone, me
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._is_shared_by_others())
            yield
        finally:
            with self._changed:
                self._alone = outer
                self._changed.notify_all()

    @contextmanager
    def held(self, seconds: float) -> Iterator[bool]:
        """Keep the state of the lock while the process forks; a context manager.

        First, it waits until no other thread has or shares the lock.  Its value is False if that
        takes longer than ``seconds``.
        """
        with self._changed:
            yield self._wait_alone(seconds)
            self._changed.notify_all()

    def _wait_alone(self, seconds: float) -> bool:
        me = get_ident()
        if not self._changed.wait_for(lambda: self._alone in (None, me), seconds):
            return False
        outer, self._alone = self._alone, me
        try:
            return self._changed.wait_for(lambda: not self._is_shared_by_others(), seconds)
        finally:
            self._alone = outer

    def renew(self) -> None:
        """Forget the other threads, which do not exist in a forked process."""
        me = get_ident()
        self._changed = Condition()
        self._sharing = Counter({me: self._sharing[me]})
        self._alone = me if self._alone == me else None

    def _is_shared_by_others(self) -> bool:
        return self._sharing.total() > self._sharing[get_ident()]
