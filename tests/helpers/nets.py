"""A plain net that trains a tail, and callbacks that watch it."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_backbone
from skorch.callbacks import Callback
from torch import nn

from sktransfer.training.optim import make_optimizer, stage_groups


class Tail(nn.Module):
    """A backbone of three stages, dropout and a head."""

    def __init__(self, cut=0):
        super().__init__()
        self.backbone = tiny_backbone().truncate(3).freeze_to(2)
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(16, 3)
        self.cut = cut

    def forward(self, x):
        return self.head(self.dropout(self.backbone(x).mean((2, 3))))


class Net:
    """A net that keeps the contract: four batches an epoch, one of them to validate."""

    def __init__(self, callbacks, max_epochs=4, optimizer="sgd", cut=0):
        self.module_ = Tail(cut)
        groups = stage_groups(
            self.module_.backbone, self.module_.head, 0.1, layer_decay=0.5, weight_decay=0.1
        )
        self.optimizer_ = make_optimizer(optimizer, groups)
        self.callbacks = [callback.initialize() for callback in callbacks]
        self.max_epochs, self.n_steps_ = max_epochs, 3 * max_epochs
        self.step_ = self.epoch_ = 0

    def rng(self, *words):
        return np.random.default_rng([len(words), *map(int, words[1:])])

    def notify(self, event, **kwargs):
        for callback in self.callbacks:
            getattr(callback, event)(self, **kwargs)

    def batch(self, seed):
        rng = torch.Generator().manual_seed(seed)
        target = torch.eye(3)[torch.randint(3, (6,), generator=rng)]
        x = torch.randn(6, 3, 16, 16, generator=rng)
        return {"x": x, "target": target, "weight": torch.ones(6)}, target.argmax(1)

    def train_batch(self):
        batch = self.batch(self.step_)
        self.notify("on_batch_begin", batch=batch, training=True)
        self.module_.train()
        self.optimizer_.zero_grad()
        torch.manual_seed(self.step_)  # dropout
        losses = -(batch[0]["target"] * self.module_(batch[0]["x"]).log_softmax(1)).sum(1)
        (losses * batch[0]["weight"]).mean().backward()
        self.optimizer_.step()
        self.step_ += 1
        self.notify("on_batch_end", batch=batch, training=True)

    def fit(self, until=None):
        """Train up to an epoch; the last one by default."""
        self.notify("on_train_begin", X=None, y=None)
        for _ in range(self.epoch_, until or self.max_epochs):
            self.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
            for _ in range(3):
                self.train_batch()
            self.module_.eval()
            self.notify("on_batch_begin", batch=self.batch(99), training=False)
            self.notify("on_batch_end", batch=self.batch(99), training=False)
            self.epoch_ += 1
            self.notify("on_epoch_end", dataset_train=None, dataset_valid=None)
        if until is None:
            self.notify("on_train_end", X=None, y=None)
        return self

    def saved(self):
        state = {"module": self.module_.state_dict(), "optimizer": self.optimizer_.state_dict()}
        return deepcopy(state) | {"step": self.step_, "epoch": self.epoch_}

    def load(self, state):
        self.module_.load_state_dict(state["module"])
        self.optimizer_.load_state_dict(state["optimizer"])
        self.step_, self.epoch_ = state["step"], state["epoch"]
        return self


class Watch(Callback):
    """Keep what a function of the net gives, at an event."""

    def __init__(self, look, event="on_batch_begin", training=True):
        self.look = look
        self.event = event
        self.training = training

    def initialize(self):
        self.seen_ = []
        return self

    def on_batch_begin(self, net, training=False, **kwargs):
        if self.event == "on_batch_begin" and training == self.training:
            self.seen_.append(self.look(net))

    def on_batch_end(self, net, training=False, **kwargs):
        if self.event == "on_batch_end" and training == self.training:
            self.seen_.append(self.look(net))

    def on_epoch_end(self, net, **kwargs):
        if self.event == "on_epoch_end":
            self.seen_.append(self.look(net))


def settings_of(key):
    return lambda net: [group[key] for group in net.optimizer_.param_groups]


def weights_of(net):
    return {name: p.detach().clone() for name, p in net.module_.named_parameters()}


def assert_same(state, other):
    assert state.keys() == other.keys()
    assert [name for name in state if not torch.equal(state[name], other[name])] == []


# MixUp and CutMix


@pytest.fixture
def net():
    return Net([])
