"""On a full or read-only disk, results are the same, or errors name the place and a remedy."""

import errno
import os
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.disk import FULL, mounted
from helpers.fine_tuning import classifier, equal, weights
from helpers.server import BODY, serving
from helpers.tiny import coloured_photos, tiny_backbone
from PIL import Image

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor, cli, load, save
from sktransfer.backbones import fetch
from sktransfer.backbones.download import download

pytestmark = pytest.mark.slow

PHOTOS, LABELS = coloured_photos()
FIXED = {"unfreeze": 1, "augment": None}
SPACE = "free some space, or choose a folder on another disk"
ADVICE = {
    errno.ENOSPC: rf"No space left on device \({SPACE}\)",
    errno.EROFS: r"Read-only file system \(choose a folder on a disk that can be written\)",
}


@pytest.fixture(params=[*FULL, "read-only"])
def disk(request, tmp_path):
    """A disk that takes no more files; at the end, nothing but the old file is on it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, request.param):
        yield folder


@pytest.fixture
def cause(disk):
    """The reason and the remedy in messages, and the number of the error."""
    number = errno.EROFS if os.statvfs(disk).f_flag & os.ST_RDONLY else errno.ENOSPC
    return ADVICE[number], number


@pytest.fixture(scope="module")
def trained():
    """The tensors of a fit that was not disturbed."""
    return weights(classifier(**FIXED).fit(PHOTOS, LABELS))


@pytest.fixture(scope="module")
def model():
    """A model that can be saved."""
    model = FineTuneClassifier(weights=None, image_size=32, max_epochs=0, random_state=0)
    return model.fit(PHOTOS, LABELS)


@pytest.fixture
def photos(tmp_path):
    """A folder of images of two classes."""
    for name, photo in zip("aaabbb", PHOTOS, strict=False):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(tmp_path / "photos" / name / f"{photo[0, 0, 0]}.png")
    return tmp_path / "photos"


def on(disk):
    """List the files on a disk."""
    return [path for path in disk.rglob("*") if path.is_file()]


def names(disk):
    """List the names in the root of a disk."""
    return [path.name for path in disk.iterdir()]


def messages(function):
    """Return the value of a function and the messages of its warnings, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return function(), {str(each.message) for each in caught}


def test_features_are_extracted_without_the_cache(disk, cause):
    def extract(cache):
        model = PretrainedFeatureExtractor(tiny_backbone, cache=cache, batch_size=4, verbose=0)
        return model.fit_transform(PHOTOS)

    expected = extract(None)
    reason = ADVICE[cause[1]].partition(" \\")[0]
    remedy = "Free some space, or set a limit" if cause[1] == errno.ENOSPC else "be writable"
    for _ in range(2):  # the second run finds the rows, if any, that the disk took in the first
        features, (message,) = messages(lambda: extract(disk / "cache"))
        np.testing.assert_array_equal(features, expected)
        assert f"which stay in memory: {reason} in {disk / 'cache'}. " in message
        assert remedy in message
        assert not list(disk.rglob("*.tmp"))


def test_a_fit_continues_without_checkpoints(disk, cause, trained):
    model = classifier(**FIXED, checkpoint=disk / "checkpoints")
    _, (message,) = messages(lambda: model.fit(PHOTOS, LABELS))
    assert equal(weights(model), trained)
    assert re.search(f"checkpoint must be a folder that can be written; {cause[0]}", message)
    assert f": '{disk / 'checkpoints'}" in message
    assert "The fit continues." in message
    assert on(disk) == [disk / "old"]


def test_a_fit_continues_without_temporary_files(disk, cause, trained, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    model = classifier(**FIXED)
    _, (message,) = messages(lambda: model.fit(PHOTOS, LABELS))
    assert equal(weights(model), trained)
    assert names(disk) == ["old"]
    if "computed in each epoch" in message:  # it is known before that they do not fit
        assert cause[1] == errno.ENOSPC
        assert f" at '{disk}'" in message
        assert "Pass cache= a folder on a larger disk, or set the variable TMPDIR" in message
        return
    assert re.search(f"temporary files must be one that can be written; {cause[0]}", message)
    assert f": '{disk}/sktransfer-" in message
    assert "Pass cache=, or set the environment variable TMPDIR" in message


@pytest.mark.parametrize("name", ["new", "old"])
def test_a_model_that_cannot_be_saved_is_an_error(disk, cause, model, name):
    before = (disk / "old").read_bytes()
    with pytest.raises(OSError, match=f"path must be a file that can be written; {cause[0]}") as w:
        save(model, disk / name)
    assert (w.value.errno, w.value.filename) == (cause[1], str(disk / name))
    assert names(disk) == ["old"]
    assert (disk / "old").read_bytes() == before


def test_a_download_that_cannot_be_written_is_an_error(disk, cause, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        url = f"{server.url}/net.pth"
        message = rf"could not be downloaded from {url}: .* can be written; {cause[0]}: '{disk}/hub"
        with pytest.raises(OSError, match=message) as caught:
            download(url, disk / "hub", "net.pth", address="acme/net")
    assert not isinstance(caught.value, ConnectionError)
    assert len(BODY) > 2**20  # bytes on the largest disk
    assert {path.name for path in on(disk)} <= {"old", "net.pth.lock"}


def test_weights_that_cannot_be_written_are_an_error(disk, cause):
    message = f"to must be a folder that can be written; {cause[0]}: '{disk}/to/builtin_mini"
    with pytest.raises(OSError, match=message):
        fetch("builtin/mini", disk / "to")
    assert on(disk) == [disk / "old"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract", "{photos}", "--weights", "none", "-o", "{disk}/features.npz"),
        ("extract", "{photos}", "--weights", "none", "-o", "{disk}/features.parquet"),
        ("fit", "{photos}", "--weights", "none", "--max-epochs", "1", "-o", "{disk}/model"),
        ("predict", "{model}", "{photos}", "-o", "{disk}/labels.csv"),
    ],
    ids=["npz", "parquet", "fit", "predict"],
)
def test_a_command_names_the_file_and_the_remedy(
    disk, cause, model, photos, tmp_path, monkeypatch, capsys, arguments
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    save(model, tmp_path / "model")
    places = {"photos": photos, "disk": disk, "model": tmp_path / "model"}
    arguments = [argument.format(**places) for argument in arguments]
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    if done.value.code:
        message = rf"must be a file that can be written; {cause[0]}: '{re.escape(arguments[-1])}'"
        assert re.search(message, done.value.code)
    else:  # a small table fits
        assert (arguments[0], Path(arguments[-1]).parent) == ("predict", disk)
        Path(arguments[-1]).unlink()
    kept = re.search(r"The result was written to '(.*)' instead\.$", str(done.value.code))
    assert names(disk) == ["old"]
    assert bool(kept) == bool(list(tmp_path.glob("sktransfer-*/*")))
    if kept and arguments[0] == "fit":
        assert load(kept[1]).classes_.tolist() == ["a", "b"]
