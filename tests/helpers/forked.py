"""Functions in forked processes, in a program that cannot hang the tests."""

import os
import pickle
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from sktransfer._support import forks

# The OpenMP of torch 2.6 cannot end its threads, so its forks compute with one, and warn.
needs_computing_forks = pytest.mark.skipif(
    not hasattr(os, "fork") or not forks._close_pools(),
    reason="needs forks, and an OpenMP that can end its threads",
)

TESTS = Path(__file__).parents[1]
CHILD_SECONDS = 60


def run_program(source, *arguments, folder=".", seconds=280):
    """Run Python code in a process of its own, with two threads, and return what it prints.

    After ``seconds`` it is killed with the processes that it forked, and the test fails.
    """
    # DeprecationWarning: Python 3.12 warns of every fork of a process with threads.
    # The programs train for a few steps, of which one cycle needs more.
    ignored = ["-W", "ignore:This process:DeprecationWarning", "-W", "ignore:The fine-tune phase"]
    options = ["-W", "error", *ignored]
    paths = [str(TESTS.parent), str(TESTS), str(TESTS / folder), os.environ.get("PYTHONPATH", "")]
    variables = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        [sys.executable, *options, "-c", source, *map(str, arguments)],
        env=os.environ | variables | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"hangs: {process.communicate()[0]}") from None
    assert process.returncode == 0, printed
    return printed


def in_fork(function, fork=os.fork):
    """Return the result of ``function()`` in a forked process; it fails if it hangs there."""
    reading, writing = os.pipe()
    pid = fork()
    if pid == 0:
        signal.alarm(CHILD_SECONDS)
        try:
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(function(), pipe)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must not run the code of the parent
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status:
        hangs = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
        raise RuntimeError("the child hangs" if hangs else f"the child ended with {status}")
    return pickle.loads(content)
