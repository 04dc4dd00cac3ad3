"""Fixtures that every test may ask for."""

import os
import signal
from functools import partial
from pathlib import Path

os.environ["SCIPY_ARRAY_API"] = "1"  # scikit-learn skips one of its checks without it
# Threads of OpenBLAS that wait for a busy core make a small solver ten times slower.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from hypothesis import settings

# The same examples in every run, and no test that is a matter of time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    # On a few busy cores, more threads than processes make small networks slower, not faster.
    torch.set_num_threads(1)


@pytest.fixture
def shared():
    """The folder of real photos and weights beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real photos of ../shared, which are not here")
    return SHARED


@pytest.fixture
def ctrl_c():
    """A function that interrupts the process, as Ctrl-C does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield partial(signal.raise_signal, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
