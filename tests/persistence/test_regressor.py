"""A loaded regressor gives the same bits as the saved one, and its file is checked."""

import numpy as np
import pandas as pd
import pytest
from helpers.saved import parts, replaced, write
from sklearn.linear_model import Ridge

from sktransfer import FineTuneRegressor
from sktransfer.persistence import load, save

REFUSED = (
    r"must be a complete file written by sktransfer.save: .*(task|Regression|array|criterion|name)"
)


@pytest.fixture
def make_regressor(images):
    def made(y=tuple(range(12)), **parameters):
        parameters = {"backbone": "tiny/net", "max_epochs": 1, "random_state": 0} | parameters
        return FineTuneRegressor(**parameters).fit(images, y)

    return made


@pytest.mark.parametrize("shape", [(12,), (12, 1), (12, 3)])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_a_loaded_regressor_predicts_the_same_bits(make_regressor, images, path, shape, loss):
    y = np.linspace(-3, 1e6, int(np.prod(shape))).reshape(shape)
    model = make_regressor(y, loss=loss, unfreeze=1)
    save(model, path)
    loaded = load(path)
    assert type(loaded) is FineTuneRegressor
    assert loaded.predict(images).shape == shape
    np.testing.assert_array_equal(loaded.predict(images), model.predict(images))
    np.testing.assert_array_equal(loaded.transform(images), model.transform(images))
    assert loaded.score(images, y) == model.score(images, y)
    assert repr(loaded.get_params()) == repr(model.get_params())
    assert repr(loaded.history_) == repr(model.history_)
    assert loaded.task_.criterion == loss


@pytest.mark.parametrize("points", [False, True])
def test_a_loaded_regressor_knows_the_names_of_its_columns(make_regressor, path, points):
    table = pd.DataFrame({"left": np.arange(12.0), "right": np.arange(12.0) ** 0.5})
    save(make_regressor(table, points=points, max_epochs=0), path)
    assert load(path).task_.names == ("left", "right")


def test_a_regressor_of_scikit_learn_is_left_out_of_the_file(make_regressor, images, path):
    model = make_regressor(head_init=Ridge(1))
    with pytest.warns(UserWarning, match="head_init"):
        save(model, path)
    np.testing.assert_array_equal(load(path).predict(images), model.predict(images))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["mean"], {"!": "array", "of": ["<f8", [0.0, 1.0]]}),
        (["mean"], {"!": "array", "of": ["<f8", []]}),
        (["mean"], {"!": "array", "of": ["<U1", ["a"]]}),
        (["scale"], {"!": "array", "of": ["<f8", [0.0]]}),
        (["scale"], {"!": "array", "of": ["<f8", [{"!": "float", "of": "nan"}]]}),
        (["scale"], 3),
        (["criterion"], "hinge"),
        (["is_flat"], 1),
        (["names"], ["a"]),
        (["names"], {"!": "tuple", "of": ["a", "b"]}),
        (["names"], {"!": "tuple", "of": [1]}),
    ],
    ids=str,
)
def test_a_task_that_no_fit_gives_is_not_loaded(make_regressor, path, where, value):
    save(make_regressor(), path)
    description, tensors = parts(path)
    write(path, replaced(description, ["parts", "task", *where], value), tensors)
    with pytest.raises(ValueError, match=REFUSED):
        load(path)


def test_the_task_of_a_classifier_is_not_that_of_a_regressor(make_regressor, make, tmp_path):
    for name, model in (("a", make_regressor()), ("b", make(unfreeze=0))):
        save(model, tmp_path / f"{name}.safetensors")
    number, tensors = parts(tmp_path / "a.safetensors")
    label, _ = parts(tmp_path / "b.safetensors")
    number["parts"]["task"] = label["parts"]["task"]
    write(tmp_path / "a.safetensors", number, tensors)
    with pytest.raises(ValueError, match=REFUSED):
        load(tmp_path / "a.safetensors")
