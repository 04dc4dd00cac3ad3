"""Callbacks are pure functions of epoch and step, and leave alone what is not theirs."""

import pickle
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from tiny import tiny_backbone
from torch import nn

from sktransfer.callbacks import (
    CutMix,
    GradualUnfreeze,
    MixUp,
    ModelEMA,
    Scheduled,
    Snapshots,
    Steps,
)
from sktransfer.optim import make_optimizer, stage_groups
from sktransfer.schedules import SGDR, Cosine, OneCycle

ALL = [
    Steps(),
    Scheduled("lr", Cosine()),
    GradualUnfreeze(),
    ModelEMA(),
    MixUp(),
    CutMix(),
    Snapshots(every=1),
]


class Tail(nn.Module):
    """A backbone of three stages, dropout and a head."""

    def __init__(self, start=0):
        super().__init__()
        self.backbone = tiny_backbone().truncate(3).freeze_to(2)
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(16, 3)
        self.start = start

    def forward(self, x):
        return self.head(self.dropout(self.backbone(x).mean((2, 3))))


class Net:
    """A net that keeps the contract: four batches an epoch, one of them to validate."""

    def __init__(self, callbacks, max_epochs=4, optimizer="sgd", start=0):
        self.module_ = Tail(start)
        groups = stage_groups(self.module_.backbone, self.module_.head, 0.1, 0.5, weight_decay=0.1)
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


# All of them


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


def test_nothing_draws_from_the_global_generators():
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


def test_a_plain_skorch_net_can_have_them():
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
            Steps(),
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


# Scheduled


@pytest.mark.parametrize("schedule", [Cosine(0.1), OneCycle(), lambda progress: 1 - progress / 2])
@pytest.mark.parametrize("setting", ["lr", "weight_decay"])
def test_each_group_has_its_base_times_the_factor(setting, schedule):
    watch = Watch(settings_of(setting))
    net = Net([Scheduled(setting, schedule), watch])
    bases = settings_of(setting)(net)
    net.fit()
    assert len(watch.seen_) == 12
    for step, values in enumerate(watch.seen_):
        assert values == pytest.approx([base * schedule(step / 11) for base in bases])


def test_a_schedule_in_epochs_learns_those_of_the_phase():
    watch = Watch(settings_of("lr"))
    callback = Scheduled("lr", "sgdr")
    Net([callback, watch], max_epochs=7).fit()
    assert callback.schedule_ == SGDR(n_epochs=7)
    rates = [values[-1] for values in watch.seen_]
    assert [step for step in range(1, 21) if rates[step] > rates[step - 1]] == [3, 9]


@pytest.mark.parametrize(
    ("optimizer", "read"),
    [
        ("sgd", lambda net: net.optimizer_.param_groups[0]["momentum"]),
        ("adamw", lambda net: net.optimizer_.param_groups[0]["betas"][0]),
    ],
)
def test_momentum_is_what_the_optimizer_has_of_it(optimizer, read):
    watch, schedule = Watch(read), OneCycle().companions["momentum"]
    net = Net([Scheduled("momentum", schedule), watch], optimizer=optimizer)
    net.fit()
    assert watch.seen_ == pytest.approx([0.9 * schedule(step / 11) for step in range(12)])
    if optimizer == "adamw":
        assert {group["betas"][1] for group in net.optimizer_.param_groups} == {0.999}


def test_dropout_layers_have_their_own_probability_back_in_the_end():
    watch = Watch(lambda net: net.module_.dropout.p)
    net = Net([Scheduled("dropout", Cosine()), watch]).fit()
    assert watch.seen_ == pytest.approx([0.4 * Cosine()(step / 11) for step in range(12)])
    assert net.module_.dropout.p == 0.4


@pytest.mark.parametrize("setting", ["lr", "momentum", "weight_decay", "dropout"])
def test_a_resumed_fit_does_not_scale_twice(setting):
    def look(net):
        keys = ("lr", "momentum", "weight_decay")
        groups = net.optimizer_.param_groups
        return [[group[key] for key in keys] for group in groups], net.module_.dropout.p

    whole = Watch(look)
    Net([Scheduled(setting, Cosine()), whole]).fit()
    first, second = Watch(look), Watch(look)
    saved = Net([Scheduled(setting, Cosine()), first]).fit(until=2).saved()
    Net([Scheduled(setting, Cosine()), second]).load(saved).fit()
    assert first.seen_ + second.seen_ == whole.seen_


