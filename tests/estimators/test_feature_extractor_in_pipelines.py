"""The extractor works in pipelines, searches and frames, with caches and callbacks."""

import zipfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers.callbacks import Recorder
from helpers.tiny import tiny_backbone
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import FeatureUnion, Pipeline

from sktransfer import ActivationCache, PretrainedFeatureExtractor, load_image_folder


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_gives_frames_with_named_columns(extractor, paths, features, container):
    frame = extractor.set_output(transform=container).fit_transform(paths)
    assert list(frame.columns) == [f"last_{i}" for i in range(16)]
    assert np.array_equal(frame.to_numpy(), features)


def test_a_frame_of_features_keeps_the_index(extractor, paths):
    frame = pd.DataFrame({"path": paths}, index=range(100, 110))
    found = extractor.set_output(transform="pandas").fit_transform(frame)
    assert found.index.tolist() == frame.index.tolist()


@pytest.mark.parametrize("columns", [["path"], "path"])
def test_the_extractor_works_in_a_column_transformer(extractor, paths, features, columns):
    frame = pd.DataFrame({"path": paths, "age": range(10)})
    both = ColumnTransformer([("photo", extractor, columns), ("rest", "passthrough", ["age"])])
    assert np.array_equal(both.fit_transform(frame)[:, :16], features)


def test_the_extractor_works_in_a_feature_union(paths, features):
    union = FeatureUnion(
        [(p, PretrainedFeatureExtractor(tiny_backbone, pooling=p)) for p in ("avg", "max")]
    )
    assert np.array_equal(union.fit_transform(paths)[:, :16], features)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_over_the_parameters_works_on_paths(paths, n_jobs, tmp_path):
    model = Pipeline(
        [
            ("feat", PretrainedFeatureExtractor("builtin/mini", cache=tmp_path / "cache")),
            ("clf", LogisticRegression()),
        ]
    )
    grid = {"feat__layer": ["layer1", "last"], "clf__C": [0.1, 1.0]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=n_jobs).fit(paths, [0, 1] * 5)
    assert search.predict(paths).shape == (10,)


def test_metadata_is_routed_past_the_extractor(paths):
    weights, y = np.arange(1.0, 11), [0, 1] * 5
    features = PretrainedFeatureExtractor(tiny_backbone)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = LogisticRegression().set_fit_request(sample_weight=True)
        routed = Pipeline([("feat", features), ("clf", classifier)])
        routed.fit(paths, y, sample_weight=weights)
    by_hand = LogisticRegression().fit(features.fit_transform(paths), y, sample_weight=weights)
    assert np.array_equal(routed[-1].coef_, by_hand.coef_)


def test_the_diagram_names_the_extractor(extractor, images):
    assert "PretrainedFeatureExtractor" in extractor.fit(images)._repr_html_()


def test_threads_share_a_cache_and_load_networks_side_by_side(paths, tmp_path):
    model = Pipeline(
        [
            ("feat", PretrainedFeatureExtractor("timm/test_resnet", weights=None)),
            ("clf", LogisticRegression()),
        ]
    )
    pytest.importorskip("timm")
    model.set_params(feat__cache=tmp_path / "cache", feat__image_size=32)
    alone = cross_val_predict(model, paths, [0, 1] * 5, cv=5, method="predict_proba")
    model.set_params(feat__cache=None)
    with joblib.parallel_config("threading", n_jobs=4):
        found = cross_val_predict(model, paths, [0, 1] * 5, cv=5, method="predict_proba")
    np.testing.assert_allclose(found, alone, rtol=1e-4)


@pytest.mark.skipif(not hasattr(sklearn, "callback"), reason="needs scikit-learn 1.9")
@pytest.mark.parametrize("inside", [False, True])
def test_callbacks_of_scikit_learn_see_each_batch(extractor, rng, inside):
    recorder = Recorder()
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    if inside:
        model = Pipeline([("feat", extractor), ("clf", LogisticRegression())])
        model.set_callbacks(recorder).fit(images, [0, 1] * 20)
    else:
        extractor.set_callbacks(recorder).fit_transform(images)
    assert recorder.names.count("batch") == 3


def test_a_linear_model_on_features_is_accurate_on_real_photos(shared, tmp_path):
    with zipfile.ZipFile(shared / "data" / "hymenoptera.zip") as photos:
        photos.extractall(tmp_path)
    weights = shared / "weights" / "mobilenet_v2_imagenet.safetensors"
    train, val = (load_image_folder(tmp_path / "hymenoptera" / part) for part in ("train", "val"))
    model = Pipeline(
        [
            ("feat", PretrainedFeatureExtractor("torchvision/mobilenet_v2", weights=weights)),
            ("clf", LogisticRegression(max_iter=1000)),
        ]
    )
    assert model.fit(train.data, train.target).score(val.data, val.target) >= 0.93


# Caches


@pytest.mark.parametrize("cache", ["str", "path", "object"])
def test_a_cache_does_not_change_a_bit(extractor, paths, features, tmp_path, cache):
    folder = tmp_path / "cache"
    forms = {"str": str(folder), "path": folder, "object": ActivationCache(folder)}
    extractor.set_params(cache=forms[cache])
    for _ in range(2):
        assert np.array_equal(extractor.fit_transform(paths), features)


def test_features_kept_as_float16_are_returned_as_float32(extractor, images, features, tmp_path):
    extractor.set_params(cache=ActivationCache(tmp_path, dtype="float16"))
    found = extractor.fit_transform(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, features, atol=1e-2)


def test_a_photo_replaced_on_disk_has_other_features(extractor, paths, features, tmp_path):
    extractor.set_params(cache=tmp_path / "cache").fit_transform(paths)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(paths[0])
    found = extractor.transform(paths)
    assert not np.array_equal(found[0], features[0])
    assert np.array_equal(found[1:], features[1:])


# Photos that cannot be decoded


@pytest.mark.parametrize("decode_error", ["warn", "ignore"])
def test_a_bad_photo_is_a_row_of_nan_without_an_error(extractor, paths, features, decode_error):
    Path(paths[3]).write_bytes(b"no image")
    extractor.set_params(decode_error=decode_error)
    if decode_error == "warn":
        with pytest.warns(UserWarning, match=r"X\[3\]"):
            found = extractor.fit_transform(paths)
    else:
        found = extractor.fit_transform(paths)
    assert np.isnan(found[3]).all()
    rest = np.arange(10) != 3
    assert np.array_equal(found[rest], features[rest])


def test_a_bad_photo_is_an_error_by_default(extractor, paths):
    Path(paths[3]).write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"X\[3\]: .*3\.png"):
        extractor.fit_transform(paths)


def test_bad_photos_alone_are_rows_of_nan(extractor):
    found = extractor.set_params(decode_error="ignore").fit_transform([b"no", b"image"])
    assert found.shape == (2, 16)
    assert np.isnan(found).all()
