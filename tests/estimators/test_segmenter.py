"""FineTuneSegmenter: masks of images of any size."""

from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers.masks import CountedPath, masked_files, masked_images
from helpers.tiny import tiny_backbone
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import BatchScoring, Callback, EpochScoring

from sktransfer import (
    FineTuneSegmenter,
    FPNHead,
    SnapshotEnsemble,
    Views,
    find_lr,
    load,
    save,
)
from sktransfer.cache import ActivationCache
from sktransfer.callbacks import MixUp

ORIENTATION = 0x0112  # the EXIF tag


def segmenter(backbone=tiny_backbone, **parameters):
    how = {"image_size": 32, "max_epochs": 2, "random_state": 0, "verbose": 0}
    return FineTuneSegmenter(backbone, **(how | parameters))


@pytest.fixture(scope="module")
def images():
    return masked_images(16)


@pytest.fixture(scope="module")
def model(images):
    return segmenter("builtin/mini", image_size=64, max_epochs=5).fit(*images)


def test_each_pixel_of_items_of_any_size_gets_a_class(model):
    X, y = masked_images(8, seed=1)
    predicted = model.predict(X)
    assert [each.shape for each in predicted] == [each.shape for each in y]
    assert {each.dtype for each in predicted} == {np.dtype(np.uint8)}
    assert model.score(X, y) > 0.8
    assert model.classes_.tolist() == [0, 1]


def test_probabilities_come_item_by_item(model):
    X, y = masked_images(3, seed=2)
    found = list(model.predict_proba(X))
    for each, mask, predicted in zip(found, y, model.predict(X), strict=True):
        assert each.shape == (*mask.shape, 2)
        np.testing.assert_allclose(each.sum(2), 1, rtol=1e-5)
        assert np.array_equal(each.argmax(2), predicted)


@pytest.mark.parametrize("orientation", [2, 6, 7])
def test_a_mask_belongs_to_the_stored_pixels_of_a_file(model, images, orientation):
    stored, file = Image.fromarray(images[0][0]), BytesIO()
    exif = stored.getexif()
    exif[ORIENTATION] = orientation
    stored.save(file, "PNG", exif=exif)
    predicted = model.predict([file.getvalue()])[0]
    assert predicted.shape == images[1][0].shape
    assert (predicted == images[1][0]).mean() > 0.9


def test_a_prediction_does_not_depend_on_the_other_items(model):
    X, _ = masked_images(5, seed=3)
    alone = [next(iter(model.predict_proba([each]))) for each in X]
    together = list(model.predict_proba(X))
    assert all(map(np.array_equal, alone, together))


@pytest.mark.parametrize(
    "how",
    [
        {"head": "linear"},
        {"head": FPNHead(16), "stages": ["stem", "layer2"], "unfreeze": 1},
        {"unfreeze": "all", "augment": None, "weights": "default"},
        {"unfreeze": 1, "augment": "standard"},
        {"unfreeze": 2, "augment": Views("light", 2)},
        {"unfreeze": 0, "augment": Views("trivial", 2)},
        {"unfreeze": 0, "augment": "light"},
        {"unfreeze": "all", "augment": Views("light", 2)},
        {"unfreeze": 1, "augment": None, "early_stopping": True, "dropout": 0.1},
        {"unfreeze": 2, "unfreeze_every": 1, "class_weight": "balanced"},
        {"unfreeze": 1, "freeze_bn": "frozen", "class_weight": {0: 1, 1: 3}},
    ],
)
def test_every_way_to_train_gives_finite_losses(images, how):
    fitted = segmenter(**how).fit(*images)
    assert np.isfinite([row["train_loss"] for row in fitted.history_]).all()
    assert fitted.history_[-1]["train_loss"] < fitted.history_[0]["train_loss"] * 1.2
    assert fitted.score(*images) > 0.2
    if how.get("early_stopping"):
        assert 0 <= fitted.history_[0]["valid_score"] <= 1


def test_rows_of_the_cache_serve_every_head(images, tmp_path):
    X, y = images
    folder = tmp_path / "cache"
    segmenter(head="linear", cache=folder).fit(X, y)
    size = ActivationCache(folder).info()
    for head in ("fpn", FPNHead(8)):
        cached = segmenter(head=head, cache=folder).fit(X, y)
        plain = segmenter(head=head).fit(X, y)
        assert all(map(np.array_equal, cached.predict(X), plain.predict(X)))
    assert ActivationCache(folder).info() == size