def test_a_second_phase_over_the_same_optimizer_starts_from_the_bases():
    watch = Watch(settings_of("lr"))
    net = Net([Scheduled("lr", Cosine()), watch]).fit()
    net.step_ = net.epoch_ = 0
    net.fit()
    assert watch.seen_[:12] == watch.seen_[12:]


@pytest.mark.parametrize(("step", "n_steps"), [(0, 1), (0, 0), (30, 12)])
def test_progress_stays_between_0_and_1(step, n_steps):
    seen = []
    net = Net([Scheduled("lr", lambda progress: seen.append(progress) or 1.0)])
    net.step_, net.n_steps_ = step, n_steps
    net.notify("on_train_begin")
    net.notify("on_batch_begin", training=True)
    assert seen == [min(1, step)]


@pytest.mark.parametrize(
    ("callback", "error", "message"),
    [
        (Scheduled("rate", Cosine()), ValueError, r"setting must be one of 'lr', .*; got 'rate'\."),
        (Scheduled("lr", "cosin"), ValueError, r"schedule must be one of .*mean 'cosine'\?"),
        (Scheduled("lr", 0.5), TypeError, r"schedule must be a name, .*; got 0\.5\."),
        (GradualUnfreeze(0), ValueError, r"every must be an integer of at least 1; got 0\."),
        (GradualUnfreeze(stop=-1), ValueError, r"stop must be an integer of at least 0; got -1\."),
        (ModelEMA(1), ValueError, r"decay must be a number in \[0, 1\); got 1\."),
        (MixUp(0), ValueError, r"alpha must be a number in \(0, inf\); got 0\."),
        (CutMix(-1), ValueError, r"alpha must be a number in \(0, inf\); got -1\."),
        (Snapshots(), ValueError, r"either schedule or every; got schedule=None, every=None\."),
        (Snapshots("sgdr", 2), ValueError, r"either .*; got schedule='sgdr', every=2\."),
        (Snapshots("sgd"), ValueError, r"schedule must be one of .*; got 'sgd'\."),
        (Snapshots(every=0), ValueError, r"every must be an integer of at least 1.*; got 0\."),
        (Snapshots(every=1, most=0), ValueError, r"most must be an integer of at least 1; got 0\."),
    ],
)
def test_a_wrong_parameter_is_named_before_training(callback, error, message):
    with pytest.raises(error, match=message):
        callback.initialize()


def test_an_optimizer_without_momentum_has_none_to_drive():
    net = Net([Scheduled("momentum", Cosine())], optimizer=torch.optim.Adagrad).fit()
    assert not any("momentum" in key for group in net.optimizer_.param_groups for key in group)


def test_a_setting_that_the_optimizer_lacks_is_named():
    net = Net([Scheduled("weight_decay", Cosine())])
    net.optimizer_ = torch.optim.Rprop(net.module_.parameters())
    with pytest.raises(ValueError, match=r"setting must be one that Rprop has; got 'weight_decay'"):
        net.fit()


def test_a_net_without_dropout_is_told_so():
    net = Net([Scheduled("dropout", Cosine())])
    net.module_.dropout = nn.Identity()
    with pytest.raises(ValueError, match=r"must find a dropout layer; the net has none\."):
        net.fit()


# GradualUnfreeze


@pytest.mark.parametrize(
    ("callback", "start", "cuts"),
    [
        (GradualUnfreeze(), 0, [2, 1, 0, 0, 0]),
        (GradualUnfreeze(every=2), 0, [2, 2, 1, 1, 0]),
        (GradualUnfreeze(stop=1), 0, [2, 1, 1, 1, 1]),
        (GradualUnfreeze(), 2, [2, 2, 2, 2, 2]),
        (GradualUnfreeze(stop=1), 2, [2, 2, 2, 2, 2]),
        (GradualUnfreeze(), 3, [3, 3, 3, 3, 3]),
        (GradualUnfreeze(stop=9), 0, [3, 3, 3, 3, 3]),
    ],
)
def test_stages_thaw_from_the_last_one_never_before_the_prefix(callback, start, cuts):
    watch = Watch(lambda net: net.module_.backbone.cut)
    Net([callback, watch], max_epochs=5, start=start).fit()
    assert watch.seen_[::3] == cuts


def test_the_cut_is_a_function_of_the_epoch_alone():
    net = Net([GradualUnfreeze()])
    net.epoch_ = 1
    net.notify("on_epoch_begin")
    assert net.module_.backbone.cut == 1


