"""Predictions of a model of several columns of labels."""

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import SMALL, csv, rows

from sktransfer import FineTuneClassifier, load_image_folder
from sktransfer.persistence import load, save


@pytest.fixture
def several(coloured, tmp_path):
    """A model of two columns, and the file that holds it."""
    photos = load_image_folder(coloured)
    y = np.column_stack([photos.labels, np.arange(12) % 3 + 5]).astype(object)
    model = FineTuneClassifier(weights=None, unfreeze=0, image_size=32, max_epochs=0)
    save(model.fit(photos.data, y), tmp_path / "several.safetensors")
    return model, tmp_path / "several.safetensors"


def test_each_column_has_its_label_and_its_probabilities(run, coloured, several, tmp_path):
    model, file = several
    code, _, err = run("predict", file, coloured, "-o", tmp_path / "out.csv")
    assert (code, err) == (0, "")
    table = pd.read_csv(tmp_path / "out.csv")
    first = ["path", "label_0", "p_0_ants", "p_0_bees"]
    assert list(table) == [*first, "label_1", "p_1_5", "p_1_6", "p_1_7"]
    paths = table["path"].tolist()
    assert table[["label_0", "label_1"]].to_numpy().tolist() == model.predict(paths).tolist()
    np.testing.assert_allclose(table.iloc[:, 2:4], model.predict_proba(paths)[0])


def test_columns_are_compared_by_the_names_of_the_model(run, coloured, tmp_path):
    frame = load_image_folder(coloured).frame
    table = csv(tmp_path / "list.csv", frame.assign(size=np.arange(12) % 3))
    columns = ("--label-column", "label", "--label-column", "size")
    code, _, err = run("fit", table, "-o", tmp_path / "m", *SMALL, *columns, "--validation", table)
    assert (code, err) == (0, "")
    model = load(tmp_path / "m")
    assert type(model).__name__ == "FineTuneClassifier"
    code, out, _ = run("evaluate", tmp_path / "m", table)
    accuracies = model.score_columns(
        frame["path"].tolist(), frame.assign(size=np.arange(12) % 3)[["label", "size"]]
    )
    assert code == 0
    assert rows(out)[0] == ["column", "measure", "value", "images"]
    assert rows(out)[1] == ["label", "accuracy", f"{accuracies[0]:.3f}", "12"]
    assert rows(out)[3] == ["size", "accuracy", f"{accuracies[1]:.3f}", "12"]


@pytest.mark.parametrize("weight", ["balanced", "ants=2"])
def test_several_columns_have_no_class_weights(run, coloured, tmp_path, weight):
    frame = load_image_folder(coloured).frame
    table = csv(tmp_path / "list.csv", frame.assign(size=np.arange(12) % 3))
    columns = ("--label-column", "label", "--label-column", "size")
    asked = ("fit", table, "-o", tmp_path / "m", *SMALL, *columns, "--class-weight")
    code, _, err = run(*asked, weight)
    assert code == 1
    assert "--class-weight must be None if y has several columns; got " in err


def test_the_columns_of_a_model_must_be_there(run, coloured, several):
    code, _, err = run("evaluate", several[1], coloured)
    assert code == 1
    assert "--label-column must name 2 columns, as many as the model predicts; got 'label'" in err


@pytest.fixture
def mixed(coloured, tmp_path):
    """A table of a class, a number and whole numbers that are classes; some are missing."""
    frame = load_image_folder(coloured).frame
    light = np.where(frame["label"] == "ants", 1.5, 0.25)
    frame = frame.assign(light=light, size=np.arange(12) % 3)
    frame.loc[0, "light"] = None
    frame.loc[1, "size"] = None
    frame.loc[2, "label"] = None
    return csv(tmp_path / "mixed.csv", frame)


MIXED = ("--label-column", "label", "--label-column", "light", "--label-column", "size")


def test_labels_of_a_mixed_model_may_be_missing(run, mixed, tmp_path):
    code, _, err = run("fit", mixed, "-o", tmp_path / "m", *SMALL, *MIXED, "--validation", mixed)
    assert (code, err) == (0, "")
    model = load(tmp_path / "m")
    assert type(model).__name__ == "FineTuneMultiTask"
    assert model.classes_["size"].tolist() == [0, 1, 2]
    code, out, _ = run("predict", tmp_path / "m", mixed, "-o", "-")
    assert code == 0
    assert out.splitlines()[0] == "path,label_label,prediction_light,label_size"
    code, out, _ = run("evaluate", tmp_path / "m", mixed)
    assert code == 0
    y = pd.read_csv(mixed)
    scores = model.scores(y["path"].tolist(), y[["label", "light", "size"]])
    assert rows(out)[1] == ["label", "accuracy", f"{scores['label']:.3f}", "11"]
    assert rows(out)[3] == ["light", "R2", f"{scores['light']:.4g}", "11"]
    assert rows(out)[5] == ["size", "accuracy", f"{scores['size']:.3f}", "11"]


def test_mixed_columns_have_no_class_weights(run, mixed, tmp_path):
    asked = ("fit", mixed, "-o", tmp_path / "m", *SMALL, *MIXED, "--class-weight", "balanced")
    code, _, err = run(*asked)
    assert code == 1
    assert "--class-weight must be left out for --task mixed; got 'balanced'. It is an" in err


def test_whole_numbers_are_numbers_on_request(run, mixed, tmp_path):
    columns = ("--label-column", "label", "--number-column", "size")
    assert run("fit", mixed, "-o", tmp_path / "m", *SMALL, *columns)[0] == 0
    assert list(load(tmp_path / "m").classes_) == ["label"]
