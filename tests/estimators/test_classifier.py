"""The classifier's promises: what trains, what stays, and what a fit tells of it."""

import pickle
import random
import re
import signal
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from helpers.tiny import coloured_photos, tiny_backbone
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping
from torch import nn
from torchvision.transforms import v2

from sktransfer import (
    ActivationCache,
    Backbone,
    FineTuneClassifier,
    ImagePreset,
    MLPHead,
    PretrainedFeatureExtractor,
    Views,
)
from sktransfer.callbacks import CutMix, MixUp, ModelEMA, Scheduled
from sktransfer.exceptions import FreezeError, TrainingDivergedError
from sktransfer.schedules import Cosine, OneCycle


def named(value):
    """The name of a test's case: no address in memory, which workers would not agree on."""
    return re.sub(r"( object)? at 0x\w+", "", str(value))[:70]


@pytest.fixture(scope="module")
def photos():
    return coloured_photos()


def classifier(**parameters):
    defaults = {"max_epochs": 2, "random_state": 0, "batch_size": 8}
    return FineTuneClassifier(tiny_backbone, **(defaults | parameters))


def weights(model):
    """Every tensor of a fitted model, by name."""
    return model.net_.module_.state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# It learns, and forgets


def test_it_learns_to_tell_colours(photos):
    X, y = photos
    model = classifier().fit(X[:24], y[:24])
    assert model.score(X[24:], y[24:]) == 1
    assert_array_equal(model.classes_, ["blue", "green", "red"])
    assert model.n_iter_ == len(model.history_) == 2


def test_a_column_of_labels_scores_as_the_labels_do(photos):
    X, y = photos
    model = classifier().fit(X[:24], y[:24])
    assert model.score(X, y[:, None]) == model.score(X, y)
    with pytest.raises(ValueError, match=r"y must be of shape \(36,\), .*; got \(1,\)\."):
        model.score(X, y[:1])


def test_two_fits_with_one_seed_have_the_same_bits(photos):
    one, other = classifier(dropout=0.3).fit(*photos), classifier(dropout=0.3).fit(*photos)
    assert equal(weights(one), weights(other))
    assert_array_equal(one.decision_function(photos[0]), other.decision_function(photos[0]))


def test_another_seed_gives_other_weights(photos):
    assert not equal(
        weights(classifier().fit(*photos)), weights(classifier(random_state=1).fit(*photos))
    )


def test_a_second_fit_starts_from_pristine_weights(photos):
    X, y = photos
    model = classifier().fit(X, np.roll(y, 5)).fit(X, y)
    assert equal(weights(model), weights(classifier().fit(X, y)))


def test_random_labels_score_chance_whatever_was_fitted_before(rng):
    X = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    y = rng.integers(0, 2, 60)
    model = classifier().fit(X, y)  # has seen them all
    scores = [clone(model).fit(X[a], y[a]).score(X[b], y[b]) for a, b in halves(60)]
    assert 0.3 < np.mean(scores) < 0.7


def halves(n):
    first, second = np.arange(n // 2), np.arange(n // 2, n)
    return [(first, second), (second, first)]


def test_the_callers_random_generators_are_left_alone(photos):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    classifier(dropout=0.5, augment=v2.RandomHorizontalFlip()).fit(*photos).predict(photos[0])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]


def test_nothing_that_was_passed_is_changed(photos):
    X, y = photos[0].copy(), photos[1].copy()
    callbacks = [ModelEMA(), EarlyStopping("train_loss"), Scheduled("weight_decay", Cosine())]
    before = [dict(vars(callback)) for callback in callbacks]
    model = classifier(skorch_callbacks=callbacks)
    parameters = model.get_params()
    model.fit(X, y)
    assert_array_equal(X, photos[0])
    assert_array_equal(y, photos[1])
    assert [vars(callback) for callback in callbacks] == before
    assert all(model.get_params()[name] is value for name, value in parameters.items())


def test_an_error_leaves_the_last_fit_in_place(photos):
    X, y = photos
    model = classifier().fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="unfreeze must be at most 3"):
        model.set_params(unfreeze=7).fit(X[:5].reshape(5, -1), y[:5])
    assert_array_equal(model.predict_proba(X), before)
    assert not hasattr(model, "n_features_in_")


# What trains


