"""A net draws from its seed, divides batches that do not fit, and stops if interrupted."""

from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import ClassVar

import numpy as np
import pytest
import torch
from helpers.fine_tuning import classifier
from helpers.tiny import tiny_backbone
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping
from torch import nn
from torch.nn import functional

from sktransfer import Backbone, FineTuneClassifier, ImagePreset
from sktransfer._support import random as _random
from sktransfer.exceptions import TrainingDivergedError
from sktransfer.training.net import TailNet


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


def test_a_step_takes_the_lock_of_the_generators_before_it_saves_them(photos, monkeypatch):
    owned = []

    @contextmanager
    def fork_rng(enabled=None, **kwargs):
        if enabled is not None:  # of a training step
            owned.append(_random.generators._alone == get_ident())
        yield

    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    classifier().fit(*photos)
    assert owned
    assert all(owned)


class Seen(nn.Conv2d):
    """A convolution that records the type it computes in."""

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


def test_a_float64_table_meets_no_slow_convolution(rng, monkeypatch):
    convolve, seen = functional.conv2d, []

    def watch(rows, weight, *args):
        seen.append((rows.dtype, weight.shape[1], len(rows) > 2))  # examples are of two rows
        return convolve(rows, weight, *args)

    monkeypatch.setattr(functional, "conv2d", watch)
    X = rng.random((20, 3 * 16 * 16)) * 255
    model = FineTuneClassifier(
        partial(depthwise, 1), unfreeze=1, max_epochs=1, random_state=0, device="cpu"
    )
    model.fit(X, np.arange(20) % 2).predict(X)
    assert (torch.float64, 12, True) in seen  # not depthwise
    assert (torch.float64, 1, True) not in seen


def test_the_error_of_a_loss_that_is_not_finite_names_epoch_and_learning_rates(photos):
    model = classifier(fine_tune_lr=1e30, layer_decay=0.4, optimizer="sgd", lr_schedule="constant")
    with pytest.raises(
        TrainingDivergedError, match=r"loss of epoch 1 \(fine-tune phase\) is .*layer2 4e\+29"
    ):
        model.fit(*photos)


def test_a_last_batch_of_one_row_does_not_break_batch_norm(photos):
    X, y = photos
    classifier(freeze_bn="frozen", batch_size=6).fit(X[:25], y[:25])


def test_a_fitted_net_keeps_no_gradients_and_no_momenta(photos):
    net = classifier().fit(*photos).net_
    assert net.optimizer_.param_groups
    assert not net.optimizer_.state
    assert all(parameter.grad is None for parameter in net.module_.parameters())


# Memory


def out_of_memory(most):
    """Return a tiny backbone that has memory for at most ``most`` rows."""

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
    with pytest.warns(
        UserWarning, match=r"parts of at most 4.*batch_size stays|parts of at most 2"
    ) as warned:
        small.fit(*photos)
    assert str(warned[0].message).startswith("The device has no memory for batches of 8")
    np.testing.assert_allclose(
        small.decision_function(photos[0]), plain.decision_function(photos[0]), atol=1e-4
    )


@pytest.mark.parametrize(("batch_size", "most"), [(7, 3), (13, 4)])
def test_no_part_of_a_batch_has_a_single_row(photos, batch_size, most):
    def pixels():
        backbone = out_of_memory(most)
        return Backbone(dict(backbone.stages), ImagePreset(size=8))  # its last feature map is 1 x 1

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


# Interrupts


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


def test_the_warning_of_an_interrupt_describes_the_model(photos):
    original = TailNet._accumulate

    def interrupted(self, *args, **kwargs):
        if self.step_ == 7:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TailNet, "_accumulate", interrupted)
        with pytest.warns(
            UserWarning, match="in epoch 2: the model has the weights of the last step"
        ):
            classifier().fit(*photos)


def test_an_interrupt_of_the_range_test_ends_the_fit(photos):
    original = TailNet._accumulate

    def interrupted(self, *args, **kwargs):
        if self.step_ == 20:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TailNet, "_accumulate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            classifier(fine_tune_lr="auto").fit(*photos)


def test_an_interrupt_in_a_callback_ends_the_fit_and_not_only_the_phase(photos, ctrl_c):
    class Slow(Callback):
        def on_epoch_end(self, net, **kwargs):
            ctrl_c()

    model = classifier(freeze_epochs=5, skorch_callbacks=[Slow()])
    with pytest.warns(UserWarning, match="Training was interrupted in epoch 2: the model"):
        model.fit(*photos)
    assert [row["phase"] for row in model.history_] == ["head"]
