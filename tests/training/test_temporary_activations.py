"""A fit without a cache keeps its activations in a temporary folder, and leaves none behind."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.disk import refuse_files
from helpers.fine_tuning import classifier, equal, weights
from helpers.text_nets import text_backbone
from helpers.tokens import dead_token, temporary

from sktransfer import ActivationCache, FineTuneClassifier, Views
from sktransfer._support.files import TEMPORARY
from sktransfer.training import frozen
from sktransfer.training.net import TailNet

# A fit that reads the same activations in each epoch.
FIXED = {"unfreeze": 1, "augment": None}

WAITING = """
import sys
sys.path.insert(0, sys.argv[1])
from skorch.callbacks import Callback
from helpers.fine_tuning import classifier
from helpers.tiny import coloured_photos

class Waiting(Callback):
    def on_epoch_end(self, net, **kwargs):
        print("trained", flush=True)
        input()

classifier(unfreeze=1, augment=None, skorch_callbacks=[Waiting()]).fit(*coloured_photos())
"""


def ours(root):
    """List the temporary folders of this package; torch makes some of its own."""
    return [path for path in root.iterdir() if TEMPORARY.fullmatch(path.name)]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def seen(root, monkeypatch):
    """The temporary folders at the end of each epoch of a fit."""
    seen = []
    run_single_epoch = TailNet.run_single_epoch

    def run_epoch(*args, **options):
        run_single_epoch(*args, **options)
        seen.append(ours(root))

    monkeypatch.setattr(TailNet, "run_single_epoch", run_epoch)
    return seen


def test_the_temporary_folder_is_deleted_after_a_fit(root, seen, photos):
    classifier(**FIXED).fit(*photos)
    ((folder,),) = set(map(tuple, seen))
    assert folder.parent == root
    assert ours(root) == []


def test_the_temporary_folder_is_deleted_after_an_error(root, photos, monkeypatch):
    def fail(*args, **options):
        assert len(ours(root)) == 1
        raise KeyError

    monkeypatch.setattr(TailNet, "run_single_epoch", fail)
    with pytest.raises(KeyError):
        classifier(**FIXED).fit(*photos)
    assert ours(root) == []


def test_a_fit_deletes_the_folders_of_dead_processes_only(root, seen, photos):
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, tests],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(root)},
        text=True,
    ) as process:
        assert process.stdout.readline() == "trained\n"
        (folder,) = ours(root)
        classifier(**FIXED).fit(*photos)
        assert all(folder in folders for folders in seen)  # its process is alive
        assert ours(root) == [folder]
        process.kill()
    assert any(folder.rglob("*.safetensors"))
    seen.clear()
    classifier(**FIXED).fit(*photos)
    assert not any(folder in folders for folders in seen)
    assert ours(root) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_temporary_folder_that_cannot_be_made_is_one_warning(root, photos, monkeypatch, number):
    def fail(path, *args, **options):
        raise OSError(number, os.strerror(number), str(path))

    whole = classifier(**FIXED).fit(*photos)
    (root / temporary(dead_token(), "")).mkdir()
    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.warns(UserWarning, match="the folder of temporary files must be one") as caught:
        model = classifier(**FIXED).fit(*photos)
    (message,) = [str(each.message) for each in caught]
    assert os.strerror(number) in message
    assert f": '{root}/sktransfer-" in message
    assert ". The activations of this fit stay in memory. Pass cache=" in message
    assert equal(weights(model), weights(whole))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_temporary_folder_that_becomes_full_is_a_warning_with_a_remedy(
    root, photos, monkeypatch, number
):
    whole = classifier(**FIXED).fit(*photos)
    refuse_files(monkeypatch, "open", number)
    with pytest.warns(UserWarning, match="the folder of temporary files must be one") as caught:
        model = classifier(**FIXED).fit(*photos)
    (message,) = {str(each.message) for each in caught}
    assert f"{os.strerror(number)} (" in message
    assert f": '{root}/sktransfer-" in message
    assert "stay in memory. Pass cache=, or set the environment variable TMPDIR" in message
    assert "max_bytes" not in message
    assert equal(weights(model), weights(whole))


def test_a_machine_without_a_folder_for_temporary_files_is_one_warning(photos, monkeypatch):
    def fail():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    whole = classifier(**FIXED).fit(*photos)
    monkeypatch.setattr(tempfile, "gettempdir", fail)
    with pytest.warns(
        UserWarning, match=r"; No usable temporary directory found in \['/tmp'\]\. The"
    ):
        model = classifier(**FIXED).fit(*photos)
    assert equal(weights(model), weights(whole))


def limit(monkeypatch, n_bytes):
    """Let the activations of a fit occupy a number of bytes of a disk of a terabyte."""
    usage = shutil.disk_usage("/")._replace(free=10**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(frozen, "DISK_SHARE", n_bytes / 10**12)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": True},
        {"augment": "light", "early_stopping": True},
        {"augment": Views("light", n=2)},
    ],
    ids=["fixed", "validation", "augmented", "views"],
)
def test_activations_that_are_too_large_for_the_disk_are_computed_in_each_epoch(
    root, photos, monkeypatch, parameters
):
    whole = classifier(**FIXED | parameters).fit(*photos)
    limit(monkeypatch, 1000)
    monkeypatch.setattr(ActivationCache, "table", None)  # nothing is written
    with pytest.warns(UserWarning, match=r"take 0.0 GB, more than half of the free 1000.0 GB at"):
        model = classifier(**FIXED | parameters).fit(*photos)
    assert equal(weights(model), weights(whole))


def test_activations_of_texts_that_are_too_large_are_computed_in_each_epoch(root, monkeypatch):
    texts = ["good " * n for n in range(12)] + ["bad " * n for n in range(12)]
    y = ["good"] * 12 + ["bad"] * 12
    model = FineTuneClassifier(
        text_backbone, unfreeze=1, max_epochs=2, batch_size=8, random_state=0, verbose=0
    )
    expected = model.fit(texts, y).decision_function(texts)
    # 24 texts of at most 16 positions, of 17 floats each
    limit(monkeypatch, 24 * 16 * 17 * 4)
    assert np.array_equal(model.fit(texts, y).decision_function(texts), expected)
    limit(monkeypatch, 24 * 8 * 17 * 4)
    with pytest.warns(UserWarning, match=r"so they are computed in each epoch. Pass cache="):
        model.fit(texts, y)
    assert np.array_equal(model.decision_function(texts), expected)