@pytest.mark.parametrize(
    ("unfreeze", "learns"),
    [
        (0, []),
        (1, ["layer2"]),
        (2, ["layer1", "layer2"]),
        ("layer1", ["layer1", "layer2"]),
        (3, ["stem", "layer1", "layer2"]),
        ("all", ["stem", "layer1", "layer2"]),
        ("auto", ["stem", "layer1", "layer2"]),
    ],
)
@pytest.mark.parametrize("augment", [None, "light"])
def test_what_lies_before_the_cut_keeps_every_bit(photos, unfreeze, learns, augment):
    model = classifier(unfreeze=unfreeze, augment=augment, freeze_bn="frozen").fit(*photos)
    pristine = tiny_backbone().stages
    for name, stage in model.backbone_.stages.items():
        assert equal(stage.state_dict(), pristine[name].state_dict()) == (name not in learns)
    rows = {row["stage"]: row for row in model.report_}
    assert [name for name, row in rows.items() if not row["frozen"]] == [*learns, "head"]
    assert all((rows[name]["moved"] > 0) == (name in learns) for name in pristine)
    modes = {name: rows[name]["batch_norm"] for name in pristine}
    assert modes == {name: "train" if name in learns else "eval" for name in pristine}


def test_batch_norm_stays_in_evaluation_mode_everywhere_on_request(photos):
    model = classifier(freeze_bn="all").fit(*photos)
    for name, value in tiny_backbone().stages.state_dict().items():
        if "running" in name:
            assert torch.equal(model.backbone_.stages.state_dict()[name], value)
    assert {row["batch_norm"] for row in model.report_[:-1]} == {"eval"}


def test_a_network_from_scratch_trains_whole_with_its_batch_norm(photos):
    X, y = photos
    model = FineTuneClassifier(
        "builtin/small_cnn", weights=None, image_size=48, max_epochs=1, random_state=0
    ).fit(X, y)
    assert not any(row["frozen"] for row in model.report_)
    rates = model.history_[-1]["lr"]
    assert len(set(rates.values())) == 1  # no decay from stage to stage


def test_one_stage_more_thaws_every_few_epochs(photos):
    model = classifier(unfreeze_every=2, max_epochs=6).fit(*photos)
    assert [row["cut"] for row in model.history_] == [2, 2, 1, 1, 0, 0]
    model = classifier(unfreeze_every=1, unfreeze=2, max_epochs=4, augment=None).fit(*photos)
    assert [row["cut"] for row in model.history_] == [2, 1, 1, 1]


def test_the_head_trains_alone_first(photos):
    model = classifier(freeze_epochs=2, max_epochs=1, head_init="prior").fit(*photos)
    assert [row["phase"] for row in model.history_] == ["head", "head", "fine-tune"]
    assert [row["cut"] for row in model.history_] == [3, 3, 0]
    assert [row["epoch"] for row in model.history_] == [1, 2, 3]


# The head


def test_the_exact_head_is_that_of_scikit_learn(photos):
    X, y = photos
    model = classifier(max_epochs=0).fit(X, y)
    features = PretrainedFeatureExtractor(tiny_backbone).fit_transform(X)
    exact = LogisticRegression(C=0.01, max_iter=1000, tol=1e-6)
    expected = exact.fit(StandardScaler().fit(features).transform(features), y)
    scores = expected.decision_function(StandardScaler().fit(features).transform(features))
    np.testing.assert_allclose(model.decision_function(X), scores, atol=1e-5)
    assert model.net_ is None
    assert model.history_ == []


def test_of_two_classes_the_exact_head_is_that_of_scikit_learn_too():
    X, y = coloured_photos(names=("cold", "warm"))
    model = classifier(max_epochs=0, head_init=LogisticRegression(C=1.0)).fit(X, y)
    features = PretrainedFeatureExtractor(tiny_backbone).fit_transform(X)
    scaled = StandardScaler().fit(features).transform(features)
    expected = LogisticRegression(C=1.0).fit(scaled, y).decision_function(scaled)
    np.testing.assert_allclose(model.decision_function(X), expected, atol=1e-5)


def test_an_untrained_head_says_the_shares_of_the_classes(photos):
    X, y = photos
    model = classifier(head_init="prior", freeze_epochs=0, max_epochs=0).fit(X[:9], y[:9])
    shares = np.unique(y[:9], return_counts=True)[1] / 9
    np.testing.assert_allclose(model.predict_proba(X[:1])[0], shares, atol=0.04)


@pytest.mark.parametrize(
    "head",
    ["linear", "mlp", MLPHead((5, 4), dropout=0.0), partial(nn.Linear, bias=False)],
    ids=named,
)
def test_a_head_is_a_name_or_a_builder(photos, head):
    model = classifier(head=head, freeze_epochs=2, lr=0.01).fit(*photos)
    assert model.decision_function(photos[0]).shape == (36, 3)
    assert isinstance(model.head_, nn.Module)


# Each parameter changes something


