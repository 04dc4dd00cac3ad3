"""Threads compute the next results while the caller uses the last one."""

import threading
from contextlib import closing

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from sktransfer._support import threads
from sktransfer._support.threads import (
    computing_threads,
    count_processors,
    map_ahead,
    n_threads,
    solving_threads,
)


@pytest.fixture
def four_threads(monkeypatch):
    """Let torch compute with four threads, as on a machine with four processors."""
    monkeypatch.setattr(threads, "count_processors", lambda: 4)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(1)


def in_another_thread(function):
    found = []
    other = threading.Thread(target=lambda: found.append(function()))
    other.start()
    other.join()
    return found[0]


def n_mkl_threads():
    lines = torch.__config__.parallel_info().splitlines()
    return [int(line.split(":")[1]) for line in lines if "mkl_get_max_threads" in line]


def blas_threads():
    return {
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    }


def test_none_stands_for_the_threads_of_torch(four_threads):
    assert n_threads(None) == 4


def test_none_stands_for_no_more_threads_than_processors(four_threads, monkeypatch):
    monkeypatch.setattr(threads, "count_processors", lambda: 2)
    assert n_threads(None) == 2


def test_the_processors_of_a_process_can_be_limited(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert count_processors() == n_threads(None) == n_threads(-1) == 1


def test_torch_computes_with_no_more_threads_than_processors(four_threads, monkeypatch):
    with computing_threads(None):
        assert torch.get_num_threads() == 4
    monkeypatch.setattr(threads, "count_processors", lambda: 2)
    with computing_threads(None):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4


def test_a_limit_never_adds_threads(four_threads):
    with computing_threads(2), computing_threads(3):
        assert torch.get_num_threads() == 2


def test_a_limit_holds_for_one_thread_only(four_threads):
    with computing_threads(1):
        assert torch.get_num_threads() == 1
        assert in_another_thread(torch.get_num_threads) == 4
    assert in_another_thread(torch.get_num_threads) == torch.get_num_threads() == 4


def test_a_limit_ends_with_an_error(four_threads):
    with pytest.raises(KeyError), computing_threads(1):
        raise KeyError
    assert torch.get_num_threads() == 4


def test_mkl_has_the_limit_of_torch(four_threads):
    if not n_mkl_threads():
        pytest.skip("needs a torch with MKL")
    with computing_threads(1):
        assert n_mkl_threads() == [1]
        assert in_another_thread(n_mkl_threads) == [4]
    assert n_mkl_threads() == [4]


def test_linear_algebra_has_a_limit_while_a_model_is_solved():
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("needs libraries for linear algebra whose threads can be set")
        with solving_threads(1):
            assert blas_threads() == {1}
        with solving_threads(8):
            assert blas_threads() == {2}
        assert blas_threads() == {2}


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_a_number_of_jobs_is_the_number_of_threads(n_jobs):
    assert n_threads(n_jobs) == n_jobs


@pytest.mark.parametrize(("n_jobs", "n"), [(-1, 4), (-2, 3), (-1000, 1)])
def test_a_negative_number_counts_down_from_all_processors(monkeypatch, n_jobs, n):
    monkeypatch.setattr(threads, "count_processors", lambda: 4)
    assert n_threads(n_jobs) == n


def test_zero_jobs_are_an_error():
    with pytest.raises(ValueError, match="n_jobs must be an integer other than 0"):
        n_threads(0)


@pytest.mark.parametrize("n_jobs", [None, 1, 3, -1])
@pytest.mark.parametrize("ahead", [0, 1, 4, 100])
@pytest.mark.parametrize("n", [0, 1, 2, 20])
def test_results_come_in_the_order_of_the_values(n_jobs, ahead, n):
    values = list(range(n))
    assert list(map_ahead(lambda x: x * x, values, n_jobs, ahead)) == [x * x for x in values]


@pytest.mark.parametrize("ahead", [1, 3, 16, 35])
def test_no_more_results_than_allowed_are_computed_ahead(ahead):
    started = []
    results = map_ahead(lambda x: started.append(x) or x, range(40), 1, ahead)
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


@pytest.mark.parametrize("ahead", [3, 100])
def test_an_error_is_raised_when_its_result_is_due(ahead):
    results = map_ahead(lambda x: 1 // x, [2, 1, 0, 1], 2, ahead)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
