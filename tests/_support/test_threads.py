"""Threads compute the next results while the caller uses the last one."""

import threading
from contextlib import closing

import pytest
import torch

from sktransfer._support.threads import map_ahead, n_threads


def test_none_stands_for_the_threads_of_torch(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert n_threads(None) == 7


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_a_number_of_jobs_is_the_number_of_threads(n_jobs):
    assert n_threads(n_jobs) == n_jobs


@pytest.mark.parametrize("n_jobs", [-1, -1000])
def test_there_is_always_a_thread(n_jobs):
    assert n_threads(n_jobs) >= 1


def test_zero_jobs_are_an_error():
    with pytest.raises(ValueError, match="n_jobs == 0"):
        n_threads(0)


@pytest.mark.parametrize("n_jobs", [None, 1, 3, -1])
@pytest.mark.parametrize("ahead", [0, 1, 4, 100])
@pytest.mark.parametrize("n", [0, 1, 2, 20])
def test_results_come_in_the_order_of_the_values(n_jobs, ahead, n):
    values = list(range(n))
    assert list(map_ahead(lambda x: x * x, values, n_jobs, ahead)) == [x * x for x in values]


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_results_than_allowed_are_computed_ahead(ahead):
    started = []
    results = map_ahead(lambda x: started.append(x) or x, range(20), 4, ahead)
    with closing(results):
        for n_taken, _ in enumerate(results, start=1):
            assert len(started) <= n_taken + ahead


def test_the_next_result_is_computed_while_the_caller_uses_the_last_one():
    second_has_started = threading.Event()

    def function(value):
        if value == 1:
            second_has_started.set()
        return value

    with closing(map_ahead(function, range(3), 1, 1)) as results:
        next(results)
        assert second_has_started.wait(timeout=10)


def test_several_values_are_computed_in_other_threads():
    here = threading.get_ident()
    assert here not in list(map_ahead(lambda _: threading.get_ident(), range(3), 2, 3))


def test_a_single_value_is_computed_in_the_thread_of_the_caller():
    here = threading.get_ident()
    assert list(map_ahead(lambda _: threading.get_ident(), [0], 2, 3)) == [here]


def test_calls_that_have_not_started_are_cancelled_when_the_generator_is_closed():
    started, may_end = [], threading.Event()

    def function(value):
        started.append(value)
        if value:
            may_end.wait(timeout=10)
        return value

    results = map_ahead(function, range(20), 1, 10)
    assert next(results) == 0
    threading.Timer(0.1, may_end.set).start()
    results.close()
    assert started in ([0], [0, 1])


def test_threads_have_ended_when_the_generator_is_closed():
    before = threading.active_count()
    results = map_ahead(abs, range(20), 3, 10)
    next(results)
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before


def test_an_error_is_raised_when_its_result_is_due():
    results = map_ahead(lambda x: 1 // x, [2, 1, 0, 1], 2, 3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