@pytest.mark.parametrize(
    "parameters",
    [
        {"augment": None},
        {"augment": "standard"},
        {"augment": "trivial"},
        {"augment": Views("light", n=2)},
        {"augment": v2.RandomHorizontalFlip()},
        {"batch_size": 12},
        {"class_weight": {"red": 3}},
        {"dropout": 0.5},
        {"fine_tune_lr": 0.01},
        {"freeze_bn": "frozen"},
        {"freeze_epochs": 1},
        {"head": "mlp"},
        {"head_init": "prior"},
        {"head_init": LogisticRegression(C=1.0)},
        {"image_size": 32},
        {"label_smoothing": 0.0},
        {"layer_decay": 0.9},
        {"lr_schedule": "constant"},
        {"lr_schedule": "sgdr"},
        {"lr_schedule": OneCycle(warmup=0.5)},
        {"lr_schedule": OneCycle(momentum_dip=None)},
        {"max_epochs": 3},
        {"optimizer": "sgd"},
        {"optimizer": "rmsprop"},
        {"optimizer": torch.optim.Adagrad},
        {"pooling": "max"},
        {"precision": "bfloat16"},
        {"preset": {"mean": (0.1, 0.1, 0.1)}},
        {"random_state": 1},
        {"skorch_callbacks": [GradientNormClipping(0.01)]},
        {"skorch_callbacks": [MixUp()]},
        {"skorch_callbacks": [CutMix()]},
        {"skorch_callbacks": [ModelEMA()]},
        {"skorch_callbacks": [Scheduled("weight_decay", Cosine())]},
        {"tta": 2},
        {"unfreeze": 1},
        {"unfreeze_every": 1},
        {"weight_decay": 5.0},
    ],
    ids=named,
)
def test_a_parameter_changes_something(photos, parameters):
    X, y = photos
    plain = classifier(unfreeze=3).fit(X[:24], y[:24]).decision_function(X[24:])
    other = classifier(**({"unfreeze": 3} | parameters)).fit(X[:24], y[:24])
    assert not np.array_equal(plain, other.decision_function(X[24:]))


def test_lr_is_the_rate_of_the_head_alone(photos):
    with_lr = [classifier(lr=lr, freeze_epochs=1, max_epochs=0).fit(*photos) for lr in (0.1, 0.2)]
    rates = [model.history_[0]["lr"]["head"] for model in with_lr]
    assert rates[1] == pytest.approx(2 * rates[0])


def test_without_stages_to_tune_the_head_keeps_its_rate(photos):
    model = classifier(unfreeze=0, lr=0.3, fine_tune_lr=0.1, lr_schedule="constant").fit(*photos)
    assert model.history_[-1]["lr"]["head"] == 0.3


def test_a_stage_learns_at_a_fraction_of_the_rate_of_what_follows(photos):
    model = classifier(fine_tune_lr=0.1, layer_decay=0.5, lr_schedule="constant").fit(*photos)
    expected = {"head": 0.1, "layer2": 0.05, "layer1": 0.025, "stem": 0.0125}
    assert model.history_[-1]["lr"] == pytest.approx(expected)
    rows = {row["stage"]: (row["lr_min"], row["lr_max"]) for row in model.report_}
    assert rows["stem"] == pytest.approx((0.0125, 0.0125))


# Augmentation


def test_prediction_never_augments(photos):
    model = classifier(augment="standard").fit(*photos)
    assert_array_equal(model.predict_proba(photos[0]), model.predict_proba(photos[0]))


def test_every_epoch_draws_another_order_and_other_variants(photos):
    seen = []

    class Spy(EarlyStopping):
        def on_batch_begin(self, net, batch=None, training=False, **kwargs):
            seen.append((batch[1].tolist(), float(batch[0]["x"].sum())))

    for augment in (None, "light"):
        classifier(augment=augment, batch_size=36, skorch_callbacks=[Spy("train_loss")]).fit(
            *photos
        )
    orders, sums = zip(*seen, strict=True)
    assert orders[0] != orders[1]
    assert orders[2] != orders[3]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    assert sums[2] != pytest.approx(sums[3], rel=1e-5)


def test_a_prediction_averages_views_on_request(photos):
    X, y = photos
    model = classifier().fit(X, y)
    plain = model.decision_function(X)
    many = model.set_params(tta=8).decision_function(X)
    assert_array_equal(many, model.decision_function(X))
    assert 0 < np.abs(many - plain).max() < 2
    assert (many.argmax(1) == plain.argmax(1)).mean() > 0.9


def test_cached_rows_give_the_bits_of_uncached_ones(photos, tmp_path):
    X, y = photos
    for augment in (None, Views("light", n=2)):
        plain = classifier(unfreeze=1, augment=augment).fit(X, y)
        cached = classifier(unfreeze=1, augment=augment, cache=ActivationCache(tmp_path))
        for model in (cached.fit(X, y), clone(cached).fit(X, y)):  # cold, warm
            assert equal(weights(plain), weights(model))
        np.testing.assert_allclose(
            cached.predict_proba(X), plain.predict_proba(X), rtol=1e-5, atol=1e-6
        )


class Seen(nn.Conv2d):
    """A convolution that writes down what it computed in."""

    dtypes: ClassVar[list] = []

    def forward(self, x):
        if torch.is_grad_enabled():
            Seen.dtypes.append(x.dtype)
        return super().forward(x)


