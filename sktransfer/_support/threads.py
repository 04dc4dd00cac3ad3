"""Numbers of threads, and functions that run in threads ahead of their results.

A parallel region of OpenMP ends when its last thread is done.  If there are more threads than
processors to run them, as in a container with a CPU quota, each region waits for threads that are
not running, and a network has hundreds of regions.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import joblib
import torch
from threadpoolctl import ThreadpoolController

from .forks import check_process

Value = TypeVar("Value")
Result = TypeVar("Result")
Results = tuple[list[Result], BaseException | None]


def count_processors() -> int:
    """Return the number of processors that this process may use.

    This is the minimum of the processors of the machine, of the affinity and the CPU quota of the
    process, and of the variable ``LOKY_MAX_CPU_COUNT``.
    """
    return _count_processors(os.getpid(), os.environ.get("LOKY_MAX_CPU_COUNT"))


@lru_cache(maxsize=1)
def _count_processors(*_: Any) -> int:
    return int(joblib.cpu_count())


def n_threads(n_jobs: int | None) -> int:
    """Return the number of threads that ``n_jobs`` stands for, at least 1.

    Parameters
    ----------
    n_jobs : int or None
        None stands for as many threads as torch computes with, but not more than the process has
        processors; -1 for one on each processor, -2 for one less, and so on.

    Raises
    ------
    ValueError
        If ``n_jobs`` is 0.

    Notes
    -----
    joblib would count as well, but it counts processes, which children of a pool must not start,
    and warns there.
    """
    if n_jobs is None:
        return max(1, min(torch.get_num_threads(), count_processors()))
    if n_jobs == 0:
        raise ValueError("n_jobs must be an integer other than 0, or None; got 0.")
    return n_jobs if n_jobs > 0 else max(1, count_processors() + 1 + n_jobs)


@contextmanager
def computing_threads(n: int | None) -> Iterator[None]:
    """Limit the threads with which torch computes for the thread of the caller.

    Other threads of the process, and threads that begin meanwhile, are not affected.

    Parameters
    ----------
    n : int or None
        Maximum number of threads.  None stands for the number of processors of the process.
    """
    # Asking torch first also gives this thread torch's own number, if it has not computed before.
    before = torch.get_num_threads()
    limit = min(count_processors() if n is None else n, before)
    if limit == before:
        yield
        return
    libraries, set_mkl = _openmp(), _mkl()
    numbers = [library.num_threads for library in libraries]
    mkl_before = set_mkl(limit)
    try:
        for library in libraries:
            library.set_num_threads(limit)
        yield
    finally:
        for library, number in zip(libraries, numbers, strict=True):
            library.set_num_threads(number)
        set_mkl(mkl_before)


@contextmanager
def solving_threads(n: int) -> Iterator[None]:
    """Limit the threads of NumPy's and SciPy's linear algebra, in the whole process.

    Their number is restored at the end.  Two threads must not call this at the same time.
    """
    controller: Any = ThreadpoolController()
    found = controller.select(user_api="blas")
    limits = {library.prefix: min(n, library.num_threads) for library in found.lib_controllers}
    with found.limit(limits=limits):
        yield


@cache
def _openmp() -> list[Any]:
    """Return the libraries of OpenMP; their number of threads belongs to the calling thread."""
    controller: Any = ThreadpoolController()
    return list(controller.select(user_api="openmp").lib_controllers)


@cache
def _mkl() -> Callable[[int], int]:
    """Return MKL's function that sets the threads of one thread, and returns the old value.

    MKL does not ask OpenMP once torch's number of threads has been set.  Without MKL in torch, the
    function does nothing.
    """
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        found: Callable[[int], int] = library.MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return lambda n: n
    return found


def map_ahead(
    function: Callable[[Value], Result], values: Iterable[Value], n_jobs: int | None, ahead: int
) -> Generator[Result, None, None]:
    """Yield ``function(value)`` for each value in order, while threads compute the next ones.

    Closing the generator cancels the calls that have not started and waits for the others.  With
    many results ahead, a thread takes up to four values at a time, because to hand over a photo
    takes a twentieth of the time to decode it.

    Parameters
    ----------
    function : callable
        Called with one value, in any of the threads.  Its exception is raised when the result of
        that value is due.
    values : iterable
        It is read in the thread of the caller.  The value of a sequence of one is computed there,
        too.
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
    if isinstance(values, Sized) and len(values) == 1:
        yield from map(function, values)
        return
    n = n_threads(n_jobs)
    futures, size = deque[Future[Results[Result]]](), max(1, min(4, ahead // (8 * n)))
    pool, remaining = ThreadPoolExecutor(n), iter(values)
    try:
        while part := list(islice(remaining, size)):
            futures.append(pool.submit(_results, function, part))
            if (len(futures) + 1) * size > ahead + 1:
                yield from _due(futures.popleft().result())
        while futures:
            yield from _due(futures.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)


def _results(function: Callable[[Value], Result], values: Iterable[Value]) -> Results[Result]:
    """Return the results of some values, and the error that ended them."""
    results: list[Result] = []
    try:
        results.extend(map(function, values))
    except BaseException as error:  # noqa: BLE001 - raised when it is due
        return results, error
    return results, None


def _due(found: Results[Result]) -> Iterator[Result]:
    """Yield the results that a thread returned, then raise its error."""
    results, error = found
    yield from results
    if error is not None:
        raise error
