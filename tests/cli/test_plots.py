"""The plots of fit and evaluate are PNG files in a folder."""

import errno
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.command_line import SMALL
from PIL import Image

from sktransfer.cli import plots as module

TRAINING = ["learning_rates.png", "training_curves.png"]
PREDICTIONS = ["confusion_matrix.png", "top_losses.png"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def content(folder):
    """Return the names of the pictures in a folder, each of which has more than one colour."""
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert len(np.unique(np.asarray(image))) > 10
    return sorted(path.name for path in folder.iterdir())


def test_the_plots_of_fit_are_those_of_the_training(run, coloured, tmp_path):
    folder = tmp_path / "new" / "plots"
    code, out, _ = run("fit", coloured, "-o", tmp_path / "m", *SMALL, "--plots", folder)
    assert code == 0
    assert content(folder) == TRAINING
    assert {f"plot: {folder / name}" for name in TRAINING} <= set(out.splitlines())


def test_validation_data_have_plots_of_their_predictions(run, coloured, tmp_path):
    asked = ("fit", coloured, "-o", tmp_path / "m", *SMALL, "--validation", coloured)
    assert run(*asked, "--plots", tmp_path / "plots")[0] == 0
    assert content(tmp_path / "plots") == sorted([*TRAINING, *PREDICTIONS])


def test_a_fit_without_epochs_has_no_plots(run, coloured, tmp_path):
    asked = ("fit", coloured, "-o", tmp_path / "m", "--weights", "none", "--image-size", 32)
    code, _, err = run(*asked, "--max-epochs", 0, "--plots", tmp_path / "plots")
    assert code == 0
    assert err == "no plots of the training: it has no epoch\n"
    assert content(tmp_path / "plots") == []


def test_the_plots_of_evaluate_are_those_of_the_predictions(run, coloured, model, tmp_path):
    (coloured / "ants/1.png").write_text("no image")
    asked = ("evaluate", model, coloured, "--decode-error", "ignore")
    code, out, err = run(*asked, "--plots", tmp_path / "plots")
    assert code == 0
    assert err.startswith("cannot be read: 1\n")
    assert content(tmp_path / "plots") == PREDICTIONS
    assert run(*asked)[1] == "".join(out.partition("plot: ")[:1])


def test_the_confusion_matrix_counts_labels_and_predictions():
    classes = np.array(["$x$", "b\nc", "d"], object)
    labels, predicted = classes[[0, 0, 1]], classes[[0, 1, 1]]
    (ax,) = module._confusion_matrix(labels, predicted, classes).axes
    assert [text.get_text() for text in ax.texts] == ["1", "1", "0", "0", "1", "0", "0", "0", "0"]
    assert [text.get_text() for text in ax.get_yticklabels()] == [r"\$x\$", r"b\nc", "d"]


@pytest.mark.filterwarnings("ignore:The number of unique classes")  # of scikit-learn 1.7
def test_a_large_confusion_matrix_has_colours_instead_of_numbers():
    classes = np.arange(40)
    figure = module._confusion_matrix(classes, classes, classes)
    assert not figure.axes[0].texts
    assert len(figure.axes) == 2  # with a colour bar
    assert figure.get_size_inches().tolist() == [16, 16]


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_the_folder_of_plots_is_checked_first(run, tmp_path, command):
    (tmp_path / "file").touch()
    arguments = {"fit": ["no-photos", "-o", tmp_path / "m"], "evaluate": ["no-model", "no-photos"]}
    code, _, err = run(command, *arguments[command], "--plots", tmp_path / "file")
    assert code == 1
    assert "--plots must be the path of a folder, which need not exist; got " in err


@pytest.mark.parametrize(
    ("option", "others"),
    [("--plots", ("fit", "-o", "m")), ("--output", ("extract",))],
)
def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_option(
    run, coloured, tmp_path, monkeypatch, option, others
):
    def refuse(self, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "mkdir", refuse)
    code, _, err = run(*others, coloured, option, "results")
    assert code == 1
    assert f"{option} must be a folder that can be written; Read-only file system (choose" in err
    assert "'results'" in err


def test_plots_need_matplotlib(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run("evaluate", "no-model", "no-photos", "--plots", tmp_path / "plots")
    assert code == 1
    assert "it comes with the extra 'plot'" in err
    assert not (tmp_path / "plots").exists()
