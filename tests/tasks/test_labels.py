"""Labels that a classifier does not know, and missing labels."""

import re
from functools import partial

import numpy as np
import pandas as pd
import pytest

from sktransfer.tasks import find_classification

NAMES = ("ant", "bee", "wasp")
CAUSES = [
    (NAMES, [0, 1], "0, 1. It knows 'ant', 'bee', 'wasp'. It was fitted to names, and these are"),
    ((0, 1), ["ant"], "'ant'. It knows 0, 1. It was fitted to numbers, and these are names"),
    (NAMES, ["moth"], "'moth'. .* Perhaps they come from a folder whose classes have other names"),
    (NAMES, ["bees"], "'bees'. .* Did you mean 'bee'"),
    ((0, 1), [2, 3], "2, 3. .* another folder, which numbers its own classes: use names"),
    (("0", "1"), [0, 1], "0, 1. It knows '0', '1'. It was fitted to names, and these are numbers"),
    (range(15), list("abcdefghijkl"), "'j' and 2 more. It knows 0, .* 9 and 5 more"),
]


def task_of(classes):
    return find_classification(list(classes), len(classes), "FineTuneClassifier")


@pytest.mark.parametrize(("classes", "labels", "message"), CAUSES)
def test_labels_none_of_which_is_known_cannot_be_scored(classes, labels, message):
    task = task_of(classes)
    predicted = np.repeat(task.classes[:1], len(labels))
    with pytest.raises(ValueError, match=f"y must contain only labels .* knows; got .*{message}"):
        task.score(predicted, labels)


@pytest.mark.parametrize(("classes", "labels", "message"), CAUSES)
def test_unknown_validation_labels_are_listed_with_the_likely_cause(classes, labels, message):
    with pytest.raises(ValueError, match=f"y_val must contain only labels .*got .*{message}"):
        task_of(classes).encode(labels, len(labels), "y_val")


def test_a_few_unknown_labels_count_as_wrong_with_a_warning():
    task = task_of(NAMES)
    message = "does not know, and their items count as wrong: 'moth'. It knows 'ant', 'bee'"
    with pytest.warns(UserWarning, match=message):
        score = task.score(np.array(["ant", "ant"]), ["ant", "moth"])
    assert score == 0.5


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (NAMES, np.array(["bee", "bee"], object)),
        ((False, True), [1, 0]),
        ((0, 1), [1.0, 0.0]),
        ((1, 2), np.array([2], np.uint8)),
    ],
)
def test_equal_labels_of_another_type_are_known(classes, labels):
    task = task_of(classes)
    assert task.score(np.asarray(labels), labels) == 1
    assert task.encode(labels, len(labels)).sum() == len(labels)


def test_indicators_that_are_scored_must_be_zero_and_one():
    task = find_classification(np.eye(2, dtype=int), 2, "FineTuneClassifier")
    with pytest.raises(
        ValueError, match="y must have columns of 0 and 1, as y of fit had; got other"
    ):
        task.score(np.eye(2, dtype=int), np.eye(2) * 2)


MISSING = {
    "None among names": (["ant", None, "bee", None], {1: "None", 3: "None"}),
    "NaN among names": (["ant", "bee", float("nan")], {2: "nan"}),
    "None among numbers": ([0, 1, None], {2: "None"}),
    "NaN among numbers": (np.array([np.nan, 0, 1]), {0: "nan"}),
    "NaN of float32": (np.array([0, np.nan, 1], np.float32), {1: "nan"}),
    "missing value of pandas": (pd.Series(["ant", None, "bee"], dtype="string"), {1: "<NA>"}),
    "missing category": (pd.Series(["ant", None, "bee"], dtype="category"), {1: "nan"}),
    "time": (pd.Series([None, pd.Timestamp(0)], dtype=object).to_numpy(), {0: "None"}),
    "several labels": (np.array([[0, 1], [np.nan, 1]]), {"1, 0": "nan"}),
    "table of several labels": (pd.DataFrame({"a": [0, 1], "b": [None, 1]}), {"0, 'b'": "nan"}),
}