def test_rows_at_the_cut_give_the_fit_of_the_whole_network(images, tmp_path):
    X, y = images
    how = {"unfreeze": 1, "augment": None}
    cached = segmenter(cache=tmp_path, **how).fit(X, y)
    plain = segmenter(**how).fit(X, y)
    assert all(map(np.array_equal, cached.predict(X), plain.predict(X)))


def test_no_frozen_tensor_moves(images):
    fitted = segmenter(unfreeze=1, augment="light").fit(*images)
    before, after = tiny_backbone().state_dict(), fitted.backbone_.state_dict()
    frozen = [name for name in after if name.split(".")[1] in ("stem", "layer1")]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert [row["frozen"] for row in fitted.report_] == [True, True, False, False]


def test_ignored_pixels_have_no_say():
    X, y = masked_images(12)
    hidden = [each.copy() for each in y]
    for each in hidden:
        each[:, -8:] = 255
    model = segmenter(head="linear").fit(X, hidden)
    wrong = [np.where(each == 255, 254, each) for each in hidden]
    again = segmenter(head="linear", ignore_label=(254, 255)).fit(X, wrong)
    assert model.classes_.tolist() == [0, 1]
    assert all(map(np.array_equal, model.predict(X), again.predict(X)))
    assert model.score(X, hidden) == again.score(X, wrong)


def test_masks_may_be_paths_images_or_arrays_with_any_values(tmp_path):
    paths, masks = masked_files(tmp_path, 8)
    arrays = [np.asarray(Image.open(path)) for path in masks]
    fits = [
        segmenter(head="linear").fit(paths, y).predict(paths)
        for y in (
            masks,
            [str(mask) for mask in masks],
            arrays,
            [Image.fromarray(a) for a in arrays],
        )
    ]
    for other in fits[1:]:
        assert all(map(np.array_equal, fits[0], other))
    wide = [each.astype(np.int32) * 1000 for each in arrays]
    model = segmenter(head="linear").fit(paths, wide)
    assert model.classes_.tolist() == [0, 1000]
    assert all(
        np.array_equal(a.astype(int) * 1000, b)
        for a, b in zip(fits[0], model.predict(paths), strict=True)
    )


def test_masks_of_one_size_may_be_one_array(rng):
    X = rng.integers(0, 256, (6, 40, 44, 3), dtype=np.uint8)
    y = (X.mean(3) > 128).astype(np.uint8)
    assert len(segmenter(head="linear").fit(X, y).predict(X)) == 6


def test_saved_and_pickled_models_predict_the_same_masks(model, tmp_path):
    X, _ = masked_images(4, seed=4)
    save(model, tmp_path / "model.safetensors")
    joblib.dump(model, tmp_path / "model.joblib")
    for again in (load(tmp_path / "model.safetensors"), joblib.load(tmp_path / "model.joblib")):
        assert all(map(np.array_equal, again.predict(X), model.predict(X)))
        assert repr(again.head_) == repr(model.head_)


