"""The commands fit, predict, evaluate and find-lr work for every kind of targets."""

from itertools import chain

import pandas as pd
import pytest
from helpers.command_line import csv, rows
from helpers.kinds import CORNERS, IMAGES, KINDS
from PIL import Image

from sktransfer import load
from sktransfer.estimators._base import FineTuneEstimator

SMALL = ("--image-size", 32, "--random-state", 0)
FEW = ("--max-epochs", 1, "--unfreeze", 1, "--augment", "none", "--validation", 0.25)

# For each kind its columns and options, the columns of its predictions, and the first cells of the
# table of its scores.
LABELS = ["p_left", "p_right"]
EXPECTED = {
    "labels": (["side"], (), ["label", *LABELS], ["measure", "accuracy"]),
    "multi-label": (["near", "up"], (), ["label", "p_near", "p_up"], ["column", "near"]),
    "columns": (
        ["side", "level"],
        (),
        ["label_side", "p_side_left", "p_side_right", "label_level", "p_level_high", "p_level_low"],
        ["column", "side"],
    ),
    "numbers": (["far", "deep"], (), ["prediction_far", "prediction_deep"], ["column", "far"]),
    "points": (
        ["x", "y"],
        ("--task", "points"),
        ["prediction_x", "prediction_y"],
        ["point", "(x, y)"],
    ),
    "masks": (["mask"], ("--task", "segmentation"), ["share_0", "share_1"], ["class", "mean"]),
    "mixed": (["side", "hole"], (), ["label_side", "prediction_hole"], ["column", "side"]),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A CSV file of images with a column for each target."""
    folder = tmp_path_factory.mktemp("kinds")
    for at, (image, mask) in enumerate(zip(IMAGES, KINDS["masks"].y, strict=True)):
        Image.fromarray(image).save(folder / f"{at}.png")
        Image.fromarray(mask).save(folder / f"{at}_mask.png")
    frame = pd.DataFrame(CORNERS + 0.5, columns=["far", "deep"])
    frame[["x", "y"]] = CORNERS
    frame[["side", "level"]] = KINDS["columns"].y
    frame[["near", "up"]] = KINDS["multi-label"].y
    frame["hole"] = frame["deep"].where(frame.index % 3 > 0)
    frame["mask"] = [f"{at}_mask.png" for at in frame.index]
    return csv(folder / "list.csv", frame.assign(path=[f"{at}.png" for at in frame.index]))


@pytest.mark.parametrize("name", KINDS)
def test_a_model_of_every_kind_is_fitted_used_and_scored(run, table, tmp_path, name):
    columns, options, predicted, scores = EXPECTED[name]
    labels = list(chain(*(("--label-column", column) for column in columns)))
    how = (*FEW, *SMALL, "--cache", tmp_path / "cache")
    code, out, err = run("fit", table, "-o", tmp_path / "m", *labels, *options, *how)
    assert (code, err) == (0, "")
    assert "\nkept: the weights " in out
    assert type(load(tmp_path / "m")) is KINDS[name].estimator
    code, _, err = run("predict", tmp_path / "m", table, "-o", tmp_path / "out.csv")
    assert (code, err) == (0, "")
    found = pd.read_csv(tmp_path / "out.csv")
    assert (list(found), len(found)) == (["path", *predicted], 24)
    plots = ("--plots", tmp_path / "plots")
    code, out, err = run("evaluate", tmp_path / "m", table, *plots)
    assert (code, err) == (0, "")
    assert [row[0] for row in rows(out)[:2]] == scores


def test_a_table_without_the_column_of_the_model_may_have_a_column_label(run, table, tmp_path):
    how = (*FEW, *SMALL)
    assert run("fit", table, "-o", tmp_path / "m", "--label-column", "side", *how)[0] == 0
    frame = pd.read_csv(table).rename(columns={"side": "label"})
    frame["path"] = [str(table.parent / name) for name in frame["path"]]
    renamed = csv(tmp_path / "renamed.csv", frame)
    assert run("evaluate", tmp_path / "m", renamed) == run("evaluate", tmp_path / "m", table)
    csv(renamed, frame.drop(columns="label"))
    code, _, err = run("evaluate", tmp_path / "m", renamed)
    assert code == 1
    assert "must give the label of each item, by class folders or a column 'side'; " in err


# The parameters of an estimator that its options set, if they differ from its defaults
NUMBERS = ("--loss", "huber", "--pooling", "max", "--head", "mlp", "--batch-size", 3)
OWN = {
    "labels": (
        ("--crop", "none", "--freeze-bn", "frozen"),
        {"preset": {"crop": None}, "freeze_bn": "frozen"},
    ),
    "numbers": (NUMBERS, {"loss": "huber", "pooling": "max", "head": "mlp", "batch_size": 3}),
    "points": (
        ("--flip-pair", "0,1", "--flip-pair", "2,3", "--loss", "absolute_error"),
        {
            "flip_pairs": [(0, 1), (2, 3)],
            "pooling": "flatten",
            "preset": {"crop": None},
            "loss": "absolute_error",
        },
    ),
    "masks": (
        ("--head", "linear", "--crop", 0.9, "--class-weight", "1=2"),
        {"head": "linear", "preset": {"crop": 0.9}, "class_weight": {1: 2.0}},
    ),
    "mixed": (
        ("--task-weight", "hole=0.5", "--loss", "huber"),
        {"task_weights": {"hole": 0.5}, "loss": "huber"},
    ),
}


@pytest.fixture
def given(run, monkeypatch):
    """A function that returns the parameters of the estimator that a command would fit."""
    seen = {}

    def fit(self, *_, **__):
        seen.update(self.get_params())
        raise ValueError("enough")

    monkeypatch.setattr(FineTuneEstimator, "_fit", fit)
    monkeypatch.setattr("sktransfer.estimators.find_lr", lambda model, *_: fit(model))

    def of(*arguments):
        seen.clear()
        code, _, err = run(*arguments)
        assert (code, err) == (1, "sktransfer: enough\n"), err
        return dict(seen)

    return of


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("command", ["fit", "find-lr"])
def test_options_of_some_targets_set_their_parameters(given, table, tmp_path, command, name):
    columns, options, *_ = EXPECTED[name]
    labels = chain(*(("--label-column", column) for column in columns))
    output = ("-o", tmp_path / "m") if command == "fit" else ()
    asked = (command, table, *labels, *options, *output)
    more, expected = OWN[name]
    found = given(*asked, *more)
    assert {each: found[each] for each in expected} == expected


def test_points_may_have_another_pooling_and_need_not_exchange_at_a_flip(given, table, tmp_path):
    asked = ("fit", table, "--label-column", "x", "--label-column", "y", "--task", "points")
    asked += ("-o", tmp_path / "m")
    assert given(*asked)["flip_pairs"] is None
    found = given(*asked, "--pooling", "max", "--flip-pair", "none", "--crop", "0.5")
    assert (found["pooling"], found["flip_pairs"]) == ("max", [])
    assert found["preset"] == {"crop": 0.5}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("labels", ("--loss", "huber"), "loss must be left out for --task classification; got "),
        ("numbers", ("--flip-pair", "0,1"), "flip-pair must be left out for --task regression; "),
        ("points", ("--flip-pair", "a"), "flip-pair must be two numbers of points such as 0,1, or"),
        ("points", ("--flip-pair", "0,9"), "flip-pair must be pairs of different numbers of point"),
        ("points", ("--pooling", "flat"), "pooling must be one of 'auto', "),
        ("points", ("--crop", "2"), "crop must be a number in (0, 1], or 'none'; got 2.0."),
        ("points", ("--crop", "half"), "crop must be a number in (0, 1], or 'none'; got 'half'."),
        ("masks", ("--pooling", "avg"), "pooling must be left out for --task segmentation; got "),
        ("masks", ("--max-length", 9), "max-length must be left out for --task segmentation; got"),
        ("masks", ("--head", "mlp"), "head must be one of 'linear', 'fpn'; got 'mlp'."),
        ("mixed", ("--task-weight", "hole=-1"), "task-weight of 'hole' must be a number in [0, "),
        ("mixed", ("--task-weight", "hol=2"), "task-weight must be the name of a column and a "),
        ("mixed", ("--loss", "huge"), "loss must be one of 'squared_error', "),
        ("columns", ("--task-weight", "side=2"), "task-weight must be left out for --task classif"),
    ],
)
def test_an_option_of_other_targets_or_a_wrong_value_is_an_error(
    run, table, tmp_path, name, options, message
):
    columns, task, *_ = EXPECTED[name]
    labels = chain(*(("--label-column", column) for column in columns))
    asked = ("fit", table, "-o", tmp_path / "m", *labels, *task, *SMALL, "--max-epochs", 1)
    code, _, err = run(*asked, *options)
    assert code == 1
    assert err.startswith(f"sktransfer: --{message}")
    assert not (tmp_path / "m").exists()


def test_the_error_about_an_option_names_the_tasks_that_have_it(run, table, tmp_path):
    asked = ("fit", table, "-o", tmp_path / "m", "--label-column", "far", "--flip-pair", "0,1")
    _, _, err = run(*asked)
    assert err.endswith("; got '0,1'. It is an option of --task points.\n")
    _, _, err = run(*asked[:-2], "--pooling", "flat")
    assert "Did you mean 'flatten'?" in err
    _, _, err = run(*asked[:-2], "--head", "fpn")
    assert err.endswith("--head must be one of 'linear', 'mlp'; got 'fpn'.\n")


@pytest.mark.parametrize("name", KINDS)
def test_a_learning_rate_is_found_for_every_kind(run, table, name):
    columns, options, *_ = EXPECTED[name]
    labels = chain(*(("--label-column", column) for column in columns))
    code, out, _ = run("find-lr", table, *labels, *options, *SMALL)
    assert code == 0
    assert "\nsuggestion: " in out
