"""Masks are found by the names of their images, and written with them."""

import shutil

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import SMALL, csv, rows
from helpers.masks import masked_files
from PIL import Image

from sktransfer import FineTuneSegmenter
from sktransfer.persistence import load, save


@pytest.fixture
def street(tmp_path):
    """Folders of six images and their masks, in two subfolders with equal names."""
    images, masks = masked_files(tmp_path, 6)
    for at, (image, mask) in enumerate(zip(images, masks, strict=True)):
        for name, source in (("images", image), ("masks", mask)):
            (tmp_path / name / "ab"[at % 2]).mkdir(parents=True, exist_ok=True)
            Image.open(source).save(tmp_path / name / "ab"[at % 2] / f"{at // 2}.png")
    return tmp_path


@pytest.fixture
def fit(run, street):
    """A function that fits a model to the images, with more options."""

    def fitted(*options, source="images", masks="masks", output="m"):
        asked = ("fit", street / source, "--masks", street / masks, "-o", street / output)
        code, _, err = run(*asked, *SMALL, *options)
        return code, err

    return fitted


def names_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


NAMES = [f"{folder}/{at}.png" for folder in "ab" for at in range(3)]


def test_other_files_than_images_are_no_masks(fit, street):
    for name in NAMES:
        (street / "masks" / name).with_suffix(".json").write_text("{}")
    assert fit() == (0, "")
    (street / "masks/a/0.png").unlink()
    code, err = fit()
    assert code == 1
    assert err.splitlines()[-1] == f"  {street / 'images/a/0.png'}"


def test_two_masks_of_an_image_are_an_error(fit, street):
    Image.open(street / "masks/a/1.png").save(street / "masks/a/1.tif")
    code, err = fit()
    assert code == 1
    assert "--masks must hold one image file with the name of each image; " in err
    found = err.splitlines()[1]
    assert found.startswith(f"  {street / 'images/a/1.png'}: ")
    assert {"1.png", "1.tif"} <= set(found.replace(",", "").split())


def test_images_are_not_their_own_masks(fit, street):
    code, err = fit(masks="images")
    assert code == 1
    assert "lacks 6 of them" in err
    for name in NAMES:
        image = street / "images" / name
        Image.open(image).save(image.with_suffix(".jpg"))
        shutil.copy(street / "masks" / name, image)
    code, err = fit(masks="images")
    assert code == 1
    assert "--masks must not be images of the data, too; 12 are:" in err
    paths = [str((street / "images" / name).with_suffix(".jpg")) for name in NAMES]
    table = csv(street / "list.csv", pd.DataFrame({"path": paths}))
    assert fit(source=table, masks="images") == (0, "")


def test_a_mask_that_cannot_be_used_is_named_by_its_path(fit, street):
    bad = street / "masks/b/2.png"
    Image.open(street / "images/b/2.png").save(bad)
    code, err = fit()
    assert code == 1
    assert f"\n  {str(bad)!r} has the mode RGB, " in err
    Image.new("L", (3, 2)).save(bad)
    code, err = fit()
    assert code == 1
    assert f"\n  {str(bad)!r} has 3 x 2 pixels, and its item " in err


def test_a_mask_that_cannot_be_compared_is_named_by_its_path(run, fit, street):
    assert fit()[0] == 0
    (street / "images/a/0.png").write_text("no image")
    Image.new("L", (3, 2)).save(street / "masks/a/2.png")
    asked = ("evaluate", street / "m", street / "images", "--masks", street / "masks")
    code, _, err = run(*asked, "--decode-error", "ignore")
    assert code == 1
    assert repr(str(street / "masks/a/2.png")) in err


def test_masks_are_read_before_a_prediction(run, fit, street, monkeypatch):
    assert fit()[0] == 0
    (street / "masks/b/1.png").write_text("no image")
    monkeypatch.setattr(FineTuneSegmenter, "predict", lambda *_: 1 / 0)
    asked = ("evaluate", street / "m", street / "images", "--masks", street / "masks")
    code, _, err = run(*asked)
    assert code == 1
    assert f"\n  {str(street / 'masks/b/1.png')!r} cannot be read: " in err


@pytest.mark.filterwarnings("default:y has classes that the model does not know")
def test_unknown_classes_are_part_of_the_mean(run, fit, street):
    assert fit()[0] == 0
    pixels = np.asarray(Image.open(street / "masks/a/0.png")).copy()
    pixels[:5] = 9
    Image.fromarray(pixels).save(street / "masks/a/0.png")
    asked = ("evaluate", street / "m", street / "images", "--masks", street / "masks")
    code, out, err = run(*asked)
    images, masks = ([str(street / top / name) for name in NAMES] for top in ("images", "masks"))
    with pytest.warns(UserWarning, match="does not know"):
        score = load(street / "m").score(images, masks)
    assert code == 0
    assert rows(out)[1] == ["mean", f"{score:.3f}"]
    assert rows(out)[4] == ["9", "0.000"]
    assert "has classes that the model does not know" in err


@pytest.mark.parametrize(
    ("folder", "column"), [("images", ""), ("images/a", " or a column 'label'")]
)
def test_masks_are_missing_without_their_folder(run, fit, street, folder, column):
    assert fit()[0] == 0
    expected = f"FOLDER_OR_CSV must give the mask of each item, by --masks DIR{column}; "
    for asked in (
        ("evaluate", street / "m"),
        ("fit", "--task", "segmentation", "-o", street / "n"),
    ):
        code, _, err = run(*asked, street / folder)
        assert code == 1
        assert expected in err


