"""Scheduled and GradualUnfreeze: values at each step, resuming, wrong parameters."""

import pytest
import torch
from helpers.nets import Net, Watch, settings_of
from torch import nn

from sktransfer.callbacks import CutMix, GradualUnfreeze, MixUp, ModelEMA, Scheduled, Snapshots
from sktransfer.schedules import SGDR, Cosine, OneCycle


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


def test_a_schedule_in_epochs_is_bound_to_those_of_the_phase():
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
def test_momentum_is_set_under_the_optimizer_s_own_key(optimizer, read):
    watch, schedule = Watch(read), OneCycle().companions["momentum"]
    net = Net([Scheduled("momentum", schedule), watch], optimizer=optimizer)
    net.fit()
    assert watch.seen_ == pytest.approx([0.9 * schedule(step / 11) for step in range(12)])
    if optimizer == "adamw":
        assert {group["betas"][1] for group in net.optimizer_.param_groups} == {0.999}


def test_drop_probabilities_are_restored_after_training():
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
        (Scheduled("lr", 0.5), TypeError, r"schedule must be one of .*; got 0\.5\."),
        (GradualUnfreeze(0), ValueError, r"every must be an integer of at least 1; got 0\."),
        (GradualUnfreeze(cut=-1), ValueError, r"cut must be an integer of at least 0; got -1\."),
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


def test_an_optimizer_without_momentum_is_left_alone():
    net = Net([Scheduled("momentum", Cosine())], optimizer=torch.optim.Adagrad).fit()
    assert not any("momentum" in key for group in net.optimizer_.param_groups for key in group)


def test_a_setting_that_the_optimizer_lacks_is_named():
    net = Net([Scheduled("weight_decay", Cosine())])
    net.optimizer_ = torch.optim.Rprop(net.module_.parameters())
    with pytest.raises(ValueError, match=r"setting must be a setting of Rprop; got 'weight_decay'"):
        net.fit()


def test_a_net_without_dropout_layers_is_refused():
    net = Net([Scheduled("dropout", Cosine())])
    net.module_.dropout = nn.Identity()
    with pytest.raises(
        ValueError,
        match=r"must be used with a net that has dropout layers; got a net without any\.",
    ):
        net.fit()


@pytest.mark.parametrize(
    ("callback", "cut", "cuts"),
    [
        (GradualUnfreeze(), 0, [2, 1, 0, 0, 0]),
        (GradualUnfreeze(every=2), 0, [2, 2, 1, 1, 0]),
        (GradualUnfreeze(cut=1), 0, [2, 1, 1, 1, 1]),
        (GradualUnfreeze(), 2, [2, 2, 2, 2, 2]),
        (GradualUnfreeze(cut=1), 2, [2, 2, 2, 2, 2]),
        (GradualUnfreeze(), 3, [3, 3, 3, 3, 3]),
        (GradualUnfreeze(cut=9), 0, [3, 3, 3, 3, 3]),
    ],
)
def test_stages_unfreeze_from_the_last_one_but_never_inside_the_prefix(callback, cut, cuts):
    watch = Watch(lambda net: net.module_.backbone.cut)
    Net([callback, watch], max_epochs=5, cut=cut).fit()
    assert watch.seen_[::3] == cuts


def test_the_cut_is_a_function_of_the_epoch_alone():
    net = Net([GradualUnfreeze()])
    net.epoch_ = 1
    net.notify("on_epoch_begin")
    assert net.module_.backbone.cut == 1
