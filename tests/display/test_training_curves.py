"""TrainingCurvesDisplay and LearningRatesDisplay: lines, marks, limits, wrong histories."""

import numpy as np
import pytest
from helpers.plots import classifier
from matplotlib import pyplot as plt
from sklearn.pipeline import Pipeline

from sktransfer.display import LearningRatesDisplay, TrainingCurvesDisplay


def drawn(ax):
    """Return the y values of the lines of ``ax`` by label."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines}


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def phase_names(ax):
    (names,) = ax.child_axes
    return tick_labels(names.xaxis)


# TrainingCurvesDisplay


def test_losses_and_scores_are_drawn_over_the_epochs(history):
    display = TrainingCurvesDisplay(history).plot()
    assert drawn(display.ax_) == {"training": [2.0, 1.5, 1.0], "validation": [2.2, 1.4, 1.2]}
    assert drawn(display.score_ax_) == {"validation": [0.3, 0.5, 0.7]}
    assert list(display.ax_.lines[0].get_xdata()) == [1, 2, 3]
    assert display.ax_.get_ylabel() == "loss"
    assert display.score_ax_.get_ylabel() == "score"
    assert display.score_ax_.get_xlabel() == "epoch"


def test_the_training_loss_is_drawn_alone_without_validation(history):
    rows = [{k: v for k, v in row.items() if "valid" not in k} for row in history]
    display = TrainingCurvesDisplay(rows).plot()
    assert list(drawn(display.ax_)) == ["training"]
    assert display.score_ax_ is None
    assert display.ax_.get_xlabel() == "epoch"


def test_phases_are_named_above_and_the_head_is_shaded(history):
    display = TrainingCurvesDisplay(history).plot()
    assert phase_names(display.ax_) == ["head", "fine-tune"]
    for ax in (display.ax_, display.score_ax_):
        (band,) = ax.patches
        assert (band.get_x(), band.get_x() + band.get_width()) == (0.5, 1.5)


def test_a_single_phase_is_named_and_not_shaded(history):
    display = TrainingCurvesDisplay(history[1:]).plot()
    assert phase_names(display.ax_) == ["fine-tune"]
    assert not display.ax_.patches


def test_a_history_without_phases_is_drawn(history):
    display = TrainingCurvesDisplay([{"epoch": 1, "train_loss": 1.0}]).plot()
    assert drawn(display.ax_) == {"training": [1.0]}


def test_the_best_epoch_is_marked(history):
    display = TrainingCurvesDisplay(history, best_epoch=2).plot()
    (mark,) = (line for line in display.ax_.lines if line.get_label() == "best epoch: 2")
    assert list(mark.get_xdata()) == [2, 2]
    assert list(display.ax_.lines[-1].get_xydata()[0]) == [2, 1.4]
    assert list(display.score_ax_.lines[-1].get_xydata()[0]) == [2, 0.5]


def test_a_best_epoch_before_the_first_is_marked_left_of_it(history):
    ax = TrainingCurvesDisplay(history, best_epoch=0).plot().ax_
    assert "best: before the first epoch" in drawn(ax)
    assert ax.get_xlim() == (-0.5, 3.5)


def test_ticks_of_the_epochs_are_whole_numbers(history):
    ax = TrainingCurvesDisplay(history).plot().ax_
    assert [tick for tick in ax.get_xticks() if 0.5 < tick < 3.5] == [1, 2, 3]


def test_scores_get_the_lower_part_of_axes_outside_of_a_grid(history):
    ax = plt.figure().add_axes([0.1, 0.1, 0.8, 0.8])
    display = TrainingCurvesDisplay(history).plot(ax)
    upper, lower = ax.get_position(), display.score_ax_.get_position()
    assert lower.y0 == pytest.approx(0.1)
    assert lower.y1 < upper.y0
    assert upper.y1 == pytest.approx(0.9)


def test_a_title_of_the_axes_is_above_the_names_of_the_phases(history):
    display = TrainingCurvesDisplay(history).plot()
    title = display.ax_.set_title("Bees")
    display.figure_.canvas.draw()
    (names,) = display.ax_.child_axes
    bottom = title.get_window_extent().y0
    assert bottom >= max(label.get_window_extent().y1 for label in names.get_xticklabels())


def test_the_curves_of_a_fitted_estimator_are_its_history(model):
    display = TrainingCurvesDisplay.from_estimator(model)
    assert drawn(display.ax_)["training"] == [row["train_loss"] for row in model.history_]
    assert display.best_epoch == model.best_epoch_


@pytest.mark.parametrize("display", [TrainingCurvesDisplay, LearningRatesDisplay])
def test_an_empty_history_is_refused(display):
    with pytest.raises(
        ValueError, match="history must hold at least one epoch; got an empty history"
    ):
        display([]).plot()


@pytest.mark.parametrize(
    ("display", "key"), [(TrainingCurvesDisplay, "train_loss"), (LearningRatesDisplay, "lr")]
)
def test_an_epoch_without_a_needed_key_is_named(display, key, history):
    del history[1][key]
    with pytest.raises(ValueError, match=rf"history\[1\] has no '{key}'"):
        display(history).plot()


@pytest.mark.parametrize("display", [TrainingCurvesDisplay, LearningRatesDisplay])
def test_an_estimator_that_is_not_fitted_is_refused(display):
    with pytest.raises(ValueError, match="not fitted yet"):
        display.from_estimator(classifier())


def test_an_object_that_is_not_an_estimator_is_refused(history):
    with pytest.raises(TypeError, match="estimator must be a fitted FineTuneClassifier; got list"):
        TrainingCurvesDisplay.from_estimator(history)


def test_a_pipeline_is_refused_with_advice_to_pass_its_step(model):
    pipeline = Pipeline([("clf", model)])
    with pytest.raises(
        TypeError, match=r"got Pipeline\. If it is a pipeline, pass the step with the model"
    ):
        TrainingCurvesDisplay.from_estimator(pipeline)


# LearningRatesDisplay


def test_rates_are_drawn_for_epochs_in_which_a_stage_trains_with_a_gap_between_phases(history):
    lines = drawn(LearningRatesDisplay(history).plot().ax_)
    nan = np.nan
    assert list(lines) == ["head", "layer2", "layer1"]  # the stem never trains
    np.testing.assert_equal(lines["head"], [1e-3, nan, 2e-3, nan])  # a log scale has no 0
    np.testing.assert_equal(lines["layer2"], [nan, nan, 8e-4, 4e-4])
    np.testing.assert_equal(lines["layer1"], [nan, nan, nan, 1e-4])


def test_rates_are_drawn_on_a_log_scale_below_the_names_of_the_phases(history):
    ax = LearningRatesDisplay(history).plot().ax_
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "learning rate"
    assert phase_names(ax) == ["head", "fine-tune"]


def test_rates_that_end_near_zero_are_cut_off(history):
    history[-1]["lr"] = dict.fromkeys(history[-1]["lr"], 1e-12)
    assert LearningRatesDisplay(history).plot().ax_.get_ylim()[0] > 1e-8


def test_rates_of_phases_in_which_a_stage_is_frozen_do_not_set_the_limit(history):
    history[0]["lr"] = dict.fromkeys(history[0]["lr"], 10.0)
    assert LearningRatesDisplay(history).plot().ax_.get_ylim()[0] < 1e-4


def test_the_limits_do_not_depend_on_the_rates_of_frozen_stages(history):
    rows = [
        row | {"lr": {n: lr if n in trains else np.nan for n, lr in row["lr"].items()}}
        for row, trains in zip(
            history, [{"head"}, {"head", "layer2"}, {"head", "layer2", "layer1"}], strict=True
        )
    ]
    limits = [LearningRatesDisplay(each).plot().ax_.get_ylim() for each in (history, rows)]
    assert limits[0] == pytest.approx(limits[1])


def test_a_stage_that_trains_only_at_the_end_of_a_schedule_is_cut_off():
    rates = [{"layer1": np.nan, "head": 1e-3}, {"layer1": 1e-9, "head": 1e-8}]
    rows = [
        {"phase": "fine-tune", "epoch": epoch, "cut": 2 - epoch, "lr": lr}
        for epoch, lr in enumerate(rates, start=1)
    ]
    assert LearningRatesDisplay(rows).plot().ax_.get_ylim()[0] > 1e-7


def test_a_stage_without_a_rate_counts_if_stages_are_given(history):
    # The chain is pool, stem, layer1, layer2, so layer1 is the first to train with a cut of 2.
    lines = drawn(LearningRatesDisplay(history, ["pool", "stem", "layer1", "layer2"]).plot().ax_)
    assert list(lines) == ["head", "layer2", "layer1", "stem"]


def test_a_line_that_others_cover_is_drawn_wider(history):
    for row in history[1:]:
        row["lr"] = {"stem": 1e-5, "layer1": 1e-3, "layer2": 1e-3, "head": 1e-3}
    ax = LearningRatesDisplay(history).plot().ax_
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths == sorted(set(widths), reverse=True)


def test_lines_that_do_not_overlap_have_equal_widths(history):
    history[1]["lr"] = {"stem": 1e-11, "layer1": 4e-11, "layer2": 1e-10, "head": 4e-10}
    ax = LearningRatesDisplay(history).plot().ax_
    assert len({line.get_linewidth() for line in ax.lines}) == 1


def test_the_rates_of_a_fitted_estimator_are_its_history(model):
    lines = drawn(LearningRatesDisplay.from_estimator(model).ax_)
    assert list(lines) == ["head", "layer2", "layer1"]
    rates = [row["lr"]["head"] for row in model.history_]
    np.testing.assert_equal(lines["head"], [rates[0], np.nan, *rates[1:]])


def test_a_history_without_a_rate_is_refused(history):
    rows = [row | {"lr": {"head": 0.0}} for row in history]
    with pytest.raises(ValueError, match="history must hold a learning rate above 0"):
        LearningRatesDisplay(rows).plot()
