"""The range test finds a learning rate at which the loss falls, and changes nothing else."""

import numpy as np
import pytest
import torch
from helpers.killed import killed_after
from helpers.tiny import coloured_photos, tiny_backbone
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

from sktransfer import FineTuneClassifier, find_lr
from sktransfer.estimators.lr_finder import LRCurve
from sktransfer.exceptions import TrainingDivergedError
from sktransfer.training.lr_range import DIVERGED, smooth, suggest


@pytest.fixture(scope="module")
def photos():
    return coloured_photos()


def classifier(**parameters):
    defaults = {"head_init": "prior", "freeze_epochs": 0, "batch_size": 12, "random_state": 0}
    return FineTuneClassifier(tiny_backbone, **(defaults | parameters))


def curve():
    """Return a loss that falls fastest at a learning rate of 0.01, and grows from 0.1 on."""
    rates = np.geomspace(1e-5, 1, 101)
    falling = 1 / (1 + np.exp(4 * np.log(rates / 0.01)))
    return rates, falling + np.clip(rates - 0.1, 0, None) * 5


class Nowhere(torch.nn.Linear):
    """A head whose scores are NaN."""

    def forward(self, features):
        return super().forward(features) * float("nan")


def test_a_first_loss_that_is_not_finite_is_an_error(photos):
    with pytest.raises(TrainingDivergedError, match="loss of epoch 1 "):
        find_lr(classifier(head=Nowhere), *photos)


def test_the_suggestion_is_where_nine_tenths_of_the_fall_are_done():
    rates, losses = curve()
    assert 0.01 < suggest(rates, losses) < 0.03


@pytest.mark.parametrize("head_init", ["prior", "logistic"])
@pytest.mark.parametrize("unfreeze", [0, "all"])
def test_the_losses_are_alike_in_all_batches_while_nothing_is_learned(photos, head_init, unfreeze):
    model = classifier(head_init=head_init, unfreeze=unfreeze, dropout=0.5)
    losses = find_lr(model, *photos, low=1e-12, high=1e-9, n_steps=20).losses
    assert losses[0] > 0.01
    assert np.ptp(losses) < 1e-5


@pytest.mark.parametrize("unfreeze", [0, 1, "all"])
@pytest.mark.parametrize("augment", [None, "light"])
def test_the_range_test_works_at_any_depth_and_does_not_change_the_estimator(
    photos, unfreeze, augment
):
    model = classifier(unfreeze=unfreeze, augment=augment)
    before, state = model.get_params(), torch.get_rng_state()
    found = find_lr(model, *photos, n_steps=40)
    assert not hasattr(model, "backbone_")
    assert model.get_params() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert found.rates[0] == pytest.approx(1e-6)
    assert len(found.rates) == len(found.losses) <= 40
    assert (np.diff(found.rates) > 0).all()
    assert found.losses[0] == pytest.approx(np.log(3), abs=0.1)


def test_the_range_test_ends_when_the_loss_diverges(photos):
    found = find_lr(classifier(), *photos, high=1e4, n_steps=60)
    assert len(found.rates) < 60
    smoothed = smooth(found.losses[np.isfinite(found.losses)])
    assert smoothed[:-1].max() <= DIVERGED * smoothed.min() * 1.01


def test_the_same_seed_gives_the_same_curve(photos):
    one, other = (find_lr(classifier(), *photos, n_steps=20) for _ in range(2))
    np.testing.assert_array_equal(one.losses, other.losses)


def test_auto_is_the_suggestion_of_the_range_test(photos):
    suggestion = find_lr(classifier(layer_decay=0.4), *photos).suggestion
    model = classifier(
        fine_tune_lr="auto", layer_decay=0.4, lr_schedule="constant", max_epochs=1
    ).fit(*photos)
    assert model.history_[0]["lr"]["head"] == pytest.approx(suggestion)
    assert model.history_[0]["lr"]["layer2"] == pytest.approx(0.4 * suggestion)


def test_each_phase_has_a_range_test_of_its_own(photos):
    model = classifier(
        lr="auto", freeze_epochs=1, fine_tune_lr=0.002, lr_schedule="constant", max_epochs=1
    ).fit(*photos)
    assert model.history_[1]["lr"]["head"] == 0.002
    assert 1e-6 < model.history_[0]["lr"]["head"] < 1


def test_the_range_test_draws_its_curve(photos):
    display = find_lr(classifier(), *photos, n_steps=40).plot(ax=Figure().subplots())
    assert display.ax_.get_xscale() == "log"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0}, r"low must be a number in \(0, inf\); got 0"),
        ({"low": 2.0}, r"low must be less than high, 1\.0; got 2\.0"),
        ({"n_steps": 3}, "n_steps must be an integer of at least 5; got 3"),
    ],
)
def test_a_wrong_argument_is_named(photos, arguments, message):
    with pytest.raises(ValueError, match=message):
        find_lr(classifier(), *photos, **arguments)


def test_a_fit_without_a_phase_has_no_learning_rate_to_find(photos):
    with pytest.raises(ValueError, match="max_epochs must be at least 1"):
        find_lr(classifier(max_epochs=0), *photos)


def test_another_estimator_has_no_learning_rate(photos):
    with pytest.raises(TypeError, match="FineTuneClassifier or FineTuneRegressor; got Logistic"):
        find_lr(LogisticRegression(), *photos)


def test_the_range_test_leaves_the_checkpoint_of_a_killed_fit_alone(photos, tmp_path):
    model = FineTuneClassifier(tiny_backbone, max_epochs=3, random_state=0, checkpoint=tmp_path)
    with killed_after(1):
        model.fit(*photos)
    before = [(path, path.stat().st_ctime_ns) for path in tmp_path.rglob("*")]
    find_lr(model, *photos, n_steps=5)
    assert [(path, path.stat().st_ctime_ns) for path in tmp_path.rglob("*")] == before


def test_a_curve_has_the_suggestion_of_its_losses():
    rates, losses = curve()
    assert LRCurve(rates, losses).suggestion == suggest(rates, losses)
