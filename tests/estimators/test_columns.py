"""The columns of X are recorded in fit and compared later, as scikit-learn does."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.forms import ARRAYS, BAD, PATHS
from helpers.pixels import Pixels
from PIL import Image
from sklearn.utils.estimator_checks import check_estimator


def columns(estimator):
    """Return the number and the names of the columns that the estimator recorded."""
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


def test_scikit_learns_checks_pass_and_none_is_left_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Can't check dok sparse matrix")
        results = check_estimator(Pixels(), on_skip=None)
    ran = [result for result in results if result["status"] == "passed"]
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}  # needs an environment variable
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


def test_transform_records_no_columns(pixels, images, paths):
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


def test_refused_columns_change_nothing(pixels):
    pixels.fit(pd.DataFrame({"a": [0.0], "b": [1.0]}))
    before = dict(vars(pixels))
    with pytest.raises(TypeError, match="only supported if all input features have string names"):
        pixels.fit(pd.DataFrame({"a": [0.0], 1: [1.0]}))
    assert vars(pixels) == before


def test_the_names_of_a_frame_are_compared_before_its_values(pixels):
    pixels.fit(pd.DataFrame({"a": [0.0], "b": [1.0]}))
    with pytest.raises(ValueError, match="feature names should match"):
        pixels.transform(pd.DataFrame({"a": [0.0], "c": [np.nan]}))