# ModelEMA


def test_the_average_follows_the_formula():
    ema, weights = ModelEMA(0.6), Watch(weights_of, "on_batch_end")
    Net([ema, weights]).fit()
    average = weights.seen_[0]["head.weight"]
    for step, seen in enumerate(weights.seen_[1:], start=2):
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * seen["head.weight"]
    torch.testing.assert_close(ema.average_["head.weight"], average)


def test_averages_are_validated_and_left_in_the_end_and_training_does_not_notice():
    ema = ModelEMA(0.9)
    train, valid = Watch(weights_of, "on_batch_end"), Watch(weights_of, training=False)
    at_end = Watch(weights_of, "on_epoch_end")
    net = Net([ema, train, valid, at_end]).fit()
    alone = Watch(weights_of, "on_batch_end")
    Net([alone]).fit()
    for seen, expected in zip(train.seen_, alone.seen_, strict=True):
        assert_same(seen, expected)
    for seen, expected in zip(valid.seen_, at_end.seen_, strict=True):
        assert_same(seen, expected)
    assert not torch.equal(valid.seen_[0]["head.weight"], train.seen_[2]["head.weight"])
    assert_same({k: v for k, v in weights_of(net).items() if k in ema.average_}, ema.average_)
    assert ema.aside_ == {}


def test_what_is_frozen_is_not_averaged():
    ema = ModelEMA()
    before = weights_of(Net([]))
    net = Net([ema]).fit()
    trained = {name for name, p in net.module_.named_parameters() if p.requires_grad}
    assert ema.average_.keys() == trained
    after = weights_of(net)
    frozen = before.keys() - trained
    assert_same({name: after[name] for name in frozen}, {name: before[name] for name in frozen})


def test_what_thaws_later_is_averaged_from_then_on():
    ema, sizes = ModelEMA(), Watch(lambda net: len(net.callbacks[1].average_), "on_batch_end")
    Net([GradualUnfreeze(), ema, sizes], max_epochs=3).fit()
    assert sizes.seen_[::3] == [6, 10, 14]  # a head, and four parameters a stage


def test_batch_statistics_are_those_of_the_last_step():
    norm = Net([ModelEMA()]).fit().module_.backbone.stages["layer2"][1]
    expected = Net([]).fit().module_.backbone.stages["layer2"][1]
    assert torch.equal(norm.running_mean, expected.running_mean)


def test_without_validation_the_averages_are_there_at_the_end_of_an_epoch():
    ema = ModelEMA(0.9)
    net = Net([ema])
    net.notify("on_train_begin")
    net.notify("on_epoch_begin")
    net.train_batch()
    net.train_batch()
    raw = weights_of(net)
    net.notify("on_epoch_end")
    assert torch.equal(net.module_.head.weight, ema.average_["head.weight"])
    net.notify("on_epoch_begin")
    assert_same(weights_of(net), raw)


def test_an_average_resumes_where_it_was():
    whole = Net([ModelEMA(0.9)]).fit()
    first = ModelEMA(0.9)
    saved = Net([first]).fit(until=2).saved()
    state, second = pickle.loads(pickle.dumps(first.state_dict())), ModelEMA(0.9)
    resumed = Net([second]).load(saved)
    second.load_state_dict(state)
    assert_same(resumed.fit().module_.state_dict(), whole.module_.state_dict())


def test_a_new_phase_forgets_the_average_of_the_last():
    ema = ModelEMA(0.9)
    ema.load_state_dict({"average": {"head.bias": torch.full((3,), 9.0)}, "aside": {}})
    net = Net([ema])
    net.notify("on_train_begin")
    assert ema.state_dict() == {"average": {}, "aside": {}}


def test_a_saved_average_does_not_move_with_training():
    ema = ModelEMA(0.9)
    net = Net([ema]).fit(until=1)
    state = ema.state_dict()
    before = deepcopy(state)
    net.fit()
    assert_same(state["average"], before["average"])
    assert_same(state["aside"], before["aside"])


# MixUp and CutMix


@pytest.fixture
def net():
    return Net([])


def mixed(callback, net, X, training=True):
    """A copy of the batch, as the callback left it."""
    X = dict(X)
    callback.initialize().on_batch_begin(net, batch=(X, None), training=training)
    return X


