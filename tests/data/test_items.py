"""What may be passed as X, what becomes of it, and what is said about the rest."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from sktransfer import ImagePreset

some = settings(max_examples=40, deadline=None, derandomize=True)


class Pixels(TransformerMixin, BaseEstimator):
    """The pixels that a preset sees, as the smallest estimator that uses one."""

    def __init__(self, size=4, image_shape=None):
        self.size = size
        self.image_shape = image_shape

    def fit(self, X, y=None):
        ImagePreset(image_shape=self.image_shape).check(self, X, reset=True)
        self.fitted_ = True
        return self

    def transform(self, X):
        check_is_fitted(self)
        preset = ImagePreset(size=self.size, crop=1.0, image_shape=self.image_shape)
        items = preset.check(self, X)
        batch = preset.collate([preset(item) for item in items], len(items))
        return batch.flatten(1).numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def columns(estimator):
    """What the estimator learned about the columns of X."""
    names = getattr(estimator, "feature_names_in_", None)
    return getattr(estimator, "n_features_in_", None), names if names is None else list(names)


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


def objects(items, shape=(-1,)):
    """An array of dtype object of ``items``."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


# The same images, however they come

ARRAYS = {
    "channels last": lambda images: images,
    "channels first": lambda images: np.moveaxis(images, -1, 1),
    "int64": lambda images: images.astype(np.int64),
    "tensor": torch.from_numpy,
    "tensor, channels first": lambda images: torch.from_numpy(images).permute(0, 3, 1, 2),
    "list of arrays": list,
    "tuple of arrays": tuple,
    "list of arrays, channels first": lambda images: list(np.moveaxis(images, -1, 1)),
    "list of tensors": lambda images: list(torch.from_numpy(images).permute(0, 3, 1, 2)),
    "list of int64": lambda images: list(images.astype(np.int64)),
    "nested lists": lambda images: images.tolist(),
    "objects": lambda images: objects(list(images)),
    "PIL images": lambda images: list(map(Image.fromarray, images)),
    "objects of PIL images": lambda images: objects(list(map(Image.fromarray, images))),
    "column of arrays": lambda images: pd.Series(list(images)),
    "frame of arrays": lambda images: pd.DataFrame({"image": list(images)}),
    "flattened rows": lambda images: images.reshape(5, -1),
    "frame of rows": lambda images: pd.DataFrame(images.reshape(5, -1)),
}

PATHS = {
    "list": list,
    "tuple": tuple,
    "list of str": lambda paths: list(map(str, paths)),
    "list of both": lambda paths: [*paths[:2], *map(str, paths[2:])],
    "array of str": lambda paths: np.array(list(map(str, paths))),
    "objects": objects,
    "column of objects": lambda paths: objects(paths, (-1, 1)),
    "column of str": lambda paths: np.array([[str(path)] for path in paths]),
    "nested lists": lambda paths: [[str(path)] for path in paths],
    "pandas column": lambda paths: pd.Series(list(map(str, paths))),
    "pandas column of Path": pd.Series,
    "pandas strings": lambda paths: pd.Series(list(map(str, paths)), dtype="string"),
    "pandas categories": lambda paths: pd.Series(list(map(str, paths)), dtype="category"),
    "pandas column with an index": lambda paths: pd.Series(paths, index=[7, 7, 3, 1, 0]),
    "pandas frame": lambda paths: pd.DataFrame({"path": list(map(str, paths))}),
    "pandas frame of categories": lambda paths: pd.DataFrame({"path": pd.Categorical(paths)}),
    "polars column": lambda paths: pl.Series(list(map(str, paths))),
    "polars column of Path": lambda paths: pl.Series(paths, dtype=pl.Object),
    "polars frame": lambda paths: pl.DataFrame({"path": list(map(str, paths))}),
    "bytes": lambda paths: [path.read_bytes() for path in paths],
    "bytearrays": lambda paths: [bytearray(path.read_bytes()) for path in paths],
    "objects of bytes": lambda paths: objects([path.read_bytes() for path in paths]),
    "polars column of bytes": lambda paths: pl.Series([path.read_bytes() for path in paths]),
    "opened images": lambda paths: list(map(Image.open, paths)),
}


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
def test_what_was_fitted_to_arrays_transforms_files(pixels, images, paths, form):
    expected = pixels.fit_transform(images)
    assert np.array_equal(pixels.transform(PATHS[form](paths)), expected)


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
    items = ImagePreset().check(Pixels(), mapped, reset=True)
    assert np.shares_memory(items, mapped)