@pytest.mark.parametrize("name", MISSING)
def test_the_rows_of_missing_labels_are_listed(name):
    y, found = MISSING[name]
    lines = "".join(f"  y[{index}]: {value}\n" for index, value in found.items())
    first = f"y must have a label for each item; {len(found)} of {len(y)} have none:"
    message = re.escape(f"{first}\n{lines}Give these items a label, or leave")
    with pytest.raises(ValueError, match=f"^{message}"):
        find_classification(y, len(y), "FineTuneClassifier")


@pytest.mark.parametrize("method", ["encode", "score"])
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_label_is_an_error_wherever_labels_are_used(method, missing):
    task, y = task_of(NAMES), ["ant", missing]
    arguments = (y, 2) if method == "encode" else (task.classes[:2], y)
    with pytest.raises(ValueError, match=r"y must have a label for each item; 1 of 2 have none"):
        getattr(task, method)(*arguments)


def test_lists_of_several_lengths_are_an_error_that_names_the_binarizer():
    message = r"got lists of several lengths\. .*MultiLabelBinarizer\(\)\.fit_transform\(y\)"
    with pytest.raises(ValueError, match=message):
        find_classification([["ant"], ["bee", "yellow"]], 2, "FineTuneClassifier")


@pytest.mark.parametrize("kind", [set, tuple, frozenset])
def test_collections_of_labels_are_an_error_that_names_the_binarizer(kind):
    y = np.empty(2, dtype=object)
    y[:] = [kind(["ant"]), kind(["bee", "yellow"])]
    message = rf"got {kind.__name__} objects\. .*MultiLabelBinarizer\(\)\.fit_transform\(y\)"
    with pytest.raises(ValueError, match=message):
        find_classification(y, 2, "FineTuneClassifier")


@pytest.mark.parametrize("form", [list, tuple, partial(np.array, dtype=object), pd.Series])
def test_numbers_among_names_are_listed(form):
    y = form(["ant", "bee", 3, "ant", True])
    with pytest.raises(ValueError, match="y must have labels of one kind, ") as caught:
        find_classification(y, 5, "FineTuneClassifier")
    assert "; 2 of 5 are of another kind than the others:\n  y[2]: 3\n  y[4]: True\nC" in str(
        caught.value
    )


def test_names_among_numbers_are_listed():
    with pytest.raises(ValueError, match=r"(?s)1 of 20 are of another kind .*:\n  y\[3\]: 'x'\nC"):
        find_classification([0, 1, 2, "x"] + [1] * 16, 20, "FineTuneClassifier")


def test_labels_of_both_kinds_in_a_column_name_the_column():
    message = r"(?s)column 1 of y must have labels of one kind, .*\n  column 1 of y\[1\]: 2"
    with pytest.raises(ValueError, match=message):
        find_classification([["a", "b"], ["b", 2], ["a", "c"]], 3, "FineTuneClassifier")


def test_a_label_of_the_other_kind_in_validation_data_is_listed():
    task = find_classification(["a", "b"], 2, "FineTuneClassifier")
    with pytest.raises(ValueError, match=r"(?s)y_val must have labels of one kind.*y_val\[2\]: 1"):
        task.encode(["a", "b", 1], 3, "y_val")


def test_integers_as_objects_are_an_error_that_tells_how_to_convert_them():
    with pytest.raises(ValueError, match=r"got an array of objects\. Convert it, .*astype\(int\)"):
        find_classification(pd.Series([1, 2, 1], dtype=object), 3, "FineTuneClassifier")


def test_dates_as_labels_are_an_error_that_tells_how_to_convert_them():
    dates = pd.date_range("2026-01-01", periods=2).astype(object)
    with pytest.raises(ValueError, match=r"(?s)y\[1\]: Timestamp.*\[str\(label\) for label in y\]"):
        find_classification(dates, 2, "FineTuneClassifier")


def test_numbers_to_predict_are_an_error_that_names_the_regressor():
    message = r"2 values of y are no labels:\n  y\[0\]: 0\.5\n  y\[2\]: 1\.5\nTo predict numbers"
    with pytest.raises(ValueError, match=message):
        find_classification([0.5, 1.0, 1.5], 3, "FineTuneClassifier")


def test_labels_that_are_not_passed_to_a_score_are_an_error():
    task = find_classification(["a", "b"], 2, "FineTuneClassifier")
    with pytest.raises(ValueError, match=r"y must have a label for each item; got None\."):
        task.encode(None, 2)
