"""Folders become paths and labels; problems of images become rows of a table."""

import io
import os
import sys
from zipfile import ZipFile

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sktransfer import check_images, inspection, load_image_folder
from sktransfer.datasets import image_table

# Folders


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def folder(tmp_path):
    """Two classes, a folder within one of them, and what is not to be loaded."""
    write(tmp_path, "bees/2.jpg", "bees/10.PNG", "bees/near/1.webp", "ants/a.jpeg")
    write(tmp_path, "ants/.DS_Store", "ants/notes.txt", "readme.md", ".git/1.jpg", "__MACOSX/1.jpg")
    return tmp_path


def relative(paths, folder):
    return [os.path.relpath(path, folder).replace(os.sep, "/") for path in paths]


def test_the_first_level_of_folders_is_the_class(folder):
    photos = load_image_folder(folder)
    assert relative(photos.data, folder) == [
        "ants/a.jpeg",
        "bees/10.PNG",
        "bees/2.jpg",
        "bees/near/1.webp",
    ]
    assert photos.target.tolist() == [0, 1, 1, 1]
    assert photos.target_names.tolist() == ["ants", "bees"]


def test_data_is_an_array_of_str(folder):
    data = load_image_folder(folder).data
    assert data.ndim == 1
    assert {type(path) for path in data} == {str}


def test_names_of_classes_are_found_by_index(folder):
    photos = load_image_folder(str(folder))
    assert photos.target_names[photos.target].tolist() == ["ants", "bees", "bees", "bees"]


def test_the_frame_holds_paths_and_names(folder):
    photos = load_image_folder(folder)
    assert list(photos.frame) == ["path", "label"]
    assert photos.frame["path"].tolist() == photos.data.tolist()
    assert photos.frame["label"].tolist() == ["ants", "bees", "bees", "bees"]


def test_without_pandas_there_is_no_frame(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    photos = load_image_folder(folder)
    assert photos.frame is None
    assert len(photos.data) == 4


def test_what_is_skipped_is_counted(folder):
    photos = load_image_folder(folder)
    assert sorted(relative(photos.skipped, folder)) == ["ants/notes.txt", "readme.md"]
    assert photos.n_hidden == 3  # .DS_Store, and two folders that are not entered
    assert photos.DESCR.startswith("4 images of 2 classes in ")
    assert photos.DESCR.endswith(
        "; skipped 2 files that are not images by their extension, and 3 hidden ones."
    )


@pytest.mark.parametrize("extensions", [[".TXT"], ("txt",), {"txt"}])
def test_extensions_choose_what_an_image_is(tmp_path, extensions):
    write(tmp_path, "a/1.txt", "a/2.jpg")
    photos = load_image_folder(tmp_path, extensions=extensions)
    assert relative(photos.data, tmp_path) == ["a/1.txt"]


@pytest.mark.parametrize("extensions", [".jpg", [1], [""]])
def test_extensions_are_a_collection_of_str(folder, extensions):
    with pytest.raises(TypeError, match="extensions must be a collection of str, such as"):
        load_image_folder(folder, extensions=extensions)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    names=st.sets(
        st.tuples(st.sampled_from("abc"), st.text("xyz019", min_size=1, max_size=4)), min_size=1
    )
)
def test_the_order_is_by_class_then_name(tmp_path_factory, names):
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


def test_a_link_back_is_not_followed(tmp_path):
    write(tmp_path, "ants/1.jpg", "bees/2.jpg")
    (tmp_path / "ants/all").symlink_to(tmp_path)
    (tmp_path / "bees/self").symlink_to(tmp_path / "bees")
    photos = load_image_folder(tmp_path)
    assert relative(photos.data, tmp_path)[0] == "ants/1.jpg"
    assert "bees/self/2.jpg" not in relative(photos.data, tmp_path)


def test_a_broken_link_is_kept_for_the_checks_to_find(tmp_path):
    write(tmp_path, "ants/1.jpg")
    (tmp_path / "ants/2.jpg").symlink_to(tmp_path / "gone.jpg")
    assert len(load_image_folder(tmp_path).data) == 2


