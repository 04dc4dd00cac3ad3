"""A search in two processes that is killed finds the same when it is run again."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest

SEARCH = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from helpers.fine_tuning import classifier
from helpers.tiny import coloured_photos
from sklearn.model_selection import GridSearchCV

model = classifier(cache=sys.argv[2], augment=None, freeze_epochs=1)
search = GridSearchCV(model, {"unfreeze": [1, 0]}, cv=2, n_jobs=int(sys.argv[4]))
search.fit(*coloured_photos())
outputs = search.best_estimator_.decision_function(coloured_photos(seed=1)[0])
np.savez(sys.argv[3], scores=search.cv_results_["mean_test_score"], outputs=outputs)
"""


def start(folder, result, n_jobs):
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", SEARCH, tests, str(folder), str(result), str(n_jobs)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )


def wait_until_it_works(process, folder):
    """Wait until a search uses its cache, which its processes do once they have imported torch."""

    def state():
        stamps = set()
        for path in folder.glob("*/*.*"):
            with suppress(FileNotFoundError):
                stamps.add((path, path.stat().st_mtime_ns))
        return stamps

    before = state()
    while state() == before and process.poll() is None:
        time.sleep(0.001)
    return time.monotonic()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs sessions of processes")
def test_a_search_in_two_processes_that_was_killed_finds_the_same(tmp_path):
    process = start(tmp_path / "whole", tmp_path / "whole.npz", n_jobs=2)
    begun = wait_until_it_works(process, tmp_path / "whole")
    assert process.wait() == 0
    left, drawn, n_hits = time.monotonic() - begun, Random(0), 0
    for _ in range(3):
        process = start(tmp_path / "cache", tmp_path / "killed.npz", n_jobs=2)
        wait_until_it_works(process, tmp_path / "cache")
        seconds = drawn.random() * left
        time.sleep(seconds)
        n_hits += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        left -= seconds
    assert n_hits >= 2
    assert start(tmp_path / "cache", tmp_path / "again.npz", n_jobs=1).wait() == 0
    whole, again = (np.load(tmp_path / f"{name}.npz") for name in ("whole", "again"))
    for name in ("scores", "outputs"):
        np.testing.assert_array_equal(again[name], whole[name])
