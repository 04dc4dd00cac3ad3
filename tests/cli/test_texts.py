"""The commands on texts: columns of CSV files, and folders of .txt files."""

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import csv, rows
from helpers.text_nets import text_backbone

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor
from sktransfer.backbones import registry
from sktransfer.data import WordPiece
from sktransfer.persistence import load

TEXTS = [f"{word} film {number}" for number in range(6) for word in ("good", "bad")]
LABELS = ["up", "down"] * 6
SMALL = ("--backbone", "texts/net", "--max-epochs", 1, "--random-state", 0)


class TextProvider:
    """The chain of the tests."""

    def names(self):
        return ["net"]

    def load(self, name, weights):
        words = ["good", "bad", "film", *"012345"]
        tokenizer = WordPiece(("[UNK]", "[CLS]", "[SEP]", *words), prefix=(1,), suffix=(2,))
        return text_backbone(tokenizer=tokenizer)


@pytest.fixture(autouse=True)
def provider(monkeypatch):
    monkeypatch.setitem(registry._registered, "texts", TextProvider())


@pytest.fixture
def table(tmp_path):
    """A file with reviews and their labels."""
    return csv(tmp_path / "reviews.csv", pd.DataFrame({"review": TEXTS, "label": LABELS}))


@pytest.fixture
def model(run, table, tmp_path):
    """A fitted model."""
    output = tmp_path / "model.safetensors"
    code, out, err = run("fit", table, "--text-column", "review", "-o", output, *SMALL)
    assert (code, err) == (0, "")
    assert rows(out)[-1] == [f"model: {output}"]
    return output


def test_a_model_of_texts_is_the_one_of_the_classifier(model):
    expected = FineTuneClassifier("texts/net", max_epochs=1, random_state=0, verbose=0)
    expected.fit(TEXTS, LABELS)
    found = load(model).predict_proba(TEXTS)
    np.testing.assert_array_equal(found, expected.predict_proba(TEXTS))


def test_predictions_of_texts_are_written(run, model, table, tmp_path):
    output = tmp_path / "out.csv"
    code, _, err = run("predict", model, table, "--text-column", "review", "-o", output)
    assert (code, err) == (0, "")
    found = pd.read_csv(output)
    assert list(found) == ["text", "label", "p_down", "p_up"]
    assert found["text"].tolist() == TEXTS
    assert found["label"].tolist() == load(model).predict(TEXTS).tolist()


def test_predictions_of_texts_are_evaluated(run, model, table, tmp_path):
    plots = tmp_path / "plots"
    code, out, _ = run("evaluate", model, table, "--text-column", "review", "--plots", plots)
    assert code == 0
    assert ["class", "precision", "recall", "f1", "texts"] in rows(out)
    assert (plots / "top_losses.png").is_file()


def test_texts_of_folders_are_read(run, model, tmp_path):
    for number, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        path = tmp_path / "texts" / label / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    code, out, _ = run("evaluate", model, tmp_path / "texts", "--text-column", "text")
    assert code == 0
    assert "accuracy" in out


def test_features_of_texts_are_written(run, table, tmp_path):
    output = tmp_path / "features.npz"
    options = ("--text-column", "review", "--pooling", "concat", "--max-length", "8")
    code, _, err = run("extract", table, "-o", output, "--backbone", "texts/net", *options)
    assert (code, err) == (0, "")
    expected = PretrainedFeatureExtractor("texts/net", pooling="concat", max_length=8, verbose=0)
    with np.load(output) as found:
        np.testing.assert_array_equal(found["features"], expected.fit_transform(TEXTS))
        assert found["text"].tolist() == TEXTS
        assert found["label"].tolist() == LABELS


def test_features_of_texts_are_written_in_pieces(run, tmp_path):
    texts = [*TEXTS, "", "NA", "good\nfilm"]
    path = csv(tmp_path / "reviews.csv", pd.DataFrame({"review": texts}))
    options = ("--text-column", "review", "--backbone", "texts/net", "--rows-per-file", 4)
    code, out, err = run("extract", path, "-o", tmp_path / "features", *options)
    assert (code, err, len(rows(out))) == (0, "", 5)
    found = pd.read_parquet(tmp_path / "features")
    assert found["text"].tolist() == texts
    expected = PretrainedFeatureExtractor("texts/net", verbose=0).fit_transform(texts)
    np.testing.assert_array_equal(found.iloc[:, 1:], expected)


def test_the_cache_names_the_maximum_length_of_texts(run, table, tmp_path):
    cache = tmp_path / "cache"
    options = ("--text-column", "review", "--max-length", "8", "--cache", cache)
    run("extract", table, "-o", tmp_path / "f.npz", "--backbone", "texts/net", *options)
    head, stored = rows(run("cache", "info", cache)[1])
    found = dict(zip(head, stored, strict=True))
    assert found["network"] == "texts/net"
    assert found["layer"] == "block2, avg"
    assert (found["image size"], found["max length"], found["rows"]) == ("", "8", "12")


@pytest.mark.filterwarnings("default:.*texts are longer")
def test_texts_that_are_cut_are_a_warning(run, table, tmp_path):
    options = ("--text-column", "review", "--max-length", "3")
    code, _, err = run("fit", table, "-o", tmp_path / "m", *SMALL, *options)
    assert (code, err.count("warning")) == (0, 1), err
    assert "warning: 12 of 12 texts are longer than --max-length 3 tokens" in err


def test_a_row_without_a_label_is_named_by_its_text(run, tmp_path):
    labels = [*LABELS[:-1], None]
    path = csv(tmp_path / "reviews.csv", pd.DataFrame({"text": TEXTS, "label": labels}))
    code, _, err = run("fit", path, "--text-column", "text", "-o", tmp_path / "m", *SMALL)
    assert code == 1
    assert "lacks 1 labels, those of\n  bad film 5" in err


def test_a_column_that_is_missing_is_an_error(run, table, tmp_path):
    code, _, err = run("fit", table, "--text-column", "revue", "-o", tmp_path / "m", *SMALL)
    assert code == 1
    assert "must have a column 'revue'" in err


def test_texts_are_not_cropped(run, table, tmp_path):
    asked = ("fit", table, "--text-column", "review", "-o", tmp_path / "m", *SMALL)
    code, _, err = run(*asked, "--crop", "none")
    message = "--crop must be left out for a network whose items are not images."
    assert (code, err) == (1, f"sktransfer: {message}\n")


def test_texts_are_checked(run, table, tmp_path):
    assert run("check", table, "--text-column", "review")[0] == 0
    odd = pd.DataFrame({"review": ["", "a film", "A  film"], "label": ["up", "up", "down"]})
    path = csv(tmp_path / "odd.csv", odd)
    code, out, err = run("check", table, path, "--text-column", "review")
    assert code == 1
    assert err == "15 texts: 1 empty, 1 duplicate across classes\n"
    assert rows(out) == [
        ["text", "problem", "detail", "same as"],
        ["13: ", "empty", "no characters", ""],
        [
            "15: A  film",
            "duplicate across classes",
            "equal but for case and white space",
            "14: a film",
        ],
    ]
