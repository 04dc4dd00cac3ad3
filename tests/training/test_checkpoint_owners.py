"""A fit owns the folder of its checkpoint; a folder without a live owner is resumed by one fit."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socketpair

import pytest
from helpers.fine_tuning import classifier, equal, weights
from helpers.tokens import dead_token, foreign_token

from sktransfer._support.files import STALE_SECONDS
from sktransfer._support.processes import token
from sktransfer.training.checkpoint import FILE, Checkpoint
from sktransfer.training.net import TailNet

# The name of the writer is the state of a checkpoint.  Processes are forked, because each new one
# would import torch.
CLAIMS = """
import os, sys
from socket import socket
from sktransfer.training.checkpoint import Checkpoint

last, *others = sys.argv[1:]
number = next((each for each in others if not os.fork()), last)
with socket(fileno=int(number)) as ours, ours.makefile("rw") as file:
    for line in file:
        checkpoint = Checkpoint(line.strip(), "key", seeded=False)
        found = checkpoint.load()
        checkpoint.save({"writer": number})
        print(found and found["writer"], checkpoint.folder.name, sep="\\t", file=file, flush=True)
"""

FITS = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from helpers.fine_tuning import classifier
from helpers.tiny import coloured_photos

photos = coloured_photos()
for line in sys.stdin:
    how = {"max_epochs": 6, "augment": None, "random_state": None, "checkpoint": line.strip()}
    models = [classifier(**how).fit(*photos) for _ in range(4)]
    print(*[repr(model.decision_function(photos[0]).sum()) for model in models], flush=True)
"""


