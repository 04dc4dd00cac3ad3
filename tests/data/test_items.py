"""Many forms of X become the same items, and the rest is refused with the reason."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from helpers.forms import ARRAYS, BAD, PATHS
from helpers.pixels import Pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.compose import ColumnTransformer

from sktransfer import ImagePreset
from sktransfer.data import Items

some = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture
def pixels():
    return Pixels()


@pytest.fixture
def images(rng):
    """Five images of 6 x 8 random colours, (5, 6, 8, 3), uint8."""
    return rng.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)


@pytest.fixture
def paths(images, tmp_path):
    """The same five images as files."""
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


# Forms of the same images


@pytest.mark.parametrize("form", ARRAYS)
def test_images_are_the_same_in_every_form(images, form):
    pixels = Pixels(image_shape=(6, 8, 3) if "rows" in form else None)
    X = ARRAYS[form](images)
    expected = Pixels().fit_transform(images)
    assert np.array_equal(pixels.fit_transform(X), expected)


@pytest.mark.parametrize("form", PATHS)
def test_files_are_the_same_in_every_form(pixels, images, paths, form):
    X = PATHS[form](paths)
    assert np.array_equal(pixels.fit(X).transform(X), pixels.fit_transform(images))


@pytest.mark.parametrize(
    "form", ["list", "array of str", "pandas column", "bytes", "opened images"]
)
def test_an_estimator_that_was_fitted_to_arrays_transforms_files(pixels, images, paths, form):
    expected = pixels.fit_transform(images)
    assert np.array_equal(pixels.transform(PATHS[form](paths)), expected)


@pytest.mark.parametrize("n_others", [0, 500])
def test_of_many_paths_in_a_folder_those_of_no_file_are_named(tmp_path, n_others):
    for i in range(120 + n_others):
        (tmp_path / f"{i}.png").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "0.png")
    (tmp_path / "broken").symlink_to(tmp_path / "missing")
    files = [f"{tmp_path}/{i}.png" for i in range(120)] + [f"{tmp_path}/link"]
    assert list(ImagePreset().check(files)) == files
    others = [f"{tmp_path}/{name}" for name in ("folder", "missing", "broken")]
    with pytest.raises(
        ValueError, match=r"(?s)3 do not:\n +X\[121\]: .* is a folder\n +X\[122\]: "
    ):
        ImagePreset().check(files + others)


def test_a_folder_of_many_files_is_listed_in_place_of_questions_for_each(tmp_path, monkeypatch):
    for i in range(120):
        (tmp_path / f"{i}.png").touch()
    monkeypatch.setattr("os.path.isfile", lambda path: pytest.fail(f"{path} is asked for"))
    assert len(ImagePreset().check([f"{tmp_path}/{i}.png" for i in range(120)])) == 120


def test_images_may_differ_in_size_and_channels(pixels, rng):
    ragged = [
        rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((6, 8), (9, 5, 3), (7, 7, 4))
    ]
    rows = pixels.fit_transform(ragged)
    for row, image in zip(rows, ragged, strict=True):
        assert np.array_equal(row, pixels.transform(image[None])[0])


def test_grey_images_need_no_channel(pixels, images):
    grey = images[..., 0]
    assert np.array_equal(pixels.fit_transform(grey), pixels.fit_transform(grey[..., None]))
    assert np.array_equal(pixels.fit_transform(grey), pixels.fit_transform(grey[:, None]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_of_every_float_are_images(pixels, dtype):
    assert np.isfinite(pixels.fit_transform(torch.rand(2, 3, 6, 8).to(dtype))).all()


def test_a_memory_map_is_not_copied(images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    items = ImagePreset().check(mapped)
    assert np.shares_memory(items.values, mapped)


def test_a_column_transformer_picks_the_column_of_paths(images, paths):
    frame = pd.DataFrame({"path": list(map(str, paths)), "weight": range(5)})
    for column in ("path", ["path"]):
        chosen = ColumnTransformer([("pixels", Pixels(), column)])
        expected = Pixels().fit_transform(images)
        assert np.array_equal(chosen.fit_transform(frame), expected)
        assert np.array_equal(chosen.transform(pl.from_pandas(frame)), expected)


def test_a_series_may_have_columns_as_that_of_dask(pixels, images, paths):
    class Series:
        columns, ndim = ["path"], 1

        def __array__(self, dtype=None, copy=None):
            return np.array(paths, object)

    expected = pixels.fit_transform(images)
    assert np.array_equal(pixels.transform(Series()), expected)


def test_ambiguous_axes_are_read_with_channels_last():
    items = ImagePreset().check(np.zeros((2, 3, 5, 4), np.uint8))
    assert items[0].shape == (3, 5, 4)


# Items


@pytest.mark.parametrize(
    ("form", "kind", "columns"),
    [
        ("list", "path", False),
        ("pandas column", "path", False),
        ("pandas frame", "path", True),
        ("column of str", "path", True),
        ("bytes", "bytes", False),
        ("PIL images", "PIL image", False),
        ("list of arrays", "array", False),
        ("channels last", "array", False),
        ("frame of arrays", "array", True),
        ("flattened rows", "table", True),
        ("frame of rows", "table", True),
    ],
)
def test_items_record_their_kind_and_whether_they_have_columns(images, paths, form, kind, columns):
    X = ARRAYS[form](images) if form in ARRAYS else PATHS[form](paths)
    items = ImagePreset().check(X)
    assert (len(items), items.kind, items.columns) == (5, kind, columns)


def test_items_are_indexed_by_position_and_by_slice(images):
    items = ImagePreset().check(images)
    assert np.array_equal(items[3], images[3])
    assert np.array_equal(items[1:3].values, images[1:3])
    assert items[1:3].kind == "array"
    assert len(list(items)) == 5


def test_items_taken_by_position_are_views_of_an_array(images):
    taken = ImagePreset().check(images).take(np.array([4, 0]))
    assert np.array_equal(taken.values, images[[4, 0]])
    assert all(np.shares_memory(item, images) for item in taken)
    assert taken.kind == "array"


@pytest.mark.parametrize(("kind", "expected"), [("path", "path"), ("bytes", "mixed")])
def test_items_followed_by_others_keep_a_common_kind(kind, expected):
    both = Items(["a", "b"], "path", columns=True).followed_by(Items(["c"], kind))
    assert (list(both), both.kind, both.columns) == (["a", "b", "c"], expected, False)


# Bad input: the message names the item

NOT_A_SEQUENCE = [
    (lambda paths: str(paths[0]), r"sequence of images: .*got one path\. Pass a list of one: \["),
    (lambda paths: paths[0], r"got one path\. Pass a list of one"),
    (lambda paths: paths[0].read_bytes(), r"got one bytes\. Pass a list of one"),
    (lambda paths: Image.new("L", (2, 2)), r"got one PIL image\. .*: \[image of 2 x 2\]"),
    (lambda paths: None, "X must be a sequence of images: .*got NoneType"),
    (lambda paths: {"path": paths}, "X must be a sequence of images: .*got dict"),
    (iter, "X must be a sequence of images: .*got list_iterator"),
    (lambda paths: scipy.sparse.csr_array(np.eye(3)), "[Ss]parse data was passed"),
]


@pytest.mark.parametrize(("make", "message"), NOT_A_SEQUENCE)
def test_input_that_is_no_sequence_is_a_type_error(pixels, paths, make, message):
    with pytest.raises(TypeError, match=message):
        pixels.fit(make(paths))


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_that_names_the_items(pixels, case):
    X, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        pixels.fit(X)


def test_the_first_ten_of_many_bad_items_are_listed(pixels):
    with pytest.raises(ValueError, match=r"12 do not") as error:
        pixels.fit([f"no/{i}.jpg" for i in range(12)])
    listed = [line for line in str(error.value).splitlines() if line.startswith("  X[")]
    assert listed == [f"  X[{i}]: 'no/{i}.jpg'" for i in range(10)]
    assert "... and 2 more" in str(error.value)


def test_floats_may_leave_their_range_by_rounding(pixels):
    assert np.isfinite(pixels.fit_transform(np.full((1, 4, 6), 1 + 1e-7))).all()


def test_images_of_the_wrong_range_are_found_among_many(pixels, rng):
    images = rng.random((20, 4, 6))
    images[13, 2, 2] = 3
    with pytest.raises(ValueError, match=r"1 does not:\n  X\[13\]: float64 from .* to 3; divide"):
        pixels.fit(images)


@some
@given(
    shape=st.lists(st.integers(0, 6), min_size=0, max_size=5),
    dtype=st.sampled_from(["uint8", "uint16", "int8", "float16", "float64", "bool", "complex64"]),
    as_list=st.booleans(),
)
def test_every_array_gives_one_item_for_each_row_or_is_an_error(shape, dtype, as_list):
    X = np.zeros(shape, dtype)
    X = list(X) if as_list and shape else X
    try:
        items = ImagePreset(size=3).check(X)
    except ValueError:
        return
    assert len(items) == len(X)
    assert all(ImagePreset(size=3)(item).shape == (3, 3, 3) for item in items)
