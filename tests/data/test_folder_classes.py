"""load_image_folder(classes=...): the same classes in two folders."""

import numpy as np
import pytest

from sktransfer import load_image_folder
from sktransfer.data.folders import image_table


@pytest.fixture
def folders(tmp_path):
    """Training images of a, b and c; validation images of a and c, and an empty folder b."""
    for name in ("train/a/1.png", "train/b/1.png", "train/c/1.png", "val/a/1.png", "val/c/1.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "val/b").mkdir()
    return tmp_path


def test_two_folders_have_the_same_integers(folders):
    train = load_image_folder(folders / "train")
    val = load_image_folder(folders / "val", classes=train.target_names)
    assert val.target.tolist() == [0, 2]
    assert val.target_names.tolist() == ["a", "b", "c"]
    assert val.labels.tolist() == ["a", "c"]
    assert val.DESCR.startswith("2 images of 3 classes in ")
    (folders / "val/b").rmdir()
    again = load_image_folder(folders / "val", classes=train.target_names)
    assert again.target.tolist() == [0, 2]


@pytest.mark.parametrize("form", [list, tuple, np.array, lambda names: np.array(names, object)])
def test_the_order_of_the_classes_is_kept(folders, form):
    photos = load_image_folder(folders / "val", classes=form(["c", "b", "a"]))
    assert photos.target_names.tolist() == ["c", "b", "a"]
    assert dict(zip(photos.labels, photos.target, strict=True)) == {"a": 2, "c": 0}


def test_a_folder_that_is_not_a_class_is_an_error(folders):
    (folders / "val/wasps").mkdir()
    message = (
        r"(?s)dir must hold folders of the given classes only, 'a', 'b', 'c', 'wasp'; '.*val' also "
        r"holds:\n  'wasps'\. Did you mean 'wasp'\?"
    )
    with pytest.raises(ValueError, match=message):
        load_image_folder(folders / "val", classes=["a", "b", "c", "wasp"])


def test_a_folder_without_any_image_is_an_error(folders):
    for path in (folders / "val").rglob("*.png"):
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(ValueError, match=r"dir must hold images; .*val' hold none\. .*extensions="):
        load_image_folder(folders / "val", classes=["a", "b", "c"])


def test_files_of_an_empty_class_are_reported(folders):
    (folders / "val/b/1.heic").touch()
    photos = load_image_folder(folders / "val", classes=["a", "b", "c"])
    assert photos.skipped == [str(folders / "val/b/1.heic")]


def test_a_given_class_may_be_called_train(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/1.png").touch()
    photos = load_image_folder(tmp_path, classes=["car", "train"])
    assert photos.target.tolist() == [1]


@pytest.mark.parametrize("classes", ["ants", [], [1, 2], ["a", ""]])
def test_classes_must_be_names(folders, classes):
    with pytest.raises(TypeError, match="classes must be a sequence of str, such as target_names"):
        load_image_folder(folders / "val", classes=classes)


def test_a_class_must_be_given_once(folders):
    with pytest.raises(ValueError, match="classes must hold each name once; got 'a' twice"):
        load_image_folder(folders / "val", classes=["a", "a", "c"])


def test_a_table_of_the_same_classes_may_lack_some(folders):
    assert image_table(folders / "val", classes=["a", "b", "c"])["label"].tolist() == ["a", "c"]
