"""Results with a disturbed cache are equal, to the bit, to results with an undisturbed one."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs forks")

# Forks of one process are disturbed, because a new process would import torch each time.
START = """
import os, resource, shutil, signal, sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import torch
torch.set_num_threads(1)
from helpers.fine_tuning import classifier, equal, weights
from helpers.kills import Kills, start
from helpers.tiny import coloured_photos, tiny_backbone
from sktransfer import ActivationCache, PretrainedFeatureExtractor
from sktransfer._support import files

root = Path(sys.argv[2])
photos, labels = coloured_photos()

def features(folder, **how):
    cache = ActivationCache(folder, **how)
    model = PretrainedFeatureExtractor(tiny_backbone, cache=cache, batch_size=4, verbose=0)
    return model.fit_transform(photos)

def fit(folder):
    how = {"unfreeze": 1, "augment": None, "freeze_epochs": 1}
    return weights(classifier(cache=folder, **how).fit(photos, labels))

expected, trained = features(root / "whole"), fit(root / "whole")
"""

KILLS = """
kills = Kills()
for act in (features, fit):
    kills.measure(act, lambda: act(root / act.__name__))
for number, act in enumerate([features, fit] * int(sys.argv[3])):
    folder = root / str(number)
    begun = kills.kill(act, lambda: act(folder))
    kills.kill(act, lambda: act(folder), begun)
    assert (features(folder) == expected).all()
    assert equal(fit(folder), trained)
kills.check()
"""

PRUNES = """
def compare(folder, limit):
    warnings.simplefilter("ignore")  # max_bytes is too small for one run
    for _ in range(3):
        assert (features(folder, max_bytes=limit) == expected).all()

def prune_for_ever(folder):
    while True:
        ActivationCache(folder).prune(0)

for number, n_processes in enumerate((2, 4)):
    folder = root / str(number)
    folder.mkdir()
    pruning = start(lambda: prune_for_ever(folder))
    others = [start(lambda: compare(folder, limit)) for limit in [None, 3000] * (n_processes // 2)]
    assert [os.waitpid(pid, 0)[1] for pid in others] == [0] * n_processes
    os.kill(pruning, signal.SIGKILL)
    os.waitpid(pruning, 0)
    assert (features(folder) == expected).all()
"""

# A limit on the size of files fails as a full disk does, in the middle of a file.
FULL = """
def on_full_disk(folder, n_bytes):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert (features(folder) == expected).all()
    assert any("cache is off" in str(warning.message) for warning in caught)

for number, n_bytes in enumerate((0, 10, 400)):
    folder = root / f"full {number}"
    pid = start(lambda: on_full_disk(folder, n_bytes))
    assert os.waitpid(pid, 0)[1] == 0
    assert (features(folder) == expected).all()
"""

DELETED = """
folder, write_file = root / "deleted", files.write_file

def write_and_delete(path, *parts, **how):
    write_file(path, *parts, **how)
    shutil.rmtree(folder)

from sktransfer.cache import shard
shard.write_file = write_and_delete
assert (features(folder) == expected).all()
assert equal(fit(folder), trained)
"""


def run(script, folder, n_rounds):
    tests = str(Path(__file__).parents[1])
    arguments = [sys.executable, "-c", START + script, tests, str(folder), str(n_rounds)]
    subprocess.run(arguments, check=True)


def test_results_with_a_disturbed_cache_are_equal_in_a_short_run(tmp_path):
    run(KILLS + FULL + DELETED, tmp_path, n_rounds=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [KILLS, PRUNES, FULL, DELETED], ids=["killed", "pruned", "full disk", "deleted"]
)
def test_results_with_a_disturbed_cache_are_equal_to_the_bit(tmp_path, script):
    run(script, tmp_path, n_rounds=15)