@contextmanager
def fitting(n):
    """Start processes that fit, and yield a function that sends each of them a line."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", FITS, str(Path(__file__).parents[1])],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(n)
        ]

        def send(line):
            for process in started:
                process.stdin.write(f"{line}\n")
                process.stdin.flush()
            return [process.stdout.readline().rstrip("\n") for process in started]

        yield send
        for process in started:
            process.stdin.close()


@pytest.fixture(scope="module")
def claim():
    """Return a function of a folder and a number of processes, which claim a checkpoint there."""
    ours, theirs = zip(*[socketpair() for _ in range(4)], strict=True)
    numbers = [each.fileno() for each in theirs]
    program = [sys.executable, "-W", "ignore", "-c", CLAIMS, *map(str, numbers)]
    with ExitStack() as stack:
        stack.enter_context(subprocess.Popen(program, pass_fds=numbers))
        for each in theirs:
            each.close()
        files = [stack.enter_context(stack.enter_context(each).makefile("rw")) for each in ours]

        def send(line, n=4):
            for file in files[:n]:
                print(line, file=file, flush=True)
            return [file.readline().rstrip("\n") for file in files[:n]]

        yield send


def saved(root, writer, owner=None, seeded=True):
    """Save a checkpoint whose owner has gone, or is the process of the token ``owner``."""
    checkpoint = Checkpoint(root, "key", seeded)
    checkpoint.save({"writer": writer})
    checkpoint.release()
    (released,) = (path for path in root.iterdir() if path.name.count(".") == 1)
    return released.rename(f"{released}.{owner}") if owner else released


def resumed(root, seeded=True):
    """Return the writer of the checkpoint that a new fit resumes; None if it starts afresh."""
    state = Checkpoint(root, "key", seeded).load()
    return state and state["writer"]


@pytest.mark.parametrize("seeded", [True, False])
def test_the_folder_of_a_live_owner_is_left_to_it(tmp_path, seeded):
    owner = Checkpoint(tmp_path, "key", seeded)
    owner.save({"writer": "owner"})
    other = Checkpoint(tmp_path, "key", seeded)
    assert other.load() is None
    other.save({"writer": "other"})
    assert owner.load() == {"writer": "owner"}
    other.remove()
    owner.save({"writer": "owner"})
    assert [path.parent for path in tmp_path.rglob(FILE)] == [owner.folder]


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("owner", [None, dead_token()], ids=["released", "dead"])
def test_a_folder_without_an_owner_is_resumed_by_one_fit(tmp_path, owner, seeded):
    saved(tmp_path, "first", owner)
    assert resumed(tmp_path, seeded) == "first"
    assert resumed(tmp_path, seeded) is None
    assert len(list(tmp_path.iterdir())) == 1  # no folder before the first epoch is saved


def test_each_of_several_dead_fits_is_resumed_once_and_the_last_one_first(tmp_path):
    for number, fit in enumerate([Checkpoint(tmp_path, "key") for _ in range(3)]):
        fit.save({"writer": number})
        os.utime(fit.folder, (number, number))
        fit.folder.rename(str(fit.folder).replace(token(), dead_token()))
    assert [resumed(tmp_path, seeded=False) for _ in range(4)] == [2, 1, 0, None]


def test_a_fit_on_another_machine_is_resumed_at_once_if_its_result_is_the_same(tmp_path):
    saved(tmp_path, "theirs", foreign_token())
    assert resumed(tmp_path, seeded=True) == "theirs"


def test_a_fit_without_a_seed_on_another_machine_is_resumed_when_it_is_old(tmp_path):
    folder = saved(tmp_path, "theirs", foreign_token())
    assert resumed(tmp_path, seeded=False) is None
    os.utime(folder, (time.time() - 2 * STALE_SECONDS,) * 2)
    assert resumed(tmp_path, seeded=False) == "theirs"


def test_folders_of_other_fits_and_programs_stay(tmp_path):
    for name in ("key", "key.mine", "other.00000000", f"key.00000000.{token()}"):
        (tmp_path / name).mkdir()
    (tmp_path / "key.00000000").touch()
    (tmp_path / "key.11111111").symlink_to(tmp_path / "other.00000000", target_is_directory=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert resumed(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_temporary_files_of_a_dead_owner_are_removed(tmp_path):
    folder = saved(tmp_path, "first", dead_token())
    (folder / f"sktransfer-{dead_token()}-00000000.tmp").touch()
    checkpoint = Checkpoint(tmp_path, "key")
    assert [path.name for path in checkpoint.folder.iterdir()] == [FILE]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # of os.fork
def test_a_fork_does_not_release_the_folder_of_its_parent(tmp_path):
    checkpoint = Checkpoint(tmp_path, "key")
    checkpoint.save({"writer": "parent"})
    pid = os.fork()
    if not pid:  # the child
        checkpoint.release()
        os._exit(0)
    os.waitpid(pid, 0)
    assert checkpoint.folder.is_dir()
    assert resumed(tmp_path) is None


@pytest.mark.parametrize("n", [2, 4])
def test_processes_that_start_together_share_no_folder(claim, tmp_path, n):
    for number in range(20):
        root = tmp_path / str(number)
        root.mkdir()
        found, folders = zip(*[line.split("\t") for line in claim(root, n)], strict=True)
        assert found == ("None",) * n
        assert set(folders) == {path.name for path in root.iterdir()}
        assert len(set(folders)) == n


@pytest.mark.parametrize("owner", [None, dead_token()], ids=["released", "dead"])
def test_one_of_the_processes_that_find_a_dead_owner_resumes_its_fit(claim, tmp_path, owner):
    for number in range(20):
        root = tmp_path / str(number)
        saved(root, "dead", owner)
        found, folders = zip(*[line.split("\t") for line in claim(root)], strict=True)
        assert sorted(found) == ["None"] * 3 + ["dead"]
        assert set(folders) == {path.name for path in root.iterdir()}


@pytest.mark.parametrize("n", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_fits_without_a_seed_in_several_processes_are_different_models(tmp_path, n):
    with fitting(n) as send:
        sums = " ".join(send(tmp_path)).split()
    assert len(set(sums)) == 4 * n
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [None, 0])
def test_a_fit_does_not_continue_another_that_is_running(photos, tmp_path, monkeypatch, seed):
    how = {"max_epochs": 4, "checkpoint": tmp_path, "random_state": seed}
    model, other = classifier(**how), classifier(**how)
    waiting = [other]
    run_single_epoch = TailNet.run_single_epoch

    def fit_the_other_first(net, *args, **options):
        if waiting and net.epoch_ == 2:
            waiting.pop().fit(*photos)
        run_single_epoch(net, *args, **options)

    monkeypatch.setattr(TailNet, "run_single_epoch", fit_the_other_first)
    model.fit(*photos)
    assert equal(weights(model), weights(other)) == (seed == 0)
    assert list(tmp_path.iterdir()) == []