def test_a_column_transformer_picks_the_column_of_paths(images, paths):
    frame = pd.DataFrame({"path": list(map(str, paths)), "weight": range(5)})
    for column in ("path", ["path"]):
        chosen = ColumnTransformer([("pixels", Pixels(), column)])
        expected = Pixels().fit_transform(images)
        assert np.array_equal(chosen.fit_transform(frame), expected)
        assert np.array_equal(chosen.transform(pl.from_pandas(frame)), expected)


def test_ambiguous_axes_are_read_with_channels_last():
    items = ImagePreset().check(Pixels(), np.zeros((2, 3, 5, 4), np.uint8), reset=True)
    assert items[0].shape == (3, 5, 4)


# scikit-learn


def test_scikit_learns_checks_pass_and_none_is_left_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Can't check dok sparse matrix")
        results = check_estimator(Pixels(), on_skip=None)
    ran = [result for result in results if result["status"] == "passed"]
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}  # asks for an environment variable
    assert len(ran) + len(skipped) >= 46


@pytest.mark.parametrize("form", ["flattened rows", "frame of rows"])
def test_a_table_sets_the_number_of_features(images, form):
    pixels = Pixels().fit(ARRAYS[form](images))
    assert pixels.n_features_in_ == 144


@pytest.mark.parametrize("form", ["pandas frame", "polars frame"])
def test_a_frame_of_one_column_sets_its_name(pixels, paths, form):
    assert columns(pixels.fit(PATHS[form](paths))) == (1, ["path"])


@pytest.mark.parametrize("form", ["list", "pandas column", "array of str", "bytes"])
def test_a_list_has_no_features_and_deletes_those_of_an_earlier_fit(pixels, paths, form):
    pixels.fit(PATHS["pandas frame"](paths))
    assert columns(pixels.fit(PATHS[form](paths))) == (None, None)


@pytest.mark.parametrize("form", ["channels last", "list of arrays", "PIL images"])
def test_images_have_no_features_and_delete_those_of_an_earlier_fit(pixels, images, form):
    pixels.fit(pd.DataFrame(np.zeros((2, 2)), columns=["a", "b"]))
    assert columns(pixels.fit(ARRAYS[form](images))) == (None, None)


def test_transform_learns_nothing(pixels, images, paths):
    pixels.fit(images)
    pixels.transform(PATHS["pandas frame"](paths))
    assert columns(pixels) == (None, None)
    pixels.transform(images.reshape(5, -1))
    assert columns(pixels) == (None, None)


def test_a_table_of_another_width_is_an_error(pixels):
    pixels.fit(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="X has 5 features, but Pixels is expecting 4 features"):
        pixels.transform(np.zeros((2, 5)))


def test_a_frame_with_another_column_is_an_error(pixels, paths):
    pixels.fit(pd.DataFrame({"path": paths}))
    with pytest.raises(ValueError, match="feature names should match"):
        pixels.transform(pd.DataFrame({"file": paths}))


# Bad input: the sentence names the item

