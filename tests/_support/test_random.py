"""Seeds, and the global generators that are seeded and restored."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers.fresh import run_fresh
from hypothesis import given, settings
from hypothesis import strategies as st

from sktransfer._support.random import released_globals, rng_of, seed_of, seeded_globals

words = st.lists(st.integers(-(2**70), 2**70) | st.text(max_size=9) | st.binary(max_size=9))


def draw():
    """Draw from each global generator; NumPy's keeps a second normal number for later."""
    return torch.rand(()).item(), np.random.randn(), random.random()  # noqa: NPY002 - the global generator is tested


def states():
    return (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate())  # noqa: NPY002 - the global generator is tested


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63 - 1])
def test_a_seed_decides_what_all_three_generators_draw(seed):
    with seeded_globals(seed):
        first = draw()
    with seeded_globals(seed):
        assert draw() == first
    with seeded_globals(seed ^ 1):
        assert not set(draw()) & set(first)


def test_every_bit_of_a_seed_counts():
    drawn = set()
    for bit in range(63):
        with seeded_globals(1 << bit):
            drawn.add(draw()[1:])  # torch itself takes the lower 32 bits only
    assert len(set().union(*drawn)) == 63 * 2


def test_seeded_globals_restores_the_generators():
    draw()
    before = states()
    with seeded_globals(0):
        draw()
        assert states() != before
    assert states() == before


def test_an_error_restores_the_generators():
    def broken():
        with seeded_globals(0):
            raise KeyError(draw())

    before = states()
    with pytest.raises(KeyError):
        broken()
    assert states() == before


def test_nested_seeds_restore_the_outer_generators():
    with seeded_globals(0):
        expected = [draw(), draw()]
    with seeded_globals(0):
        first = draw()
        with seeded_globals(1):
            draw()
        assert [first, draw()] == expected


def test_threads_do_not_draw_from_each_others_seeds():
    def drawn(seed):
        with seeded_globals(seed):
            return [draw() for _ in range(20)]

    expected = [drawn(seed) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(drawn, range(40))) == expected


def test_other_threads_use_the_generators_while_this_one_releases_them():
    def drawn():
        with seeded_globals(0):
            return draw()

    with seeded_globals(0):
        expected = [draw(), draw()]
    before = states()
    with ThreadPoolExecutor(1) as pool, seeded_globals(1), seeded_globals(0):
        first = draw()
        with released_globals(), released_globals():
            assert states() == before
            assert pool.submit(drawn).result(20) == expected[0]
            with seeded_globals(0):
                assert draw() == expected[0]
        waiting = pool.submit(drawn)
        assert [first, draw()] == expected
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
    assert states() == before


def test_draws_from_released_generators_are_kept():
    before = states()
    with seeded_globals(0), released_globals():
        draw()
        after = states()
    assert before != after == states()


def test_an_error_within_released_generators_restores_them():
    before = states()
    with seeded_globals(0):
        seeded = states()
        with pytest.raises(KeyError), released_globals():
            raise KeyError
        assert states() == seeded
    assert states() == before


def test_generators_that_are_not_seeded_can_be_released():
    before = states()
    with released_globals():
        assert states() == before
    assert states() == before


@settings(derandomize=True)
@given(words, words)
def test_different_words_give_different_seeds(some, other):
    assert 0 <= seed_of(*some) < 2**63
    assert (seed_of(*some) == seed_of(*other)) == ([*map(kind, some)] == [*map(kind, other)])


def kind(word):
    return type(word), word


def test_a_seed_is_the_same_in_every_process():
    code = "from sktransfer._support.random import seed_of; print(seed_of(7, 'order', b'photo'))"
    assert int(run_fresh(code)) == seed_of(7, "order", b"photo")


def test_an_integer_of_numpy_gives_the_seed_of_an_int():
    assert seed_of(np.int64(7)) == seed_of(7)


def test_the_words_decide_what_a_generator_draws():
    assert rng_of(1, "a").random() == rng_of(1, "a").random() != rng_of(1, "b").random()
