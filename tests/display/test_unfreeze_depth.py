"""UnfreezeDepthDisplay: the order of depths, the best candidate, results of searches."""

from io import StringIO

import numpy as np
import pandas as pd
import pytest
from helpers.plots import classifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from sktransfer.display import UnfreezeDepthDisplay


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def words(ax):
    return [text.get_text() for text in ax.texts]


def results(params, scores, name="score"):
    n = len(params)
    return {
        "params": params,
        f"mean_test_{name}": np.array(scores, float),
        f"std_test_{name}": np.full(n, 0.1),
        "mean_fit_time": np.arange(1.0, n + 1),
    }


def test_depths_are_in_order_with_numbers_first_and_all_last():
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


def test_no_depth_is_marked_if_all_fits_failed():
    assert words(UnfreezeDepthDisplay([0], [np.nan], [np.nan], [1]).plot().ax_) == []


def test_a_depth_has_the_score_of_its_best_candidate_which_is_never_a_failed_one():
    params = [{"clf__unfreeze": d, "clf__lr": lr} for d in (0, 1) for lr in (0.1, 0.2)]
    found = results(params, [0.6, 0.7, 0.9, np.nan])
    display = UnfreezeDepthDisplay.from_cv_results(found)
    assert list(display.scores) == [0.7, 0.9]
    assert list(display.times) == [2, 3]
    assert display.ax_.get_ylabel() == "test score, best of 2"


def test_candidates_without_a_depth_are_left_out():
    found = results([{"unfreeze": 0}, {"head": "mlp"}, {"unfreeze": "all"}], [0.6, 0.7, 0.8])
    assert UnfreezeDepthDisplay.from_cv_results(found).depths == [0, "all"]


def test_depths_of_successive_halving_are_compared_at_the_same_resources():
    depths = [0, 1, 2, 0, 1, 1]
    found = results([{"unfreeze": depth} for depth in depths], [0.5, 0.6, 0.4, 0.7, 0.8, 0.9])
    found["iter"] = np.array([0, 0, 0, 1, 1, 2])
    display = UnfreezeDepthDisplay.from_cv_results(found)
    assert display.depths == [0, 1, 2]
    assert list(display.scores) == [0.5, 0.6, 0.4]
    two = {name: values[:2] + values[3:] for name, values in found.items() if name == "params"}
    two |= {name: np.delete(v, 2) for name, v in found.items() if name != "params"}
    assert list(UnfreezeDepthDisplay.from_cv_results(two).scores) == [0.7, 0.8]


def test_results_may_be_a_data_frame():
    pd = pytest.importorskip("pandas")
    found = pd.DataFrame(results([{"unfreeze": 0}, {"unfreeze": 1}], [0.6, 0.7]))
    assert list(UnfreezeDepthDisplay.from_cv_results(found).scores) == [0.6, 0.7]


def test_one_of_several_scores_is_chosen_by_name():
    found = results([{"unfreeze": 0}], [0.6], "balanced_accuracy")
    display = UnfreezeDepthDisplay.from_cv_results(found, metric="balanced_accuracy")
    assert display.ax_.get_ylabel() == "test balanced accuracy"
    with pytest.raises(ValueError, match="metric must be one of 'balanced_accuracy'; got 'score'"):
        UnfreezeDepthDisplay.from_cv_results(found)


def test_a_search_defines_the_order_of_the_stages_and_the_score(digits):
    model = Pipeline([("same", FunctionTransformer()), ("clf", classifier(max_epochs=1))])
    grid = {"clf__unfreeze": ["layer1", "layer2", 0]}
    scoring = ["accuracy", "neg_log_loss"]
    search = GridSearchCV(model, grid, cv=2, scoring=scoring, refit="neg_log_loss").fit(*digits)
    display = UnfreezeDepthDisplay.from_search(search)
    assert display.depths == [0, "layer2", "layer1"]
    assert display.name == "neg_log_loss"
    accuracy = UnfreezeDepthDisplay.from_search(search, metric="accuracy")
    np.testing.assert_equal(accuracy.scores, search.cv_results_["mean_test_accuracy"][[2, 1, 0]])


def test_a_search_without_a_refit_is_drawn(digits):
    grid = {"unfreeze": [0, 1]}
    search = GridSearchCV(classifier(max_epochs=1), grid, cv=2, refit=False).fit(*digits)
    assert UnfreezeDepthDisplay.from_search(search).depths == [0, 1]


def test_a_search_that_is_not_fitted_is_refused():
    with pytest.raises(ValueError, match="not fitted yet"):
        UnfreezeDepthDisplay.from_search(GridSearchCV(classifier(), {"unfreeze": [0]}))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([{"lr": 1}], "one parameter named unfreeze, or <step>__unfreeze; got 'lr'"),
        ([{}], "got no parameter"),
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
