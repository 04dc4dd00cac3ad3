"""Bound the memory that the threads of a process take at the same time."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class MemoryBudget:
    """A number of bytes that the threads of a process share.

    A thread that wants more than is left waits, and all that come after it wait behind it, so
    that large amounts have their turn.

    Parameters
    ----------
    total : int
        The bytes.  A larger amount is spent alone.
    small : int, default=0
        Amounts up to this one are not counted, which saves time.

    Examples
    --------
    >>> from sktransfer._support.memory import MemoryBudget
    >>> budget = MemoryBudget(2**30)
    >>> with budget.spend(2**20):
    ...     pass
    """

    def __init__(self, total: int, small: int = 0):
        self._total, self._small = total, small
        self.renew()

    def renew(self) -> None:
        """Forget the other threads, which do not exist in a forked process."""
        self._left = self._total
        self._queue = threading.Lock()
        self._returned = threading.Condition()

    def spend(self, amount: int) -> AbstractContextManager[None]:
        """Return a context manager that waits until ``amount`` is left, and spends it."""
        return nullcontext() if amount <= self._small else self._spent(min(amount, self._total))

    @contextmanager
    def _spent(self, amount: int) -> Iterator[None]:
        with self._queue, self._returned:
            self._returned.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            release_free_memory()
            with self._returned:
                self._left += amount
                self._returned.notify()


def release_free_memory() -> None:
    """Return free memory to the operating system.

    The C library of Linux keeps the freed memory of each thread for this thread alone.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
