"""A fit that was killed continues from its last epoch, and ends as one that was not."""

import os
import signal
import warnings
from time import sleep

import numpy as np
import pytest
import torch
from helpers.killed import assert_same_fit, killed_after
from helpers.kills import start
from helpers.tiny import tiny_backbone
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping

from sktransfer import FineTuneClassifier
from sktransfer.backbones import registry
from sktransfer.callbacks import MixUp, ModelEMA, Scheduled, Snapshots
from sktransfer.engines import choice
from sktransfer.schedules import Cosine
from sktransfer.training.checkpoint import FILE, Checkpoint


def read_state(root):
    """Return the state of the only fit in a folder of checkpoints, and leave it there."""
    (folder,) = root.iterdir()
    checkpoint = Checkpoint(root, folder.name.partition(".")[0])
    state = checkpoint.load()
    checkpoint.release()
    return state


def classifier(*callbacks, **parameters):
    defaults = {"max_epochs": 3, "freeze_epochs": 2, "head_init": "prior", "random_state": 0}
    return FineTuneClassifier(
        tiny_backbone, skorch_callbacks=list(callbacks), batch_size=8,
        **(defaults | parameters),
    )  # fmt: skip


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "extras",
    [
        {},
        {"early_stopping": True},
        {"optimizer": "sgd", "unfreeze_every": 1},
        {"lr_schedule": "sgdr", "unfreeze": 1, "dropout": 0.3},
    ],
    ids=["plain", "early stopping", "gradual", "sgdr"],
)
def test_a_killed_fit_ends_with_the_weights_of_one_that_was_not(photos, tmp_path, epoch, extras):
    whole = classifier(**extras).fit(*photos)
    model = classifier(**extras, checkpoint=tmp_path)
    with killed_after(epoch):
        model.fit(*photos)
    assert len(list(tmp_path.iterdir())) == 1
    assert_same_fit(model.fit(*photos), whole)
    assert list(tmp_path.iterdir()) == []  # the checkpoint of a finished fit is removed


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, set()), (3, {"layer2"})],
    ids=["head phase", "one stage"],
)
def test_a_checkpoint_has_no_tensor_that_did_not_move(photos, tmp_path, epoch, expected):
    model = classifier(unfreeze=1, early_stopping=True, checkpoint=tmp_path)
    with killed_after(epoch):
        model.fit(*photos)
    state = read_state(tmp_path)
    for weights in (state["tail"], state["callbacks"]["best"]["weights_"]):
        stages = {name.split(".")[2] for name in weights if name.startswith("backbone.")}
        assert stages <= expected
        assert {"head.weight", "head.bias"} <= weights.keys()
    assert {name.split(".")[2] for name in state["tail"] if name.startswith("back")} == expected


def test_the_weights_before_a_fit_are_copied_once(tmp_path):
    checkpoint, backbone = Checkpoint(tmp_path, "0" * 32), tiny_backbone()
    checkpoint.leave_out(backbone, None)
    first, second = (checkpoint.copy_weights(backbone) for _ in range(2))
    torch.testing.assert_close(first, backbone.state_dict())
    assert all(first[name] is second[name] for name in backbone.state_dict())
    with torch.no_grad():
        backbone.stages["stem"][0].weight.add_(1)
    third = checkpoint.copy_weights(backbone)
    assert {name for name in first if third[name] is not first[name]} == {"stages.stem.0.weight"}


class Changing:
    """A provider whose random weights are not a function of the seed."""

    scale = 1.0

    def names(self):
        return ["net"]

    def load(self, name, weights):
        backbone = tiny_backbone()
        with torch.no_grad():
            backbone.stages["stem"][0].weight.mul_(self.scale)
        return backbone


def test_a_fit_does_not_continue_with_other_weights(photos, tmp_path, monkeypatch):
    provider = Changing()
    monkeypatch.setitem(registry._registered, "changing", provider)

    def fit(**parameters):
        given = {"backbone": "changing/net", "weights": None} | parameters
        return classifier().set_params(**given).fit(*photos)

    with killed_after(3):
        fit(checkpoint=tmp_path)
    provider.scale = 2.0
    with pytest.warns(UserWarning, match=r"backbone must give the same weights in each call; "):
        resumed = fit(checkpoint=tmp_path)
    assert_same_fit(resumed, fit())


@pytest.mark.parametrize(
    "callbacks",
    [
        [ModelEMA(0.8), MixUp()],
        [Snapshots(every=1)],
        [Scheduled("weight_decay", Cosine())],
        [EarlyStopping("train_loss", patience=4)],
    ],
    ids=["average", "snapshots", "scheduled", "skorch"],
)
def test_callbacks_continue_with_what_they_had_learned(photos, tmp_path, callbacks):
    whole = classifier(*callbacks).fit(*photos)
    model = classifier(*callbacks, checkpoint=tmp_path)
    with killed_after(4):
        model.fit(*photos)
    model.fit(*photos)
    assert_same_fit(model, whole)
    np.testing.assert_array_equal(
        model.decision_function(photos[0]), whole.decision_function(photos[0])
    )


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("stop", ["own", "skorch"])
def test_a_killed_fit_does_not_wait_longer_for_an_improvement(photos, tmp_path, epoch, stop):
    X, y = photos[0], np.roll(photos[1], 7)
    callbacks = [EarlyStopping("train_loss", patience=3, threshold=10.0)]
    steady = {"fine_tune_lr": 0.05, "lr_schedule": "constant", "validation_fraction": 0.3}
    own = {"early_stopping": True, "n_iter_no_change": 3, **steady}
    extras = {"max_epochs": 12, "freeze_epochs": 0, **(own if stop == "own" else {})}
    callbacks = [] if stop == "own" else callbacks
    whole = classifier(*callbacks, **extras).fit(X, y)
    model = classifier(*callbacks, **extras, checkpoint=tmp_path)
    with killed_after(epoch):
        model.fit(X, y)
    assert_same_fit(model.fit(X, y), whole)