def test_searches_pipelines_and_clones_work(images):
    X, y = images
    search = GridSearchCV(segmenter(max_epochs=1), {"head": ["linear", "fpn"]}, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    pipeline = make_pipeline(clone(search.best_estimator_)).fit(X, y)
    assert pipeline.score(X, y) == search.best_estimator_.score(X, y)


def test_a_fit_that_was_killed_is_resumed_to_the_same_masks(images, tmp_path):
    from skorch.callbacks import Callback

    class Killed(Exception):  # noqa: N818 - it is raised to end a fit
        pass

    class Kill(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2 and not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                raise Killed

    X, y = images
    how = {"unfreeze": 1, "augment": "light", "max_epochs": 3, "freeze_epochs": 0}
    model = segmenter(checkpoint=tmp_path / "fit", skorch_callbacks=[Kill()], **how)
    with pytest.raises(Killed):
        model.fit(X, y)
    whole = segmenter(**how).fit(X, y)
    assert all(map(np.array_equal, model.fit(X, y).predict(X), whole.predict(X)))


def test_the_range_test_and_features_work(images):
    X, y = images
    assert find_lr(segmenter(max_epochs=1), X, y, n_steps=8).suggestion > 0
    fitted = segmenter().fit(X, y)
    assert fitted.transform(X).shape == (len(X), 16)
    assert len(fitted.get_feature_names_out()) == 16


@pytest.mark.parametrize(("unfreeze", "augment"), [("auto", None), (1, "light")])
def test_the_augmentation_depends_on_the_stages_that_train(images, unfreeze, augment):
    preset, found = segmenter(unfreeze=unfreeze).get_augmentation(images[0])
    assert (preset.size, preset.crop, found) == (32, None, augment)


def test_an_item_that_cannot_be_decoded_is_left_out(images):
    files = []
    for image in images[0][:6]:
        file = BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    files[2] = b"broken"
    model = segmenter(decode_error="ignore").fit(files, images[1][:6])
    assert model.skipped_.tolist() == [2]
    predicted = model.predict(files)
    assert np.isnan(predicted[2])
    assert predicted[3].shape == images[1][3].shape
    with pytest.raises(ValueError, match=r"X must have items that can be decoded(.|\n)*  X\[2\]"):
        model.score(files, images[1][:6])


def test_the_module_is_the_whole_network(model):
    x = torch.zeros(2, 3, 64, 64)
    assert model.module_(x).shape == (2, 2, 32, 32)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"head": "mlp"}, ValueError, "head must be one of 'linear', 'fpn', or a callable"),
        ({"head": lambda n, k: None}, TypeError, "head must return a Module; got NoneType"),
        ({"stages": iter(["layer1"])}, TypeError, "stages must be None or a list of names"),
        ({"stages": ["layer9"]}, ValueError, "stages must be names of stages"),
        ({"ignore_label": "void"}, ValueError, "ignore_label must be an integer, several, or None"),
        (
            {"class_weight": {7: 1}},
            ValueError,
            "class_weight must have classes of y as keys; got 7",
        ),
        ({"class_weight": {0: 0, 1: 0}}, ValueError, "class_weight must have a weight above 0"),
        ({"class_weight": "heavy"}, ValueError, "class_weight must be one of 'balanced', None"),
        (
            {"augment": lambda image: image, "unfreeze": 1},
            ValueError,
            "augment must be None, a name",
        ),
        ({"skorch_callbacks": [MixUp()]}, ValueError, "skorch_callbacks must not contain MixUp"),
        ({"skorch_callbacks": [EpochScoring(None)]}, ValueError, "not contain EpochScoring: y has"),
        ({"skorch_callbacks": [BatchScoring(None)]}, ValueError, "not contain BatchScoring: y has"),
        ({"ignore_label": (0, 1)}, ValueError, "y must have masks of at least 2 classes"),
    ],
)
def test_an_invalid_parameter_is_named(images, how, error, message):
    with pytest.raises(error, match=message):
        segmenter(**how).fit(*images)


@pytest.mark.parametrize("decode_error", ["raise", "ignore"])
def test_a_mask_of_another_size_is_named_before_its_values(images, decode_error):
    X, y = images
    wrong = [y[0][:-1] * 0, y[1] * 0]  # no class but one
    height, width = y[0].shape
    Image.fromarray(X[0]).save(png := BytesIO(), format="PNG")
    sizes = rf"y\[0\] has {width} x {height - 1} pixels, and its item {width} x {height}\Z"
    with pytest.raises(ValueError, match=sizes):
        segmenter(decode_error=decode_error).fit([png.getvalue(), b"no image"], wrong)


def test_both_parts_of_an_early_stop_have_rare_classes(images):
    X, y = images
    y = [each.copy() for each in y]
    for each in y[4:7]:  # three of sixteen masks
        each[:4, :4] = 2
    seen = []

    class Spy(Callback):
        def on_epoch_end(self, net, dataset_valid, **kwargs):
            seen.append(np.unique(np.asarray(dataset_valid.labels)))

    for seed in range(3):
        how = {"early_stopping": True, "validation_fraction": 0.2, "random_state": seed}
        segmenter(max_epochs=1, skorch_callbacks=[Spy()], **how).fit(X, y)
    assert all(2 in each for each in seen)
    assert len(seen) == 3


def test_a_fit_reads_each_mask_once_and_in_each_epoch(tmp_path):
    images, masks = masked_files(tmp_path, 8)
    counted = [CountedPath(mask) for mask in masks]
    segmenter(head="linear").fit(images, counted)
    assert [mask.n_reads for mask in counted] == [3] * 8


