"""The displays of a ranking and of a shift plot what they were given."""

import numpy as np
import pytest

from sktransfer.display import DomainShiftDisplay, RankingDisplay


def test_candidates_are_points_with_names():
    display = RankingDisplay(["a", "b", "$c$"], [0.1, 0.9, np.nan], [0.1, 0.2, np.nan]).plot()
    assert [text.get_text() for text in display.ax_.texts] == ["a", "b"]
    assert display.ax_.get_legend() is None
    (line,) = display.ax_.lines
    assert line.get_ydata().tolist() == [0.1, 0.9]


def test_random_weights_are_grey():
    display = RankingDisplay(["a", "b"], [0.9, 0.1], [0.1, 0.1], [False, True]).plot()
    assert display.ax_.get_legend_handles_labels()[1] == ["pretrained", "random weights"]


def test_scores_need_a_number_for_each_name():
    with pytest.raises(ValueError, match="scores must have one number for each of 2 names"):
        RankingDisplay(["a", "b"], [0.1], [0.1, 0.2]).plot()
    with pytest.raises(
        ValueError, match="scores must hold a number with seconds above 0; got none"
    ):
        RankingDisplay(["a"], [np.nan], [0.1]).plot()


def test_the_scores_of_both_domains_are_histograms():
    display = DomainShiftDisplay([0.1, np.nan], [0.6, 0.9], auc=0.9, p_value=0.01).plot()
    counts = [sum(bar.get_height() for bar in bars) for bars in display.ax_.containers]
    assert counts == [1, 2]


def test_scores_of_nan_alone_are_an_error():
    with pytest.raises(
        ValueError, match="source_scores and target_scores must hold a finite number"
    ):
        DomainShiftDisplay([np.nan], [0.6], auc=0.9, p_value=0.01).plot()