@pytest.mark.parametrize(("name", "what"), [("file", "a file"), ("gone", "nothing")])
def test_what_is_no_folder_is_refused(tmp_path, name, what):
    write(tmp_path, "file")
    with pytest.raises(
        NotADirectoryError, match=rf"dir must be a folder; got .*, which is {what}\."
    ):
        load_image_folder(tmp_path / name)


@pytest.mark.parametrize("files", [[], ["1.jpg", "2.jpg", "notes.txt"]])
def test_a_folder_without_classes_is_refused(tmp_path, files):
    write(tmp_path, *files)
    n_images = max(0, len(files) - 1)
    message = f"dir must hold one folder for each class; .* holds none, and {n_images} images"
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path)


def test_images_beside_the_classes_are_refused(tmp_path):
    write(tmp_path, "ants/1.jpg", "2.jpg")
    with pytest.raises(
        ValueError, match=r"(?s)within class folders only; .* 1 beside them:\n  2\.jpg"
    ):
        load_image_folder(tmp_path)


def test_a_class_without_an_image_is_refused(tmp_path):
    write(tmp_path, "ants/1.jpg", "bees/1.heic", "bees/2.heic", "bees/notes")
    (tmp_path / "wasps").mkdir()
    message = (
        r"(?s)dir must hold images in each class folder; in .* these have none:\n"
        r"  'bees': 2 of \.heic, 1 of no extension\n  'wasps': empty\n"
        r"Remove them, or pass extensions=\."
    )
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path)


def test_classes_that_differ_in_case_are_refused(tmp_path):
    write(tmp_path, "Ants/1.jpg", "bees/1.jpg")
    if (tmp_path / "ants").exists():
        pytest.skip("this file system does not tell cases apart")
    write(tmp_path, "ants/1.jpg")
    with pytest.raises(ValueError, match=r"differ in more than case; .* holds 'Ants', 'ants'"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("parts", [["train", "val"], ["Test", "Train"], ["train", "test", "valid"]])
def test_a_split_is_not_taken_for_classes(tmp_path, parts):
    write(tmp_path, *(f"{part}/{name}/1.jpg" for part in parts for name in ("ants", "bees")))
    message = r"which look like the parts of a split\. Load each part: '.*[Tt]rain'\."
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path)


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


def test_paths_of_a_csv_file_start_from_its_folder(tmp_path):
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
        ("path,label\na,b\n,c\n", "must hold a path in each row"),
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


# Checks


@pytest.fixture
def photos(rng):
    """Six different colour images of 80 x 60 pixels."""
    return [
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((80, 60))
        for _ in range(6)
    ]


@pytest.fixture
def files(photos, tmp_path):
    """The same as files."""
    paths = [tmp_path / f"{index}.png" for index in range(len(photos))]
    for photo, path in zip(photos, paths, strict=True):
        photo.save(path)
    return paths


def encoded(photo, form="PNG", **options):
    with io.BytesIO() as file:
        photo.save(file, form, **options)
        return file.getvalue()


def found(report):
    return list(zip(report["index"], report["problem"], strict=True))


def as_arrays(photos):
    return np.stack([np.asarray(photo) for photo in photos])


FORMS = {
    "PIL images": list,
    "bytes": lambda photos: [encoded(photo) for photo in photos],
    "arrays": as_arrays,
    "arrays, channels first": lambda photos: as_arrays(photos).transpose(0, 3, 1, 2),
    "floats": lambda photos: list(as_arrays(photos) / 255),
    "uint16": lambda photos: as_arrays(photos).astype(np.uint16) * 257,
}


@pytest.mark.parametrize("form", FORMS)
def test_good_images_have_no_problem(photos, form):
    report = check_images(FORMS[form](photos))
    assert list(report) == ["index", "path", "problem", "detail", "same_as"]
    assert len(report) == 0
    assert report.attrs["n_images"] == 6