def test_a_score_reads_each_mask_once(tmp_path):
    images, masks = masked_files(tmp_path, 8)
    model = segmenter(head="linear").fit(images, masks)
    counted = [CountedPath(mask) for mask in masks]
    assert model.score(images, counted) == model.score(images, masks)
    assert [mask.n_reads for mask in counted] == [1] * 8


@pytest.mark.parametrize("is_broken", [False, True])
def test_masks_do_not_depend_on_batches_or_the_cache(images, tmp_path, is_broken):
    X = [np.array(image) for image in images[0]]
    files = []
    for at, image in enumerate(X):
        Image.fromarray(image).save(tmp_path / f"{at}.png")
        files.append(str(tmp_path / f"{at}.png"))
    how = {"decode_error": "ignore", "inference_batch_size": 4}
    model = segmenter(head="linear", **how).fit(files, images[1])
    if is_broken:
        for at in (0, 3, len(files) - 1):
            Path(files[at]).write_text("no image")
    expected = model.predict(files)
    assert [np.ndim(mask) for mask in expected].count(0) == 3 * is_broken
    model.set_params(cache=tmp_path / "cache")
    for _ in range(2):
        np.testing.assert_equal(model.predict(files), expected)


def test_the_batches_of_a_prediction_share_files_of_the_cache(images, tmp_path):
    X, y = images
    model = segmenter(head="linear", inference_batch_size=1).fit(X, y)
    drawn = [np.roll(X[at % len(X)], at, axis=1) for at in range(40)]
    model.set_params(cache=tmp_path).predict(drawn)
    assert len(list(tmp_path.rglob("*.safetensors"))) < 40


def test_a_wrong_y_is_named_with_its_items(images, tmp_path):
    X, y = images
    Image.fromarray(X[0]).save(tmp_path / "colours.png")
    wrong = {
        "y must have a mask for each of 16 items; got 3": y[:3],
        r"1 entries are something else:\n  y\[1\]: None": [y[0], None, *y[2:]],
        r"y\[2\] has 5 x 4 pixels, and its item": [*y[:2], np.zeros((4, 5), int), *y[3:]],
        r"y\[1\] has the mode RGB": [y[0], tmp_path / "colours.png", *y[2:]],
        r"y\[1\] cannot be read": [y[0], tmp_path / "missing.png", *y[2:]],
        r"y\[0\] holds float64, not integers": [y[0] / 2, *y[1:]],
    }
    for message, masks in wrong.items():
        with pytest.raises(ValueError, match=message):
            segmenter().fit(X, masks)
    with pytest.raises(TypeError, match="y must be a list of masks, one for each item; got None"):
        segmenter().fit(X, None)
    unknown = [*y[:2], np.full_like(y[2], 9), *y[3:]]
    with pytest.raises(
        ValueError, match=r"y_val must have masks of known classes(.|\n)*y_val\[2\]: \[9\]"
    ):
        segmenter().fit(X, y, X_val=X, y_val=unknown)


def test_an_ensemble_averages_the_probabilities_of_the_pixels(images):
    X, y = images
    ensemble = SnapshotEnsemble(segmenter(), every=1).fit(X, y)
    assert len(ensemble.estimators_) == 2
    each = [list(member.predict_proba(X)) for member in ensemble.estimators_]
    means = [np.mean(found, axis=0) for found in zip(*each, strict=True)]
    masks = ensemble.predict(X)
    for found, mean, mask in zip(ensemble.predict_proba(X), means, masks, strict=True):
        np.testing.assert_allclose(found, mean, rtol=1e-6)
        np.testing.assert_array_equal(mask, mean.argmax(2))
        assert mask.dtype == np.uint8
    assert ensemble.score(X, y) == ensemble.estimators_[0].task_.score(masks, y)
    with pytest.raises(ValueError, match="y must have a mask for each of 16 items; got 2"):
        ensemble.score(X, y[:2])


def test_an_ensemble_has_no_mask_for_an_item_that_cannot_be_decoded(images):
    ensemble = SnapshotEnsemble(segmenter(decode_error="ignore"), every=1).fit(*images)
    file = BytesIO()
    Image.fromarray(images[0][0]).save(file, "PNG")
    masks = ensemble.predict([file.getvalue(), b"no image"])
    assert masks[0].shape == images[1][0].shape
    assert np.isnan(masks[1])
