"""A checkpoint that cannot be read or written costs a warning, and never a fit."""

import errno
import io
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.fine_tuning import classifier, equal, weights
from helpers.fresh import run_fresh
from helpers.killed import assert_same_fit, killed_after
from hypothesis import given, settings
from hypothesis import strategies as st

from sktransfer._support import files
from sktransfer._support.files import write_sealed
from sktransfer.training import checkpoint as module
from sktransfer.training.checkpoint import FILE, Checkpoint
from sktransfer.training.net import TailNet

STATE = {"weights": torch.arange(20.0)}


@pytest.fixture(scope="module")
def whole(photos):
    """A fit without a checkpoint."""
    return classifier(max_epochs=3).fit(*photos)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a checkpoint."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("whole"), "key")
    checkpoint.save(STATE)
    return (checkpoint.folder / FILE).read_bytes()


def holding(root, content, key="key"):
    """Return a checkpoint whose file has the given content."""
    checkpoint = Checkpoint(root, key)
    checkpoint.folder.mkdir()
    (checkpoint.folder / FILE).write_bytes(content)
    return checkpoint


def cannot_be_used(cause):
    return pytest.warns(
        UserWarning,
        match=r"checkpoint must be a folder with files that fit wrote; '.*last\.checkpoint' cannot "
        rf"be used, so the fit starts from the beginning: .*{cause}",
    )


DAMAGED = "must be a complete file that sktransfer wrote in this place"


def test_a_checkpoint_comes_back(tmp_path, content):
    assert torch.equal(holding(tmp_path, content).load()["weights"], STATE["weights"])


@settings(max_examples=200)
@given(data=st.data())
def test_no_flipped_bit_of_a_checkpoint_is_loaded(tmp_path_factory, content, data):
    position = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    with cannot_be_used(DAMAGED):
        assert holding(tmp_path_factory.mktemp("damaged"), damaged).load() is None


@pytest.mark.parametrize("fraction", [0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_not_loaded(tmp_path, content, fraction):
    with cannot_be_used(DAMAGED):
        assert holding(tmp_path, content[: int(fraction * len(content))]).load() is None


def test_the_checkpoint_of_another_fit_is_not_loaded(tmp_path, content):
    with cannot_be_used(DAMAGED):
        assert holding(tmp_path, content, key="other").load() is None


def test_a_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    buffer = io.BytesIO()
    torch.save({"evil": Evil()}, buffer)
    checkpoint = holding(tmp_path, b"")
    write_sealed(checkpoint.folder / FILE, buffer.getbuffer(), key=b"key")
    with cannot_be_used("Weights only load failed"):
        assert checkpoint.load() is None
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_that_may_not_be_read_is_not_loaded(tmp_path, content, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError("Permission denied")

    checkpoint = holding(tmp_path, content)
    monkeypatch.setattr(Path, "open", refuse)
    with cannot_be_used("Permission denied"):
        assert checkpoint.load() is None


def test_a_fit_with_a_damaged_checkpoint_starts_from_the_beginning(photos, tmp_path, whole):
    model = classifier(max_epochs=3, checkpoint=tmp_path)
    with killed_after(2):
        model.fit(*photos)
    (path,) = tmp_path.rglob(FILE)
    damaged = bytearray(path.read_bytes())
    damaged[-3000] ^= 1
    path.write_bytes(damaged)
    with cannot_be_used(DAMAGED):
        model.fit(*photos)
    assert_same_fit(model, whole)
    assert list(tmp_path.iterdir()) == []


# The disk


def no_longer_writable(monkeypatch, number):
    """Let every later write of a checkpoint fail, when the file is written or synchronised."""

    def fail(*args, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)


def at_epoch(monkeypatch, n, act):
    """Call ``act`` once, before the epoch ``n`` of a fit."""
    run_single_epoch, waiting = TailNet.run_single_epoch, [act]

    def run_epoch(net, *args, **options):
        if net.epoch_ == n and waiting:
            waiting.pop()()
        run_single_epoch(net, *args, **options)

    monkeypatch.setattr(TailNet, "run_single_epoch", run_epoch)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "change the permissions"),
        (errno.EROFS, "choose a folder on a disk that can be written"),
        (errno.EIO, ""),
    ],
)
def test_a_disk_that_takes_no_checkpoint_is_one_warning(
    photos, tmp_path, whole, monkeypatch, number, remedy
):
    at_epoch(monkeypatch, 1, lambda: no_longer_writable(monkeypatch, number))
    model = classifier(max_epochs=3, checkpoint=tmp_path)
    with pytest.warns(UserWarning, match="checkpoint must be") as caught:
        model.fit(*photos)
    (message,) = [str(each.message) for each in caught]
    assert "checkpoint must be a folder that can be written; " + os.strerror(number) in message
    assert remedy in message
    assert f"{FILE}'. The fit continues. If it is killed, it can be resumed from " in message
    assert_same_fit(model, whole)


