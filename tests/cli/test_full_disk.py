"""A command whose output cannot be written names the file and the remedy, and keeps the result."""

import errno
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.tokens import dead_token, temporary

from sktransfer import FineTuneClassifier, cli, load
from sktransfer.cli import features, models, predictions
from sktransfer.persistence import save

SMALL = ("--weights", "none", "--image-size", 32)
BLOCK = 4096  # bytes of the file that a command writes before it computes


@pytest.fixture
def model(folder, tmp_path):
    """The file of a model of these images."""
    paths = sorted(map(str, folder.rglob("*.png")))
    classifier = FineTuneClassifier(weights=None, image_size=32, max_epochs=0, random_state=0)
    save(classifier.fit(paths, [0, 0, 0, 1, 1, 1]), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(params=["fit", "extract npz", "extract parquet", "predict", "find-lr"])
def command(request, folder, model, tmp_path):
    """The arguments of a command that writes a file, and that file."""
    out = tmp_path / "out"
    out.mkdir()
    photos = sorted(folder.rglob("*.png"))
    return {
        "fit": ("fit", folder, *SMALL, "--max-epochs", 1, "-o", out / "m"),
        "extract npz": ("extract", folder, "--weights", "none", "-o", out / "f.npz"),
        "extract parquet": ("extract", folder, "--weights", "none", "-o", out / "f.parquet"),
        "predict": ("predict", model, *photos, "-o", out / "labels.csv"),
        "find-lr": ("find-lr", folder, *SMALL, "--plot", out / "curve.png"),
    }[request.param]


def fail(*arguments):
    """Run a command, and return its error message."""
    with pytest.raises(SystemExit) as done:
        cli.main([*map(str, arguments)])
    return str(done.value)


def fail_with_small_files(*arguments, n_bytes):
    """Run a command that may write small files only, and return its error message."""
    resource = pytest.importorskip("resource", reason="needs limits on the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        return fail(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_output_that_cannot_be_written_is_found_before_the_computation(command, monkeypatch):
    for module, name in ((models, "_read"), (predictions, "_loaded")):
        monkeypatch.setattr(module, name, lambda *args: pytest.fail("it computes"))
    error = fail_with_small_files(*command, n_bytes=BLOCK - 1)
    name = "plot" if "--plot" in command else "output"
    start, _, end = error.partition("; ")
    assert start == f"sktransfer: [Errno {errno.EFBIG}] --{name} must be a file that can be written"
    remedy = "(raise the limit of the size of files, or choose a folder on another disk)"
    assert end.endswith(f"{remedy}: {str(command[-1])!r}")
    assert not list(command[-1].parent.iterdir())


def test_a_result_that_does_not_fit_on_any_disk_is_an_error(command, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())
    limit = 10 if command[0] == "predict" else BLOCK
    monkeypatch.setattr("sktransfer._support.files.BLOCK", 10)
    error = fail_with_small_files(*command, n_bytes=limit)
    name = "plot" if "--plot" in command else "output"
    start = rf"\[Errno \d+\] --{name} must be a file that can be written; "
    assert re.search(rf"^sktransfer: {start}.* \(raise the limit of the si", error)
    assert error.endswith(
        f": {str(command[-1])!r}. The result could not be written to a folder for temporary files "
        "either."
    )
    assert not list(command[-1].parent.iterdir())
    assert sorted(tmp_path.iterdir()) == before


def test_a_result_is_kept_elsewhere_if_its_folder_is_deleted(command, tmp_path, monkeypatch):
    def delete(name, output):
        shutil.rmtree(output.parent)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for module in (features, models, predictions):
        monkeypatch.setattr(module, "check_output", delete)
    error = fail(*command)
    kept = re.search(r"\. The result was written to '(.*)' instead\.$", error)
    assert kept
    assert repr(str(command[-1])) in error
    path = Path(kept[1])
    assert (path.name, path.parents[1]) == (command[-1].name, tmp_path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    if path.suffix == ".npz":
        assert np.load(path)["features"].shape[0] == 6
    elif not path.suffix:
        assert load(path).classes_.tolist() == ["ants", "bees"]
    else:
        assert path.stat().st_size > 100


def test_an_output_that_exists_stays_if_the_new_one_does_not_fit(folder, tmp_path):
    output = tmp_path / "features.npz"
    output.write_bytes(b"old")
    fail_with_small_files("extract", folder, "--weights", "none", "-o", output, n_bytes=BLOCK)
    assert output.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.npz", "photos"]


def test_an_output_that_is_a_link_stays_a_link(folder, tmp_path):
    link, features = tmp_path / "link.npz", tmp_path / "other" / "features.npz"
    features.parent.mkdir()
    features.write_bytes(b"old")
    link.symlink_to(features)
    with pytest.raises(SystemExit) as done:
        cli.main(["extract", str(folder), "--weights", "none", "-o", str(link)])
    assert not done.value.code
    assert link.is_symlink()
    assert len(np.load(features)["features"]) == 6


def test_a_command_removes_what_a_killed_one_left(folder, tmp_path):
    left = tmp_path / temporary(dead_token())
    left.touch()
    with pytest.raises(SystemExit):
        cli.main(["extract", str(folder), "--weights", "none", "-o", str(tmp_path / "f.npz")])
    assert not left.exists()
