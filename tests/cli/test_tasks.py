"""Options of targets that contradict each other, and errors that name the missing one."""

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import SMALL, csv

from sktransfer import load_image_folder


@pytest.fixture
def frame(coloured):
    return load_image_folder(coloured).frame


@pytest.mark.parametrize("command", ["fit", "find-lr"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--task", "points"), "--task must be segmentation, or left out, if masks are in a"),
        (("--task", "pints"), "--task must be one of 'auto', 'classification', "),
        (("--label-column", "x"), "--label-column must be left out if masks are in a folder; got "),
        (("--number-column", "x"), "--number-column must be left out if masks are in a folder"),
        (("--text-column", "x"), "--text-column must be left out if masks are in a folder; got"),
    ],
)
def test_options_that_contradict_a_folder_of_masks_are_errors(
    run, coloured, tmp_path, command, options, message
):
    output = ("-o", tmp_path / "m") if command == "fit" else ()
    code, _, err = run(command, coloured, "--masks", coloured, *options, *output)
    assert code == 1
    assert err.startswith(f"sktransfer: {message}")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--label-column", "x") * 2, "--label-column must name a column once; got 'x' more than"),
        (
            ("--label-column", "x", "--number-column", "x"),
            "--number-column must name a column once; got 'x' more than once.",
        ),
    ],
)
def test_a_column_that_is_named_twice_is_an_error(run, tmp_path, options, message):
    code, _, err = run("fit", tmp_path / "list.csv", *options, "-o", tmp_path / "m")
    assert code == 1
    assert err.startswith(f"sktransfer: {message}")


@pytest.mark.parametrize("option", ["--label-column", "--number-column"])
def test_a_folder_has_no_columns(run, coloured, tmp_path, option):
    code, _, err = run("fit", coloured, option, "x", "-o", tmp_path / "m", *SMALL)
    assert code == 1
    assert f"{option} must be left out for a folder, which has no columns; got 'x'." in err


def test_a_model_without_masks_is_not_compared_with_masks(run, coloured, model):
    code, _, err = run("evaluate", model, coloured, "--masks", coloured)
    assert code == 1
    assert f"--masks must be left out if the targets are not masks; got {str(coloured)!r}." in err


def test_a_column_of_image_files_needs_a_task(run, frame, tmp_path):
    table = csv(tmp_path / "list.csv", frame.assign(mask=frame["path"]))
    asked = ("fit", table, "--label-column", "mask", "-o", tmp_path / "m", *SMALL)
    code, _, err = run(*asked)
    assert code == 1
    assert "--task must be given for the column 'mask', which holds names of image files: " in err
    assert not (tmp_path / "m").exists()
    assert run(*asked, "--task", "classification")[0] == 0


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("segmentation", "the mask of each item, by --masks DIR or a column 'label'; "),
        ("points", "the position of each point, by columns such as 'label'; "),
        ("regression", "a number for each item, by a column 'label'; "),
        ("mixed", "the labels of the items, by columns such as 'label'; "),
        ("classification", "the label of each item, by class folders or a column 'label'; "),
        ("auto", "the label of each item, by class folders or a column 'label'; "),
    ],
)
def test_the_error_about_missing_targets_names_those_of_the_task(
    run, coloured, tmp_path, task, message
):
    code, _, err = run("fit", coloured / "ants", "--task", task, "-o", tmp_path / "m")
    assert code == 1
    assert err.startswith(f"sktransfer: FOLDER_OR_CSV must give {message}")


def test_the_column_and_the_file_of_a_wrong_number_are_named(run, frame, tmp_path):
    first = csv(tmp_path / "list.csv", frame.assign(size=np.arange(12)))
    second = csv(tmp_path / "val.csv", frame.assign(size=list("ab") * 6))
    asked = ("--number-column", "size", "-o", tmp_path / "m", *SMALL, "--validation", second)
    code, _, err = run("fit", first, *asked)
    assert code == 1
    assert f"--validation must have numbers in the column 'size'; {str(second)!r} has" in err


def test_rows_without_labels_are_named_by_their_paths(run, frame, tmp_path):
    frame = frame.assign(size=np.arange(12) + 0.5)
    frame.loc[[2, 5], ["label", "size"]] = None
    table = csv(tmp_path / "list.csv", frame)
    columns = ("--label-column", "label", "--label-column", "size")
    code, _, err = run("fit", table, *columns, "-o", tmp_path / "m", *SMALL)
    assert code == 1
    assert [f"  {frame['path'][row]!r}" for row in (2, 5)] == [
        line for line in err.splitlines() if line.startswith("  ")
    ]


def test_values_that_are_no_numbers_are_named_by_the_paths_of_their_images(run, frame, tmp_path):
    table = csv(tmp_path / "list.csv", frame)
    code, _, err = run("fit", table, "--task", "regression", "-o", tmp_path / "m", *SMALL)
    assert code == 1
    assert f"\n  {frame['path'][0]!r}: 'ants'\n" in err


def test_infinite_positions_are_named_by_the_paths_of_their_images(run, frame, tmp_path):
    table = csv(tmp_path / "list.csv", frame.assign(x=np.inf, y=pd.Series([1.0] * 12)))
    columns = ("--label-column", "x", "--label-column", "y", "--task", "points")
    code, _, err = run("fit", table, *columns, "-o", tmp_path / "m", *SMALL)
    assert code == 1
    assert f"\n  {frame['path'][0]!r}" in err
