"""Run a function in threads, some values ahead of the one that is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from joblib import effective_n_jobs

from .forks import check_process

Value = TypeVar("Value")
Result = TypeVar("Result")


def n_threads(n_jobs: int | None) -> int:
    """Return the number of threads that ``n_jobs`` stands for, at least 1.

    Parameters
    ----------
    n_jobs : int or None
        None stands for as many threads as torch computes with, -1 for one on each processor.
    """
    threads = torch.get_num_threads() if n_jobs is None else effective_n_jobs(n_jobs)
    return max(1, threads)


def map_ahead(
    function: Callable[[Value], Result], values: Sequence[Value], n_jobs: int | None, ahead: int
) -> Generator[Result, None, None]:
    """Yield ``function(value)`` for each value in order, while threads compute the next ones.

    Closing the generator cancels the calls that have not started and waits for the others.

    Parameters
    ----------
    function : callable
        Called with one value, in any of the threads.  Its exception is raised when the result of
        that value is due.
    values : sequence
        A single value is computed in the thread of the caller.
    n_jobs : int or None
        Number of threads, as for :func:`n_threads`.
    ahead : int
        Maximum number of results that are computed, or being computed, before they are needed.

    Examples
    --------
    >>> from sktransfer._support.threads import map_ahead
    >>> list(map_ahead(abs, [-3, -1, -2], n_jobs=2, ahead=1))
    [3, 1, 2]
    """
    check_process()
    if len(values) == 1:
        yield function(values[0])
        return
    futures: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(n_threads(n_jobs))
    try:
        for value in values:
            futures.append(pool.submit(function, value))
            if len(futures) > ahead:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
