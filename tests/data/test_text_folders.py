"""load_text_folder loads the texts of class folders."""

import pytest

from sktransfer import load_text_folder
from sktransfer.data import text_table

TEXTS = {"bad/1.txt": "A dull film.", "good/a/2.txt": "très beau", "good/1.txt": ""}


@pytest.fixture
def folder(tmp_path):
    for name, text in TEXTS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "good" / "notes.md").write_text("no text")
    return tmp_path


def test_the_texts_of_class_folders_are_loaded(folder):
    found = load_text_folder(folder)
    assert found.data.tolist() == ["A dull film.", "", "très beau"]
    assert found.labels.tolist() == ["bad", "good", "good"]
    assert found.target.tolist() == [0, 1, 1]
    assert found.target_names.tolist() == ["bad", "good"]
    assert found.paths.tolist() == [
        str(folder / name) for name in ("bad/1.txt", "good/1.txt", "good/a/2.txt")
    ]
    assert found.skipped == [str(folder / "good" / "notes.md")]
    assert found.DESCR.startswith("3 texts of 2 classes in ")
    assert list(found.frame) == ["text", "label"]
    assert found.frame["text"].tolist() == found.data.tolist()


def test_classes_extensions_and_encoding_are_parameters(folder):
    (folder / "good" / "3.text").write_bytes("très".encode("latin-1"))
    found = load_text_folder(
        folder, classes=["good", "bad", "fair"], extensions=["text"], encoding="latin-1"
    )
    assert found.data.tolist() == ["très"]
    assert found.target.tolist() == [0]


def test_a_byte_order_mark_is_left_out(folder):
    (folder / "bad" / "1.txt").write_text("marked", encoding="utf-8-sig")
    assert load_text_folder(folder).data[0] == "marked"


def test_files_that_cannot_be_decoded_are_listed(folder):
    (folder / "bad" / "2.txt").write_bytes(b"tr\xe8s")
    with pytest.raises(
        ValueError, match=r"encoded in utf-8; 1 are not:\n.*bad/2.txt(.|\n)*latin-1"
    ):
        load_text_folder(folder)


def test_texts_outside_of_class_folders_are_an_error(folder):
    (folder / "3.txt").write_text("lost")
    with pytest.raises(ValueError, match=r"dir must hold texts in class folders only; .* 1 texts"):
        load_text_folder(folder)


def test_a_class_without_texts_is_an_error(folder):
    (folder / "fair").mkdir()
    with pytest.raises(ValueError, match=r"dir must hold texts in each class folder; .* no texts"):
        load_text_folder(folder)
    with pytest.raises(ValueError, match=r"dir must hold texts; .* pass extensions="):
        load_text_folder(folder, classes=["bad", "good", "fair"], extensions=["doc"])


def test_a_table_holds_the_texts_of_a_file_as_they_are(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text('label,review\nbad,NA\ngood,"two\nlines"\nbad,\n,12\n')
    table = text_table(path, "review")
    assert list(table) == ["text", "label"]
    assert table["text"].tolist() == ["NA", "two\nlines", "", "12"]
    assert table["label"].isna().tolist() == [False, False, False, True]


def test_a_table_holds_the_texts_of_a_folder(folder):
    table = text_table(folder)
    assert table["text"].tolist() == list(load_text_folder(folder).data)
    assert table["label"].tolist() == ["bad", "good", "good"]


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (b"revew,label\na,b\n", "review", r"must have a column 'review'; .* Did you mean 'revew'"),
        (b"text,review\na,b\n", "review", "must not have a column 'text' in addition to 'review'"),
        (b"review\ntr\xe8s\n", "review", "must be encoded in UTF-8: .* Save it as UTF-8"),
    ],
)
def test_a_table_without_texts_is_an_error(tmp_path, content, column, message):
    path = tmp_path / "reviews.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        text_table(path, column)
    with pytest.raises(ValueError, match=r"source must be a folder or a .csv file"):
        text_table(tmp_path / "reviews.json")
