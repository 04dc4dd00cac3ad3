"""All callbacks: parameters, pickling, random generators, and use in a plain skorch net."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from helpers.nets import Net, Watch, assert_same, settings_of, weights_of
from skorch import NeuralNetClassifier
from skorch.dataset import ValidSplit
from torch import nn

from sktransfer.callbacks import (
    CutMix,
    GradualUnfreeze,
    MixUp,
    ModelEMA,
    Scheduled,
    Snapshots,
    StepCounter,
)
from sktransfer.schedules import SGDR, Cosine

ALL = [
    StepCounter(),
    Scheduled("lr", Cosine()),
    GradualUnfreeze(),
    ModelEMA(),
    MixUp(),
    CutMix(),
    Snapshots(every=1),
]


@pytest.mark.parametrize("callback", ALL[1:], ids=lambda callback: type(callback).__name__)
def test_training_changes_no_parameter_of_a_callback(callback):
    callback = deepcopy(callback)
    before = callback.get_params()
    Net([callback]).fit()
    assert callback.get_params() == before
    assert all(name.endswith("_") for name in vars(callback).keys() - before.keys())


@pytest.mark.parametrize("callback", ALL, ids=lambda callback: type(callback).__name__)
def test_a_callback_survives_pickling(callback):
    copy = pickle.loads(pickle.dumps(callback))
    assert (type(copy), copy.get_params()) == (type(callback), callback.get_params())


def test_no_callback_draws_from_the_global_generators():
    callbacks = [deepcopy(callback) for callback in ALL[1:]]
    net = Net(callbacks)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - is the claim
    net.notify("on_train_begin")
    net.notify("on_epoch_begin")
    net.notify("on_batch_begin", batch=net.batch(0), training=True)
    net.notify("on_batch_end", batch=net.batch(0), training=True)
    net.notify("on_epoch_end")
    net.notify("on_train_end")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002 - is the claim


def test_a_plain_skorch_net_can_use_all_callbacks():
    ema = ModelEMA(0.5)
    schedule = SGDR(1, 1)
    rates = Watch(settings_of("lr"))
    counts = Watch(lambda net: (net.step_, net.n_steps_, net.epoch_), "on_epoch_end")
    net = NeuralNetClassifier(
        nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5), nn.Softmax(1)),
        lr=0.1,
        max_epochs=3,
        batch_size=5,
        verbose=0,
        train_split=ValidSplit(2, stratified=True),
        callbacks=[
            StepCounter(),
            Scheduled("lr", schedule),
            Scheduled("dropout", Cosine()),
            Snapshots(schedule),
            ema,
            rates,
            counts,
        ],
    )
    X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    net.fit(X, np.arange(40) % 2)
    assert counts.seen_ == [(4, 12, 1), (8, 12, 2), (12, 12, 3)]
    bound = schedule.over(3)
    assert np.ravel(rates.seen_) == pytest.approx([0.1 * bound(i / 11) for i in range(12)])
    assert_same(weights_of(net), ema.average_)
    assert len(dict(net.callbacks_)["Snapshots"].snapshots_) == 3
    assert net.module_[1].p == 0.5
    assert net.predict(X).shape == (40,)
