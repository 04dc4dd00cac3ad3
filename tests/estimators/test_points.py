"""FineTuneRegressor with points."""

from io import BytesIO

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers.points import square_images
from helpers.tiny import tiny_backbone
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.model_selection import cross_val_score

from sktransfer import FineTuneRegressor, SnapshotEnsemble, Views, load, save

ORIENTATION = 0x0112  # the EXIF tag


def regressor(backbone="builtin/mini", **parameters):
    how = {"image_size": 32, "pooling": "flatten", "max_epochs": 2, "random_state": 0, "verbose": 0}
    how |= {"preset": {"crop": None}, "points": True}
    return FineTuneRegressor(backbone, **(how | parameters))


@pytest.fixture(scope="module")
def images():
    return square_images(60)


@pytest.fixture(scope="module")
def model(images):
    return regressor(max_epochs=4, augment="light", flip_pairs=[]).fit(*images)


def distance(found, true):
    return np.linalg.norm(found - true, axis=2).mean()


def test_points_are_predicted_in_pixels_of_items_of_any_size(model, images):
    X, y = square_images(30, seed=1)
    found = model.predict(X)
    assert found.shape == y.shape
    mean_shape = np.broadcast_to(images[1].mean(0), y.shape)
    assert distance(found, y) < 0.7 * distance(mean_shape, y)
    assert model.score(X, y) > 0.5


def test_training_keeps_a_head_of_many_inputs_near_its_exact_start(images):
    how = {"image_size": 96, "unfreeze": 0}
    start, trained = (regressor(max_epochs=n, **how).fit(*images) for n in (0, 2))
    assert trained.head_.in_features > 10_000
    X, y = square_images(30, seed=1)
    assert distance(trained.predict(X), y) < 1.1 * distance(start.predict(X), y)


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_the_orientation_of_a_file_does_not_matter(model, images, orientation):
    image, point = images[0][0], images[1][0]
    plain, turned = BytesIO(), BytesIO()
    Image.fromarray(image).save(plain, "PNG")
    # The stored pixels of the file, which its orientation turns upright
    back = {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
    }
    stored = Image.fromarray(image).transpose(back[orientation])
    exif = stored.getexif()
    exif[ORIENTATION] = orientation
    stored.save(turned, "PNG", exif=exif)
    upright, found = model.predict([plain.getvalue(), turned.getvalue()])
    height, width = image.shape[:2]
    expected = {
        3: lambda x, y: (width - 1 - x, height - 1 - y),
        6: lambda x, y: (y, width - 1 - x),
        7: lambda x, y: (height - 1 - y, width - 1 - x),
    }[orientation]
    np.testing.assert_allclose(found, [expected(*each) for each in upright], atol=1e-3)
    assert point.shape == found[0:2].shape


@pytest.mark.parametrize(
    "how",
    [
        {"augment": None},
        {"augment": "standard"},
        {"augment": "trivial", "flip_pairs": [(0, 1)]},
        {"augment": Views("light", 2), "unfreeze": 1},
        {"augment": Views("light", 2), "unfreeze": "all"},
        {"augment": Views("light", 2), "unfreeze": 0},
        {"max_epochs": 0},
        {"loss": "huber", "early_stopping": True},
    ],
)
def test_hidden_points_have_no_say(how):
    X, y = square_images(20)
    y[:3, 0] = np.nan
    fitted = regressor(tiny_backbone, **how).fit(X, y)
    assert np.isfinite(fitted.predict(X)).all()
    assert np.isfinite([row["train_loss"] for row in fitted.history_]).all()


def test_a_table_of_points_gives_the_points_of_an_array(images):
    X, y = images
    table = regressor(tiny_backbone).fit(X, y.reshape(len(y), -1)).predict(X)
    array = regressor(tiny_backbone).fit(X, y).predict(X)
    np.testing.assert_array_equal(table, array.reshape(len(y), -1))


@pytest.mark.parametrize(("flip_pairs", "flips"), [(None, False), ([], True), ([(0, 1)], True)])
def test_only_pairs_allow_flips(images, flip_pairs, flips, monkeypatch):
    from sktransfer.data.augmentation import Augmentation

    seen = []
    placed = Augmentation.placed

    def record(self, item, seed):
        found = placed(self, item, seed)
        seen.append(found.place.is_mirrored)
        return found

    monkeypatch.setattr(Augmentation, "placed", record)
    regressor(tiny_backbone, augment="light", flip_pairs=flip_pairs).fit(*images)
    assert len(seen) >= 2 * len(images[0])
    assert any(seen) == flips