class Recording(Callback):
    """A callback that records an array in the history, and may have one as its state."""

    def __init__(self, kept):
        self.kept = kept

    def on_epoch_end(self, net, **kwargs):
        net.history.record("confusion", np.zeros((2, 2)))

    def state_dict(self):
        return {"kept": self.kept}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize("epoch", [1, 4])
def test_a_checkpoint_keeps_the_arrays_of_callbacks_and_of_the_history(photos, tmp_path, epoch):
    whole = classifier(Recording(np.zeros(2))).fit(*photos)
    model = classifier(Recording(np.zeros(2)), checkpoint=tmp_path)
    with killed_after(epoch):
        model.fit(*photos)
    assert_same_fit(model.fit(*photos), whole)
    assert all(row["confusion"].shape == (2, 2) for row in model.history_)


def test_a_callback_whose_state_holds_an_object_is_an_error(photos, tmp_path):
    with pytest.raises(TypeError, match="checkpoint must be None if the state of 'Recording'"):
        classifier(Recording(object()), checkpoint=tmp_path).fit(*photos)
    assert list(tmp_path.iterdir()) == []


class Counting(Callback):
    """A callback that counts in a number and an array, which a checkpoint keeps, and in a set."""

    def on_train_begin(self, net, **kwargs):
        self.plain_, self.array_, self.set_, self.add_ = 0, np.zeros(1), set(), np.add

    def on_epoch_end(self, net, **kwargs):
        self.plain_ += 1
        self.array_ = self.add_(self.array_, 1)
        self.set_ = self.set_ | {self.plain_}


def test_attributes_of_a_callback_that_a_checkpoint_loses_are_named_in_a_warning(photos, tmp_path):
    model = classifier(Counting(), checkpoint=tmp_path)
    warning = r"plain values; set_ of the callback 'Counting' will be lost"
    with pytest.warns(UserWarning, match=warning), killed_after(4):
        model.fit(*photos)
    with pytest.warns(UserWarning, match=warning):
        model.fit(*photos)
    counted = dict(model.net_.callbacks_)["Counting"]
    assert counted.plain_ == 3
    assert counted.array_.item() == 3
    assert counted.set_ == {3}


def test_a_value_of_the_history_that_a_checkpoint_loses_is_named_in_a_warning(photos, tmp_path):
    class Figure(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("figure", object())

    with pytest.warns(UserWarning, match="figure of the history will be lost"):
        model = classifier(Figure(), checkpoint=tmp_path).fit(*photos)
    assert type(model.history_[0]["figure"]) is object


def test_a_fit_without_a_seed_continues_with_the_one_it_drew(photos, tmp_path):
    model = classifier(checkpoint=tmp_path, random_state=None)
    with killed_after(4):
        model.fit(*photos)
    seed = read_state(tmp_path)["seed"]
    again = model.fit(*photos)

    class Drawn(np.random.RandomState):
        def randint(self, high):
            return seed

    assert_same_fit(again, classifier(random_state=Drawn()).fit(*photos))


@pytest.mark.parametrize("change", [{"max_epochs": 4}, {"random_state": 1}, {"dropout": 0.1}])
def test_other_parameters_are_another_fit(photos, tmp_path, change):
    model = classifier(checkpoint=tmp_path)
    with killed_after(4):
        model.fit(*photos)
    fresh = clone(model).set_params(**change).fit(*photos)
    assert_same_fit(fresh, classifier(**change).fit(*photos))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_fit_with_other_engines_installed_is_another_fit(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(choice.AUTO, torch.float32, ("onnxruntime",))
    monkeypatch.setattr(choice, "is_installed", lambda _: False)
    model = classifier(checkpoint=tmp_path)
    with killed_after(4):
        model.fit(*photos)
    monkeypatch.setattr(choice, "is_installed", lambda engine: engine.name == "onnxruntime")
    model.fit(*photos)
    assert len(list(tmp_path.iterdir())) == 1  # it did not resume the first one


def test_other_data_are_another_fit(photos, tmp_path):
    X, y = photos
    model = classifier(checkpoint=tmp_path)
    with killed_after(4):
        model.fit(X, y)
    X = X.copy()
    X[0, 0, 0, 0] ^= 1
    assert_same_fit(model.fit(X, y), classifier().fit(X, y))


def fit_for_long(photos, folder):
    """Fit with checkpoints, in a fork of this process: a new one would import torch."""
    warnings.simplefilter("ignore")  # torch 2.6 computes with one thread, and the package says so
    classifier(max_epochs=200, checkpoint=folder).fit(*photos)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # of os.fork
def test_a_process_killed_at_any_instant_leaves_a_whole_checkpoint(tmp_path, photos):
    pid = start(lambda: fit_for_long(photos, tmp_path))
    while not any(tmp_path.rglob(FILE)):
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        sleep(0.01)
    for _ in range(3):  # train some more epochs: the kill then comes in the middle of one
        before = next(tmp_path.rglob(FILE)).stat().st_mtime_ns
        while next(tmp_path.rglob(FILE)).stat().st_mtime_ns == before:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0)
            sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert read_state(tmp_path)["counters"][0] >= 1
