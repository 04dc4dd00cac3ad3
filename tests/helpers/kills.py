"""Forks of this process that are killed at random instants, most of them while they work."""

import os
import random
import signal
import time


def start(act):
    """Return the number of a forked process that runs ``act()``."""
    pid = os.fork()
    if not pid:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def seconds_of(act):
    """Return the time in which a forked process runs ``act()``."""
    begun = time.monotonic()
    assert os.waitpid(start(act), 0)[1] == 0
    return time.monotonic() - begun


class Kills:
    """Kill forked processes at instants that are drawn with a seed."""

    def __init__(self, seed=0):
        self._random = random.Random(seed)
        self._longest = {}  # kind of work -> seconds
        self._hits = []

    def measure(self, kind, act):
        """Measure the time that a kind of work takes: instants are drawn from it."""
        self._longest[kind] = seconds_of(act)

    def kill(self, kind, act, begun=0.0):
        """Kill a process that runs ``act()``, and return the time that it had.

        A part of the work that took ``begun`` seconds may have been done before.
        """
        seconds = self._random.random() * max(0.0, self._longest[kind] - begun)
        pid = start(act)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status) or status == 0
        self._hits.append(os.WIFSIGNALED(status))
        if not self._hits[-1]:  # the work takes less time by now
            self._longest[kind] = min(self._longest[kind], begun + seconds)
        return seconds

    def check(self):
        """Raise an error unless most kills hit a process that was at work."""
        assert sum(self._hits) >= len(self._hits) / 2, self._hits