def test_saved_and_pickled_models_predict_the_same_points(model, tmp_path):
    X, _ = square_images(4, seed=2)
    save(model, tmp_path / "model.safetensors")
    joblib.dump(model, tmp_path / "model.joblib")
    for again in (load(tmp_path / "model.safetensors"), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert again.task_.pairs == ()


def test_folds_and_snapshots_work_with_points(images):
    X, y = images
    small = regressor(tiny_backbone, max_epochs=1)
    assert np.isfinite(cross_val_score(clone(small), X, y, cv=2)).all()
    ensemble = SnapshotEnsemble(small.set_params(max_epochs=2), every=1).fit(X, y)
    assert ensemble.predict(X).shape == y.shape


def test_a_killed_fit_with_points_is_resumed_to_the_same_points(images, tmp_path):
    class Killed(Exception):  # noqa: N818 - it is raised to end a fit
        pass

    from skorch.callbacks import Callback

    class Kill(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2 and not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                raise Killed

    X, y = images
    how = {"augment": "light", "flip_pairs": [(0, 1)], "max_epochs": 3}
    model = regressor(tiny_backbone, checkpoint=tmp_path / "fit", skorch_callbacks=[Kill()], **how)
    with pytest.raises(Killed):
        model.fit(X, y)
    resumed = model.fit(X, y)
    whole = regressor(tiny_backbone, **how).fit(X, y)
    np.testing.assert_array_equal(resumed.predict(X), whole.predict(X))


def test_an_item_that_cannot_be_decoded_has_no_points(model):
    X, _ = square_images(2)
    files = []
    for image in X:
        file = BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    lenient = clone(model).set_params(decode_error="ignore")
    lenient._fitted = model._fitted
    found = lenient.predict([files[0], b"broken", files[1]])
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"augment": lambda image: image}, "augment must be None, a name, or Views of a name"),
        ({"tta": 2}, "tta must be 0 if points is True; got 2"),
        ({"points": False, "flip_pairs": []}, "flip_pairs must be None if points is False"),
        ({"points": "yes"}, "points must be one of False, True; got 'yes'"),
    ],
)
def test_an_invalid_parameter_is_named(images, how, message):
    with pytest.raises(ValueError, match=message):
        regressor(tiny_backbone, **how).fit(*images)


def test_points_outside_are_named_with_their_items():
    X, y = square_images(4)
    y[2, 1] = (500, 3)
    with pytest.raises(ValueError, match=r"y\[2\]: point 1 at \(500\.0, 3\.0\)"):
        regressor(tiny_backbone).fit(X, y)
    good = square_images(4)[1]
    with pytest.raises(ValueError, match=r"y_val\[2\]: point 1"):
        regressor(tiny_backbone).fit(X, good, X_val=X, y_val=y)


def test_points_of_validation_items_are_named_although_one_cannot_be_decoded(tmp_path):
    X, y = square_images(4)
    paths = [str(tmp_path / f"{at}.png") for at in range(4)]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = [str(tmp_path / "broken.png"), *paths[1:]]
    other = y.copy()
    other[2, 1] = (500, 3)
    with pytest.raises(ValueError, match=r"y_val\[2\]: point 1"):
        regressor(tiny_backbone, decode_error="ignore").fit(paths, y, X_val=broken, y_val=other)


def test_points_of_pandas_may_be_missing_as_na():
    X, y = square_images(6)
    table = pd.DataFrame(y.reshape(6, -1)).astype("Float64")
    table.iloc[0, 0] = pd.NA
    expected = y.reshape(6, -1).copy()
    expected[0, 0] = np.nan
    found = [regressor(tiny_backbone).fit(X, each).predict(X) for each in (table, expected)]
    assert np.array_equal(*found)


def test_the_score_of_one_item_is_not_defined():
    X, y = square_images(6)
    model = regressor(tiny_backbone).fit(X, y)
    with pytest.warns(UndefinedMetricWarning, match="no point is visible in two items"):
        assert np.isnan(model.score(X[:1], y[:1]))
