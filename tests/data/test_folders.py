"""Folders and CSV files: paths and labels, what is skipped, and layouts that are refused."""

import os
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sktransfer import load_image_folder, load_text_folder
from sktransfer.data.folders import image_table


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def folder(tmp_path):
    """Two classes, a folder inside one of them, and files that are not images."""
    write(tmp_path, "bees/2.jpg", "bees/10.PNG", "bees/near/1.webp", "ants/a.jpeg")
    write(tmp_path, "ants/.DS_Store", "ants/notes.txt", "readme.md", ".git/1.jpg", "__MACOSX/1.jpg")
    return tmp_path


def relative(paths, folder):
    return [os.path.relpath(path, folder).replace(os.sep, "/") for path in paths]


def test_each_folder_is_a_class(folder):
    photos = load_image_folder(folder)
    assert relative(photos.data, folder) == [
        "ants/a.jpeg",
        "bees/10.PNG",
        "bees/2.jpg",
        "bees/near/1.webp",
    ]
    assert photos.target.tolist() == [0, 1, 1, 1]
    assert photos.target_names.tolist() == ["ants", "bees"]


def test_the_data_are_an_array_of_str(folder):
    data = load_image_folder(folder).data
    assert data.ndim == 1
    assert {type(path) for path in data} == {str}


def test_the_labels_are_the_names_of_the_classes(folder):
    photos = load_image_folder(str(folder))
    assert photos.labels.tolist() == ["ants", "bees", "bees", "bees"]
    assert photos.target_names[photos.target].tolist() == photos.labels.tolist()


def test_the_frame_holds_paths_and_names(folder):
    photos = load_image_folder(folder)
    assert list(photos.frame) == ["path", "label"]
    assert photos.frame["path"].tolist() == photos.data.tolist()
    assert photos.frame["label"].tolist() == ["ants", "bees", "bees", "bees"]


def test_the_frame_is_none_without_pandas(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    photos = load_image_folder(folder)
    assert photos.frame is None
    assert len(photos.data) == 4


def test_skipped_and_hidden_files_are_counted(folder):
    photos = load_image_folder(folder)
    assert sorted(relative(photos.skipped, folder)) == ["ants/notes.txt", "readme.md"]
    assert photos.n_hidden == 3  # .DS_Store and two folders
    assert photos.DESCR.startswith("4 images of 2 classes in ")
    assert photos.DESCR.endswith(
        "; skipped 2 files that are not images by their extension, and 3 hidden ones."
    )


@pytest.mark.parametrize("extensions", [[".TXT"], ("txt",), {"txt"}])
def test_extensions_choose_the_files_to_load(tmp_path, extensions):
    write(tmp_path, "a/1.txt", "a/2.jpg")
    photos = load_image_folder(tmp_path, extensions=extensions)
    assert relative(photos.data, tmp_path) == ["a/1.txt"]


@pytest.mark.parametrize("extensions", [".jpg", [1], [""]])
def test_extensions_must_be_a_collection_of_str(folder, extensions):
    with pytest.raises(TypeError, match="extensions must be a collection of str, such as"):
        load_image_folder(folder, extensions=extensions)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    names=st.sets(
        st.tuples(st.sampled_from("abc"), st.text("xyz019", min_size=1, max_size=4)), min_size=1
    )
)
def test_images_are_sorted_by_class_and_name(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("photos")
    write(folder, *(f"{label}/{name}.png" for label, name in names))
    photos = load_image_folder(folder)
    expected = sorted((label, f"{name}.png") for label, name in names)
    assert [tuple(path.split("/")) for path in relative(photos.data, folder)] == expected
    assert np.all(np.diff(photos.target) >= 0)


def test_a_link_to_a_folder_is_followed(tmp_path):
    write(tmp_path, "elsewhere/1.jpg", "photos/ants/2.jpg")
    (tmp_path / "photos/bees").symlink_to(tmp_path / "elsewhere")
    photos = load_image_folder(tmp_path / "photos")
    assert relative(photos.data, tmp_path / "photos") == ["ants/2.jpg", "bees/1.jpg"]


def test_a_link_to_a_folder_around_it_is_not_followed(tmp_path):
    write(tmp_path, "ants/1.jpg", "bees/2.jpg")
    (tmp_path / "ants/all").symlink_to(tmp_path)
    (tmp_path / "bees/self").symlink_to(tmp_path / "bees")
    photos = load_image_folder(tmp_path)
    assert relative(photos.data, tmp_path)[0] == "ants/1.jpg"
    assert "bees/self/2.jpg" not in relative(photos.data, tmp_path)


def test_a_broken_link_is_loaded_as_an_image(tmp_path):
    write(tmp_path, "ants/1.jpg")
    (tmp_path / "ants/2.jpg").symlink_to(tmp_path / "gone.jpg")
    assert len(load_image_folder(tmp_path).data) == 2


@pytest.mark.parametrize(("name", "state"), [("file", "is a file"), ("gone", "does not exist")])
def test_a_path_that_is_not_a_folder_is_refused(tmp_path, name, state):
    write(tmp_path, "file")
    with pytest.raises(NotADirectoryError, match=rf"dir must be a folder; got .*, which {state}\."):
        load_image_folder(tmp_path / name)


@pytest.mark.parametrize("files", [[], ["1.jpg", "2.jpg", "notes.txt"]])
def test_a_folder_without_classes_is_refused(tmp_path, files):
    write(tmp_path, *files)
    n_images = max(0, len(files) - 1)
    message = f"dir must hold one folder for each class; .* holds no folder and {n_images} images"
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path)


