"""ModelEMA and Snapshots: values, validation, resuming, stages that unfreeze later."""

import pickle
from copy import deepcopy

import pytest
import torch
from helpers.nets import Net, Watch, assert_same, weights_of

from sktransfer.callbacks import GradualUnfreeze, ModelEMA, Snapshots
from sktransfer.schedules import SGDR, Cosine

# ModelEMA


def test_the_average_follows_the_formula():
    ema, weights = ModelEMA(0.6), Watch(weights_of, "on_batch_end")
    Net([ema, weights]).fit()
    average = weights.seen_[0]["head.weight"]
    for step, seen in enumerate(weights.seen_[1:], start=2):
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * seen["head.weight"]
    torch.testing.assert_close(ema.average_["head.weight"], average)


def test_averages_are_validated_and_kept_at_the_end_without_an_effect_on_training():
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
    assert ema.training_weights_ == {}


def test_frozen_weights_are_not_averaged():
    ema = ModelEMA()
    before = weights_of(Net([]))
    net = Net([ema]).fit()
    trained = {name for name, p in net.module_.named_parameters() if p.requires_grad}
    assert ema.average_.keys() == trained
    after = weights_of(net)
    frozen = before.keys() - trained
    assert_same({name: after[name] for name in frozen}, {name: before[name] for name in frozen})


def test_weights_that_unfreeze_later_are_averaged_from_then_on():
    ema, sizes = ModelEMA(), Watch(lambda net: len(net.callbacks[1].average_), "on_batch_end")
    Net([GradualUnfreeze(), ema, sizes], max_epochs=3).fit()
    assert sizes.seen_[::3] == [6, 10, 14]  # a head, and four parameters a stage


def test_batch_statistics_are_those_of_the_last_step():
    norm = Net([ModelEMA()]).fit().module_.backbone.stages["layer2"][1]
    expected = Net([]).fit().module_.backbone.stages["layer2"][1]
    assert torch.equal(norm.running_mean, expected.running_mean)


def test_the_averages_are_in_the_module_after_an_epoch_without_validation():
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


def test_a_resumed_average_equals_an_uninterrupted_one():
    whole = Net([ModelEMA(0.9)]).fit()
    first = ModelEMA(0.9)
    saved = Net([first]).fit(until=2).saved()
    state, second = pickle.loads(pickle.dumps(first.state_dict())), ModelEMA(0.9)
    resumed = Net([second]).load(saved)
    second.load_state_dict(state)
    assert_same(resumed.fit().module_.state_dict(), whole.module_.state_dict())


def test_a_new_phase_starts_without_averages():
    ema = ModelEMA(0.9)
    ema.load_state_dict({"average": {"head.bias": torch.full((3,), 9.0)}, "training_weights": {}})
    net = Net([ema])
    net.notify("on_train_begin")
    assert ema.state_dict() == {"average": {}, "training_weights": {}}


def test_a_saved_average_does_not_move_with_training():
    ema = ModelEMA(0.9)
    net = Net([ema]).fit(until=1)
    state = ema.state_dict()
    before = deepcopy(state)
    net.fit()
    assert_same(state["average"], before["average"])
    assert_same(state["training_weights"], before["training_weights"])


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


def test_a_snapshot_leaves_out_frozen_stages():
    callback = Snapshots(every=4)
    Net([callback]).fit()
    (snapshot,) = callback.snapshots_
    stages = {name.split(".")[2] for name in snapshot if name.startswith("backbone")}
    assert stages == {"layer2"}
    assert "backbone.stages.layer2.1.running_mean" in snapshot


def test_each_snapshot_is_the_network_of_its_epoch_even_if_stages_unfroze_later():
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def outputs(net):
        return net.module_.eval()(x)

    callback, watch = Snapshots(every=1), Watch(outputs, "on_epoch_end")
    net = Net([callback, GradualUnfreeze(), watch]).fit()
    for snapshot, expected in zip(callback.snapshots_, watch.seen_, strict=True):
        net.module_.load_state_dict(snapshot, strict=False)
        assert torch.equal(outputs(net), expected)


def test_resumed_snapshots_equal_uninterrupted_ones():
    whole = Snapshots(SGDR(1, 1))
    Net([whole, GradualUnfreeze()]).fit()
    first, second = Snapshots(SGDR(1, 1)), Snapshots(SGDR(1, 1))
    saved = Net([first, GradualUnfreeze()]).fit(until=2).saved()
    resumed = Net([second, GradualUnfreeze()]).load(saved)
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    resumed.fit()
    for snapshot, expected in zip(second.snapshots_, whole.snapshots_, strict=True):
        assert_same(snapshot, expected)


def test_a_new_phase_starts_without_snapshots():
    callback = Snapshots(every=2)
    net = Net([callback]).fit()
    net.step_ = net.epoch_ = 0
    net.notify("on_train_begin")
    assert callback.snapshots_ == []


def test_a_snapshot_of_the_averages_is_taken_after_them():
    ema, snapshots = ModelEMA(0.9), Snapshots(every=4)
    Net([ema, snapshots]).fit()
    assert torch.equal(snapshots.snapshots_[0]["head.weight"], ema.average_["head.weight"])