@pytest.mark.parametrize(
    "column",
    [
        list,
        lambda files: np.array(files, dtype=object),
        lambda files: np.array([str(file) for file in files]),
        lambda files: pd.Series([str(file) for file in files]),
        lambda files: pd.DataFrame({"path": [str(file) for file in files]}),
        lambda files: pl.Series([str(file) for file in files]),
        lambda files: pl.DataFrame({"path": [str(file) for file in files]}),
    ],
    ids=["list", "objects", "text", "series", "frame", "polars", "polars-frame"],
)
def test_paths_come_in_any_column(files, column):
    files[2].write_text("no image")
    report = check_images(column(files))
    assert found(report) == [(2, "unreadable")]
    assert report["path"].tolist() == [str(files[2])]


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_is_found_in_any_form(photos, form):
    report = check_images(FORMS[form]([*photos, photos[1]]))
    assert found(report) == [(6, "duplicate")]
    assert report["same_as"].tolist() == [1]
    assert report["detail"].tolist() == ["equal bytes"]


def spoilt(name, files):
    """What the file ``name`` is to be overwritten with."""
    data = encoded(Image.open(files[0]), "JPEG" if name == "truncated JPEG" else "PNG")
    return {
        "no image": b"some text",
        "empty": b"",
        "truncated JPEG": data[: len(data) // 2],
        "truncated PNG": data[: len(data) // 2],
    }[name]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no image", "unreadable"),
        ("empty", "unreadable"),
        ("truncated JPEG", "truncated"),
        ("truncated PNG", "truncated"),
    ],
)
def test_a_broken_file_is_found(files, name, problem):
    files[3].write_bytes(spoilt(name, files))
    report = check_images(files)
    assert found(report) == [(3, problem)]
    assert str(files[3]) in report["detail"][0]


def test_a_missing_file_is_found(files):
    files[3].unlink()
    report = check_images(files)
    assert found(report) == [(3, "unreadable")]
    assert "No such file" in report["detail"][0]


def test_two_broken_files_are_no_duplicates(files):
    for file in files[2:4]:
        file.write_bytes(b"")
    assert found(check_images(files)) == [(2, "unreadable"), (3, "unreadable")]


def test_nothing_but_broken_files_is_a_table_too():
    assert found(check_images([b"", b"text"])) == [(0, "unreadable"), (1, "unreadable")]


def half_transparent(photo):
    photo = photo.convert("RGBA")
    photo.putalpha(128)
    return photo


ODD = {
    "grey": lambda photo: photo.convert("L"),
    "palette": lambda photo: photo.quantize(64),
    "cmyk": lambda photo: photo.convert("CMYK"),
    "1-bit": lambda photo: photo.convert("1"),
    "transparent": half_transparent,
    "16-bit": lambda photo: Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257),
    "float": lambda photo: Image.fromarray(np.asarray(photo.convert("L")).astype(np.float32) / 255),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_colour_is_found(photos, name):
    photos[4] = ODD[name](photos[4])
    report = check_images(photos)
    assert found(report) == [(4, name)]
    assert report["detail"][0].endswith("; 83.3% are colour")


def test_a_grey_photo_stored_in_colour_is_found(photos):
    photos[4] = photos[4].convert("L").convert("RGB")
    report = check_images(photos)
    assert found(report) == [(4, "grey")]
    assert report["detail"][0].startswith("RGB of equal channels")


def test_what_most_images_are_is_not_odd(photos):
    greys = [photo.convert("L") for photo in photos[1:]]
    assert found(check_images([photos[0], *greys])) == [(0, "colour")]


@pytest.mark.parametrize("mode", ["RGBA", "RGBX"])
def test_an_opaque_image_is_not_odd(photos, mode):
    photos[4] = photos[4].convert(mode)
    assert len(check_images(photos)) == 0


def test_odd_arrays_are_found(photos):
    arrays = [np.asarray(photo) for photo in photos]
    arrays[1] = arrays[1].mean(axis=2).astype(np.uint8)
    arrays[2] = arrays[2].astype(np.uint16) * 257
    assert found(check_images(arrays)) == [(1, "grey"), (2, "16-bit")]


@pytest.mark.parametrize(("min_side", "n_tiny"), [(32, 1), (31, 0), (61, 6)])
def test_a_short_side_is_tiny(photos, min_side, n_tiny):
    photos[0] = photos[0].resize((64, 31))
    report = check_images(photos, min_side=min_side)
    assert report["problem"].tolist() == ["tiny"] * n_tiny
    if min_side == 32:
        assert report["detail"].tolist() == ["64 x 31 pixels"]