def depthwise(stride):
    backbone = tiny_backbone()
    stages = dict(backbone.stages)
    conv = Seen(12, 12, 3, stride, 1, groups=12)
    stages["layer2"] = nn.Sequential(conv, *stages["layer2"])
    return Backbone(stages, backbone.preset)


@pytest.mark.parametrize(("stride", "dtype"), [(1, torch.bfloat16), (2, torch.float32)])
def test_strided_depthwise_gradients_are_computed_in_float32_on_a_cpu(
    photos, monkeypatch, stride, dtype
):
    monkeypatch.setattr(Seen, "dtypes", [])
    model = FineTuneClassifier(
        partial(depthwise, stride), precision="bfloat16", max_epochs=1, random_state=0, device="cpu"
    ).fit(*photos)
    assert set(Seen.dtypes) == {dtype}
    assert "forward" not in vars(model.backbone_.stages["layer2"][0])


# Labels


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [3, 7], [-1, 1]])
def test_labels_come_back_as_they_went_in(labels):
    X, y = coloured_photos(names=("cold", "warm"))
    y = np.array(labels)[(y == "warm").astype(int)]
    model = classifier().fit(X, y)
    assert_array_equal(model.predict(X), y)
    assert model.predict(X).dtype == y.dtype
    scores = model.decision_function(X)
    assert scores.shape == (24,)
    assert_array_equal(model.classes_[(scores > 0).astype(int)], y)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-scores)))


def test_several_labels_an_item_train_a_sigmoid_head(photos):
    X, y = photos
    Y = np.stack([y == "red", y != "blue", np.ones(len(y), bool)], axis=1).astype(int)
    model = classifier(fine_tune_lr=0.01, max_epochs=6).fit(X, Y)
    assert_array_equal(model.predict(X), Y)
    np.testing.assert_allclose(
        model.predict_proba(X), 1 / (1 + np.exp(-model.decision_function(X)))
    )
    assert_array_equal(model.classes_, [0, 1, 2])


# Weights of items