def test_a_fit_resumes_from_the_last_epoch_that_could_be_saved(
    photos, tmp_path, whole, monkeypatch
):
    model = classifier(max_epochs=3, checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        at_epoch(patch, 1, lambda: no_longer_writable(patch, errno.ENOSPC))
        with pytest.warns(UserWarning, match="No space left"), killed_after(2):
            model.fit(*photos)
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in folder.iterdir()] == [FILE]  # no temporary file
    epochs = []
    for number in range(3):
        at_epoch(monkeypatch, number, partial(epochs.append, number))
    assert_same_fit(model.fit(*photos), whole)
    assert epochs == [1, 2]


def test_a_folder_that_is_deleted_during_a_fit_is_made_again(photos, tmp_path, whole, monkeypatch):
    folder = tmp_path / "folder" / "below"
    at_epoch(monkeypatch, 2, lambda: shutil.rmtree(tmp_path / "folder"))
    model = classifier(max_epochs=3, checkpoint=folder).fit(*photos)
    assert_same_fit(model, whole)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_warning(photos, tmp_path, whole, monkeypatch):
    def refuse(path, *args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.warns(
        UserWarning, match=r"folder that can be written; Permission denied"
    ) as caught:
        model = classifier(max_epochs=3, checkpoint=tmp_path / "folder").fit(*photos)
    assert len(caught) == 1
    assert_same_fit(model, whole)


def test_a_folder_that_cannot_be_listed_is_no_error(photos, tmp_path, whole, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr(module.os, "scandir", refuse)
    model = classifier(max_epochs=3, checkpoint=tmp_path).fit(*photos)
    assert equal(weights(model), weights(whole))


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_file_in_the_place_of_the_folder_is_an_error_before_training(photos, tmp_path, below):
    (tmp_path / "file").touch()
    model = classifier(checkpoint=tmp_path / "file" / below)
    with pytest.raises(
        NotADirectoryError, match=r"checkpoint must be the path of a folder, .*; got"
    ):
        model.fit(*photos)


LIMITED = """
import resource, sys, warnings
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from helpers.fine_tuning import classifier, equal, weights
from helpers.tiny import coloured_photos

whole = classifier(max_epochs=3).fit(*coloured_photos())
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
with warnings.catch_warnings(record=True) as caught:
    model = classifier(max_epochs=3, checkpoint=sys.argv[2]).fit(*coloured_photos())
assert equal(weights(model), weights(whole))
print(*[warning.message for warning in caught], sep="\\n")
"""


def test_a_process_that_may_not_write_large_files_warns_once(tmp_path):
    pytest.importorskip("resource")
    tests = str(Path(__file__).parents[1])
    done = run_fresh(LIMITED, tests, tmp_path)
    (warning,) = done.splitlines()
    assert "File too large (raise the limit of the size of files, or " in warning
    assert list(tmp_path.iterdir()) == []
