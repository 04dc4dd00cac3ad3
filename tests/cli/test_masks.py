"""The commands that fit models of masks and of points, and use them."""

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import SMALL, csv, rows
from helpers.masks import masked_files
from PIL import Image

from sktransfer import FineTuneRegressor, FineTuneSegmenter
from sktransfer.persistence import load, save


@pytest.fixture
def street(tmp_path):
    """Folders of images and masks, and a table of both."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    images, masks = masked_files(tmp_path, 6)
    pairs = []
    for at, (image, mask) in enumerate(zip(images, masks, strict=True)):
        pairs.append((f"images/{at}.png", f"masks/{at}.png"))
        Image.open(image).save(tmp_path / pairs[-1][0])
        Image.open(mask).save(tmp_path / pairs[-1][1])
    csv(tmp_path / "list.csv", pd.DataFrame(pairs, columns=["path", "mask"]))
    return tmp_path


@pytest.fixture
def fitted(run, street):
    """The file of a model of masks."""
    asked = ("fit", street / "images", "--masks", street / "masks", "-o", street / "m", *SMALL)
    code, _, err = run(*asked)
    assert (code, err) == (0, "")
    return street / "m"


def read(street, at):
    return np.asarray(Image.open(street / "masks" / f"{at}.png"))


def paths_of(street):
    return [str(street / "images" / f"{at}.png") for at in range(6)]


def test_a_model_of_masks_is_fitted_to_two_folders_or_a_table(run, street, fitted):
    first = load(fitted)
    assert isinstance(first, FineTuneSegmenter)
    asked = ("--task", "segmentation", "--label-column", "mask")
    code, _, err = run("fit", street / "list.csv", *asked, "-o", street / "n", *SMALL)
    assert (code, err) == (0, "")
    found = [model.predict(paths_of(street)) for model in (first, load(street / "n"))]
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))


def test_masks_are_written_as_png_files(run, street, fitted):
    code, out, _ = run("predict", fitted, street / "images", "-o", street / "out")
    assert (code, out) == (0, f"{street / 'out'}: 6 masks\n")
    expected = load(fitted).predict(paths_of(street))
    for at, mask in enumerate(expected):
        written = Image.open(street / "out" / f"{at}.png")
        assert written.mode == "P"
        np.testing.assert_array_equal(np.asarray(written), mask)


def test_the_shares_of_the_classes_are_a_table(run, street, fitted):
    code, out, _ = run("predict", fitted, street / "images", "-o", "-")
    expected = [(mask == 1).mean() for mask in load(fitted).predict(paths_of(street))]
    assert code == 0
    assert out.splitlines()[0] == "path,share_0,share_1"
    found = [float(line.split(",")[2]) for line in out.splitlines()[1:]]
    np.testing.assert_allclose(found, expected)


def test_masks_are_compared(run, street, fitted):
    model = load(fitted)
    masks = [str(street / "masks" / f"{at}.png") for at in range(6)]
    scores = model.score_classes(paths_of(street), masks)
    asked = ("evaluate", fitted, street / "images", "--masks", street / "masks")
    code, out, _ = run(*asked, "--plots", street / "plots")
    assert code == 0
    assert rows(out)[:4] == [
        ["class", "IoU"],
        ["mean", f"{np.nanmean(scores):.3f}"],
        *([str(name), f"{score:.3f}"] for name, score in zip((0, 1), scores, strict=True)),
    ]
    assert (street / "plots/masks.png").exists()
    again = run("evaluate", fitted, street / "list.csv", "--label-column", "mask")
    assert again[1].splitlines() == out.splitlines()[:5]


def test_an_image_without_a_mask_is_an_error(run, street):
    (street / "masks/3.png").unlink()
    asked = ("fit", street / "images", "--masks", street / "masks", "-o", street / "m")
    code, _, err = run(*asked)
    assert code == 1
    assert "--masks must hold an image file with the name of each image" in err
    assert err.splitlines()[-1] == f"  {street / 'images/3.png'}"
    code, _, err = run(*asked[:3], street / "nowhere", *asked[4:])
    assert code == 1
    assert "--masks must be a folder; got " in err


def test_masks_are_one_column(run, street, fitted):
    columns = ("--label-column", "mask", "--label-column", "path")
    code, _, err = run("evaluate", fitted, street / "list.csv", *columns)
    assert code == 1
    assert "--label-column must name one column, of masks; got 'mask', 'path'" in err


def test_files_of_masks_have_different_names(run, street, fitted):
    (street / "more").mkdir()
    Image.open(street / "images/0.png").save(street / "more/0.png")
    asked = ("predict", fitted, street / "images", street / "more", "-o", street / "out")
    code, _, err = run(*asked)
    assert code == 1
    assert "FILES... must have different names without their suffixes, because a mask gets" in err
    assert not (street / "out").exists()


def test_only_masks_are_written_to_a_folder(run, model, coloured, tmp_path):
    code, _, err = run("predict", model, coloured, "-o", tmp_path / "out")
    assert code == 1
    assert "--output must be a .csv file, or -, because " in err


@pytest.fixture
def spots(tmp_path, rng):
    """A table of dark images with a bright spot, and its position."""
    points = rng.integers(6, 26, (12, 2))
    for at, (x, y) in enumerate(points):
        pixels = np.zeros((32, 32, 3), np.uint8)
        pixels[y - 3 : y + 4, x - 3 : x + 4] = 255
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
    names = [f"{at}.png" for at in range(12)]
    table = pd.DataFrame({"path": names, "x": points[:, 0], "y": points[:, 1]}).astype({"x": float})
    table.loc[3, "x"] = None  # not visible
    return csv(tmp_path / "spots.csv", table)


COLUMNS = ("--label-column", "x", "--label-column", "y")


def test_points_are_pairs_of_columns(run, spots, tmp_path):
    asked = ("fit", spots, "--task", "points", *COLUMNS, "-o", tmp_path / "m", *SMALL)
    code, _, err = run(*asked)
    assert (code, err) == (0, "")
    code, out, _ = run("predict", tmp_path / "m", spots)
    assert (code, rows(out)[0]) == (0, ["path", "prediction_x", "prediction_y"])
    frame = pd.read_csv(spots)
    paths = [str(tmp_path / name) for name in frame["path"]]
    gaps = load(tmp_path / "m").predict(paths) - frame[["x", "y"]].to_numpy()
    expected = np.nanmean(np.hypot(*gaps.T))
    code, out, _ = run("evaluate", tmp_path / "m", spots, *COLUMNS, "--plots", tmp_path / "plots")
    assert code == 0
    assert rows(out)[:2] == [
        ["point", "measure", "value", "images"],
        ["(x, y)", "mean distance in pixels", f"{expected:.4g}", "11"],
    ]
    assert run("evaluate", tmp_path / "m", spots)[1] == out.partition("plot: ")[0]
    assert (tmp_path / "plots/points.png").exists()


def test_several_points_have_a_mean_distance(run, spots, tmp_path):
    frame = pd.read_csv(spots).assign(x2=lambda each: each["x"] + 2, y2=lambda each: each["y"] + 3)
    frame.loc[1, "x2"] = None
    columns = (*COLUMNS, "--label-column", "x2", "--label-column", "y2")
    asked = ("fit", csv(spots, frame), "--task", "points", *columns, "-o", tmp_path / "m", *SMALL)
    code, _, err = run(*asked)
    assert (code, err) == (0, "")
    found = load(tmp_path / "m").predict([str(tmp_path / name) for name in frame["path"]])
    gaps = (found - frame[["x", "y", "x2", "y2"]].to_numpy()).reshape(-1, 2, 2)
    distances = np.linalg.norm(gaps, axis=2)
    code, out, _ = run("evaluate", tmp_path / "m", spots)
    assert code == 0
    n_seen = (~np.isnan(distances)).sum(axis=0)
    assert rows(out)[1:4] == [
        [name, "mean distance in pixels", f"{np.nanmean(part):.4g}", str(n)]
        for name, part, n in (
            ("all", distances, n_seen.max()),
            ("(x, y)", distances[:, 0], n_seen[0]),
            ("(x2, y2)", distances[:, 1], n_seen[1]),
        )
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("left", "1 values are not:\n  {}, 'x': 'left'"),
        ("inf", "infinite ones:\n  {}, 'x': inf"),
        ("400", "outside:\n  {}: point (x, y) at (400.0, "),
    ],
)
def test_a_wrong_position_is_named_by_its_file_and_columns(run, spots, tmp_path, value, message):
    frame = pd.read_csv(spots).astype({"x": object})
    frame.loc[4, "x"] = value
    csv(spots, frame)
    code, _, err = run("fit", spots, "--task", "points", *COLUMNS, "-o", tmp_path / "m", *SMALL)
    assert code == 1
    assert message.format(repr(str(tmp_path / "4.png"))) in err


def test_points_of_an_array_are_numbered(run, spots, tmp_path):
    paths = [str(tmp_path / name) for name in pd.read_csv(spots)["path"]]
    how = {"weights": None, "image_size": 32, "max_epochs": 0, "points": True}
    save(FineTuneRegressor(**how).fit(paths, np.full((12, 2, 2), 8.0)), tmp_path / "m")
    code, out, _ = run("predict", tmp_path / "m", spots)
    assert (code, rows(out)[0]) == (0, ["path", "x_0", "y_0", "x_1", "y_1"])


def test_a_point_has_two_columns(run, spots, tmp_path):
    asked = ("fit", spots, "--task", "points", "--label-column", "x", "-o", tmp_path / "m")
    code, _, err = run(*asked, *SMALL)
    assert code == 1
    assert "--label-column must name two columns for each point, x and y; got 'x'" in err


def test_pixels_of_some_values_have_no_class(run, street):
    for at in range(6):
        mask = read(street, at)
        Image.fromarray(np.where(np.arange(mask.shape[1]) < 4, 7, mask).astype(np.uint8)).save(
            street / "masks" / f"{at}.png"
        )
    asked = ("fit", street / "images", "--masks", street / "masks", "-o", street / "n", *SMALL)
    code, _, err = run(*asked, "--ignore-label", 7, "--ignore-label", 99)
    assert (code, err) == (0, "")
    assert load(street / "n").classes_.tolist() == [0, 1]


def test_targets_without_pixels_have_no_ignored_values(run, street):
    (street / "labels.csv").write_text(
        "path,label\n" + "".join(f"images/{at}.png,{at % 2}\n" for at in range(6))
    )
    code, _, err = run(
        "fit", street / "labels.csv", "-o", street / "n", "--ignore-label", 3, *SMALL
    )
    assert code == 1
    assert "--ignore-label must be left out for --task classification; got '3'. It is" in err