def table(n=24, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(y[:, None], 1, (n, 12)), y


def test_weight_two_is_a_row_given_twice():
    X, y = table()
    weight = 1 + (np.arange(24) % 2)
    repeated = np.repeat(np.arange(24), weight)
    model = classifier(batch_size=64)
    once = clone(model).fit(X, y, sample_weight=weight).decision_function(X)
    twice = clone(model).fit(X[repeated], y[repeated]).decision_function(X)
    np.testing.assert_allclose(once, twice, rtol=1e-7)


def test_weights_of_one_are_no_weights(photos):
    X, y = photos
    plain = classifier().fit(X, y)
    assert equal(weights(plain), weights(classifier().fit(X, y, sample_weight=np.ones(36))))


def test_a_row_of_weight_zero_is_no_row(photos):
    X, y = photos
    weight = (np.arange(36) < 24).astype(float)
    model = classifier(augment=None).fit(X, y, sample_weight=weight)
    assert equal(weights(model), weights(classifier(augment=None).fit(X[:24], y[:24])))


# Validation


def test_the_best_epoch_is_kept(photos):
    X, y = photos
    model = classifier(fine_tune_lr=0.02, max_epochs=6, lr_schedule="constant")
    model.fit(X[:24], y[:24], X_val=X[24:], y_val=np.roll(y[24:], 1))  # gets worse and worse
    losses = [row["valid_loss"] for row in model.history_]
    assert len(losses) == 6
    assert model.best_epoch_ == 0 or losses[model.best_epoch_ - 1] == min(losses)
    trained = classifier(
        fine_tune_lr=0.02, max_epochs=max(model.best_epoch_, 0), lr_schedule="constant"
    )
    trained.fit(X[:24], y[:24])
    np.testing.assert_allclose(trained.decision_function(X), model.decision_function(X), atol=1e-5)


def test_a_stage_that_was_stepped_back_is_noted(photos):
    X, y = photos
    model = classifier(fine_tune_lr=0.01, optimizer="sgd", lr_schedule="constant", max_epochs=1)
    model.fit(X[:24], y[:24], X_val=X[24:], y_val=np.roll(y[24:], 1))
    assert model.best_epoch_ == 0
    assert "set back to the best epoch" in model.report_[0]["note"]


def test_training_stops_when_the_validation_loss_no_longer_falls(photos):
    X, y = photos
    model = classifier(
        early_stopping=True, n_iter_no_change=2, max_epochs=50, fine_tune_lr=0.1,
        validation_fraction=0.25, lr_schedule="constant",
    ).fit(X, y)  # fmt: skip
    assert model.n_iter_ < 50
    assert all({"valid_loss", "valid_score"} <= row.keys() for row in model.history_)


def test_the_items_of_a_group_are_held_out_together(photos):
    X, y = photos
    groups = np.arange(36) // 3
    seen = []

    class Spy(EarlyStopping):
        def on_train_begin(self, net, X=None, **kwargs):
            super().on_train_begin(net)
            seen.append([samples.source.items for samples in X])

    classifier(early_stopping=True, skorch_callbacks=[Spy("train_loss")]).fit(X, y, groups=groups)
    train, valid = ({item.tobytes() for item in items} for items in seen[0])
    for group in range(12):
        members = {X[index].tobytes() for index in np.flatnonzero(groups == group)}
        assert members <= train or members <= valid
    assert len(train) + len(valid) == 36
    assert valid


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupt_ends_the_fit_with_a_model(photos, early_stopping):
    class Interrupt(EarlyStopping):
        def on_batch_begin(self, net, training=False, **kwargs):
            if training and net.epoch_ == 2:
                net.interrupt = True

    def infer(self, *args, **kwargs):
        if getattr(self, "interrupt", False):
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    from sktransfer.training.net import TailNet

    original = TailNet._accumulate
    model = classifier(
        max_epochs=9, early_stopping=early_stopping, skorch_callbacks=[Interrupt("train_loss")]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TailNet, "_accumulate", infer)
        with pytest.warns(UserWarning, match=r"Training was interrupted in epoch 3: the model"):
            model.fit(*photos)
    assert model.n_iter_ == 2
    assert model.score(*photos) > 0.9


@pytest.fixture
def ctrl_c():
    """A function that does what the user does at the keyboard."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield partial(signal.raise_signal, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_in_a_callback_ends_the_fit_and_not_the_phase_alone(photos, ctrl_c):
    class Slow(Callback):
        def on_epoch_end(self, net, **kwargs):
            ctrl_c()

    model = classifier(freeze_epochs=5, skorch_callbacks=[Slow()])
    with pytest.warns(UserWarning, match="Training was interrupted in epoch 2: the model"):
        model.fit(*photos)
    assert [row["phase"] for row in model.history_] == ["head"]


def test_a_callback_that_raises_an_interrupt_ends_its_phase_and_no_more(photos):
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    model = classifier(freeze_epochs=5, skorch_callbacks=[Stop()]).fit(*photos)
    assert [row["phase"] for row in model.history_] == ["head", "fine-tune"]


def test_skorchs_own_early_stopping_ends_a_phase_and_no_more(photos):
    stop = EarlyStopping("train_loss", patience=1, threshold=10.0)
    model = classifier(freeze_epochs=5, max_epochs=5, skorch_callbacks=[stop]).fit(*photos)
    phases = [row["phase"] for row in model.history_]
    assert "fine-tune" in phases
    assert len(phases) < 10


# What can go wrong


def test_class_weights_do_not_change_how_features_are_standardised(photos):
    X, y = photos
    plain, weighed = (
        classifier(max_epochs=0, class_weight=weight).fit(X, y)
        for weight in (None, {"blue": 1000.0, "green": 1e-4, "red": 1e-4})
    )
    for name in ("mean", "scale"):
        tails = (model._fitted.tail for model in (plain, weighed))
        assert torch.equal(*(getattr(tail, name) for tail in tails))
    assert (weighed.predict(X) == "blue").all()


def test_a_loss_that_is_not_finite_names_epoch_and_rates(photos):
    model = classifier(fine_tune_lr=1e30, layer_decay=0.4, optimizer="sgd", lr_schedule="constant")
    with pytest.raises(
        TrainingDivergedError, match=r"loss of epoch 1 \(fine-tune phase\) is .*layer2 4e\+29"
    ):
        model.fit(*photos)


def test_a_last_batch_of_one_row_does_not_break_batch_norm(photos):
    X, y = photos
    classifier(freeze_bn="frozen", batch_size=6).fit(X[:25], y[:25])


def out_of_memory(most):
    """A tiny backbone that has memory for so many rows."""

    class Limited(nn.Sequential):
        def forward(self, x):
            if torch.is_grad_enabled() and len(x) > most:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(x)

    backbone = tiny_backbone()
    stages = dict(backbone.stages)
    return Backbone(stages | {"stem": Limited(*stages["stem"])}, backbone.preset)


def test_out_of_memory_halves_the_batch_and_changes_nothing_else(photos):
    model = classifier(augment=None)
    plain = clone(model).fit(*photos)
    small = clone(model).set_params(backbone=lambda: out_of_memory(most=3))
    with pytest.warns(UserWarning, match=r"parts of 4.*batch_size stays|parts of 2") as told:
        small.fit(*photos)
    assert str(told[0].message).startswith("The device has no memory for batches of 8")
    np.testing.assert_allclose(
        small.decision_function(photos[0]), plain.decision_function(photos[0]), atol=1e-4
    )


@pytest.mark.parametrize(("batch_size", "most"), [(7, 3), (13, 4)])
def test_no_part_of_a_batch_has_one_row_from_which_batch_norm_cannot_learn(
    photos, batch_size, most
):
    def pixels():
        backbone = out_of_memory(most)
        return Backbone(dict(backbone.stages), ImagePreset(size=8))  # ends in maps of 1 x 1

    model = FineTuneClassifier(
        pixels, random_state=0, batch_size=batch_size, freeze_bn="frozen", max_epochs=1
    )
    with pytest.warns(UserWarning, match="The device has no memory"):
        model.fit(photos[0][:28], photos[1][:28])
    assert model.n_iter_ == 1


def test_out_of_memory_for_two_rows_is_an_error(photos):
    model = FineTuneClassifier(lambda: out_of_memory(most=1), random_state=0, batch_size=4)
    with pytest.warns(UserWarning, match="no memory"), pytest.raises(torch.OutOfMemoryError):
        model.fit(*photos)


def test_a_fitted_net_keeps_no_gradients_and_no_momenta(photos):
    net = classifier().fit(*photos).net_
    assert net.optimizer_.param_groups
    assert not net.optimizer_.state
    assert all(parameter.grad is None for parameter in net.module_.parameters())


def detached():
    class Detached(nn.Sequential):
        def forward(self, x):
            return super().forward(x).detach()

    backbone = tiny_backbone()
    stages = dict(backbone.stages)
    return Backbone(stages | {"layer2": Detached(*stages["layer2"])}, backbone.preset)


def test_a_trainable_stage_without_a_gradient_is_an_error(photos):
    model = FineTuneClassifier(detached, random_state=0, max_epochs=1)
    with pytest.raises(FreezeError, match="Stage 'stem' is trainable and got no gradient"):
        model.fit(*photos)


def test_a_frozen_stage_that_moves_is_an_error(photos):
    class Mover(EarlyStopping):
        def on_epoch_end(self, net, **kwargs):
            with torch.no_grad():
                next(net.module_.backbone.stages["stem"].parameters()).add_(1)

    model = classifier(unfreeze=1, skorch_callbacks=[Mover("train_loss")])
    with pytest.raises(FreezeError, match=r"Stage 'stem' is frozen, and its '0\.weight' moved"):
        model.fit(*photos)


def ungrouped(groups):
    return torch.optim.SGD([p for group in groups for p in group["params"]], lr=0.1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"augment": "strong"}, r"augment must be one of 'auto', None, 'light'"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, or 'auto'; got 0"),
        ({"class_weight": "even"}, "class_weight must be a dict, 'balanced' or None; got 'even'"),
        ({"class_weight": {"pink": 2}}, "class_weight must name labels of y; 'pink' is none"),
        ({"class_weight": {"red": -1}}, r"class_weight\['red'\] must be a number in \[0, inf\)"),
        ({"class_weight": {"red": np.nan}}, r"class_weight\['red'\] must be .*; got nan"),
        (
            {"class_weight": dict.fromkeys(["red", "green", "blue"], 0)},
            "class_weight must leave at least two classes a weight above 0; got none",
        ),
        ({"dropout": 1}, r"dropout must be a number in \[0, 1\); got 1"),
        ({"early_stopping": "yes"}, "early_stopping must be one of False, True; got 'yes'"),
        ({"fine_tune_lr": 0}, r"fine_tune_lr must be a number in \(0, inf\), or 'auto'; got 0"),
        ({"freeze_bn": True}, "freeze_bn must be one of 'auto', 'frozen', 'all'; got True"),
        ({"freeze_epochs": -1}, "freeze_epochs must be an integer of at least 0"),
        ({"head": "lineal"}, "head must be one of 'linear', 'mlp'; got 'lineal'. Did you mean"),
        ({"head": nn.Linear(16, 3)}, "head must be 'linear', 'mlp', or a callable"),
        ({"head": lambda n, k: None}, "head must return a Module"),
        ({"head": lambda n, k: nn.Linear(n, 7)}, "head must return 3 outputs"),
        ({"head": lambda n, k: nn.Linear(5, k)}, "head must take 16 features"),
        ({"head": "mlp", "head_init": "logistic"}, "head_init must be 'prior' if head is not"),
        ({"head_init": "exact"}, "head_init must be one of 'auto', 'logistic', 'prior'"),
        ({"head_init": LogisticRegression}, "head_init must be 'auto', 'logistic', 'prior', or a"),
        ({"label_smoothing": -0.1}, r"label_smoothing must be a number in \[0, 1\)"),
        ({"layer_decay": 0}, r"layer_decay must be a number in \(0, 1\], or 'auto'; got 0"),
        ({"layer_decay": 1.5}, r"layer_decay must be a number in \(0, 1\], or 'auto'; got 1.5"),
        ({"lr": "fast"}, r"lr must be a number in \(0, inf\), or 'auto'; got 'fast'"),
        ({"lr_schedule": "triangle"}, "lr_schedule must be one of 'constant'"),
        ({"max_epochs": 1.5}, "max_epochs must be an integer of at least 0; got 1.5"),
        ({"n_iter_no_change": 0}, "n_iter_no_change must be an integer of at least 1"),
        ({"optimizer": "adam"}, "optimizer must be one of 'adamw', 'sgd', 'rmsprop'"),
        ({"optimizer": 3, "max_epochs": 0}, "optimizer must be a name, a subclass .*; got 3"),
        ({"skorch_callbacks": 5}, "skorch_callbacks must be a list of .*, or None; got 5"),
        ({"skorch_callbacks": [("a", 5)]}, "skorch_callbacks must be a list of .*; got 5"),
        ({"checkpoint": 5}, "checkpoint must be the path of a folder, or None; got 5"),
        ({"pooling": "mean"}, "pooling must be one of 'avg'"),
        ({"pooling": "cls"}, "pooling must not be 'cls'"),
        ({"optimizer": ungrouped}, "optimizer must keep the parameter groups that it is given"),
        ({"precision": "float16"}, "precision must be one of 'float32'"),
        ({"tol": -1}, r"tol must be a number in \[0, inf\); got -1"),
        ({"tta": -1}, "tta must be an integer of at least 0"),
        ({"unfreeze": 4}, "unfreeze must be at most 3, the number of stages: stem, layer1"),
        ({"unfreeze": "layer3"}, "unfreeze must be one of 'all', 'stem', 'layer1', 'layer2'"),
        ({"unfreeze_every": 0}, "unfreeze_every must be an integer of at least 1, or None"),
        ({"validation_fraction": 1.0}, r"validation_fraction must be a number in \(0, 1\)"),
        ({"weight_decay": -1}, r"weight_decay must be a number in \[0, inf\)"),
        ({"cache": 3}, "cache must be None, the path of a folder, or an ActivationCache"),
        ({"verbose": -1}, "verbose must be an integer of at least 0"),
        ({"decode_error": "skip"}, "decode_error must be one of 'raise', 'warn', 'ignore'"),
    ],
    ids=named,
)
def test_a_wrong_parameter_is_named(photos, parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        classifier(**parameters).fit(*photos)


@pytest.mark.parametrize(
    ("fit_params", "message"),
    [
        ({"y": None}, "requires y to be passed, but the target y is None"),
        ({"y": np.zeros(36)}, "y must have at least 2 classes; it has only one class: 0"),
        ({"y": np.arange(5)}, "y must have one label for each of 36 items; got 5"),
        ({"sample_weight": np.zeros(36)}, "Sample weights must contain at least one non-zero"),
        ({"sample_weight": -np.ones(36)}, "Negative values in data passed to `sample_weight`"),
        ({"X_val": np.zeros((1, 8, 8, 3), "u1")}, "X_val and y_val must be given together; y_val"),
        ({"y_val": ["red"]}, "X_val and y_val must be given together; X_val is missing"),
        (
            {"X_val": np.zeros((1, 8, 8, 3), "u1"), "y_val": ["pink"]},
            "y_val must hold labels that y holds; it also has 'pink'",
        ),
    ],
    ids=["none", "one", "short", "weightless", "negative", "no y_val", "no X_val", "unseen"],
)
def test_wrong_data_is_named(photos, fit_params, message):
    X, y = photos
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, **({"y": y} | fit_params))


def test_validation_labels_are_of_the_kind_of_y(photos):
    X, y = photos
    several = np.eye(3, dtype=int)[np.arange(36) % 3]
    with pytest.raises(ValueError, match=r"y_val must have one label .*; got columns of 0 and 1"):
        classifier().fit(X, y, X_val=X[:3], y_val=several[:3])
    with pytest.raises(ValueError, match=r"y_val must have columns of 0 and 1 .*; got one label"):
        classifier().fit(X, several, X_val=X[:3], y_val=[0, 1, 2])


def test_a_class_of_one_photo_cannot_be_held_out(photos):
    X, y = photos
    y = y.copy()
    y[0] = "pink"
    with pytest.raises(ValueError, match=r"at least 2 items of every class(.|\n)*'pink': 1"):
        classifier(early_stopping=True).fit(X, y)


def test_groups_must_be_as_many_as_items(photos):
    with pytest.raises(ValueError, match="groups must have one entry for each of 36 items"):
        classifier(early_stopping=True).fit(*photos, groups=[1, 2])


def test_indicators_must_be_zero_and_one(photos):
    with pytest.raises(ValueError, match="columns of 0 and 1"):
        classifier().fit(photos[0], np.random.default_rng(0).normal(size=(36, 2)))


# Files that cannot be read


@pytest.fixture
def broken(tmp_path, photos):
    from PIL import Image

    paths = []
    for index, photo in enumerate(photos[0]):
        paths.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(photo).save(paths[-1])
    (tmp_path / "3.png").write_bytes(b"no image")
    return np.array(paths)


def test_a_broken_photo_is_an_error_that_names_it(broken, photos):
    with pytest.raises(ValueError, match=r"X\[3\]: '.*3.png' is not an image"):
        classifier().fit(broken, photos[1])


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, {"unfreeze": 1}])
def test_a_broken_photo_is_left_out_on_request(broken, photos, parameters):
    y = photos[1]
    model = classifier(decode_error="warn", **parameters)
    with pytest.warns(UserWarning, match=r"X\[3\]: '.*3.png'"):
        model.fit(broken, y)
    assert_array_equal(model.skipped_, [3])
    with pytest.warns(UserWarning, match=r"X\[3\]"):
        labels = model.predict(broken)
    assert np.isnan(labels[3])
    assert (labels == y).sum() > 30
    assert np.isnan(model.set_params(decode_error="ignore").predict_proba(broken)[3]).all()
    with pytest.raises(ValueError, match=r"X\[3\]"):
        model.set_params(decode_error="raise").predict(broken)


def test_where_no_photo_of_a_class_is_left_it_is_an_error(broken, photos):
    y = photos[1].copy()
    y[3] = "pink"
    with pytest.raises(ValueError, match=r"too few are left without these:\n  X\[3\]"):
        classifier(decode_error="ignore").fit(broken, y)


# Pickles


@pytest.mark.parametrize("parameters", [{}, {"unfreeze": 1}, {"head": "mlp"}, {"max_epochs": 0}])
def test_a_pickle_holds_the_weights_once_and_predicts_the_same_bits(photos, parameters):
    model = classifier(**parameters).fit(*photos)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_proba(photos[0]), model.predict_proba(photos[0]))
    assert again.history_ == model.history_
    assert again.report_.to_frame().equals(model.report_.to_frame())
    numbers = sum(t.nbytes for t in model._fitted.tail.state_dict().values())
    assert len(pickle.dumps(model)) < numbers + 40_000


def test_features_are_those_of_the_tuned_network(photos):
    X, y = photos
    model = classifier().fit(X, y)
    tuned = PretrainedFeatureExtractor(lambda: model.backbone_).fit_transform(X)
    np.testing.assert_allclose(model.transform(X), tuned, rtol=1e-4, atol=1e-5)
    assert list(model.get_feature_names_out()[:1]) == ["finetuneclassifier0"]


# What a reviewer found


def test_an_interrupt_without_validation_says_what_the_model_is(photos):
    from sktransfer.training.net import TailNet

    original = TailNet._accumulate

    def interrupted(self, *args, **kwargs):
        if self.step_ == 7:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TailNet, "_accumulate", interrupted)
        with pytest.warns(UserWarning, match="in epoch 2: the model is as the last step left it"):
            classifier().fit(*photos)


def test_an_interrupt_of_the_range_test_ends_the_fit(photos):
    from sktransfer.training.net import TailNet

    original = TailNet._accumulate

    def interrupted(self, *args, **kwargs):
        if self.step_ == 20:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TailNet, "_accumulate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            classifier(fine_tune_lr="auto").fit(*photos)


@pytest.mark.parametrize("init", [SVC(kernel="linear"), Ridge()], ids=named)
def test_a_head_starts_from_a_linear_classifier_only(photos, init):
    with pytest.raises(ValueError, match="head_init must be a linear classifier of scikit-learn"):
        classifier(head_init=init, max_epochs=0).fit(*photos)


def test_a_head_starts_from_a_classifier_that_takes_weights(photos):
    with pytest.raises(TypeError, match="head_init must be a classifier that takes sample_weight"):
        classifier(head_init=LinearDiscriminantAnalysis(), max_epochs=0).fit(*photos)


def test_a_solver_that_draws_draws_from_random_state(photos):
    fits = [classifier(head_init=SGDClassifier(), max_epochs=0).fit(*photos) for _ in range(2)]
    assert_array_equal(*(model.decision_function(photos[0]) for model in fits))


def test_a_step_borrows_the_generators_before_it_saves_them(photos, monkeypatch):
    from contextlib import contextmanager

    from sktransfer._support import random as _random

    owned = []

    @contextmanager
    def fork_rng(enabled=None, **kwargs):
        if enabled is not None:  # a step's
            owned.append(_random._lock._is_owned())
        yield

    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    classifier().fit(*photos)
    assert owned
    assert all(owned)


def test_views_of_a_broken_photo_are_not_told_again(photos):
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    images = [Image.fromarray(photo) for photo in photos[0]]
    images[3] = Image.open(BytesIO(file.getvalue()[:-3000]))
    model = classifier(decode_error="ignore", tta=2).fit(images, photos[1])
    with pytest.warns(UserWarning, match=r"X\[3\]") as told:
        labels = model.set_params(decode_error="warn").predict(images)
    assert len(told) == 1
    assert np.isnan(labels[3])
