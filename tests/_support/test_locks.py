"""Threads share a lock, or one of them has it alone."""

import threading
from contextlib import ExitStack

import pytest

from sktransfer._support.locks import SharedLock

SOON, LATER = 0.05, 20


@pytest.fixture
def lock():
    return SharedLock()


@pytest.fixture
def start():
    """Run functions in threads, which have ended when the test ends."""
    threads = []

    def start(function):
        threads.append(threading.Thread(target=function, daemon=True))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(LATER)
        assert not thread.is_alive()


def in_thread(start, context):
    """Enter a context in a thread; return the events that it has entered, and that it may leave."""
    entered, leave = threading.Event(), threading.Event()

    def run():
        with context():
            entered.set()
            assert leave.wait(LATER)

    start(run)
    return entered, leave


def test_many_threads_share_a_lock(lock, start):
    with ExitStack() as stack:
        for _ in range(3):
            entered, leave = in_thread(start, lock.shared)
            stack.callback(leave.set)
            assert entered.wait(LATER)


@pytest.mark.parametrize("first", ["shared", "alone"])
def test_a_thread_waits_to_have_the_lock_alone(lock, start, first):
    with getattr(lock, first)():
        entered, leave = in_thread(start, lock.alone)
        assert not entered.wait(SOON)
    assert entered.wait(LATER)
    leave.set()


def test_a_thread_waits_to_share_a_lock_that_another_has_alone(lock, start):
    with lock.alone():
        entered, leave = in_thread(start, lock.shared)
        assert not entered.wait(SOON)
    assert entered.wait(LATER)
    leave.set()


def test_a_waiting_thread_comes_before_those_that_begin_to_share(lock, start):
    with lock.shared():
        alone, leave_alone = in_thread(start, lock.alone)
        assert not alone.wait(SOON)
        shared, leave_shared = in_thread(start, lock.shared)
        assert not shared.wait(SOON)
        with lock.shared():  # this thread shares it already
            pass
    assert alone.wait(LATER)
    assert not shared.is_set()
    leave_alone.set()
    assert shared.wait(LATER)
    leave_shared.set()


@pytest.mark.parametrize(
    ("outer", "inner"), [("shared", "shared"), ("alone", "shared"), ("alone", "alone")]
)
def test_a_thread_nests_a_lock(lock, start, outer, inner):
    with getattr(lock, outer)():
        with getattr(lock, inner)():
            pass
        entered, leave = in_thread(start, lock.alone)
        assert not entered.wait(SOON)
    assert entered.wait(LATER)
    leave.set()


def test_a_thread_that_shares_a_lock_cannot_have_it_alone(lock):
    message = "A thread that shares a lock cannot have it alone: end sharing it first"
    with lock.shared(), pytest.raises(RuntimeError, match=message), lock.alone():
        pass
    with lock.alone(), lock.shared(), lock.alone():
        pass


def test_an_error_frees_the_lock(lock, start):
    for context in (lock.shared, lock.alone):
        with pytest.raises(KeyboardInterrupt), context():
            raise KeyboardInterrupt
    entered, leave = in_thread(start, lock.alone)
    assert entered.wait(LATER)
    leave.set()


@pytest.mark.parametrize("context", ["shared", "alone"])
def test_a_fork_waits_for_other_threads_for_a_limited_time(lock, start, context):
    entered, leave = in_thread(start, getattr(lock, context))
    assert entered.wait(LATER)
    with lock.held(SOON) as is_free:
        assert not is_free
    leave.set()
    with lock.held(LATER) as is_free:
        assert is_free


@pytest.mark.parametrize("context", ["shared", "alone"])
def test_a_fork_does_not_wait_for_its_own_thread(lock, context):
    with getattr(lock, context)(), lock.held(LATER) as is_free:
        assert is_free


def test_a_fork_does_not_wait_for_a_thread_that_waits(lock, start):
    with lock.shared():
        entered, leave = in_thread(start, lock.alone)
        assert not entered.wait(SOON)
        with lock.held(LATER) as is_free:
            assert is_free
    assert entered.wait(LATER)
    leave.set()


@pytest.mark.parametrize("context", ["shared", "alone"])
def test_a_renewed_lock_forgets_other_threads_only(lock, start, context):
    entered, leave = in_thread(start, getattr(lock, context))
    assert entered.wait(LATER)
    lock.renew()
    with lock.held(SOON) as is_free:
        assert is_free
    leave.set()


def test_a_renewed_lock_belongs_to_its_thread(lock, start):
    with lock.alone():
        lock.renew()
        entered, leave = in_thread(start, lock.shared)
        assert not entered.wait(SOON)
    assert entered.wait(LATER)
    leave.set()