def soft_batch(shape=(6, 3, 8, 8), weight=None):
    rng = torch.Generator().manual_seed(1)
    target = torch.rand(shape[0], 4, generator=rng, dtype=torch.float64)
    weight = torch.ones(shape[0], dtype=torch.float64) if weight is None else weight
    return {"x": torch.randn(shape, generator=rng), "target": target, "weight": weight}


@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 5), (6, 7, 4), (1, 3, 8, 8)])
def test_mixup_is_the_formula_of_the_paper(net, shape):
    X, rng = soft_batch(shape), net.rng("mixup", 0)
    share, order = rng.beta(0.4, 0.4), rng.permutation(shape[0])
    result = mixed(MixUp(0.4), net, X)
    torch.testing.assert_close(result["x"], share * X["x"] + (1 - share) * X["x"][order])
    expected = share * X["target"] + (1 - share) * X["target"][order]
    torch.testing.assert_close(result["target"], expected)
    assert result["weight"].tolist() == pytest.approx([1] * shape[0])
    assert [value.dtype for value in result.values()] == [value.dtype for value in X.values()]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_collage_holds_a_box_of_another_item_and_its_share_of_the_target(net, layout):
    if layout == "NHWC":
        net.module_.backbone.layout, net.module_.start = layout, 1
    shape = (6, 3, 8, 8) if layout == "NCHW" else (6, 8, 8, 3)
    X, rng = soft_batch(shape), net.rng("cutmix", 5)
    net.step_ = 5
    result = mixed(CutMix(), net, X)
    rng.beta(1, 1), rng.integers(8), rng.integers(8)
    order = torch.from_numpy(rng.permutation(6))
    other = result["x"] != X["x"]
    assert torch.equal(result["x"], torch.where(other, X["x"][order], X["x"]))
    moved = order != torch.arange(6)
    area = other[moved].float().mean().item()
    assert 0 < area < 1
    mask = other[moved][0].all(0 if layout == "NCHW" else 2)
    rows, columns = mask.any(1).sum(), mask.any(0).sum()
    assert mask.sum() == rows * columns == other[moved][0].sum() / 3
    expected = (1 - area) * X["target"] + area * X["target"][order]
    torch.testing.assert_close(result["target"], expected)


@pytest.mark.parametrize("callback", [MixUp(1.0), CutMix()])
def test_the_loss_of_a_mixture_is_that_of_its_weighted_parts(net, callback):
    weight = torch.tensor([1.0, 0.5, 2.0, 3.0, 0.1, 1.5], dtype=torch.float64)
    X, rng = soft_batch(weight=weight), net.rng("mixup", 0)
    share = rng.beta(1, 1)
    if isinstance(callback, CutMix):
        rng.integers(8), rng.integers(8)
    order = torch.from_numpy(rng.permutation(6))
    result = mixed(callback, net, X)
    if isinstance(callback, CutMix):
        share = (result["x"] == X["x"])[order != torch.arange(6)].double().mean()
    logs = torch.randn(6, 4, generator=torch.Generator().manual_seed(2)).double().log_softmax(1)

    def loss(target, weight):
        return -(weight[:, None] * target * logs).sum()

    parts = share * loss(X["target"], weight)
    parts += (1 - share) * loss(X["target"][order], weight[order])
    torch.testing.assert_close(loss(result["target"], result["weight"]), parts)


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_items_without_weight_make_mixtures_without_one(net, callback):
    result = mixed(callback, net, soft_batch(weight=torch.zeros(6, dtype=torch.float64)))
    assert result["weight"].tolist() == [0] * 6
    assert result["target"].isfinite().all()


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_mixing_writes_into_no_tensor_of_the_batch(net, callback):
    X = soft_batch()
    before = deepcopy(X)
    result = mixed(callback, net, X)
    assert_same(X, before)
    assert all(result[name] is not X[name] for name in X)


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_what_is_validated_is_not_mixed(net, callback):
    X = soft_batch()
    assert mixed(callback, net, X, training=False) == X


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_a_mixture_is_a_function_of_the_step(net, callback):
    first, again = (mixed(callback, net, soft_batch()) for _ in range(2))
    assert_same(first, again)
    net.step_ = 1
    assert not torch.equal(mixed(callback, net, soft_batch())["target"], first["target"])


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_training_goes_on_with_mixtures(callback):
    net = Net([callback])
    before = net.module_.head.weight.detach().clone()
    net.fit()
    assert net.module_.head.weight.isfinite().all()
    assert not torch.equal(net.module_.head.weight, before)