def test_images_outside_of_class_folders_are_refused(tmp_path):
    write(tmp_path, "ants/1.jpg", "2.jpg")
    with pytest.raises(
        ValueError, match=r"(?s)in class folders only; .* holds 1 images outside of them:\n  2\.jpg"
    ):
        load_image_folder(tmp_path)


def test_a_class_without_an_image_is_refused(tmp_path):
    write(tmp_path, "ants/1.jpg", "bees/1.heic", "bees/2.heic", "bees/notes")
    (tmp_path / "wasps").mkdir()
    message = (
        r"(?s)dir must hold images in each class folder; in .* these have no images:\n"
        r"  'bees': 2 of \.heic, 1 of no extension\n  'wasps': empty\n"
        r"To keep these classes, .* classes=, such as target_names .* pass extensions=\."
    )
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path)


def test_classes_that_differ_in_case_are_refused(tmp_path):
    write(tmp_path, "Ants/1.jpg", "bees/1.jpg")
    if (tmp_path / "ants").exists():
        pytest.skip("this file system ignores case")
    write(tmp_path, "ants/1.jpg")
    with pytest.raises(ValueError, match=r"differ in more than case; .* holds 'Ants', 'ants'"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("parts", [["train", "val"], ["Test", "Train"], ["train", "test", "valid"]])
def test_the_folders_of_a_split_are_refused(tmp_path, parts):
    write(tmp_path, *(f"{part}/{name}/1.jpg" for part in parts for name in ("ants", "bees")))
    message = (
        r"which look like the parts of a split\. Load each part by itself, such as '.*[Tt]rain'\."
    )
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path)


def test_a_folder_around_the_class_folders_is_refused(tmp_path):
    write(tmp_path, "insects/ants/1.jpg", "insects/bees/2.jpg")
    inner = re.escape(repr(str(tmp_path / "insects")))
    with pytest.raises(ValueError, match=rf"2 folders:\n  'ants'\n  'bees'\n.*, load {inner}\."):
        load_image_folder(tmp_path)
    insects = load_image_folder(tmp_path, classes=["insects"])
    assert insects.labels.tolist() == ["insects", "insects"]