def test_the_shortest_side_is_a_number(photos):
    with pytest.raises(ValueError, match="min_side must be an integer of at least 0; got -1"):
        check_images(photos, min_side=-1)


@pytest.mark.parametrize(("orientation", "is_turned"), [(1, False), (6, True), (99, False)])
def test_a_turned_photo_is_found(photos, orientation, is_turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photos[5] = Image.open(io.BytesIO(encoded(photos[5], "JPEG", exif=exif)))
    report = check_images(photos)
    assert found(report) == [(5, "rotated")] * is_turned


CHANGES = {
    "recompressed": lambda photo: Image.open(io.BytesIO(encoded(photo, "JPEG", quality=30))),
    "halved": lambda photo: photo.resize((40, 30)),
    "brightened": lambda photo: photo.point(lambda value: value * 0.8 + 30),
    "turned by EXIF": lambda photo: Image.open(
        io.BytesIO(encoded(photo.transpose(Image.Transpose.ROTATE_90), exif=turned()))
    ),
}


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_picture_is_found_though_changed(photos, name):
    report = check_images([*photos, CHANGES[name](photos[2])], min_side=0)
    same = report[report["problem"] == "duplicate"]
    assert same[["index", "same_as"]].to_numpy().tolist() == [[6, 2]]
    assert same["detail"].str.match(r"looks alike: correlation (0\.99\d|1\.000)").all()


def test_blank_images_are_only_equal_by_their_bytes():
    images = [np.full((40, 40), value, np.uint8) for value in (10, 200, 10)]
    report = check_images(images)
    assert report[["index", "same_as"]].to_numpy().tolist() == [[2, 0]]


def test_duplicates_are_told_within_and_across_classes(photos):
    a, b, *_ = photos
    report = check_images([a, b, a, a, b], ["ant", "bee", "ant", "bee", "bee"])
    rows = report[["index", "problem", "same_as"]].to_numpy().tolist()
    assert rows == [
        [2, "duplicate within class", 0],
        [3, "duplicate across classes", 0],
        [4, "duplicate within class", 1],
    ]


def test_a_duplicate_of_both_kinds_is_two_problems(photos):
    a = photos[0]
    report = check_images([a, a, a], [0, 1, 1])
    assert found(report) == [
        (1, "duplicate across classes"),
        (2, "duplicate within class"),
        (2, "duplicate across classes"),
    ]
    assert report["same_as"].tolist() == [0, 1, 0]


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    order=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    labels=st.lists(st.integers(0, 1), min_size=9, max_size=9),
    block=st.integers(1, 100),
)
def test_blocks_of_any_size_find_the_same(order, labels, block):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 16, 16), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspection, "BLOCK", block)
        report = check_images(images[order], labels[: len(order)], min_side=0)
    expected = []
    for i, image in enumerate(order):
        earlier = [j for j in range(i) if order[j] == image]
        within = [j for j in earlier if labels[j] == labels[i]]
        across = [j for j in earlier if labels[j] != labels[i]]
        expected += [[i, "duplicate within class", j] for j in within[:1]]
        expected += [[i, "duplicate across classes", j] for j in across[:1]]
    assert report[["index", "problem", "same_as"]].to_numpy().tolist() == expected


@pytest.mark.parametrize("y", [[0, 1], np.zeros((6, 2)), 3])
def test_there_is_one_label_for_each_image(photos, y):
    with pytest.raises(ValueError, match="y must hold one label for each of 6 images; got shape"):
        check_images(photos, y)


@pytest.mark.parametrize("X", [[], ["a.jpg", 3], "photo.jpg", [np.full((4, 4), np.nan)]])
def test_what_is_no_images_is_refused(X):
    with pytest.raises((ValueError, TypeError), match=r"X must|minimum of 1 is required"):
        check_images(X)


def test_a_table_needs_pandas(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"pandas .* extra 'cli'"):
        check_images(photos)


def test_real_photos_have_only_the_duplicates_that_were_seen(shared, tmp_path):
    with ZipFile(shared / "data/hymenoptera.zip") as archive:
        archive.extractall(tmp_path)
    photos = load_image_folder(tmp_path / "hymenoptera/val")
    report = check_images(photos.data, photos.target)
    assert report["problem"].tolist() == ["grey"]
    assert len(photos.data) == 153