@pytest.mark.parametrize(
    ("callback", "x", "error", "message"),
    [
        (MixUp(), torch.zeros(2, 3, dtype=torch.uint8), TypeError, r"floats; got torch\.uint8\."),
        (MixUp(), [0.0], TypeError, r"MixUp needs X\['x'\] to be a tensor of floats; got list\."),
        (CutMix(), [0.0], TypeError, r"CutMix needs X\['x'\] to be a tensor; got list\."),
        (
            CutMix(),
            torch.zeros(8, 5),
            ValueError,
            r"CutMix needs images or feature maps.*got the shape \(8, 5\)\. MixUp takes any\.",
        ),
    ],
)
def test_what_cannot_be_mixed_is_named(net, callback, x, error, message):
    with pytest.raises(error, match=message):
        mixed(callback, net, {"x": x})


def test_pooled_features_of_the_head_phase_make_no_collages(net):
    X, net.phase = soft_batch((6, 5)), "head"
    assert mixed(CutMix(), net, X) == X


def test_collages_do_without_a_backbone(net):
    plain = SimpleNamespace(module_=nn.Linear(1, 1), step_=0, rng=net.rng)
    assert_same(mixed(CutMix(), plain, soft_batch()), mixed(CutMix(), net, soft_batch()))


# Snapshots


@pytest.mark.parametrize(
    ("callback", "epochs"),
    [
        (Snapshots(SGDR(1, 2)), [1, 3, 7]),
        (Snapshots("sgdr"), [1, 3, 7]),
        (Snapshots(Cosine()), [7]),
        (Snapshots(every=3), [3, 6]),
        (Snapshots(SGDR(1, 1)), [3, 4, 5, 6, 7]),
        (Snapshots(every=1, most=2), [6, 7]),
        (Snapshots(every=9), []),
    ],
)
def test_the_last_snapshots_are_those_of_the_ends_of_cycles(callback, epochs):
    watch = Watch(weights_of, "on_epoch_end")
    Net([callback, watch], max_epochs=7).fit()
    assert len(callback.snapshots_) == len(epochs)
    for epoch, snapshot in zip(epochs, callback.snapshots_, strict=True):
        expected = watch.seen_[epoch - 1]
        trained = {name: value for name, value in snapshot.items() if name in expected}
        assert_same(trained, {name: expected[name] for name in trained})


def test_a_snapshot_leaves_out_what_is_frozen():
    callback = Snapshots(every=4)
    Net([callback]).fit()
    (snapshot,) = callback.snapshots_
    stages = {name.split(".")[2] for name in snapshot if name.startswith("backbone")}
    assert stages == {"layer2"}
    assert "backbone.stages.layer2.1.running_mean" in snapshot


def test_each_snapshot_is_the_network_of_its_epoch_even_if_stages_thawed_later():
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def outputs(net):
        return net.module_.eval()(x)

    callback, watch = Snapshots(every=1), Watch(outputs, "on_epoch_end")
    net = Net([callback, GradualUnfreeze(), watch]).fit()
    for snapshot, expected in zip(callback.snapshots_, watch.seen_, strict=True):
        net.module_.load_state_dict(snapshot, strict=False)
        assert torch.equal(outputs(net), expected)


def test_snapshots_resume_where_they_were():
    whole = Snapshots(SGDR(1, 1))
    Net([whole, GradualUnfreeze()]).fit()
    first, second = Snapshots(SGDR(1, 1)), Snapshots(SGDR(1, 1))
    saved = Net([first, GradualUnfreeze()]).fit(until=2).saved()
    resumed = Net([second, GradualUnfreeze()]).load(saved)
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    resumed.fit()
    for snapshot, expected in zip(second.snapshots_, whole.snapshots_, strict=True):
        assert_same(snapshot, expected)


def test_a_new_phase_forgets_the_snapshots_of_the_last():
    callback = Snapshots(every=2)
    net = Net([callback]).fit()
    net.step_ = net.epoch_ = 0
    net.notify("on_train_begin")
    assert callback.snapshots_ == []


def test_a_snapshot_of_the_averages_is_taken_after_them():
    ema, snapshots = ModelEMA(0.9), Snapshots(every=4)
    Net([ema, snapshots]).fit()
    assert torch.equal(snapshots.snapshots_[0]["head.weight"], ema.average_["head.weight"])
