"""The memory budget: threads wait until their amount is left."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sktransfer._support.memory import MemoryBudget


def most_at_a_time(budget, amounts, n_threads=8):
    """Return the largest sum of amounts that threads spend at the same time."""
    lock, spent, most = threading.Lock(), 0, 0

    def spend(amount):
        nonlocal spent, most
        with budget.spend(amount):
            with lock:
                spent += amount
                most = max(most, spent)
            threading.Event().wait(0.005)
            with lock:
                spent -= amount

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(spend, amounts))
    return most


@pytest.mark.parametrize("amounts", [[4] * 40, [1, 7, 3, 10] * 10])
def test_threads_never_spend_more_than_the_budget(amounts):
    assert most_at_a_time(MemoryBudget(10), amounts) <= 10


def test_an_amount_above_the_budget_is_spent_alone():
    assert most_at_a_time(MemoryBudget(10), [25] * 12) == 25


def test_small_amounts_do_not_wait():
    budget = MemoryBudget(10, small=2)
    with budget.spend(10), budget.spend(2):
        pass


def test_bytes_are_given_back_after_an_exception():
    budget = MemoryBudget(10)
    for _ in range(2):
        with pytest.raises(KeyError), budget.spend(10):
            raise KeyError


def test_a_large_amount_has_its_turn_before_later_ones():
    budget, order = MemoryBudget(10), []

    def spend(amount):
        with budget.spend(amount):
            order.append(amount)

    threads = [threading.Thread(target=spend, args=[amount]) for amount in (10, 1)]
    with budget.spend(5):
        threads[0].start()
        while not budget._queue.locked():
            threading.Event().wait(0.001)
        threads[1].start()
        threading.Event().wait(0.02)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == [10, 1]


def test_a_renewed_budget_forgets_the_other_threads():
    budget = MemoryBudget(10)
    with budget.spend(10):
        budget.renew()
        with budget.spend(10):
            pass
