"""Seeds from words, and a context manager that seeds the global random generators.

torch, NumPy and Python each have one global generator, which all threads share.  Code that can
only draw from the global generators uses :func:`seeded_globals`, which restores their state.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch

from .hashing import hash_int
from .locks import SharedLock

# One thread at a time has the global generators.
generators = SharedLock()


class Outer(threading.local):
    """The states that this thread restores at the end of :func:`seeded_globals`, outermost first.

    Parameters
    ----------
    states : list of tuple
    """

    def __init__(self) -> None:
        self.states: list[tuple[Any, ...]] = []


_outer = Outer()


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, and restore their state at the end.

    Only torch's CPU generator is seeded.  Other threads that use this context manager wait; one
    thread can nest it.

    Parameters
    ----------
    seed : int in [0, 2**63)

    Examples
    --------
    >>> import torch
    >>> from sktransfer._support.random import seeded_globals
    >>> with seeded_globals(0):
    ...     first = torch.rand(2)
    >>> with seeded_globals(0):
    ...     bool((first == torch.rand(2)).all())
    True
    """
    with generators.alone():
        _outer.states.append(_get_states())
        try:
            # torch.manual_seed would also seed every accelerator.
            torch.default_generator.manual_seed(seed)
            np.random.seed(np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32))  # noqa: NPY002 - users draw from it
            random.seed(seed)
            yield
        finally:
            _set_states(_outer.states.pop())


@contextmanager
def released_globals() -> Iterator[None]:
    """Leave the generators to other threads for a while; a context manager.

    It is for long work without random numbers within :func:`seeded_globals`, such as a download.
    Meanwhile the generators have the state of before, and at the end that of the start of this
    context.  Without :func:`seeded_globals` it does nothing.
    """
    outer, _outer.states = _outer.states, []
    if not outer:
        yield
        return
    seeded = _get_states()
    _set_states(outer[0])
    try:
        with generators.released():
            yield
    finally:
        # Other threads may have drawn from the generators.
        _outer.states = [_get_states(), *outer[1:]]
        _set_states(seeded)


def _get_states() -> tuple[Any, ...]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - users draw from it


def _set_states(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002 - users draw from it
    random.setstate(states[2])


def seed_of(*words: Any) -> int:
    """Derive a seed of 63 bits from words; it is the same in every process.

    Parameters
    ----------
    *words : int, str or bytes
        The type counts: ``1``, ``"1"`` and ``b"1"`` are different words.

    Examples
    --------
    >>> from sktransfer._support.random import seed_of
    >>> seed_of(7, "order") == seed_of(7, "order") != seed_of(7, "crop")
    True
    """
    text = repr([int(word) if isinstance(word, Integral) else word for word in words])
    return hash_int(text) >> 1


def rng_of(*words: int | str | bytes) -> np.random.Generator:
    """Create a generator that is seeded by :func:`seed_of`."""
    return np.random.default_rng(seed_of(*words))


def example_rows(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return two rows to try a module on: the same noise in every call, or zeros for integers."""
    if not dtype.is_floating_point:  # ids, of which 0 is one whatever their number
        return torch.zeros(2, *shape, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, *shape, generator=generator, dtype=dtype)
