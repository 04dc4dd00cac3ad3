"""PretrainedFeatureExtractor: a transformer like any other, on items of every kind."""

import copy
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from helpers.tiny import tiny_backbone
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import FeatureUnion, Pipeline
from torchvision.models import googlenet, squeezenet1_1

from sktransfer import ActivationCache, ImagePreset, PretrainedFeatureExtractor, load_image_folder
from sktransfer._support import progress

TESTS = Path(__file__).parents[1]


@pytest.fixture
def extractor():
    return PretrainedFeatureExtractor(tiny_backbone)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (10, 20, 20, 3), dtype=np.uint8)


@pytest.fixture
def paths(images, tmp_path):
    names = [tmp_path / f"{index}.png" for index in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(name)
    return [str(name) for name in names]


@pytest.fixture
def features(extractor, images):
    return extractor.fit_transform(images)


KINDS = {
    "list of str": list,
    "list of Path": lambda paths: [Path(p) for p in paths],
    "array of str": np.array,
    "array of objects": lambda paths: np.array(paths, dtype=object),
    "pandas column": pd.Series,
    "pandas frame": lambda paths: pd.DataFrame({"path": paths}),
    "polars column": pl.Series,
    "polars frame": lambda paths: pl.DataFrame({"path": paths}),
    "bytes": lambda paths: [Path(p).read_bytes() for p in paths],
    "PIL": lambda paths: [Image.open(p) for p in paths],
    "arrays": lambda paths: [np.asarray(Image.open(p)) for p in paths],
    "channels first": lambda paths: np.stack([np.asarray(Image.open(p)) for p in paths]).transpose(
        0, 3, 1, 2
    ),
    "flattened": lambda paths: np.stack([np.asarray(Image.open(p)).ravel() for p in paths]),
    "tensor": lambda paths: torch.stack([torch.from_numpy(np.array(Image.open(p))) for p in paths]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_item_does_not_change_a_bit(extractor, paths, features, kind):
    assert np.array_equal(extractor.fit_transform(KINDS[kind](paths)), features)


def test_features_are_float32_one_row_an_item(features):
    assert features.dtype == np.float32
    assert features.shape == (10, 16)


@pytest.mark.parametrize(
    ("params", "width"),
    [
        ({"layer": "stem"}, 8),
        ({"layer": ["stem", "layer2"]}, 24),
        ({"layer": ["layer2", "stem"], "pooling": "avgmax"}, 48),
        ({"layer": "logits"}, 4),
        ({"layer": "probabilities"}, 4),
        ({"layer": ["last", "logits"]}, 20),
        ({"pooling": "max"}, 16),
        ({"pooling": "flatten"}, 64),
        ({"pooling": "flatten", "image_size": 32}, 256),
    ],
)
def test_layer_and_pooling_decide_the_width(extractor, images, params, width):
    found = extractor.set_params(**params).fit_transform(images)
    assert found.shape == (10, width)
    assert len(set(extractor.get_feature_names_out())) == width


@pytest.mark.parametrize(
    "params",
    [
        {"layer": "layer1"},
        {"pooling": "max"},
        {"image_size": 32},
        {"preset": {"mean": (0.5, 0.5, 0.5)}},
        {"preset": ImagePreset(size=24)},
        {"precision": "bfloat16"},
        {"backbone": "builtin/mini"},
    ],
)
def test_a_parameter_set_after_fit_changes_the_next_fit(extractor, images, features, params):
    found = extractor.set_params(**params).fit_transform(images)
    assert not np.array_equal(found, features)


@pytest.mark.parametrize("params", [{"batch_size": 3}, {"n_jobs": 2}, {"verbose": 0}])
def test_how_it_runs_does_not_change_what_comes_out(extractor, images, features, params):
    found = extractor.set_params(**params).fit_transform(images)
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"layer": "layer9"}, ValueError, "layer must be one of 'stem', .*; got 'layer9'."),
        ({"layer": []}, ValueError, "layer must name at least one stage; got an empty list."),
        ({"layer": ["stem", "stem"]}, ValueError, "layer must name each stage once; got"),
        ({"pooling": "avgg"}, ValueError, "pooling must be one of .*Did you mean 'avg'"),
        ({"pooling": "cls"}, ValueError, "pooling must not be 'cls': .* has no class token"),
        ({"precision": "float16"}, ValueError, "precision must be one of"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1"),
        ({"n_jobs": -2.5}, ValueError, "n_jobs must be an integer"),
        ({"image_size": 0}, ValueError, "image_size must be an integer of at least 1"),
        ({"decode_error": "skip"}, ValueError, "decode_error must be one of"),
        ({"store_weights_in_pickle": 1}, ValueError, "store_weights_in_pickle must be one of"),
        ({"verbose": -1}, ValueError, "verbose must be an integer of at least 0"),
        ({"device": "tpu"}, ValueError, "device must be one of"),
        ({"preset": {"men": 0}}, ValueError, "a key of preset must be one of.*Did you mean 'mean'"),
        ({"preset": {"mean": 0.5}}, TypeError, "preset must hold .*got {'mean': 0.5}"),
        ({"layer": None}, TypeError, "layer must be a name or a list of names; got None."),
        ({"layer": [["stem"]]}, TypeError, "layer must be a name or a list of names; got"),
        ({"image_shape": 5}, (TypeError, ValueError), "image_shape must be"),
        ({"device": torch.device("meta")}, ValueError, "device must be one of .*got 'meta'"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be an integer of at least 1"),
        ({"weights": "a.pth"}, ValueError, "weights must be 'default' if backbone is a fac"),
        ({"preset": 3}, TypeError, "preset must be a dict, a preset, or None; got int"),
        ({"cache": joblib.Memory(None)}, TypeError, "cache must be .*folder.*got Memory"),
        ({"backbone": 3}, TypeError, "backbone must be an address"),
    ],
)
def test_a_wrong_parameter_is_named_and_fits_nothing(extractor, images, params, error, message):
    extractor.set_params(**params)
    with pytest.raises(error, match=message):
        extractor.fit(images)
    assert not hasattr(extractor, "backbone_")


def test_a_failed_fit_leaves_the_last_one_in_place(extractor, images, features):
    extractor.set_params(layer="layer9")
    with pytest.raises(ValueError, match=r"layer must be one of"):
        extractor.fit(images)
    assert np.array_equal(extractor.transform(images), features)


def test_a_backbone_without_classifier_has_no_logits(images):
    extractor = PretrainedFeatureExtractor(lambda: tiny_backbone().truncate(3), layer="logits")
    with pytest.raises(ValueError, match=r"layer must be a stage for a backbone without a class"):
        extractor.fit(images)


def test_a_device_that_is_not_there_is_named(extractor, images, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device must be one that torch finds here: .*got 'cuda'"):
        extractor.set_params(device="cuda").fit(images)


def test_fit_forgets(extractor, images, features):
    extractor.set_params(layer="stem").fit(images)
    extractor.set_params(layer="last").fit(images)
    assert np.array_equal(extractor.transform(images), features)


def test_fit_on_arrays_transforms_paths(extractor, images, paths, features):
    assert np.array_equal(extractor.fit(images).transform(paths), features)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_gives_frames_with_named_columns(extractor, paths, features, container):
    frame = extractor.set_output(transform=container).fit_transform(paths)
    assert list(frame.columns) == [f"last_{i}" for i in range(16)]
    assert np.array_equal(frame.to_numpy(), features)


def test_a_frames_index_is_kept(extractor, paths):
    frame = pd.DataFrame({"path": paths}, index=range(100, 110))
    found = extractor.set_output(transform="pandas").fit_transform(frame)
    assert found.index.tolist() == frame.index.tolist()


@pytest.mark.parametrize("columns", [["path"], "path"])
def test_it_works_inside_a_column_transformer(extractor, paths, features, columns):
    frame = pd.DataFrame({"path": paths, "age": range(10)})
    both = ColumnTransformer([("photo", extractor, columns), ("rest", "passthrough", ["age"])])
    assert np.array_equal(both.fit_transform(frame)[:, :16], features)


def test_it_works_inside_a_feature_union(paths, features):
    union = FeatureUnion(
        [(p, PretrainedFeatureExtractor(tiny_backbone, pooling=p)) for p in ("avg", "max")]
    )
    assert np.array_equal(union.fit_transform(paths)[:, :16], features)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_over_its_parameters_works_on_paths(paths, n_jobs, tmp_path):
    model = Pipeline(
        [
            ("feat", PretrainedFeatureExtractor("builtin/mini", cache=tmp_path / "cache")),
            ("clf", LogisticRegression()),
        ]
    )
    grid = {"feat__layer": ["layer1", "last"], "clf__C": [0.1, 1.0]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=n_jobs).fit(paths, [0, 1] * 5)
    assert search.predict(paths).shape == (10,)


def test_metadata_passes_it_by_on_the_way_to_who_asks_for_it(paths):
    weights, y = np.arange(1.0, 11), [0, 1] * 5
    features = PretrainedFeatureExtractor(tiny_backbone)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = LogisticRegression().set_fit_request(sample_weight=True)
        routed = Pipeline([("feat", features), ("clf", classifier)])
        routed.fit(paths, y, sample_weight=weights)
    by_hand = LogisticRegression().fit(features.fit_transform(paths), y, sample_weight=weights)
    assert np.array_equal(routed[-1].coef_, by_hand.coef_)


def test_the_diagram_names_it(extractor, images):
    assert "PretrainedFeatureExtractor" in extractor.fit(images)._repr_html_()


def test_clone_copies_parameters_and_nothing_else(extractor, images):
    copy = clone(extractor.fit(images))
    assert vars(copy).keys() == extractor.get_params().keys()


@pytest.mark.parametrize("cache", ["str", "path", "object"])
def test_a_cache_does_not_change_a_bit(extractor, paths, features, tmp_path, cache):
    folder = tmp_path / "cache"
    forms = {"str": str(folder), "path": folder, "object": ActivationCache(folder)}
    extractor.set_params(cache=forms[cache])
    for _ in range(2):
        assert np.array_equal(extractor.fit_transform(paths), features)


def test_rows_halved_on_disk_come_back_as_float32(extractor, images, features, tmp_path):
    extractor.set_params(cache=ActivationCache(tmp_path, dtype="float16"))
    found = extractor.fit_transform(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, features, atol=1e-2)


def test_a_photo_replaced_on_disk_is_seen(extractor, paths, features, tmp_path):
    extractor.set_params(cache=tmp_path / "cache").fit_transform(paths)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(paths[0])
    found = extractor.transform(paths)
    assert not np.array_equal(found[0], features[0])
    assert np.array_equal(found[1:], features[1:])


@pytest.mark.parametrize("decode_error", ["warn", "ignore"])
def test_a_bad_photo_is_a_row_of_nan_on_request(extractor, paths, features, decode_error):
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


def test_only_bad_photos_are_rows_of_nan(extractor):
    found = extractor.set_params(decode_error="ignore").fit_transform([b"no", b"image"])
    assert found.shape == (2, 16)
    assert np.isnan(found).all()


@pytest.mark.parametrize("layer", ["last", "logits", ["stem", "layer1"]])
def test_a_pickle_gives_the_same_bits(images, layer):
    extractor = PretrainedFeatureExtractor(tiny_backbone, layer=layer).fit(images)
    loaded = pickle.loads(pickle.dumps(extractor))
    assert np.array_equal(loaded.transform(images), extractor.transform(images))
    assert loaded.weights_info_ == extractor.weights_info_


def test_an_unfitted_pickle_is_unfitted(extractor):
    loaded = pickle.loads(pickle.dumps(extractor))
    assert vars(loaded).keys() == vars(extractor).keys()


def test_a_fresh_process_loads_and_gives_the_same_bits(extractor, images, tmp_path):
    joblib.dump((extractor.fit(images), images, extractor.transform(images)), tmp_path / "m")
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); import joblib, numpy; "
        f"model, X, Z = joblib.load({str(tmp_path / 'm')!r}); "
        "assert numpy.array_equal(model.transform(X), Z)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def save_googlenet(path):
    """Weights whose network has a rescaling in front that random weights do not have."""
    torch.manual_seed(0)
    torch.save(googlenet(aux_logits=False, init_weights=False).state_dict(), path)


def save_five_classes(path):
    torch.manual_seed(0)
    torch.save(squeezenet1_1(num_classes=5).state_dict(), path)


@pytest.mark.parametrize(
    ("model", "save", "layer", "size"),
    [
        ("googlenet", save_googlenet, "last", 32),
        ("squeezenet1_1", save_five_classes, "logits", 32),
    ],
)
@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_a_copy_keeps_the_structure_that_the_weights_asked_for(
    images, tmp_path, model, save, layer, size, copied
):
    save(tmp_path / "mine.pth")
    extractor = PretrainedFeatureExtractor(
        f"torchvision/{model}", weights=tmp_path / "mine.pth", layer=layer, image_size=size
    )
    expected = extractor.fit_transform(images)
    (tmp_path / "mine.pth").unlink()
    assert np.array_equal(copied(extractor).transform(images), expected)


@pytest.mark.parametrize("device", ["cuda:1", "cuda:x", "cuda:"])
def test_a_gpu_that_is_not_there_is_named(extractor, images, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    message = rf"device must be one that torch finds here: .*'cuda:0'.*; got '{device}'\."
    with pytest.raises(ValueError, match=message):
        extractor.set_params(device=device).fit(images)


def test_a_pickle_from_a_machine_with_another_device_loads(extractor, images, features):
    state = extractor.__getstate__()
    parts, backbone = state["_fitted"]
    state["_fitted"] = (parts | {"device": torch.device("cuda")}, backbone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        loaded = PretrainedFeatureExtractor(tiny_backbone)
        loaded.__setstate__(state)
    np.testing.assert_allclose(loaded.transform(images), features, rtol=1e-5)


def test_a_pickle_keeps_a_batch_size_that_was_set_after_fit(extractor, images, features):
    loaded = pickle.loads(pickle.dumps(extractor.set_params(batch_size=3)))
    assert np.array_equal(loaded.transform(images), extractor.transform(images))
    np.testing.assert_allclose(loaded.transform(images), features, rtol=1e-5)


def test_a_factory_that_returns_the_same_backbone_keeps_it(images, features):
    same = tiny_backbone()
    PretrainedFeatureExtractor(lambda: same, layer="stem").fit(images)
    assert same.names == ["stem", "layer1", "layer2"]
    again = PretrainedFeatureExtractor(lambda: same)
    assert np.array_equal(again.fit_transform(images), features)


def test_a_failed_fit_transform_leaves_the_last_fit_in_place(extractor, rng):
    table = rng.random((5, 64))
    expected = extractor.fit_transform(table)
    with pytest.raises(ValueError, match=r"X\[0\]"):
        extractor.set_params(layer="stem").fit_transform([b"no image"])
    assert extractor.n_features_in_ == 64
    assert np.array_equal(extractor.transform(table), expected)


@pytest.mark.parametrize(
    "params", [{"decode_error": "rase"}, {"n_jobs": 0}, {"verbose": -1}, {"cache": 3}]
)
def test_what_transform_reads_is_checked_there(extractor, images, features, params):
    extractor.set_params(**params)
    with pytest.raises((ValueError, TypeError), match=f"^{next(iter(params))} must be"):
        extractor.transform(images)


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


def test_the_main_job_reaches_its_accuracy_on_real_photos(shared, tmp_path):
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


def test_a_slim_pickle_holds_no_weights_and_verifies_them(images):
    full = PretrainedFeatureExtractor("builtin/mini").fit(images)
    slim = clone(full).set_params(store_weights_in_pickle=False).fit(images)
    dumped = pickle.dumps(slim)
    assert len(dumped) < 0.1 * len(pickle.dumps(full))
    assert np.array_equal(pickle.loads(dumped).transform(images), full.transform(images))
    next(slim.backbone_.parameters()).data += 1  # as if other weights had come under the name
    with pytest.raises(ValueError, match=r"weights must be those that this .* was fitted with"):
        pickle.loads(pickle.dumps(slim))


def test_weights_that_the_layer_does_not_need_are_not_kept(images):
    stem = PretrainedFeatureExtractor(tiny_backbone, layer="stem").fit(images)
    assert stem.backbone_.names == ["stem"]
    assert stem.backbone_.classifier is None


def test_the_callers_random_state_is_left_alone(images):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    numpys = np.random.get_state()[1].copy()  # noqa: NPY002 - the caller's is the global one
    PretrainedFeatureExtractor("builtin/mini").fit_transform(images)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002 - likewise


def test_what_the_user_passed_is_left_alone(extractor, images):
    before = images.copy()
    extractor.fit_transform(images)
    assert np.array_equal(images, before)


def test_the_preset_comes_with_the_weights_and_can_be_overridden(images):
    extractor = PretrainedFeatureExtractor("torchvision/squeezenet1_1", weights=None, image_size=32)
    assert extractor.fit(images).weights_info_["mean"] == (0.485, 0.456, 0.406)
    assert extractor.backbone_.preset.size == 32
    extractor.set_params(preset={"mean": (0.5, 0.5, 0.5)}).fit(images)
    assert extractor.backbone_.preset.mean == (0.5, 0.5, 0.5)


def test_bad_images_sizes_are_refused_before_anything_runs(images):
    extractor = PretrainedFeatureExtractor("torchvision/alexnet", weights=None, image_size=16)
    with pytest.raises(ValueError, match=r"image_size must be"):
        extractor.fit(images)


@pytest.mark.skipif(not hasattr(sklearn, "callback"), reason="needs scikit-learn 1.9")
@pytest.mark.parametrize("inside", [False, True])
def test_scikit_learns_callbacks_see_each_batch(extractor, rng, inside):
    from helpers.callbacks import Recorder

    recorder = Recorder()
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    if inside:
        model = Pipeline([("feat", extractor), ("clf", LogisticRegression())])
        model.set_callbacks(recorder).fit(images, [0, 1] * 20)
    else:
        extractor.set_callbacks(recorder).fit_transform(images)
    assert recorder.names.count("batch") == 3


def test_a_bar_shows_on_terminals_only(extractor, images, capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0)
    extractor.set_params(verbose=1).fit_transform(images)
    assert capsys.readouterr() == ("", "")
