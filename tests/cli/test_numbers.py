"""The commands that fit models of numbers and use them."""

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import SMALL, csv, rows
from PIL import Image
from sklearn.metrics import mean_absolute_error, r2_score

from sktransfer import FineTuneRegressor
from sktransfer.persistence import load, save


@pytest.fixture
def table(tmp_path, rng):
    """A CSV file of twelve grey images and their brightness."""
    values = np.linspace(30.5, 220.5, 12)
    names = [f"{index}.png" for index in range(12)]
    for name, value in zip(names, values, strict=True):
        pixels = np.clip(rng.normal(value, 10, (40, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return csv(tmp_path / "list.csv", pd.DataFrame({"path": names, "label": values}))


@pytest.fixture
def fitted(run, table, tmp_path):
    """The file of a model of brightness."""
    code, _, err = run("fit", table, "-o", tmp_path / "m.safetensors", *SMALL)
    assert (code, err) == (0, "")
    return tmp_path / "m.safetensors"


def paths_of(table):
    return [str(table.parent / name) for name in pd.read_csv(table)["path"]]


@pytest.mark.parametrize(
    ("labels", "task", "expected"),
    [
        ([0.5, 1.0, 2.0] * 4, "auto", "FineTuneRegressor"),
        ([0.0, 1.0, 2.0] * 4, "auto", "FineTuneClassifier"),
        ([0, 1, 2] * 4, "auto", "FineTuneClassifier"),
        ([0, 1, 2] * 4, "regression", "FineTuneRegressor"),
        (list("abc") * 4, "auto", "FineTuneClassifier"),
    ],
)
def test_the_task_is_that_of_the_labels_or_of_the_option(
    run, table, tmp_path, labels, task, expected
):
    csv(table, pd.read_csv(table).assign(label=labels))
    code, _, err = run("fit", table, "-o", tmp_path / "m", *SMALL, "--task", task)
    assert (code, err) == (0, "")
    assert type(load(tmp_path / "m")).__name__ == expected


def test_names_are_not_numbers_and_numbers_are_not_classes(run, table, tmp_path):
    output = ("-o", tmp_path / "m", *SMALL)
    code, _, err = run("fit", table, *output, "--task", "classification")
    assert code == 1
    assert "To predict numbers, use" in err
    code, _, err = run("fit", table, *output, "--class-weight", "balanced")
    assert code == 1
    assert "--class-weight must be left out for --task regression; got 'balanced'. It is an" in err
    assert run("fit", table, *output, "--class-weight", "none")[0] == 0
    csv(table, pd.read_csv(table).assign(label=list("abcd") * 3))
    code, _, err = run("fit", table, *output, "--task", "regression")
    assert code == 1
    assert "must be numbers; 12 values are not:" in err
    code, _, err = run("fit", table, *output, "--task", "regresion")
    assert code == 1
    assert "--task must be one of 'auto', 'classification', 'regression', 'mixed', " in err
    assert "got 'regresion'. Did you mean 'regression'?" in err


def test_predictions_are_a_column_of_numbers(run, table, fitted, tmp_path):
    code, _, _ = run("predict", fitted, table, "-o", tmp_path / "out.csv")
    assert code == 0
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found) == ["path", "prediction"]
    np.testing.assert_allclose(found["prediction"], load(fitted).predict(paths_of(table)))
    code, out, _ = run("predict", fitted, table)
    assert rows(out)[0] == ["path", "prediction"]


def test_an_image_that_cannot_be_read_has_an_empty_prediction(run, table, fitted):
    (table.parent / "3.png").write_text("no image")
    code, out, _ = run("predict", fitted, table, "--decode-error", "ignore")
    assert code == 0
    assert [row[0].rpartition("/")[2] for row in rows(out) if len(row) < 2 or not row[1]] == [
        "3.png"
    ]
    code, out, err = run("evaluate", fitted, table, "--decode-error", "ignore")
    assert (code, rows(out)[-1]) == (0, ["images", "11"])
    assert "cannot be read: 1" in err


def test_a_model_of_several_columns_predicts_all_of_them(run, table, tmp_path):
    y = np.arange(24.0).reshape(12, 2)
    model = FineTuneRegressor(weights=None, image_size=32, max_epochs=0)
    save(model.fit(paths_of(table), y), tmp_path / "several.safetensors")
    code, out, _ = run("predict", tmp_path / "several.safetensors", table)
    assert (code, rows(out)[0]) == (0, ["path", "prediction_0", "prediction_1"])
    code, _, err = run("evaluate", tmp_path / "several.safetensors", table)
    assert code == 1
    assert "--label-column must name 2 columns, as many as the model predicts; got 'label'" in err


def test_several_columns_of_numbers_are_compared(run, table, tmp_path):
    frame = pd.read_csv(table)
    csv(table, frame.assign(a=frame["label"], b=np.arange(12)))
    columns = ("--label-column", "a", "--number-column", "b")
    code, _, err = run("fit", table, "-o", tmp_path / "m", *SMALL, *columns)
    assert (code, err) == (0, "")
    model = load(tmp_path / "m")
    assert type(model).__name__ == "FineTuneRegressor"
    assert model.task_.names == ("a", "b")
    code, out, _ = run("predict", tmp_path / "m", table)
    assert (code, rows(out)[0]) == (0, ["path", "prediction_a", "prediction_b"])
    code, out, _ = run("evaluate", tmp_path / "m", table)
    y = pd.read_csv(table)[["a", "b"]].to_numpy()
    scores = r2_score(y, model.predict(paths_of(table)), multioutput="raw_values")
    assert code == 0
    assert rows(out)[0] == ["column", "measure", "value", "images"]
    assert rows(out)[1] == ["a", "R2", f"{scores[0]:.4g}", "12"]
    assert rows(out)[3] == ["b", "R2", f"{scores[1]:.4g}", "12"]
    swapped = ("--label-column", "b", "--label-column", "a")
    assert run("evaluate", tmp_path / "m", table, *swapped)[1] == out


def test_the_column_of_one_number_is_known_to_its_model(run, table, tmp_path):
    csv(table, pd.read_csv(table).rename(columns={"label": "light"}))
    code, _, err = run("fit", table, "-o", tmp_path / "m", *SMALL, "--number-column", "light")
    assert (code, err) == (0, "")
    assert run("evaluate", tmp_path / "m", table)[0] == 0
    csv(table, pd.read_csv(table).rename(columns={"light": "lihgt"}))
    code, _, err = run("evaluate", tmp_path / "m", table)
    assert (code, "a column 'light'; " in err) == (1, True)


def test_an_infinite_number_is_named_by_its_file_and_column(run, table, tmp_path):
    frame = pd.read_csv(table).assign(a=np.arange(12.0), b=np.arange(12.0))
    frame.loc[4, "b"] = np.inf
    csv(table, frame)
    columns = ("--label-column", "a", "--label-column", "b", "--task", "regression")
    code, _, err = run("fit", table, "-o", tmp_path / "m", *SMALL, *columns)
    assert code == 1
    assert "must be finite numbers; 1 values are not:" in err
    assert "/4.png', 'b': inf\n" in err


def test_a_number_column_must_hold_numbers(run, table, tmp_path):
    csv(table, pd.read_csv(table).assign(name=list("ab") * 6))
    code, _, err = run("fit", table, "-o", tmp_path / "m", *SMALL, "--number-column", "name")
    assert code == 1
    assert f"must have numbers in the column 'name'; {str(table)!r} has\n  a\n  b" in err


def test_a_model_is_compared_with_numbers(run, table, fitted, tmp_path):
    code, out, _ = run("evaluate", fitted, table, "--plots", tmp_path / "plots")
    y, predicted = pd.read_csv(table)["label"], load(fitted).predict(paths_of(table))
    expected = [
        ["measure", "value"],
        ["R2", f"{r2_score(y, predicted):.4g}"],
        ["mean absolute error", f"{mean_absolute_error(y, predicted):.4g}"],
        ["images", "12"],
    ]
    assert (code, rows(out)[:4]) == (0, expected)
    assert (tmp_path / "plots/predictions.png").exists()
    assert (tmp_path / "plots/top_losses.png").exists()


@pytest.mark.parametrize("how", ["share", "csv"])
def test_numbers_are_validated(run, table, tmp_path, how):
    validation = {"share": 0.25, "csv": table}[how]
    options = ("--validation", validation, "--plots", tmp_path / "plots")
    code, out, err = run("fit", table, "-o", tmp_path / "m", *SMALL, *options)
    assert (code, err) == (0, "")
    assert "\nkept: the weights " in out
    assert (tmp_path / "plots/predictions.png").exists() == (how == "csv")


def test_the_range_test_takes_numbers(run, table):
    options = ("--weights", "none", "--image-size", "32", "--random-state", "0")
    code, out, _ = run("find-lr", table, *options)
    assert code == 0
    assert "\nsuggestion: " in out


def test_names_cannot_be_compared_with_numbers(run, table, fitted):
    csv(table, pd.read_csv(table).assign(label=list("ab") * 6))
    code, _, err = run("evaluate", fitted, table)
    assert code == 1
    assert f"FOLDER_OR_CSV must have numbers in the column 'label'; {str(table)!r} has\n  a" in err
