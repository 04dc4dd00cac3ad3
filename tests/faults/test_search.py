"""A search in two processes that is killed finds the same when it is run again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs sessions of processes")
def test_a_search_in_two_processes_that_was_killed_finds_the_same(tmp_path):
    assert start(tmp_path / "whole", tmp_path / "whole.npz", n_jobs=1).wait() == 0
    for n_files in (1, 6):  # in the cache, when all processes are killed
        process = start(tmp_path / "cache", tmp_path / "killed.npz", n_jobs=2)
        while len(list(tmp_path.glob("cache/*/*"))) < n_files and process.poll() is None:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed.npz").exists()
    assert start(tmp_path / "cache", tmp_path / "again.npz", n_jobs=2).wait() == 0
    whole, again = (np.load(tmp_path / f"{name}.npz") for name in ("whole", "again"))
    for name in ("scores", "outputs"):
        np.testing.assert_array_equal(again[name], whole[name])
