"""X for a network of texts: all forms of texts are accepted, and every other item is named."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sktransfer import ImagePreset
from sktransfer.data import Text, digest, file_state
from sktransfer.data.texts import check_items_are_texts

TEXTS = ["a fine film", "", "très  beau \U0001f600\n", "with\0NUL", "a.png"]


def forms():
    """Return the same texts in each form that is accepted."""
    return {
        "list": TEXTS,
        "tuple": tuple(TEXTS),
        "array of objects": np.array(TEXTS, object),
        "array of texts": np.array(TEXTS),
        "array of one column": np.array(TEXTS, object)[:, None],
        "series": pd.Series(TEXTS),
        "series of strings": pd.Series(TEXTS, dtype="string"),
        "series of categories": pd.Series(TEXTS, dtype="category"),
        "index": pd.Index(TEXTS),
        "frame": pd.DataFrame({"review": TEXTS}),
    }


@pytest.mark.parametrize("form", forms())
def test_texts_are_accepted_in_each_form(form):
    items = check_items_are_texts(forms()[form])
    assert [item.text for item in items] == TEXTS
    assert all(type(item.text) is str for item in items)
    assert items.kind == "text"
    assert items.columns == (form in ("frame", "array of one column"))


def test_columns_of_polars_and_pyarrow_are_accepted():
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    for column in (
        polars.Series(TEXTS),
        polars.DataFrame({"review": TEXTS}),
        pyarrow.array(TEXTS),
        pyarrow.chunked_array([TEXTS]),
    ):
        assert [item.text for item in check_items_are_texts(column)] == TEXTS


def test_missing_texts_of_polars_are_an_error_with_its_method():
    polars = pytest.importorskip("polars")
    with pytest.raises(ValueError, match=r"empty texts: X\.fill_null\(''\)\.$"):
        check_items_are_texts(polars.Series(["a", None]))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            ["a", None],
            r"X must hold strings; 1 does not:\n  X\[1\]: None\nLeave .* else '' for text",
        ),
        (pd.Series(["a", None]), r"replace them by empty texts: X\.fillna\(''\)\.$"),
        (["a", float("nan"), None], r"2 do not:\n  X\[1\]: nan\n  X\[2\]: None\nLeave these items"),
        (pd.Series(["a", pd.NA], dtype=object), r"X\[1\]: <NA>\nLeave these items out"),
        (pd.Series(["a", None], dtype="string"), r"X\[1\]: <NA>\nLeave these items out"),
        ([pd.NaT, "a"], r"X\[0\]: NaT\nLeave"),
        (["a", 3], r"X must hold strings; 1 does not:\n  X\[1\]: 3$"),
        ([3.5, True], r"2 do not:\n  X\[0\]: 3.5\n  X\[1\]: True"),
        ([b"a", "b"], r"X\[0\]: b'a'\nDecode bytes: \[item.decode\(\) for item in X\]"),
        (np.array([b"a"]), r"X\[0\]: b'a'\nDecode bytes"),
        ([Path("a.txt")], r"Pass the content of the files: \[path.read_text\(\) for path in X\]"),
        ([["a", "film"]], r"Join the words of each text: \[' '.join\(words\) for words in X\]"),
        ([{"text": "a"}], r"X\[0\]: \{'text': 'a'\}$"),
        ([Image.new("L", (2, 2))], r"For images, pass a backbone for images, .*'builtin/mini'"),
        ([np.zeros((4, 4, 3))], "For images, pass a backbone for images"),
        (np.zeros((2, 8, 8, 3)), r"got an array of shape \(2, 8, 8, 3\). For images, pass"),
        (np.zeros((5, 64)), r"got an array of shape \(5, 64\). For images, pass a backbone"),
        (np.zeros((5, 1)), r"X must hold strings; 5 do not:\n  X\[0\]: 0.0"),
        (np.arange(3), r"X must hold strings; 3 do not"),
        (np.array([["a", "b"]]), r"X must be one column .* Select one column, as in X\[:, \[0\]\]"),
        (
            pd.DataFrame({"title": ["a"], "body": ["b"]}),
            r"X must be one column of texts; got 2 columns. Select one, as in X\[\['title'\]\]",
        ),
        (pd.DataFrame(index=[0]), "X must be one column of texts; got 0 columns.$"),
        (
            ["fine", "bad \ud800"],
            r"1 does not:\n  X\[1\]: 'bad .ud800' has a lone surrogate\nReplac",
        ),
        ([], "Found array with 0 sample"),
        (pd.Series([], dtype=str), "Found array with 0 sample"),
    ],
)
def test_items_that_are_no_texts_are_named(X, message):
    with pytest.raises(ValueError, match=message):
        check_items_are_texts(X)


def test_an_image_among_texts_is_named_by_its_size():
    with pytest.raises(ValueError, match=r"1 does not:\n  X\[1\]: image of 640 x 480\nFor images"):
        check_items_are_texts(["a film", Image.new("RGB", (640, 480))])


def test_an_error_lists_the_first_ten_items_only():
    with pytest.raises(ValueError, match=r"X\[9\]: None\n  \.\.\. and 15 more\n"):
        check_items_are_texts([None] * 25)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("a film", r"got one text. Pass a list of one: \['a film'\]"),
        (np.str_("a film"), "got one text"),
        (b"a film", "got bytes. Pass a list of its texts"),
        (None, "got NoneType"),
        (3, "got int"),
        (np.array("a film"), "got ndarray"),
        ({"a": 1}, "got dict. Pass a list of its texts"),
        ({"a"}, "got set"),
        ((text for text in TEXTS), "got generator"),
        (Path("a.txt"), "Path. Pass a list"),
    ],
)
def test_an_object_that_is_no_sequence_of_texts_is_an_error(X, message):
    with pytest.raises(TypeError, match=f"X must be a sequence of texts: .*{message}"):
        check_items_are_texts(X)


def test_tables_of_polars_and_pyarrow_are_errors_with_advice():
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    with pytest.raises(TypeError, match=r"got LazyFrame. Pass X.collect\(\)"):
        check_items_are_texts(polars.LazyFrame({"text": TEXTS}))
    with pytest.raises(
        TypeError, match=r"got Table. Pass its column of texts: list\(X\['text'\]\)"
    ):
        check_items_are_texts(pyarrow.table({"text": TEXTS}))


@pytest.mark.parametrize("ending", ["jpg", "PNG", "txt"])
def test_paths_of_files_are_an_error(tmp_path, ending):
    paths = [str(tmp_path / f"{name}.{ending}") for name in "ab"]
    for path in paths:
        Path(path).write_text("content")
    with pytest.raises(ValueError, match=r"X must hold texts; got paths .*'builtin/mini'") as error:
        check_items_are_texts(paths)
    assert f"such as {paths[0]!r}. Pass the content of text files" in str(error.value)
    assert len(check_items_are_texts([*paths, "and a text"])) == 3


def test_texts_for_a_network_of_images_are_an_error_that_says_so():
    reviews = ["a fine film", "one of the worst", "dull."]
    with pytest.raises(ValueError, match="If these are texts, pass a backbone for texts"):
        ImagePreset().check(reviews)
    with pytest.raises(ValueError, match="Relative paths start from"):
        ImagePreset().check(["images/a b.jpg", "images/c d.jpg"])


def test_a_text_of_five_million_letters_is_a_text():
    (item,) = check_items_are_texts(["word " * 1_000_000])
    assert len(item.text) == 5_000_000
    assert len(repr(item)) < 100


def test_a_text_is_never_taken_for_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("film").write_text("content")
    text = Text("film")
    assert digest(text) == text.digest != digest("film")
    assert file_state(text) is None
    assert digest(text) not in {digest(b"film"), digest(b"content")}


def test_equal_texts_have_equal_digests_and_copies():
    text = Text("a film")
    text.ids(lambda words: [len(words)])
    for other in (Text("a film"), pickle.loads(pickle.dumps(text)), copy.deepcopy(text)):
        assert other == text
        assert other.digest == text.digest
        assert hash(other) == hash(text)
    assert Text("a filn").digest != text.digest
    assert text != "a film"
    assert str(text) == "a film"


def test_ids_are_computed_once_for_each_tokenizer():
    calls = []

    def encode(words):
        calls.append(words)
        return [len(words)]

    text = Text("a film")
    assert [list(text.ids(encode)), list(text.ids(encode))] == [[6], [6]]
    assert calls == ["a film"]
    assert list(text.ids(lambda _: [3])) == [3]
