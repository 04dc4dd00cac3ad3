"""Processes that are killed at random instants leave whole files, and nothing else for long."""

import subprocess
import sys
from pathlib import Path

import pytest

# Forks of one process are killed, because a new process would import torch each time.
FORKS = """
import os, random, signal, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from helpers.fine_tuning import classifier, equal, weights
from helpers.kills import Kills, start
from helpers.tiny import coloured_photos
from sktransfer import FineTuneClassifier, load, save
from sktransfer._support.files import TEMPORARY

root, rng = Path(sys.argv[2]), random.Random(0)
photos = coloured_photos()
tempfile.tempdir = str(root)

def left():
    return [path for path in root.rglob("*") if TEMPORARY.fullmatch(path.name)]
"""

FITS = """
how = {"max_epochs": 8, "freeze_epochs": 2, "head_init": "prior", "unfreeze": 1, "augment": None}
whole = classifier(**how).fit(*photos)
kills, n_resumed = Kills(), 0
kills.measure("fit", lambda: classifier(**how).fit(*photos))
for number in range(15):
    model = classifier(**how, checkpoint=root / "checkpoints")
    begun = kills.kill("fit", lambda: model.fit(*photos))
    kills.kill("fit", lambda: model.fit(*photos), begun)
    n_resumed += any(root.rglob("*.checkpoint"))
    assert equal(weights(model.fit(*photos)), weights(whole))
    assert not list((root / "checkpoints").iterdir())
    assert not left()
kills.check()
print(n_resumed)
"""

SAVES = """
model = FineTuneClassifier(weights=None, image_size=32, max_epochs=0, random_state=0).fit(*photos)
path = root / "model"
save(model, path)
expected = model.decision_function(photos[0])
n_left = 0

def save_for_ever():
    while True:
        save(model, path)

for number in range(30):
    pid = start(save_for_ever)
    while not left():  # wait until it is writing
        time.sleep(0.0005)
    time.sleep(rng.random() * 0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    n_left += len(left())
    assert (load(path).decision_function(photos[0]) == expected).all()
    save(model, path)
    assert not left()
print(n_left)
"""

EXTRACTIONS = """
from helpers.tiny import coloured_files
from sktransfer.cli import main

(root / "photos").mkdir()
names, _ = coloured_files(root / "photos")
(root / "list.csv").write_text("\\n".join(["path", *(names * 4)]))

def extract(folder):
    options = ["--rows-per-file", "6", "--image-size", "32", "--engine", "torch"]
    try:
        main(["extract", str(root / "list.csv"), "-o", str(root / folder), *options])
    except SystemExit as done:
        assert not done.code

def files(folder):
    return {path.name: path.read_bytes() for path in (root / folder).glob("part-*")}

kills, n_continued = Kills(), 0
kills.measure("extract", lambda: extract("whole"))
for number in range(10):
    folder = f"again{number}"
    kills.kill("extract", lambda: extract(folder))
    n_continued += 0 < len(files(folder)) < 20
    extract(folder)
    assert files(folder) == files("whole")
    assert not left()
kills.check()
sys.stdout.write(f"\\n{n_continued}")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs forks")
@pytest.mark.parametrize("script", [FITS, SAVES, EXTRACTIONS], ids=["fit", "save", "extract"])
def test_killed_processes_leave_whole_files(tmp_path, script):
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", FORKS + script, tests, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert int(done.stdout.split()[-1]) > 0  # some kills came in the middle of the work
