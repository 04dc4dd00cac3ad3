"""The commands that fit models and use them."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import SMALL, csv, rows
from skorch.callbacks import Callback

from sktransfer import FineTuneClassifier, load_image_folder
from sktransfer.cli import reports
from sktransfer.estimators import lr_finder
from sktransfer.persistence import load, save

# fit


def test_a_model_is_fitted_and_written(run, coloured, tmp_path):
    output = tmp_path / "model.safetensors"
    code, out, err = run("fit", coloured, "-o", output, *SMALL)
    head, *stages, epochs, last = rows(out)
    assert (code, err) == (0, "")
    assert head == ["stage", "frozen", "batch_norm", "lr_min", "lr_max", "moved", "note"]
    assert [row[0] for row in stages] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert (epochs, last) == (["epochs: 1"], [f"model: {output}"])
    photos = load_image_folder(coloured)
    expected = FineTuneClassifier(weights=None, image_size=32, max_epochs=1, random_state=0)
    expected.fit(photos.data, photos.labels)
    again = load(output)
    np.testing.assert_array_equal(
        again.predict_proba(photos.data), expected.predict_proba(photos.data)
    )


def test_folders_of_a_cache_and_of_a_checkpoint_are_used(run, coloured, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        FineTuneClassifier, "fit", lambda self, *_: seen.update(self.get_params()) or 1 / 0
    )
    folders = ("--cache", tmp_path / "a", "--checkpoint", tmp_path / "b")
    with pytest.raises(ZeroDivisionError):
        run("fit", coloured, "-o", tmp_path / "m", *folders)
    assert (seen["cache"], seen["checkpoint"]) == (tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("how", ["share", "folder", "csv"])
def test_validation_data_are_a_share_a_folder_or_a_table(run, coloured, tmp_path, how):
    frame = load_image_folder(coloured).frame[::3]
    others = {"share": 0.25, "folder": coloured, "csv": csv(tmp_path / "val.csv", frame)}
    asked = ("fit", coloured, "-o", tmp_path / "m", *SMALL, "--validation", others[how])
    code, out, _ = run(*asked)
    best = load(tmp_path / "m").best_epoch_
    assert code == 0
    kept = ["before the first epoch; no epoch lowered", "of epoch 1, validation score "]
    assert f"\nkept: the weights {kept[best]}" in out


@pytest.mark.filterwarnings("default:Training was interrupted")
def test_an_interrupted_fit_writes_its_model_and_ends_a_script(run, coloured, tmp_path, ctrl_c):
    class Impatient(Callback):
        def on_epoch_end(self, net, **kwargs):
            ctrl_c()

    fit = FineTuneClassifier.fit

    def interrupted(self, *args, **others):
        fit(self.set_params(skorch_callbacks=[Impatient()]), *args, **others)
        return self.set_params(skorch_callbacks=None)

    output = tmp_path / "model.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuneClassifier, "fit", interrupted)
        code, out, err = run("fit", coloured, "-o", output, *SMALL, "--max-epochs", 3)
    assert code == 130
    assert out.endswith(f"epochs: 1\nmodel: {output}\n")
    assert err == (
        "warning: Training was interrupted in epoch 2: the model has the weights of the last "
        "step.\n"
    )
    assert len(load(output).history_) == 1


def test_the_score_of_the_best_epoch_is_printed(capsys):
    history = [{"valid_score": 0.25}, {"valid_score": 0.5}]
    model = SimpleNamespace(report_=[], n_iter_=2, best_epoch_=2, history_=history)
    reports.print_fit(model)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "kept: the weights of epoch 2, validation score 0.500"


def test_labels_are_a_column_of_a_table(run, coloured, tmp_path):
    frame = load_image_folder(coloured).frame
    frame["number"] = [7] * 6 + [5] * 6
    table = csv(tmp_path / "list.csv", frame.rename(columns={"path": "photo"}))
    columns = ("--path-column", "photo", "--label-column", "number")
    code, _, _ = run("fit", table, "-o", tmp_path / "m", *SMALL, *columns)
    assert code == 0
    assert load(tmp_path / "m").classes_.tolist() == [5, 7]
    code, out, _ = run("evaluate", tmp_path / "m", table, *columns)
    assert code == 0
    assert "\nlabel, predicted\t5\t7\n" in out


def test_unreadable_images_are_left_out_and_listed(run, coloured, tmp_path):
    (coloured / "ants/1.png").write_text("no image")
    code, _, err = run("fit", coloured, "-o", tmp_path / "m", *SMALL)
    assert code == 1
    assert "\n  '" + str(coloured / "ants/1.png") in err
    assert not (tmp_path / "m").exists()
    code, _, err = run("fit", coloured, "-o", tmp_path / "m", *SMALL, "--decode-error", "ignore")
    assert (code, err) == (0, f"cannot be read: 1\n  {coloured / 'ants/1.png'}\n")


@pytest.mark.parametrize("output", ["", "nowhere/model"])
def test_the_file_of_a_model_is_checked_before_the_fit(run, tmp_path, output):
    code, _, err = run("fit", tmp_path / "no-photos", "-o", tmp_path / output)
    assert code == 1
    assert "output must be a file in an existing folder; got " in err


def test_the_suffix_of_another_format_is_refused_before_the_fit(run, tmp_path):
    code, _, err = run("fit", tmp_path / "no-photos", "-o", tmp_path / "x.joblib")
    assert code == 1
    assert "must end in '.safetensors'" in err
    assert f"Use '{tmp_path / 'x.safetensors'}'" in err


def test_images_without_labels_are_an_error(run, coloured, tmp_path):
    code, _, err = run("fit", coloured / "ants", "-o", tmp_path / "m")
    assert code == 1
    assert "a column 'label'; " in err
    assert "has only paths." in err


def test_the_error_about_a_misspelt_label_column_suggests_the_nearest(run, coloured, tmp_path):
    table = csv(tmp_path / "list.csv", load_image_folder(coloured).frame)
    code, _, err = run("fit", table, "-o", tmp_path / "m", "--label-column", "lable")
    assert code == 1
    assert "a column 'lable'; " in err
    assert "has the columns 'label'. Did you mean 'label'?" in err


def test_a_row_without_a_label_is_an_error(run, coloured, tmp_path):
    frame = load_image_folder(coloured).frame
    frame.loc[3, "label"] = None
    code, _, err = run("fit", csv(tmp_path / "list.csv", frame), "-o", tmp_path / "m")
    assert code == 1
    assert "must have a label in each row; the column 'label' lacks 1 labels, those of" in err
    assert err.splitlines()[-1] == f"  {frame['path'][3]}"


def test_a_parameter_out_of_range_is_an_error(run, coloured, tmp_path):
    code, _, err = run("fit", coloured, "-o", tmp_path / "m", "--unfreeze", "9")
    assert code == 1
    assert "from 0 to 5, or the name of the first stage that trains" in err


# predict


def test_predictions_are_printed(run, coloured, model, classifier):
    files = [coloured / "ants/0.png", coloured / "bees/1.png"]
    code, out, err = run("predict", model, *files)
    p = classifier.predict_proba(list(map(str, files)))
    assert (code, err) == (0, "")
    assert rows(out) == [
        ["path", "label", "p_ants", "p_bees"],
        [str(files[0]), "ants", f"{p[0, 0]:.4f}", f"{p[0, 1]:.4f}"],
        [str(files[1]), "bees", f"{p[1, 0]:.4f}", f"{p[1, 1]:.4f}"],
    ]


def test_predictions_go_to_a_file_or_to_stdout_as_csv(run, coloured, model, classifier, tmp_path):
    (tmp_path / "more").mkdir()
    (coloured / "bees/5.png").rename(tmp_path / "more/b.png")
    listed = csv(tmp_path / "list.csv", pd.DataFrame({"photo": [str(coloured / "ants/3.png")]}))
    sources = (coloured, tmp_path / "more", listed, coloured / "ants/0.png")
    output = tmp_path / "out.csv"
    asked = ("predict", model, *sources, "--path-column", "photo", "-o")
    assert run(*asked, output) == (0, "", "")
    table = pd.read_csv(output)
    assert list(table) == ["path", "label", "p_ants", "p_bees"]
    assert [path.rpartition("/")[2] for path in table["path"][-3:]] == ["b.png", "3.png", "0.png"]
    assert table["label"].tolist() == ["ants"] * 6 + ["bees"] * 6 + ["ants"] * 2
    expected = classifier.predict_proba(table["path"].tolist())
    np.testing.assert_allclose(table[["p_ants", "p_bees"]], expected, rtol=1e-6)
    code, out, _ = run(*asked, "-")
    assert (code, out) == (0, output.read_text())


def test_an_unreadable_image_is_an_error_or_an_empty_prediction(run, coloured, model, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    code, out, err = run("predict", model, bad, coloured / "ants/0.png")
    assert (code, out) == (1, "")
    assert "FILES... must hold images that can be decoded" in err
    asked = ("predict", model, bad, coloured / "ants/0.png", "--decode-error", "ignore")
    code, out, _ = run(*asked)
    assert code == 0
    assert rows(out)[1] == [str(bad), "", "", ""]
    assert rows(out)[2][:2] == [str(coloured / "ants/0.png"), "ants"]
    _, out, _ = run(*asked, "-o", "-")
    assert f"{bad},,,\n" in out


def test_all_likely_labels_of_a_multilabel_model_are_printed(run, coloured, tmp_path):
    photos = load_image_folder(coloured)
    y = np.column_stack([photos.target == 0, photos.target == 1, np.ones(12), np.zeros(12)])
    classifier = FineTuneClassifier(
        weights=None, unfreeze=0, head_init="logistic", image_size=32, max_epochs=0, random_state=0
    )
    save(classifier.fit(photos.data, y.astype(int)), tmp_path / "m")
    _, out, _ = run("predict", tmp_path / "m", coloured / "ants/0.png")
    assert rows(out)[1][1] == "0 2"
    code, _, err = run("evaluate", tmp_path / "m", coloured)
    assert code == 1
    assert "--label-column must name 4 columns, as many as the model predicts; got 'label'" in err


@pytest.mark.parametrize("output", ["out.parquet", "nowhere/out.csv"])
def test_the_file_of_predictions_is_checked_before_predicting(run, tmp_path, output):
    code, _, err = run("predict", tmp_path / "none", "a.png", "-o", tmp_path / output)
    assert code == 1
    assert "output must be a .csv file in an existing folder, a folder for masks, or -; got" in err


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_missing_model_and_an_extractor_are_errors(run, coloured, tmp_path, extractor, command):
    code, _, err = run(command, tmp_path / "none", coloured)
    assert code == 1
    assert f"MODEL must be a file written by save; {str(tmp_path / 'none')!r} does not exist" in err
    save(extractor.fit(load_image_folder(coloured).data), tmp_path / "m")
    code, _, err = run(command, tmp_path / "m", coloured)
    assert code == 1
    assert "MODEL must predict labels, numbers, points or masks; " in err
    assert "holds a PretrainedFeatureExtractor." in err


# evaluate


def test_a_model_is_compared_with_labels(run, coloured, model):
    (coloured / "ants/5.png").rename(coloured / "bees/red.png")
    code, out, err = run("evaluate", model, coloured)
    assert (code, err) == (0, "")
    measures, classes, confusion = (rows(part) for part in out.split("\n\n"))
    assert measures == [
        ["measure", "value"],
        ["accuracy", f"{11 / 12:.3f}"],
        ["balanced accuracy", f"{(1 + 6 / 7) / 2:.3f}"],
    ]
    assert classes == [
        ["class", "precision", "recall", "f1", "images"],
        ["ants", f"{5 / 6:.3f}", "1.000", f"{10 / 11:.3f}", "5"],
        ["bees", "1.000", f"{6 / 7:.3f}", f"{12 / 13:.3f}", "7"],
    ]
    assert confusion == [
        ["label, predicted", "ants", "bees"],
        ["ants", "5", "0"],
        ["bees", "1", "6"],
    ]


def test_a_class_without_images_is_not_part_of_balanced_accuracy(run, coloured, model, tmp_path):
    frame = load_image_folder(coloured).frame[:3]
    code, out, _ = run("evaluate", model, csv(tmp_path / "list.csv", frame))
    assert code == 0
    assert "\nbalanced accuracy\t1.000\n" in out
    assert "\nbees\t0.000\t0.000\t0.000\t0\n" in out


def test_unreadable_images_are_not_counted(run, coloured, model):
    (coloured / "ants/1.png").write_text("no image")
    code, out, err = run("evaluate", model, coloured, "--decode-error", "ignore")
    assert (code, err) == (0, f"cannot be read: 1\n  {coloured / 'ants/1.png'}\n")
    assert "\nants\t1.000\t1.000\t1.000\t5\n" in out
    for path in coloured.rglob("*.png"):
        path.write_text("no image")
    code, _, err = run("evaluate", model, coloured, "--decode-error", "ignore")
    assert code == 1
    assert "FOLDER_OR_CSV must contain images that can be read; " in err


# find-lr


def test_the_range_test_is_printed_and_drawn(run, coloured, tmp_path):
    picture = tmp_path / "curve.png"
    asked = ("--weights", "none", "--image-size", 32, "--unfreeze", 1, "--random-state", 0)
    code, out, _ = run("find-lr", coloured, *asked, "--plot", picture)
    assert code == 0
    head, *table, last = rows(out)
    assert head == ["learning rate", "loss"]
    assert float(table[0][0]) < float(table[-1][0])
    photos = load_image_folder(coloured)
    model = FineTuneClassifier(weights=None, image_size=32, unfreeze=1, random_state=0)
    curve = lr_finder.find_lr(model, photos.data, photos.labels)
    assert last == [f"suggestion: {curve.suggestion:.3g}"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_file_of_the_plot_is_checked_before_the_range_test(
    run, coloured, tmp_path, monkeypatch
):
    code, _, err = run("find-lr", coloured, "--plot", tmp_path / "nowhere/curve.png")
    assert code == 1
    assert "plot must be a file in an existing folder; got " in err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run("find-lr", coloured, "--plot", tmp_path / "curve.png")
    assert code == 1
    assert "matplotlib is not installed; it comes with the extra 'plot'" in err
