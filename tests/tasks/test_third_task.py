"""A third task is one new file: this one trains, continues, pickles, saves and shares a head."""

import pickle
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from helpers.killed import assert_same_fit, killed_after
from helpers.provider import TinyProvider
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold, cross_val_score

from sktransfer import FineTuneClassifier, load, save
from sktransfer.backbones import registry
from sktransfer.estimators._base import FineTuneEstimator
from sktransfer.estimators._callbacks import with_callbacks
from sktransfer.persistence import codec, rules, schema
from sktransfer.tasks import Task
from sktransfer.training.net import TailNet


@dataclass(frozen=True)
class Counting:
    """A count for each item: one output, squared error, rounded."""

    n_outputs: int = 1

    def encode(self, y, n_items, name="y"):
        return np.asarray(y, float).reshape(n_items, 1)

    def decode(self, values):
        return values[:, 0].astype(int)

    def weigh(self, targets, class_weight):
        return targets

    def narrow(self, targets, name="y"):
        return self, targets

    def scaled(self, targets, train):
        return self, targets

    def strata(self, targets, n_most):
        return None

    def initial_bias(self, targets):
        return np.average(targets.values, 0, targets.weight)

    def exact_model(self, gentle):
        return Ridge(0.01)

    def exact_head(self, model, features, targets):
        fitted = clone(model).fit(features, targets.values, targets.weight)
        return fitted.coef_, fitted.intercept_

    def smooth(self, target, amount):
        return target

    def loss(self, outputs, target):
        return (outputs - target).square().sum(1)

    def correct(self, outputs, target):
        return (outputs[:, 0].round() == target[:, 0]).to(target.dtype)

    def finish(self, outputs):
        return outputs

    def decide(self, outputs):
        return outputs[:, 0].round().astype(int)

    def score(self, predicted, y, sample_weight=None):
        return accuracy_score(y, predicted, sample_weight=sample_weight)

    def score_columns(self, predicted, y, sample_weight=None):
        return np.array([self.score(predicted, y, sample_weight)])


class CountRegressor(FineTuneEstimator):
    """An estimator of counts, with the parameters of the classifier."""

    __init__ = FineTuneClassifier.__init__

    @with_callbacks
    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None):
        return self._fit(X, y, sample_weight=sample_weight, X_val=X_val, y_val=y_val)

    def score(self, X, y, sample_weight=None):
        return self.task_.score(self.predict(X), y, sample_weight)

    def _find_task(self, y, n_items):
        return Counting()


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """A file names its backbone, its estimator and its task; a new task adds its own."""
    monkeypatch.setitem(registry._registered, "tiny", TinyProvider())
    monkeypatch.setitem(schema.CLASSES, "CountRegressor", CountRegressor)
    monkeypatch.setitem(schema.PARTS, "CountRegressor", rules.anything)
    monkeypatch.setitem(codec.FORMS, "Counting", codec._of_fields(Counting))


@pytest.fixture
def data(rng):
    """48 images with 0 to 3 bright bars of 5 rows, and the number of bars."""
    y = np.arange(48) % 4
    X = rng.integers(0, 40, (48, 16, 16, 3), dtype=np.uint8)
    for image, count in zip(X, y, strict=True):
        image[: 5 * count] += 200
    return X, y


def counter(**parameters):
    defaults = {"max_epochs": 2, "batch_size": 8, "augment": None, "random_state": 0}
    return CountRegressor("tiny/net", **(defaults | parameters))


def test_a_third_task_has_every_name_of_the_protocol():
    names = [name for name in vars(Task) if not name.startswith("_")]
    assert len(names) == 17
    assert all(hasattr(Counting(), name) for name in names)


@pytest.mark.parametrize("unfreeze", [0, 1, "all"])
def test_a_third_task_is_learned(data, unfreeze):
    X, y = data
    model = counter(unfreeze=unfreeze).fit(X[:32], y[:32])
    assert model.score(X[32:], y[32:]) > 0.9
    assert model.predict(X).dtype.kind == "i"
    assert model.transform(X).shape == (48, 16)
    assert model.task_ == Counting()


def test_a_third_task_lowers_its_loss_by_gradient_steps(data):
    model = counter(head_init="prior", fine_tune_lr=0.01, max_epochs=6).fit(*data)
    losses = [row["train_loss"] for row in model.history_]
    assert losses[0] < np.var(data[1])  # the loss of the prior, which is the mean
    assert losses[-1] < 0.5 * losses[0]


def test_a_third_task_has_validation_scores_without_strata(data):
    model = counter(early_stopping=True, validation_fraction=0.25).fit(*data)
    assert all(0 <= row["valid_score"] <= 1 for row in model.history_)
    assert model.best_epoch_ is not None


def test_a_third_task_works_in_cross_validation(data):
    scores = cross_val_score(counter(unfreeze=0), *data, cv=KFold(3), error_score="raise")
    assert scores.min() > 0.8


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_fit_of_a_third_task_continues_from_its_checkpoint(data, tmp_path, epoch):
    extras = {"head_init": "prior", "freeze_epochs": 1, "dropout": 0.3}
    whole = counter(**extras).fit(*data)
    model = counter(**extras, checkpoint=tmp_path)
    with killed_after(epoch):
        model.fit(*data)
    assert_same_fit(model.fit(*data), whole)


def test_a_pickle_of_a_third_task_predicts_the_same_bits(data):
    model = counter().fit(*data)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again._outputs(data[0]), model._outputs(data[0]))
    assert again.task_ == model.task_


def test_a_saved_third_task_predicts_the_same_bits(data, tmp_path):
    model = counter(unfreeze=1).fit(*data)
    save(model, tmp_path / "counter.safetensors")
    again = load(tmp_path / "counter.safetensors")
    assert type(again) is CountRegressor
    assert again.task_ == model.task_
    assert_array_equal(again._outputs(data[0]), model._outputs(data[0]))


@pytest.mark.parametrize("head_init", ["auto", "prior"])
def test_two_fits_of_a_third_task_share_a_head(data, tmp_path, monkeypatch, head_init):
    done = Counter()
    solve, train_step = Ridge.fit, TailNet.train_step_single

    def counted_solve(self, *args, **kwargs):
        done["solve"] += 1
        return solve(self, *args, **kwargs)

    def counted_step(net, *args, **kwargs):
        done[net.phase] += 1
        return train_step(net, *args, **kwargs)

    monkeypatch.setattr(Ridge, "fit", counted_solve)
    monkeypatch.setattr(TailNet, "train_step_single", counted_step)
    model = counter(head_init=head_init, freeze_epochs=2, unfreeze=1, cache=tmp_path)
    one, other = clone(model).fit(*data), clone(model).fit(*data)
    assert done["solve"] == (1 if head_init == "auto" else 0)
    assert done["head"] == 2 * 6  # the steps of the first fit
    assert done["fine-tune"] == 2 * 2 * 6  # the steps of both
    assert_same_fit(one, other)