def test_folders_of_the_same_classes_cause_a_warning(tmp_path):
    domains = ["cartoon", "photo", "sketch"]
    write(tmp_path, *(f"{domain}/{name}/1.jpg" for domain in domains for name in ("ants", "bees")))
    write(tmp_path, "photo/moths/1.jpg")
    cartoon = re.escape(repr(str(tmp_path / "cartoon")))
    message = rf"each of the 3 folders .*\n  'ants'\n  'bees'\n.* such as {cartoon}\..* as classes="
    with pytest.warns(UserWarning, match=message) as shown:
        photos = load_image_folder(tmp_path)
    assert photos.target_names.tolist() == domains
    assert shown[0].filename == __file__
    assert load_image_folder(tmp_path, classes=domains).labels.tolist() == photos.labels.tolist()
    assert load_image_folder(tmp_path / "sketch").target_names.tolist() == ["ants", "bees"]


@pytest.mark.parametrize(
    "names",
    [
        ["ants/near/1.jpg", "ants/far/1.jpg", "bees/near/1.jpg", "bees/2.jpg"],
        ["ants/near/1.jpg", "ants/far/1.jpg", "bees/near/1.jpg", "bees/north/1.jpg"],
        ["ants/near/1.jpg", "ants/far/1.jpg", "bees/near/1.jpg", "bees/far/notes.txt"],
    ],
)
def test_folders_inside_classes_cause_no_warning(tmp_path, names):
    write(tmp_path, *names)
    assert load_image_folder(tmp_path).target_names.tolist() == ["ants", "bees"]


@pytest.mark.parametrize("name", ["insects/1.jpg", "insects/near/2.jpg"])
def test_a_single_class_may_have_images_and_one_folder(tmp_path, name):
    write(tmp_path, name)
    assert load_image_folder(tmp_path).labels.tolist() == ["insects"]


def test_a_class_may_be_called_train(tmp_path):
    write(tmp_path, "train/1.jpg", "ship/1.jpg")
    assert load_image_folder(tmp_path).target_names.tolist() == ["ship", "train"]


# Tables of images


def test_a_folder_of_classes_is_a_table_with_labels(folder):
    assert list(image_table(folder)) == ["path", "label"]


def test_a_folder_of_images_is_a_table_of_paths(tmp_path):
    write(tmp_path, "b.jpg", "a.png", "notes.txt")
    table = image_table(tmp_path)
    assert list(table) == ["path"]
    assert relative(table["path"], tmp_path) == ["a.png", "b.jpg"]


def test_paths_of_a_csv_file_are_relative_to_its_folder(tmp_path):
    (tmp_path / "list.csv").write_text("label,file,weight\nants,in/007,1\nbees,/abs/2.jpg,2\n")
    table = image_table(tmp_path / "list.csv", "file")
    assert table["path"].tolist() == [str(tmp_path / "in/007"), os.path.normpath("/abs/2.jpg")]
    assert table[["label", "weight"]].to_numpy().tolist() == [["ants", 1], ["bees", 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "paths,label\na,b\n",
            r"a column 'path'; it has 'paths', 'label'\. Did you mean 'paths'\?",
        ),
        ("path,label\na,b\n,c\n", r"must hold a path in each row; 1 are missing, in\n  row 2$"),
    ],
)
def test_a_csv_file_without_paths_is_refused(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        image_table(tmp_path / "list.csv")


def test_a_table_comes_from_a_folder_or_a_csv_file(tmp_path):
    write(tmp_path, "photo.jpg")
    with pytest.raises(ValueError, match=r"source must be a folder or a \.csv file; got "):
        image_table(tmp_path / "photo.jpg")


@pytest.mark.parametrize("load", [load_image_folder, load_text_folder])
def test_what_is_no_path_of_a_folder_is_refused(load):
    with pytest.raises(TypeError, match=r"dir must be a str or path-like; got int\."):
        load(5)


def test_the_folder_of_the_user_may_be_a_tilde(tmp_path, monkeypatch):
    write(tmp_path, "photos/ants/1.jpg", "photos/bees/2.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_image_folder("~/photos").labels.tolist() == ["ants", "bees"]
