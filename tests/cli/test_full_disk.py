"""A command whose output does not fit on the disk names the file and the remedy."""

import errno

import pytest

from sktransfer import FineTuneClassifier, cli
from sktransfer.persistence import save

resource = pytest.importorskip("resource", reason="needs limits on the size of files")

SMALL = ("--weights", "none", "--image-size", 32)


@pytest.fixture
def model(folder, tmp_path):
    """The file of a model of these images."""
    paths = sorted(map(str, folder.rglob("*.png")))
    classifier = FineTuneClassifier(weights=None, image_size=32, max_epochs=0, random_state=0)
    save(classifier.fit(paths, [0, 0, 0, 1, 1, 1]), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def run():
    """A function that runs a command which may write small files only; its error message."""

    def ran(*arguments):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            with pytest.raises(SystemExit) as done:
                cli.main([*map(str, arguments)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return str(done.value)

    return ran


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_features_that_do_not_fit_on_the_disk_are_an_error(run, folder, tmp_path, suffix):
    output = tmp_path / f"features.{suffix}"
    assert_matches(run("extract", folder, "-o", output, "--weights", "none"), "output", output)


def test_predictions_that_do_not_fit_on_the_disk_are_an_error(run, folder, model, tmp_path):
    output = tmp_path / "labels.csv"
    photos = sorted(folder.rglob("*.png"))
    assert_matches(run("predict", model, *photos, "-o", output), "output", output)


def test_a_plot_that_does_not_fit_on_the_disk_is_an_error(run, folder, tmp_path):
    output = tmp_path / "curve.png"
    assert_matches(run("find-lr", folder, *SMALL, "--plot", output), "plot", output)


def test_a_model_that_does_not_fit_on_the_disk_is_an_error(run, folder, tmp_path):
    error = run("fit", folder, "-o", tmp_path / "m", *SMALL, "--max-epochs", 1)
    assert_matches(error, "path", tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def assert_matches(error, name, output):
    start, _, end = error.partition("; ")
    assert start == f"sktransfer: [Errno {errno.EFBIG}] {name} must be a file that can be written"
    remedy = "(raise the limit of the size of files, or choose a folder on another disk)"
    assert end.endswith(f"{remedy}: {str(output)!r}")
