"""The displays draw what they are given, and say what is wrong with it."""

import subprocess
import sys
from io import StringIO
from itertools import chain

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from tiny import tiny_backbone

from sktransfer import ImagePreset, PretrainedFeatureExtractor, Views
from sktransfer.augment import resolve_augment
from sktransfer.digests import digest
from sktransfer.display import (
    LearningRatesDisplay,
    LRFinderDisplay,
    TrainingCurvesDisplay,
    UnfreezeDepthDisplay,
)
from sktransfer.fine_tune import FineTuneClassifier
from sktransfer.photo_display import AugmentationDisplay, TopLossesDisplay

PRESET = ImagePreset(size=32)


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def classifier(**parameters):
    quick = {"freeze_epochs": 1, "max_epochs": 2, "verbose": 0, "random_state": 0}
    return FineTuneClassifier(tiny_backbone, **quick | parameters)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(n_class=3, return_X_y=True)
    return X[:60] / 16, y[:60]


@pytest.fixture(scope="module")
def model(digits):
    return classifier(unfreeze=2, early_stopping=True).fit(*digits)


@pytest.fixture
def history():
    """One epoch of the head; then two stages thaw, one after the other."""
    rows = [
        ("head", 3, 2.0, 2.2, 0.3, (1e-5, 1e-4, 4e-4, 1e-3)),
        ("fine-tune", 2, 1.5, 1.4, 0.5, (2e-5, 2e-4, 8e-4, 2e-3)),
        ("fine-tune", 1, 1.0, 1.2, 0.7, (1e-5, 1e-4, 4e-4, 0.0)),
    ]
    names = ("stem", "layer1", "layer2", "head")
    return [
        {
            "phase": phase,
            "epoch": epoch,
            "cut": cut,
            "train_loss": train,
            "valid_loss": valid,
            "valid_score": score,
            "lr": dict(zip(names, rates, strict=True)),
        }
        for epoch, (phase, cut, train, valid, score, rates) in enumerate(rows, start=1)
    ]


@pytest.fixture
def photos():
    return np.random.default_rng(0).integers(0, 256, (5, 40, 60, 3), np.uint8)


