"""The commands fit, predict, evaluate and find-lr work for every kind of targets."""

from itertools import chain

import pandas as pd
import pytest
from helpers.command_line import csv, rows
from helpers.kinds import CORNERS, IMAGES, KINDS
from PIL import Image

from sktransfer import load

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
    named = labels if name in ("labels", "masks") else ()
    plots = ("--plots", tmp_path / "plots")
    code, out, err = run("evaluate", tmp_path / "m", table, *named, *plots)
    assert (code, err) == (0, "")
    assert [row[0] for row in rows(out)[:2]] == scores


@pytest.mark.parametrize("name", KINDS)
def test_a_learning_rate_is_found_for_every_kind(run, table, name):
    columns, options, *_ = EXPECTED[name]
    labels = chain(*(("--label-column", column) for column in columns))
    code, out, _ = run("find-lr", table, *labels, *options, *SMALL)
    assert code == 0
    assert "\nsuggestion: " in out
