"""Files that somebody crafted raise one kind of error, or load to a model that works."""

import warnings

import pytest
from helpers.saved import mutate, parts, write
from sklearn.base import clone

from sktransfer import SnapshotEnsemble, Views
from sktransfer.persistence import load, save


@pytest.fixture(params=["classifier", "multi-label", "snapshot", "extractor", "statistics"])
def model(request, make, extractor, images):
    """A fitted model of each kind."""
    if request.param == "classifier":
        return make(unfreeze=1, head="mlp", augment=Views(n=2), tta=1, early_stopping=True)
    if request.param == "multi-label":
        return make([[1, 0, 1], [0, 1, 1], [0, 0, 0]] * 4, unfreeze=0)
    if request.param == "snapshot":
        classifier = clone(make(unfreeze=0)).set_params(unfreeze=1)
        return SnapshotEnsemble(classifier, every=1).fit(images, list("abc" * 4)).estimators_[0]
    if request.param == "statistics":
        return clone(extractor).set_params(batch_norm="both").fit(images)
    return extractor


def use(model, images):
    """Call everything that reads the result of a fit."""
    model.transform(images[:2])
    if hasattr(model, "predict"):
        model.predict(images[:2])
        model.history_.to_frame()
        model.report_.to_frame()
    assert repr(clone(model)) == repr(model)
    assert len(model.get_feature_names_out()) == model.transform(images[:2]).shape[1]


def load_or_error(path):
    """Return a loaded model, or the error of a file that is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other versions
        try:
            return load(path)
        except Exception as error:  # noqa: BLE001 - its class is tested
            return error


def test_mutants_raise_one_kind_of_error_or_work(model, images, path):
    save(model, path)
    whole, n_loaded = path.read_bytes(), 0
    for seed in range(60):
        path.write_bytes(whole)
        description, tensors = parts(path)
        write(path, mutate(description, tensors, seed), tensors)
        found = load_or_error(path)
        if isinstance(found, Exception):
            assert type(found) is ValueError
            assert str(found).startswith(f"{str(path)!r} must ")
        else:
            use(found, images)
            n_loaded += 1
    assert 0 < n_loaded < 40