NOT_A_SEQUENCE = [
    (lambda paths: str(paths[0]), r"sequence of images: .*got one path\. Pass a list of one: \["),
    (lambda paths: paths[0], r"got one path\. Pass a list of one"),
    (lambda paths: paths[0].read_bytes(), r"got one bytes\. Pass a list of one"),
    (lambda paths: Image.new("L", (2, 2)), r"got one PIL image\. Pass a list of one"),
    (lambda paths: None, "X must be a sequence of images: .*got NoneType"),
    (lambda paths: {"path": paths}, "X must be a sequence of images: .*got dict"),
    (iter, "X must be a sequence of images: .*got list_iterator"),
    (lambda paths: scipy.sparse.csr_array(np.eye(3)), "[Ss]parse data was passed"),
]


@pytest.mark.parametrize(("make", "message"), NOT_A_SEQUENCE)
def test_what_is_no_sequence_is_a_type_error(pixels, paths, make, message):
    with pytest.raises(TypeError, match=message):
        pixels.fit(make(paths))


BAD = {
    "no image": ([], r"0 sample\(s\) \(shape=\(0,\)\) while a minimum of 1"),
    "no image in an array": (
        np.zeros((0, 4, 4, 3)),
        r"0 sample\(s\) \(shape=\(0, 4, 4, 3\)\) while a minimum of 1",
    ),
    "no row": (np.zeros((0, 4)), r"0 sample\(s\) \(shape=\(0, 4\)\) while a minimum of 1"),
    "no path in a frame": (pd.DataFrame({"path": []}), r"0 sample\(s\)"),
    "None": ([b"x", None], r"in each row; 1 do not:\n  X\[1\]: None"),
    "only None": ([None, None], r"2 do not:\n  X\[0\]: None\n  X\[1\]: None"),
    "NaN in a column": (pd.Series(["a.jpg", float("nan")]), r"X\[1\]: nan"),
    "NA in a column": (pd.Series(["a.jpg", pd.NA], dtype="string"), r"X\[1\]: <NA>"),
    "null in a column": (pl.Series(["a.jpg", None]), r"X\[1\]: None"),
    "null in a frame": (pl.DataFrame({"path": ["a.jpg", None]}), r"X\[1\]: None"),
    "empty path": (["", "a.jpg"], r"X\[0\]: ''"),
    "empty bytes": ([b"x", b""], r"X\[1\]: b''"),
    "number among paths": (["a.jpg", 3], r"X\[1\]: 3"),
    "row among images": ([np.zeros((2, 2)), np.zeros(2)], r"X\[1\]: array\(\[0\., 0\.\]\)"),
    "mixed kinds": (
        ["a.jpg", "b.jpg", b"c"],
        r"one kind; X\[0\] is of kind path, X\[2\] of kind bytes\. Convert",
    ),
    "missing files": (["no/a.jpg", "no/b.jpg"], r"2 do not:\n  X\[0\]: 'no/a\.jpg'\n  X\[1\]"),
    "address": (["http://a.b/c.jpg"], r"web addresses are not downloaded"),
    "relative path": (["no/a.jpg"], rf"Relative paths start from '{Path.cwd()}'"),
    "folder": (["."], r"X\[0\]: '\.' is a folder"),
    "path that cannot be": (["a\0.jpg"], r"X\[0\]: 'a\\x00\.jpg'"),
    "one image": (
        np.zeros((6, 8, 3), np.uint8),
        r"sequence of images; got one image of shape \(6, 8, 3\): pass X\[None\]",
    ),
    "five channels": (
        np.zeros((2, 6, 8, 5), np.uint8),
        r"1 to 4 channels; got shape \(2, 6, 8, 5\)",
    ),
    "five axes": (
        np.zeros((2, 2, 6, 8, 3), np.uint8),
        r"1 to 4 channels; got shape \(2, 2, 6, 8, 3\)",
    ),
    "no pixel": (
        np.zeros((2, 0, 8, 3), np.uint8),
        r"at least one pixel .* got shape \(2, 0, 8, 3\)",
    ),
    "no pixel in a list": (
        [np.zeros((6, 8, 3)), np.zeros((6, 0, 3))],
        r"at least one pixel .*\n  X\[1\]: shape \(6, 0, 3\)",
    ),
    "PIL image without pixels": (
        [Image.new("L", (0, 3))],
        r"at least one pixel.*\n  X\[0\]: 0 x 3",
    ),
    "channels in a list": (
        [np.zeros((6, 8, 3)), np.zeros((6, 8, 7))],
        r"1 to 4 channels; 1 do not:\n  X\[1\]: shape \(6, 8, 7\)",
    ),
    "floats of 0 to 255": (
        [np.zeros((2, 2)), np.full((2, 2), 255.0)],
        r"X\[1\]: float64 from 255 to 255\nDivide floats of 0 to 255 by 255",
    ),
    "negative floats": (np.full((2, 4, 6), -0.5), r"X\[0\]: float64 from -0\.5 to -0\.5"),
    "NaN": (np.full((2, 4, 6), np.nan), r"X\[0\]: NaN or infinity\n  X\[1\]: NaN or infinity"),
    "infinity": ([np.full((4, 6), np.inf)], r"X\[0\]: NaN or infinity"),
    "large integers": (np.full((2, 4, 6), 256), r"X\[0\]: int64 from 256 to 256"),
    "negative integers": (np.full((1, 4, 6), -1), r"X\[0\]: int64 from -1 to -1"),
    "complex images": (np.zeros((2, 4, 6), complex), r"X\[0\]: dtype complex128"),
    "images of text": (np.full((2, 4, 6), "a"), r"X\[0\]: dtype <U1"),
    "complex table": (np.zeros((2, 4), complex), "Complex data not supported"),
    "NaN in a table": (np.full((2, 4), np.nan), "Input X contains NaN"),
    "infinity in a table": (np.full((2, 4), np.inf), "Input X contains infinity"),
    "one row": (np.zeros(4), "Expected 2D array, got 1D array instead"),
    "bytes of fixed width": (
        np.array([b"ab", b"c"]),
        r"bytes in an array of dtype object; got \|S2",
    ),
    "two columns": (
        pd.DataFrame({"path": ["a.jpg"], "label": ["ant"]}),
        r"one column of images, or a table of numbers; got 2 columns.*X\[\['path'\]\]",
    ),
    "two columns of text": (np.array([["a.jpg", "ant"]]), r"got 2 columns\. Select one"),
    "ragged lists": ([[1, 2], [3]], "got lists of unequal lengths"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_that_says_what_and_where(pixels, case):
    X, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        pixels.fit(X)


@pytest.mark.parametrize("method", ["fit", "transform"])
@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_bad_input_changes_nothing(pixels, case, method):
    X, _ = BAD[case]
    pixels.fit(np.zeros((1, 2)))
    if method == "fit":
        pixels.fit(pd.DataFrame({"a": [0.0], "b": [1.0]}))
    before = dict(vars(pixels))
    with pytest.raises(ValueError, match=r"."):
        getattr(pixels, method)(X)
    assert vars(pixels) == before


def test_the_first_ten_of_many_are_listed(pixels):
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
    with pytest.raises(ValueError, match=r"1 do not:\n  X\[13\]: float64 from .* to 3\n"):
        pixels.fit(images)


@some
@given(
    shape=st.lists(st.integers(0, 6), min_size=0, max_size=5),
    dtype=st.sampled_from(["uint8", "uint16", "int8", "float16", "float64", "bool", "complex64"]),
    as_list=st.booleans(),
)
def test_every_array_gives_one_item_a_row_or_is_an_error_about_x(shape, dtype, as_list):
    X = np.zeros(shape, dtype)
    X = list(X) if as_list and shape else X
    try:
        items = ImagePreset(size=3).check(Pixels(), X, reset=True)
    except ValueError:
        return
    assert len(items) == len(X)
    assert all(ImagePreset(size=3)(item).shape == (3, 3, 3) for item in items)
