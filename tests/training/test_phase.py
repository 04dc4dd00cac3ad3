"""The head trains alone first, then the stages behind the cut; the best epoch is kept."""

from math import isnan

import numpy as np
import pytest
from helpers.fine_tuning import classifier
from skorch.callbacks import Callback, EarlyStopping

from sktransfer import FineTuneClassifier


def test_the_head_trains_alone_first(photos):
    model = classifier(freeze_epochs=2, max_epochs=1, head_init="prior").fit(*photos)
    assert [row["phase"] for row in model.history_] == ["head", "head", "fine-tune"]
    assert [row["cut"] for row in model.history_] == [3, 3, 0]
    assert [row["epoch"] for row in model.history_] == [1, 2, 3]


def test_unfreeze_every_unfreezes_one_more_stage_every_few_epochs(photos):
    model = classifier(unfreeze_every=2, max_epochs=6).fit(*photos)
    assert [row["cut"] for row in model.history_] == [2, 2, 1, 1, 0, 0]
    model = classifier(unfreeze_every=1, unfreeze=2, max_epochs=4, augment=None).fit(*photos)
    assert [row["cut"] for row in model.history_] == [2, 1, 1, 1]


def test_a_network_from_scratch_trains_as_a_whole_at_one_learning_rate(photos):
    X, y = photos
    model = FineTuneClassifier(
        "builtin/small_cnn", weights=None, image_size=48, max_epochs=1, random_state=0
    ).fit(X, y)
    assert not any(row["frozen"] for row in model.report_)
    rates = model.history_[-1]["lr"]
    assert len(set(rates.values())) == 1  # no layer-wise decay


# Learning rates


def test_lr_is_the_learning_rate_of_the_head_while_it_trains_alone(photos):
    with_lr = [classifier(lr=lr, freeze_epochs=1, max_epochs=0).fit(*photos) for lr in (0.1, 0.2)]
    rates = [model.history_[0]["lr"]["head"] for model in with_lr]
    assert rates[1] == pytest.approx(2 * rates[0])


def test_the_head_keeps_its_learning_rate_if_no_stage_trains(photos):
    model = classifier(unfreeze=0, lr=0.3, fine_tune_lr=0.1, lr_schedule="constant").fit(*photos)
    assert model.history_[-1]["lr"]["head"] == 0.3


def test_the_learning_rate_of_a_stage_is_a_fraction_of_that_of_the_next(photos):
    model = classifier(fine_tune_lr=0.1, layer_decay=0.5, lr_schedule="constant").fit(*photos)
    expected = {"head": 0.1, "layer2": 0.05, "layer1": 0.025, "stem": 0.0125}
    assert model.history_[-1]["lr"] == pytest.approx(expected)
    rows = {row["stage"]: (row["lr_min"], row["lr_max"]) for row in model.report_}
    assert rows["stem"] == pytest.approx((0.0125, 0.0125))


def test_a_frozen_stage_has_no_learning_rate(photos):
    model = classifier(
        freeze_epochs=1, unfreeze=2, unfreeze_every=1, max_epochs=2, fine_tune_lr=0.1
    ).fit(*photos)
    frozen = [{name for name, lr in row["lr"].items() if isnan(lr)} for row in model.history_]
    assert frozen == [{"stem", "layer1", "layer2"}, {"stem", "layer1"}, {"stem"}]
    rows = {row["stage"]: row for row in model.report_}
    assert isnan(rows["stem"]["lr_min"])
    assert isnan(rows["stem"]["lr_max"])
    assert rows["layer1"]["lr_max"] > 0


# The best epoch


def test_the_weights_of_the_best_epoch_are_kept(photos):
    X, y = photos
    model = classifier(fine_tune_lr=0.02, max_epochs=6, lr_schedule="constant")
    model.fit(X[:24], y[:24], X_val=X[24:], y_val=np.roll(y[24:], 1))  # the loss grows
    losses = [row["valid_loss"] for row in model.history_]
    assert len(losses) == 6
    assert model.best_epoch_ == 0 or losses[model.best_epoch_ - 1] == min(losses)
    trained = classifier(
        fine_tune_lr=0.02, max_epochs=max(model.best_epoch_, 0), lr_schedule="constant"
    )
    trained.fit(X[:24], y[:24])
    np.testing.assert_allclose(trained.decision_function(X), model.decision_function(X), atol=1e-5)


def test_training_stops_when_the_validation_loss_no_longer_falls(photos):
    X, y = photos
    model = classifier(
        early_stopping=True, n_iter_no_change=2, max_epochs=50, fine_tune_lr=0.1,
        validation_fraction=0.25, lr_schedule="constant",
    ).fit(X, y)  # fmt: skip
    assert model.n_iter_ < 50
    assert all({"valid_loss", "valid_score"} <= row.keys() for row in model.history_)


# The end of a phase


def test_a_callback_that_raises_an_interrupt_ends_only_its_phase(photos):
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    model = classifier(freeze_epochs=5, skorch_callbacks=[Stop()]).fit(*photos)
    assert [row["phase"] for row in model.history_] == ["head", "fine-tune"]


def test_early_stopping_of_skorch_ends_only_its_phase(photos):
    stop = EarlyStopping("train_loss", patience=1, threshold=10.0)
    model = classifier(freeze_epochs=5, max_epochs=5, skorch_callbacks=[stop]).fit(*photos)
    phases = [row["phase"] for row in model.history_]
    assert "fine-tune" in phases
    assert len(phases) < 10
