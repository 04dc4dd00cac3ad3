"""Seeds, and a truce over the generators that a process has only one of.

torch, NumPy and Python each keep one generator that every thread draws from.  Who cannot draw from
one of their own borrows these, and leaves them as they were.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from numbers import Integral
from threading import RLock
from typing import Any

import numpy as np
import torch

_borrowed = RLock()


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """A time in which the global generators draw from ``seed``; then they are as they were.

    Of torch the generator of the CPU is meant.  Other threads that want the same wait; a thread
    may nest it.

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
    with _borrowed:
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - users draw from it
        try:
            # torch.manual_seed would seed every accelerator too
            torch.default_generator.manual_seed(seed)
            np.random.seed(np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32))  # noqa: NPY002 - users draw from it
            random.seed(seed)
            yield
        finally:
            torch.set_rng_state(states[0])
            np.random.set_state(states[1])  # noqa: NPY002 - users draw from it
            random.setstate(states[2])


def seed_of(*words: Any) -> int:
    """A seed of 63 bits, the same for the same words in every process.

    Parameters
    ----------
    *words : int, str or bytes
        ``1``, ``"1"`` and ``b"1"`` are three words.

    Examples
    --------
    >>> from sktransfer._support.random import seed_of
    >>> seed_of(7, "order") == seed_of(7, "order") != seed_of(7, "crop")
    True
    """
    text = repr([int(word) if isinstance(word, Integral) else word for word in words])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


def rng_of(*words: int | str | bytes) -> np.random.Generator:
    """A generator of one's own, seeded by :func:`seed_of`."""
    return np.random.default_rng(seed_of(*words))