def drawn(ax):
    """label -> y values of the lines of ``ax``."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines}


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def phase_names(ax):
    (names,) = ax.child_axes
    return tick_labels(names.xaxis)


def words(ax):
    return [text.get_text() for text in ax.texts]


# matplotlib


@pytest.mark.parametrize("module", ["display", "photo_display"])
def test_importing_a_display_loads_no_matplotlib(module):
    code = f"import sys, sktransfer.{module}; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "draw",
    [
        lambda photos: LRFinderDisplay([1, 2], [1, 2]).plot(),
        lambda photos: AugmentationDisplay.from_augment("light", PRESET, photos),
        lambda photos: TopLossesDisplay.from_predictions([0], [[1.0]], photos[:1]),
    ],
)
def test_without_matplotlib_the_extra_is_named(draw, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sktransfer\[plot\]'"):
        draw(photos)


@pytest.mark.parametrize(
    "display",
    [
        LRFinderDisplay([1, 2], [1, 2]),
        UnfreezeDepthDisplay([0], [1], [0], [1]),
        AugmentationDisplay(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 2, 3))),
    ],
)
def test_plot_draws_into_the_axes_that_are_given_and_returns_the_display(display):
    figure, ax = plt.subplots()
    assert display.plot(ax) is display
    assert display.ax_ is ax
    assert display.figure_ is figure


def test_a_display_can_be_drawn_twice(history):
    display = TrainingCurvesDisplay(history).plot()
    first = display.ax_
    assert drawn(display.plot().ax_) == drawn(first)
    assert display.ax_ is not first


# TrainingCurvesDisplay


def test_losses_and_scores_are_drawn_over_the_epochs(history):
    display = TrainingCurvesDisplay(history).plot()
    assert drawn(display.ax_) == {"training": [2.0, 1.5, 1.0], "validation": [2.2, 1.4, 1.2]}
    assert drawn(display.score_ax_) == {"validation": [0.3, 0.5, 0.7]}
    assert list(display.ax_.lines[0].get_xdata()) == [1, 2, 3]
    assert display.ax_.get_ylabel() == "loss"
    assert display.score_ax_.get_ylabel() == "score"
    assert display.score_ax_.get_xlabel() == "epoch"


def test_without_validation_only_the_training_loss_is_drawn(history):
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


def test_epochs_are_whole_numbers(history):
    ax = TrainingCurvesDisplay(history).plot().ax_
    assert [tick for tick in ax.get_xticks() if 0.5 < tick < 3.5] == [1, 2, 3]


def test_scores_get_the_lower_part_of_axes_that_stand_in_no_grid(history):
    ax = plt.figure().add_axes([0.1, 0.1, 0.8, 0.8])
    display = TrainingCurvesDisplay(history).plot(ax)
    upper, lower = ax.get_position(), display.score_ax_.get_position()
    assert lower.y0 == pytest.approx(0.1)
    assert lower.y1 < upper.y0
    assert upper.y1 == pytest.approx(0.9)


def test_a_title_of_the_axes_stands_above_the_names_of_the_phases(history):
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
    with pytest.raises(ValueError, match="history must hold at least one epoch; got none"):
        display([]).plot()


@pytest.mark.parametrize(
    ("display", "key"), [(TrainingCurvesDisplay, "train_loss"), (LearningRatesDisplay, "lr")]
)
def test_an_epoch_without_what_is_drawn_is_named(display, key, history):
    del history[1][key]
    with pytest.raises(ValueError, match=rf"history\[1\] has no '{key}'"):
        display(history).plot()


@pytest.mark.parametrize("display", [TrainingCurvesDisplay, LearningRatesDisplay])
def test_an_estimator_that_is_not_fitted_says_so(display):
    with pytest.raises(ValueError, match="not fitted yet"):
        display.from_estimator(classifier())


def test_what_is_no_estimator_is_refused(history):
    with pytest.raises(TypeError, match="estimator must be a fitted FineTuneClassifier; got list"):
        TrainingCurvesDisplay.from_estimator(history)


def test_of_a_pipeline_the_step_is_asked_for(model):
    pipeline = Pipeline([("clf", model)])
    with pytest.raises(TypeError, match=r"got Pipeline\. Of a pipeline, pass that step"):
        TrainingCurvesDisplay.from_estimator(pipeline)


# LearningRatesDisplay


def test_rates_are_drawn_where_a_stage_trains_with_a_gap_between_phases(history):
    lines = drawn(LearningRatesDisplay(history).plot().ax_)
    nan = np.nan
    assert list(lines) == ["head", "layer2", "layer1"]  # the stem never trains
    np.testing.assert_equal(lines["head"], [1e-3, nan, 2e-3, nan])  # a rate of 0 has no place
    np.testing.assert_equal(lines["layer2"], [nan, nan, 8e-4, 4e-4])
    np.testing.assert_equal(lines["layer1"], [nan, nan, nan, 1e-4])


def test_rates_are_on_a_log_scale_under_the_names_of_the_phases(history):
    ax = LearningRatesDisplay(history).plot().ax_
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "learning rate"
    assert phase_names(ax) == ["head", "fine-tune"]


def test_rates_that_end_near_zero_leave_the_axes(history):
    history[-1]["lr"] = dict.fromkeys(history[-1]["lr"], 1e-12)
    assert LearningRatesDisplay(history).plot().ax_.get_ylim()[0] > 1e-8


def test_rates_of_a_phase_in_which_a_stage_is_frozen_do_not_hide_those_it_has(history):
    history[0]["lr"] = dict.fromkeys(history[0]["lr"], 10.0)
    assert LearningRatesDisplay(history).plot().ax_.get_ylim()[0] < 1e-4


def test_a_stage_without_a_rate_counts_where_stages_are_told(history):
    # the chain is pool, stem, layer1, layer2: of cut 2, layer1 trains
    lines = drawn(LearningRatesDisplay(history, ["pool", "stem", "layer1", "layer2"]).plot().ax_)
    assert list(lines) == ["head", "layer2", "layer1", "stem"]


def test_a_line_that_others_lie_on_is_drawn_broader(history):
    for row in history[1:]:
        row["lr"] = {"stem": 1e-5, "layer1": 1e-3, "layer2": 1e-3, "head": 1e-3}
    ax = LearningRatesDisplay(history).plot().ax_
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths == sorted(set(widths), reverse=True)


def test_lines_that_lie_apart_are_equally_broad(history):
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
    with pytest.raises(ValueError, match="history must hold a rate above 0"):
        LearningRatesDisplay(rows).plot()


# LRFinderDisplay

RATES, LOSSES = [1e-4, 1e-3, 1e-2, 1e-1], [2.0, 1.0, 0.5, 80.0]


def test_the_loss_is_drawn_over_the_rate_on_a_log_scale():
    ax = LRFinderDisplay(RATES, LOSSES).plot().ax_
    assert drawn(ax) == {"loss": LOSSES}
    assert list(ax.lines[0].get_xdata()) == RATES
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "loss")


def test_the_suggestion_is_marked_on_the_smoothed_curve():
    smoothed = [2.0, 1.2, 0.6, 3.0]
    ax = LRFinderDisplay(RATES, LOSSES, smoothed, 1e-3).plot().ax_
    assert drawn(ax)["loss"] == LOSSES
    assert drawn(ax)["smoothed"] == smoothed
    np.testing.assert_allclose(ax.lines[-1].get_xydata(), [[1e-3, 1.2]])
    assert ax.lines[-1].get_label() == "suggestion: 0.001"


def test_a_loss_that_diverges_leaves_the_axes():
    low, high = LRFinderDisplay(RATES, LOSSES).plot().ax_.get_ylim()
    assert low < 0.5
    assert 2 < high < 4


@pytest.mark.parametrize("losses", [[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
def test_a_loss_that_never_falls_is_drawn_whole(losses):
    low, high = LRFinderDisplay(RATES, losses).plot().ax_.get_ylim()
    assert low < min(losses)
    assert max(losses) <= high


def test_the_result_of_a_range_test_is_drawn():
    class Curve:
        rates, losses, smoothed, suggestion = RATES, LOSSES, LOSSES, 1e-2

    display = LRFinderDisplay.from_curve(Curve())
    assert display.suggestion == 1e-2
    assert "suggestion: 0.01" in drawn(display.ax_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1e-3], [1.0]), "rates must be two or more numbers above 0, ascending"),
        (([1e-3, 0], [1.0, 1.0]), "rates must be"),
        (([1e-2, 1e-3], [1.0, 1.0]), "rates must be"),
        ((RATES, [1.0]), r"losses must have one number for each of 4 rates; got shape \(1,\)"),
        ((RATES, LOSSES, [1.0]), "smoothed must have one number"),
        ((RATES, [np.nan] * 4), "losses must hold a finite number"),
        ((RATES, LOSSES, None, 0), "suggestion must be a rate above 0, or None; got 0"),
        ((RATES, LOSSES, None, np.nan), "suggestion must be a rate above 0, or None; got nan"),
    ],
)
def test_a_wrong_range_test_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LRFinderDisplay(*arguments).plot()


# UnfreezeDepthDisplay


def results(params, scores, name="score"):
    n = len(params)
    return {
        "params": params,
        f"mean_test_{name}": np.array(scores, float),
        f"std_test_{name}": np.full(n, 0.1),
        "mean_fit_time": np.arange(1.0, n + 1),
    }


def test_depths_stand_in_order_numbers_first_all_last():
    depths = ["all", 2, "layer2", 0, "layer1", np.int64(1)]
    found = results([{"unfreeze": depth} for depth in depths], range(6))
    display = UnfreezeDepthDisplay.from_cv_results(found, stages=["stem", "layer1", "layer2"])
    assert tick_labels(display.ax_.xaxis) == ["0", "1", "2", "layer2", "layer1", "all"]
    assert list(display.scores) == [3, 5, 1, 2, 4, 0]


def test_scores_are_a_line_with_deviations_and_times_are_bars():
    found = results([{"unfreeze": depth} for depth in (0, 1)], [0.8, 0.9])
    display = UnfreezeDepthDisplay.from_cv_results(found)
    (bars,) = display.ax_.collections
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    np.testing.assert_allclose(display.ax_.lines[0].get_ydata(), [0.8, 0.9])
    np.testing.assert_allclose(ends, [[0.7, 0.9], [0.8, 1.0]])
    assert [bar.get_height() for bar in display.time_ax_.patches] == [1, 2]
    assert display.ax_.get_ylabel() == "test score"
    assert display.time_ax_.get_ylabel() == "seconds to fit"


def test_the_best_depth_is_marked():
    display = UnfreezeDepthDisplay([0, 1, "all"], [0.5, 0.9, np.nan], [0] * 3, [1] * 3).plot()
    assert display.ax_.lines[-1].get_xydata().tolist() == [[1, 0.9]]
    assert words(display.ax_) == ["best"]


def test_depths_whose_fits_all_failed_have_no_best():
    assert words(UnfreezeDepthDisplay([0], [np.nan], [np.nan], [1]).plot().ax_) == []


def test_a_depth_stands_for_its_best_candidate_a_failed_one_is_never_it():
    params = [{"clf__unfreeze": d, "clf__lr": lr} for d in (0, 1) for lr in (0.1, 0.2)]
    found = results(params, [0.6, 0.7, 0.9, np.nan])
    display = UnfreezeDepthDisplay.from_cv_results(found)
    assert list(display.scores) == [0.7, 0.9]
    assert list(display.times) == [2, 3]
    assert display.ax_.get_ylabel() == "test score, best of 2"


def test_candidates_without_a_depth_are_left_out():
    found = results([{"unfreeze": 0}, {"head": "mlp"}, {"unfreeze": "all"}], [0.6, 0.7, 0.8])
    assert UnfreezeDepthDisplay.from_cv_results(found).depths == [0, "all"]


def test_of_successive_halving_depths_are_compared_at_the_same_resources():
    depths = [0, 1, 2, 0, 1, 1]
    found = results([{"unfreeze": depth} for depth in depths], [0.5, 0.6, 0.4, 0.7, 0.8, 0.9])
    found["iter"] = np.array([0, 0, 0, 1, 1, 2])
    display = UnfreezeDepthDisplay.from_cv_results(found)
    assert display.depths == [0, 1, 2]
    assert list(display.scores) == [0.5, 0.6, 0.4]
    two = {name: values[:2] + values[3:] for name, values in found.items() if name == "params"}
    two |= {name: np.delete(v, 2) for name, v in found.items() if name != "params"}
    assert list(UnfreezeDepthDisplay.from_cv_results(two).scores) == [0.7, 0.8]


def test_results_may_be_a_frame():
    pd = pytest.importorskip("pandas")
    found = pd.DataFrame(results([{"unfreeze": 0}, {"unfreeze": 1}], [0.6, 0.7]))
    assert list(UnfreezeDepthDisplay.from_cv_results(found).scores) == [0.6, 0.7]


def test_one_of_several_scores_is_chosen_by_name():
    found = results([{"unfreeze": 0}], [0.6], "balanced_accuracy")
    display = UnfreezeDepthDisplay.from_cv_results(found, metric="balanced_accuracy")
    assert display.ax_.get_ylabel() == "test balanced accuracy"
    with pytest.raises(ValueError, match="metric must be one of 'balanced_accuracy'; got 'score'"):
        UnfreezeDepthDisplay.from_cv_results(found)


def test_a_search_tells_the_order_of_the_stages_and_which_score_counts(digits):
    model = Pipeline([("same", FunctionTransformer()), ("clf", classifier(max_epochs=1))])
    grid = {"clf__unfreeze": ["layer1", "layer2", 0]}
    scoring = ["accuracy", "neg_log_loss"]
    search = GridSearchCV(model, grid, cv=2, scoring=scoring, refit="neg_log_loss").fit(*digits)
    display = UnfreezeDepthDisplay.from_search(search)
    assert display.depths == [0, "layer2", "layer1"]
    assert display.name == "neg_log_loss"
    accuracy = UnfreezeDepthDisplay.from_search(search, metric="accuracy")
    np.testing.assert_equal(accuracy.scores, search.cv_results_["mean_test_accuracy"][[2, 1, 0]])


def test_a_search_that_refits_nothing_is_drawn(digits):
    grid = {"unfreeze": [0, 1]}
    search = GridSearchCV(classifier(max_epochs=1), grid, cv=2, refit=False).fit(*digits)
    assert UnfreezeDepthDisplay.from_search(search).depths == [0, 1]


def test_a_search_that_is_not_fitted_says_so():
    with pytest.raises(ValueError, match="not fitted yet"):
        UnfreezeDepthDisplay.from_search(GridSearchCV(classifier(), {"unfreeze": [0]}))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([{"lr": 1}], "one parameter named unfreeze, or <step>__unfreeze; got 'lr'"),
        ([{}], "got none"),
        ([{"a__unfreeze": 1, "b__unfreeze": 1}], "got 'a__unfreeze', 'b__unfreeze'"),
        ([{"refreeze": 1}], "got 'refreeze'"),
    ],
)
def test_a_search_over_something_else_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        UnfreezeDepthDisplay.from_cv_results(results(params, [1.0] * len(params)))


def test_results_that_were_read_from_text_are_refused():
    found = results([{"unfreeze": 0}, {"unfreeze": 1}], [0.8, 0.9])
    read = pd.read_csv(StringIO(pd.DataFrame(found).to_csv()))
    with pytest.raises(
        TypeError, match=r"""a dict for .*; got "{'unfreeze': 0}"\. .* with joblib"""
    ):
        UnfreezeDepthDisplay.from_cv_results(read)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], [], []), "depths must hold at least one value of unfreeze"),
        (([0, 1], [1], [1], [1]), r"scores must have one number for each of 2 depths; got shape"),
        (([0], [1], [1], [1, 2]), "times must have one number for each of 1 depths"),
    ],
)
def test_depths_without_their_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UnfreezeDepthDisplay(*arguments).plot()


# AugmentationDisplay


def pixels(ax):
    """The images of ``ax``, as eight bits."""
    return [np.rint(np.asarray(image.get_array()) * 255).astype(np.uint8) for image in ax.images]


def test_each_row_is_a_photo_as_the_network_sees_it_and_its_variants(photos):
    display = AugmentationDisplay.from_augment("light", PRESET, photos, n_items=2, n_views=3)
    shown = pixels(display.ax_)
    assert len(shown) == 2 * (1 + 3)
    assert np.array_equal(shown[0], PRESET(photos[0]).numpy())
    assert np.array_equal(shown[4], PRESET(photos[1]).numpy())
    assert np.array_equal(shown[1], np.asarray(display.variants[0][0]))
    assert words(display.ax_) == ["photo", "variants: light"]


def test_the_grid_has_a_row_for_each_photo_and_the_photo_apart(photos):
    ax = AugmentationDisplay.from_augment("light", PRESET, photos, n_items=2, n_views=2).ax_
    corners = [(image.get_extent()[0], image.get_extent()[3]) for image in ax.images]
    np.testing.assert_allclose(corners[:3], [(0, 0), (1.24, 0), (2.3, 0)])
    np.testing.assert_allclose(corners[3:], [(0, 1.06), (1.24, 1.06), (2.3, 1.06)])


def test_variants_are_those_of_the_augmentation_that_trains(photos, monkeypatch):
    seeds = []

    def noted(augment, preset):
        augmentation = resolve_augment(augment, preset)
        return lambda item, seed: seeds.append(seed) or augmentation(item, seed)

    monkeypatch.setattr("sktransfer.photo_display.resolve_augment", noted)
    display = AugmentationDisplay.from_augment("standard", PRESET, photos, n_items=1, n_views=2)
    expected = [resolve_augment("standard", PRESET)(photos[0], seed) for seed in seeds]
    assert len(set(seeds)) == 2
    for variant, row in zip(display.variants[0], expected, strict=True):
        assert np.array_equal(variant, row)


def test_the_same_seed_draws_the_same_variants(photos):
    first, again, other = (
        pixels(AugmentationDisplay.from_augment("light", PRESET, photos, random_state=seed).ax_)
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fixed_views_are_shown_as_they_are(photos):
    views = Views("standard", n=3)
    display = AugmentationDisplay.from_augment(views, PRESET, photos, n_items=2)
    make = views.preset(PRESET)
    expected = [make(view) for view in views.items(photos[:2], list(map(digest, photos[:2])))]
    assert [len(variants) for variants in display.variants] == [3, 3]
    for shown, row in zip(chain(*display.variants), expected, strict=True):
        assert np.array_equal(shown, row)
    assert words(display.ax_)[1] == "variants: 3 fixed views, standard"


def halved(image):
    return image.float() / 255 / 2


def test_floats_of_a_callable_are_drawn_beside_eight_bits(photos):
    ax = AugmentationDisplay.from_augment(halved, PRESET, photos[:1], n_views=1).ax_
    whole, half = pixels(ax)
    np.testing.assert_allclose(half, whole / 2, atol=1)
    assert words(ax)[1] == "variants: halved"


def test_red_is_red():
    red = np.zeros((1, 40, 40, 3), np.uint8)
    red[..., 0] = 255
    ax = AugmentationDisplay.from_augment("light", PRESET, red, n_views=1).ax_
    assert [image[0, 0].tolist() for image in pixels(ax)] == [[255, 0, 0]] * 2


def test_values_of_a_table_beyond_one_are_drawn_from_least_to_most(digits):
    X = digits[0] * 16
    ax = AugmentationDisplay.from_augment("light", PRESET, X, n_items=1, n_views=1).ax_
    photo = np.asarray(ax.images[0].get_array())
    assert photo.min() == 0
    assert photo.max() == 1
    assert len(np.unique(photo)) > 10


@pytest.mark.parametrize("fitted", [False, True])
def test_an_estimator_shows_its_own_augmentation(digits, fitted, monkeypatch):
    X, y = digits
    estimator = classifier(augment="standard", image_size=64, max_epochs=1)
    if fitted:
        estimator.fit(X, y)
    display = AugmentationDisplay.from_estimator(estimator, X, n_items=1, n_views=2)
    assert display.name == "standard"
    assert display.photos[0].shape == (64, 64, 3)
    assert hasattr(estimator, "backbone_") == fitted


def test_auto_is_light_for_photos(photos):
    display = AugmentationDisplay.from_estimator(classifier(), photos, n_items=1, n_views=1)
    assert display.name == "light"


def test_the_rows_of_a_table_are_shown_at_the_size_that_fit_takes(digits):
    display = AugmentationDisplay.from_estimator(
        classifier(augment="light"), digits[0], n_items=1, n_views=1
    )
    assert display.photos[0].shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"augment": None}, "augment must make variants, to be shown; got None, .*augment='light'"),
        ({}, "got 'auto', which is None for the rows of a table"),
    ],
)
def test_an_estimator_that_augments_nothing_says_so(parameters, message, digits):
    with pytest.raises(ValueError, match=message):
        AugmentationDisplay.from_estimator(classifier(**parameters), digits[0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"augment": None}, "augment must make variants"),
        ({"augment": "strong"}, "augment must be one of .*; got 'strong'"),
        ({"n_items": 0}, "n_items must be an integer of at least 1; got 0"),
        ({"n_views": 0}, "n_views must be an integer of at least 1; got 0"),
    ],
)
def test_a_wrong_augmentation_is_refused(parameters, message, photos):
    arguments = {"augment": "light", "preset": PRESET, "X": photos} | parameters
    with pytest.raises(ValueError, match=message):
        AugmentationDisplay.from_augment(**arguments)


def test_an_estimator_without_augmentation_is_refused(photos):
    with pytest.raises(TypeError, match=r"must have a parameter augment.*FeatureExtractor"):
        AugmentationDisplay.from_estimator(PretrainedFeatureExtractor(), photos)


@pytest.mark.parametrize(("photos", "variants"), [([], []), ([0, 0], [[0], [0, 0]]), ([0], [])])
def test_unequal_rows_are_refused(photos, variants):
    with pytest.raises(ValueError, match="variants must hold equally many variants"):
        AugmentationDisplay(photos, variants).plot()


# TopLossesDisplay

PROBA = [[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [np.nan, np.nan], [0.6, 0.4]]
LABELS = ["ant", "ant", "bee", "bee", "bee"]


def test_the_least_probable_labels_come_first(photos):
    display = TopLossesDisplay.from_predictions(LABELS, PROBA, photos, k=3)
    assert display.indices.tolist() == [1, 4, 2]
    assert display.labels.tolist() == ["ant", "bee", "bee"]
    assert display.predictions.tolist() == ["bee", "ant", "bee"]
    assert display.probabilities.tolist() == [0.7, 0.6, 0.8]
    np.testing.assert_allclose(display.losses, -np.log([0.3, 0.4, 0.8]))


def test_below_a_photo_stand_its_label_the_prediction_and_the_loss(photos):
    ax = TopLossesDisplay.from_predictions(LABELS, PROBA, photos, k=1, preset=PRESET).ax_
    assert words(ax) == ["true", "ant", "0.30", "said", "bee", "0.70", "loss", "1.20", ""]
    assert np.array_equal(pixels(ax)[0], PRESET(photos[1]).numpy())


def test_a_right_prediction_has_another_colour(photos):
    ax = TopLossesDisplay.from_predictions(LABELS, PROBA, photos, k=4).ax_
    said = [text.get_color() for text in ax.texts[4::9]]
    assert len(set(said[:2])) == len(set(said[2:])) == 1
    assert said[0] != said[-1]


def test_rows_with_nan_are_left_out(photos):
    display = TopLossesDisplay.from_predictions(LABELS, PROBA, photos, k=9)
    assert sorted(display.indices) == [0, 1, 2, 4]
    assert len(display.ax_.images) == 4


def test_a_probability_of_zero_has_a_finite_loss(photos):
    display = TopLossesDisplay.from_predictions([0, 1], [[0, 1], [0, 1]], photos[:2])
    assert np.isfinite(display.losses).all()


def test_long_labels_are_cut(photos):
    classes = ["a" * 30, "b"]
    display = TopLossesDisplay.from_predictions([classes[0]] * 5, PROBA, photos, classes=classes)
    assert words(display.ax_)[1] == "a" * 14 + "…"


@pytest.mark.parametrize("kind", ["path", "bytes", "PIL image", "array"])
def test_photos_of_every_kind_are_shown(kind, photos, tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo).save(path)
    items = {
        "path": paths,
        "bytes": [path.read_bytes() for path in paths],
        "PIL image": list(map(Image.fromarray, photos)),
        "array": photos,
    }[kind]
    ax = TopLossesDisplay.from_predictions(LABELS, PROBA, items, k=1, preset=PRESET).ax_
    assert np.array_equal(pixels(ax)[0], PRESET(photos[1]).numpy())


def test_a_photo_that_is_not_shown_is_not_decoded(photos, tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo).save(path)
    paths[3].write_bytes(b"broken")  # its row is NaN
    assert len(TopLossesDisplay.from_predictions(LABELS, PROBA, paths).photos) == 4


def test_a_fitted_model_shows_what_its_network_sees(model, digits):
    X, y = digits
    display = TopLossesDisplay.from_estimator(model, X, y, k=4)
    proba = model.predict_proba(X)
    losses = -np.log(proba[np.arange(len(y)), y])
    np.testing.assert_allclose(display.losses, np.sort(losses)[::-1][:4])
    assert display.photos[0].shape == (32, 32, 3)


def test_any_classifier_of_photos_will_do(photos):
    y = [0, 1, 0, 1, 1]
    display = TopLossesDisplay.from_estimator(DummyClassifier().fit(photos, y), photos, y, k=2)
    assert display.indices.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k must be an integer of at least 1; got 0"),
        ({"y_true": LABELS[:4]}, r"y_true must be one label for each of 5 items of X; got shape"),
        ({"y_true": np.eye(5)}, r"y_true must be one label for each of 5 items .* \(5, 5\)"),
        ({"y_pred_proba": [0.1] * 5}, r"y_pred_proba must be of shape \(5, 2\).*; got \(5,\)"),
        ({"classes": ["ant"]}, r"y_pred_proba must be of shape \(5, 1\)"),
        ({"classes": ["ant", "wasp"]}, r"not of them:\n  y_true\[2\]: 'bee'"),
        ({"y_pred_proba": np.full((5, 2), np.nan)}, "must have a row without NaN"),
    ],
)
def test_wrong_predictions_are_refused(changes, message, photos):
    arguments = {"y_true": LABELS, "y_pred_proba": PROBA, "X": photos} | changes
    with pytest.raises(ValueError, match=message):
        TopLossesDisplay.from_predictions(**arguments)


def test_a_model_without_probabilities_is_refused(photos):
    with pytest.raises(TypeError, match="with predict_proba; got PretrainedFeatureExtractor"):
        TopLossesDisplay.from_estimator(PretrainedFeatureExtractor(), photos, LABELS)


def test_a_model_that_is_not_fitted_says_so(photos):
    with pytest.raises(ValueError, match="not fitted yet"):
        TopLossesDisplay.from_estimator(classifier(), photos, LABELS)


def test_no_photos_are_refused():
    with pytest.raises(ValueError, match="photos must hold at least one photo; got none"):
        TopLossesDisplay([], [], [], [], [], [], []).plot()


@pytest.mark.parametrize(("k", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (9, 3)])
def test_photos_stand_in_a_grid_that_is_nearly_square(k, columns):
    ones = np.ones(k)
    display = TopLossesDisplay(np.zeros((k, 4, 4, 3)), ones, ones, ones, ones, ones, ones).plot()
    lefts = {image.get_extent()[0] for image in display.ax_.images}
    assert len(lefts) == columns