def test_a_table_may_be_outside_of_the_folder_of_its_images(fit, street):
    (street / "tables").mkdir()
    paths = [str(street / "images" / name) for name in NAMES]
    table = csv(street / "tables/list.csv", pd.DataFrame({"path": paths}))
    assert fit(output="first") == (0, "")
    assert fit(source=table, output="second") == (0, "")
    first, second = (load(street / name).predict(paths) for name in ("first", "second"))
    assert all(map(np.array_equal, first, second))
    near = csv(street / "list.csv", pd.DataFrame({"path": [f"images/{name}" for name in NAMES]}))
    assert fit(source=near) == (0, "")


def test_validation_data_have_masks_of_their_own(fit, street):
    (street / "images/b").rename(street / "val")
    (street / "masks/b").rename(street / "val_masks")
    code, err = fit("--validation", street / "val")
    assert code == 1
    assert "--masks must hold an image file with the name of each image" in err
    own = ("--validation", street / "val", "--validation-masks")
    assert fit(*own, street / "val_masks") == (0, "")
    code, err = fit(*own, street / "nowhere")
    assert code == 1
    assert "--validation-masks must be a folder; got " in err
    Image.new("L", (3, 2)).save(street / "val_masks/1.png")
    code, err = fit(*own, street / "val_masks")
    assert code == 1
    assert f"\n  {str(street / 'val_masks/1.png')!r} has 3 x 2 pixels, " in err


@pytest.mark.parametrize("options", [(), ("--validation", 0.5)])
def test_masks_of_validation_data_need_the_data(fit, street, options):
    code, err = fit(*options, "--validation-masks", street / "masks")
    assert code == 1
    assert "--validation-masks must be left out without a folder or a CSV file of" in err


def test_masks_are_written_to_the_subfolders_of_their_images(run, fit, street):
    assert fit()[0] == 0
    code, out, _ = run("predict", street / "m", street / "images", "-o", street / "out")
    assert (code, out) == (0, f"{street / 'out'}: 6 masks\n")
    assert names_of(street / "out") == NAMES
    assert fit(masks="out") == (0, "")


def test_the_names_of_files_are_checked_before_masks_are_predicted(run, fit, street):
    assert fit()[0] == 0
    (street / "images/a/0.png").write_text("no image")  # a prediction would be another error
    sources = (street / "images/a", street / "images/b")
    code, _, err = run("predict", street / "m", *sources, "-o", street / "out")
    assert code == 1
    assert "FILES... must have different names without their suffixes, because a mask gets" in err
    assert err.splitlines()[1:4] == ["  0", "  1", "  2"]
    assert err.endswith("list the images alone in a CSV file.\n")


def test_masks_before_an_error_stay(run, fit, street):
    assert fit()[0] == 0
    save(load(street / "m").set_params(inference_batch_size=2), street / "m")
    (street / "images/b/0.png").write_text("no image")
    asked = ("predict", street / "m", street / "images", "-o", street / "out")
    code, _, err = run(*asked)
    assert code == 1
    assert repr(str(street / "images/b/0.png")) in err
    assert names_of(street / "out") == NAMES[:2]
    code, out, _ = run(*asked, "--decode-error", "ignore")
    assert (code, out) == (0, f"{street / 'out'}: 5 masks\n")


@pytest.mark.filterwarnings("default:X must hold images that can be decoded")
def test_images_that_cannot_be_read_are_one_warning(run, fit, street):
    assert fit()[0] == 0
    save(load(street / "m").set_params(inference_batch_size=1), street / "m")
    broken = [street / "images" / name for name in ("a/1.png", "b/2.png")]
    for path in broken:
        path.write_text("no image")
    asked = ("predict", street / "m", street / "images", "-o", street / "out")
    code, out, err = run(*asked, "--decode-error", "warn")
    assert (code, out) == (0, f"{street / 'out'}: 4 masks\n")
    assert err.count("warning: ") == 1
    assert all(repr(str(path)) in err for path in broken)


def test_evaluate_reads_each_mask_once(run, fit, street, monkeypatch):
    assert fit()[0] == 0
    opened, real = [], Image.open

    def spy(file, *args, **kwargs):
        opened.append(str(file))
        return real(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", spy)
    asked = ("evaluate", street / "m", street / "images", "--masks", street / "masks")
    code, out, _ = run(*asked, "--plots", street / "plots")
    assert (code, rows(out)[0]) == (0, ["class", "IoU"])
    masks = [str(street / "masks" / name) for name in NAMES]
    assert sorted(path for path in opened if path in masks) == masks


def test_no_value_is_ignored_on_request(fit, street):
    for path in (street / "masks").rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(255)).save(path)
    code, err = fit()
    assert code == 1
    assert "If pixels of 255 have a class, pass --ignore-label none." in err
    assert fit("--ignore-label", "none") == (0, "")
    assert load(street / "m").classes_.tolist() == [0, 255]
    code, err = fit("--ignore-label", "255", "--ignore-label", "7")
    assert code == 1
    assert "If pixels of 255 have a class, pass --ignore-label 7." in err
    code, err = fit("--ignore-label", "void")
    assert code == 1
    assert "--ignore-label must be integers, or none; got 'void'." in err
    assert fit("--ignore-label", "none", "--class-weight", "255=2") == (0, "")


def test_weights_name_the_classes_of_masks(fit):
    code, err = fit("--class-weight", "cat=2")
    assert code == 1
    assert "such as 0=2; got 'cat=2'. The labels are 0, 1." in err
    code, err = fit("--class-weight", "cat=2", "--ignore-label", 0)
    assert code == 1
    assert "The labels are 1." in err
    assert fit("--class-weight", "1=2") == (0, "")
