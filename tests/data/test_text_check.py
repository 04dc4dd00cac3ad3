"""check_texts lists empty, long, unreadable and repeated texts."""

import pandas as pd
import pytest

from sktransfer import TextPreset, check_texts
from sktransfer.data import WordPiece

PRESET = TextPreset(
    WordPiece(("[UNK]", "[CLS]", "[SEP]", "good", "film"), prefix=(1,), suffix=(2,)), max_length=6
)


def problems(*arguments, **options):
    table = check_texts(*arguments, **options)
    return [tuple(row) for row in table[["index", "problem", "same_as"]].astype(object).to_numpy()]


def test_texts_without_problems_give_an_empty_table():
    table = check_texts(["a good film", "a bad film"])
    assert list(table) == ["index", "text", "problem", "detail", "same_as"]
    assert len(table) == 0
    assert table.attrs["n_texts"] == 2


def test_empty_texts_are_found():
    table = check_texts(["", "film", " \n"])
    assert table["index"].tolist() == [0, 2]
    assert table["detail"].tolist() == ["no characters", "2 characters of white space"]


@pytest.mark.parametrize("none", [None, float("nan"), pd.NA])
def test_missing_texts_are_found_and_are_not_empty_ones(none):
    X = pd.Series(["film", none, "", none], dtype=object)
    table = check_texts(X, ["good", "bad", "good", "bad"])
    assert table[["index", "problem"]].to_numpy().tolist() == [
        [1, "missing"],
        [2, "empty"],
        [3, "missing"],
    ]
    assert X[1] is none


def test_repeated_texts_are_found_without_case_and_white_space():
    X = ["A film", "another", "a  FILM\n", "A film"]
    table = check_texts(X)
    assert table["index"].tolist() == [2, 3]
    assert table["same_as"].tolist() == [0, 0]
    assert table["detail"].tolist() == ["equal but for case and white space", "equal texts"]
    assert set(table["problem"]) == {"duplicate"}


def test_duplicates_within_and_across_classes_are_different_problems():
    X, y = ["film"] * 4, ["bad", "good", "good", "bad"]
    assert problems(X, y) == [
        (1, "duplicate across classes", 0),
        (2, "duplicate within class", 1),
        (2, "duplicate across classes", 0),
        (3, "duplicate within class", 0),
        (3, "duplicate across classes", 1),
    ]


def test_a_preset_shows_long_texts_and_unknown_tokens():
    X = ["good film " * 3, "ein guter film", "good film", "ein guter"]
    table = check_texts(X, preset=PRESET)
    assert table["problem"].tolist() == ["too long", "unknown tokens", "unknown tokens"]
    assert table["index"].tolist() == [0, 1, 3]
    assert table["detail"].tolist()[0] == "6 tokens, of which 4 are read"
    assert table["detail"].tolist()[1] == "2 of 3 tokens are not in the vocabulary"
    assert len(check_texts(X)) == 0


def test_a_table_shows_the_beginning_of_a_text():
    (text,) = check_texts(pd.Series(["word " * 100]), preset=PRESET)["text"].unique()
    assert text == ("word " * 100)[:60]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((["a", 3, None],), {}, ValueError, r"X must hold strings; .*\n  X\[1\]: 3\Z"),
        ((["a", "b"], ["x"]), {}, ValueError, r"y must hold one label for each of 2 texts; got"),
        ((["a", "b"], ["x", None]), {}, ValueError, "y must have a label for each item"),
        ((["a"],), {"preset": "builtin"}, TypeError, "preset must be a TextPreset or None"),
    ],
)
def test_wrong_input_is_an_error(arguments, options, error, message):
    with pytest.raises(error, match=message):
        check_texts(*arguments, **options)
