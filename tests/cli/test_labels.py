"""Labels on the command line: those of another folder or table, and unknown ones."""

from helpers.command_line import SMALL, csv

from sktransfer import load_image_folder
from sktransfer.persistence import load


def test_a_class_folder_of_validation_data_may_be_empty_or_missing(run, coloured, tmp_path):
    for name in ("ants", "bees"):
        (tmp_path / "val" / name).mkdir(parents=True)
    (coloured / "bees/1.png").rename(tmp_path / "val/bees/1.png")
    asked = ("fit", coloured, "-o", tmp_path / "m", *SMALL, "--validation", tmp_path / "val")
    assert run(*asked)[0] == 0
    (tmp_path / "val/ants").rmdir()
    assert run(*asked)[0] == 0
    (tmp_path / "val/bees").rename(tmp_path / "val/wasps")
    code, _, err = run(*asked)
    assert code == 1
    assert "--validation must hold folders of the given classes only, 'ants', 'bees'; " in err


def test_validation_labels_are_compared_as_text(run, coloured, tmp_path):
    for old, new in (("ants", "0"), ("bees", "1")):
        (coloured / old).rename(coloured / new)
    frame = load_image_folder(coloured).frame.assign(label=[0] * 6 + [1] * 6)
    table = csv(tmp_path / "val.csv", frame)
    asked = ("fit", coloured, "-o", tmp_path / "m", *SMALL, "--validation")
    assert run(*asked, table)[0] == 0
    assert load(tmp_path / "m").classes_.tolist() == ["0", "1"]
    code, _, err = run(*asked, csv(tmp_path / "val.csv", frame.replace(1, 2)))
    assert code == 1
    assert "--validation must have only labels that the model knows in the column 'label'; " in err


def test_a_label_that_the_model_does_not_know_is_an_error(run, coloured, model, tmp_path):
    frame = load_image_folder(coloured).frame.replace("bees", "wasps")
    code, _, err = run("evaluate", model, csv(tmp_path / "list.csv", frame))
    assert code == 1
    assert "only labels that the model knows in the column 'label'; " in err
    assert "also has\n  wasps\nThe model knows ants, bees." in err
    (coloured / "bees").rename(coloured / "wasps")
    code, _, err = run("evaluate", model, coloured)
    assert code == 1
    assert "FOLDER_OR_CSV must hold folders of the given classes only, 'ants', 'bees'; " in err


def test_a_class_folder_may_be_empty_if_the_model_knows_the_class(run, coloured, model):
    for path in (coloured / "ants").iterdir():
        path.unlink()
    code, out, _ = run("evaluate", model, coloured)
    assert code == 0
    assert "\nbees\t1.000\t1.000\t1.000\t6\n" in out
