"""check_images: broken files, odd colours, small sides, rotations, duplicates."""

import io
import sys
from zipfile import ZipFile

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sktransfer import check_images, load_image_folder
from sktransfer.data import image_check as inspection


@pytest.fixture
def photos(rng):
    """Six different colour images of 80 x 60 pixels."""
    return [
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((80, 60))
        for _ in range(6)
    ]


@pytest.fixture
def files(photos, tmp_path):
    """The same images as PNG files."""
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
def test_good_images_have_no_problems(photos, form):
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
    """Return the bytes of a broken file of the kind ``name``."""
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


def test_two_broken_files_are_not_duplicates(files):
    for file in files[2:4]:
        file.write_bytes(b"")
    assert found(check_images(files)) == [(2, "unreadable"), (3, "unreadable")]


def test_broken_files_alone_make_a_table():
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


def test_the_kind_of_most_images_is_not_odd(photos):
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


def test_the_minimum_side_must_not_be_negative(photos):
    with pytest.raises(ValueError, match="min_side must be an integer of at least 0; got -1"):
        check_images(photos, min_side=-1)


@pytest.mark.parametrize(("orientation", "is_turned"), [(1, False), (6, True), (99, False)])
def test_a_rotated_photo_is_found(photos, orientation, is_turned):
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
def test_a_changed_copy_of_a_picture_is_found(photos, name):
    report = check_images([*photos, CHANGES[name](photos[2])], min_side=0)
    same = report[report["problem"] == "duplicate"]
    assert same[["index", "same_as"]].to_numpy().tolist() == [[6, 2]]
    assert same["detail"].str.match(r"looks alike: correlation (0\.99\d|1\.000)").all()


def test_blank_images_are_duplicates_only_if_their_bytes_are_equal():
    images = [np.full((40, 40), value, np.uint8) for value in (10, 200, 10)]
    report = check_images(images)
    assert report[["index", "same_as"]].to_numpy().tolist() == [[2, 0]]


def test_duplicates_within_and_across_classes_are_different_problems(photos):
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
def test_blocks_of_any_size_find_the_same_duplicates(order, labels, block):
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
def test_labels_must_match_the_images_in_number(photos, y):
    with pytest.raises(ValueError, match="y must hold one label for each of 6 images; got shape"):
        check_images(photos, y)


@pytest.mark.parametrize("X", [[], ["a.jpg", 3], "photo.jpg", [np.full((4, 4), np.nan)]])
def test_input_without_images_is_refused(X):
    with pytest.raises((ValueError, TypeError), match=r"X must|minimum of 1 is required"):
        check_images(X)


def test_the_table_needs_pandas(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"pandas .* extra 'cli'"):
        check_images(photos)


def test_real_photos_have_one_problem_that_was_seen_by_eye(shared, tmp_path):
    with ZipFile(shared / "data/hymenoptera.zip") as archive:
        archive.extractall(tmp_path)
    photos = load_image_folder(tmp_path / "hymenoptera/val")
    report = check_images(photos.data, photos.target)
    assert report["problem"].tolist() == ["grey"]
    assert len(photos.data) == 153


def test_the_rows_of_missing_labels_are_listed():
    images = np.zeros((3, 40, 40, 3), np.uint8)
    with pytest.raises(
        ValueError, match=r"y must have a label for each item; 1 of 3 have none:\n  y"
    ):
        check_images(images, ["ants", None, "bees"])
