"""Names of files and classes may contain any character, and are printed as plain text."""

import csv
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sktransfer import FineTuneClassifier, cli
from sktransfer.cli import output as written
from sktransfer.cli.output import print_table, safe_name, safe_path, write_csv
from sktransfer.persistence import save

STRANGE = ["[/x]", "[red]", "a\tb", "a\nb", "\x1b[31m", "a\u202eb", "caf\udce9", "$x_1$"]
SHOWN = ["[/x]", "[red]", r"a\tb", r"a\nb", r"\x1b[31m", r"a\u202eb", r"caf\udce9", "$x_1$"]


@pytest.fixture
def images(tmp_path, rng, monkeypatch):
    """Images with strange names, in the current folder."""
    monkeypatch.chdir(tmp_path)
    names = [f"{name.replace('/', '')}.png" for name in [*STRANGE, "=cmd|x", "-1"]]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(os.fsencode(name))
    return names


@pytest.fixture
def model(tmp_path, rng):
    """The path of a saved model whose classes are formulas."""
    X = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    model = FineTuneClassifier(weights=None, image_size=32, max_epochs=0, unfreeze=0)
    save(model.fit(X, ["=1+1", "[/x]"] * 2), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def run(*arguments):
    with pytest.raises(SystemExit) as done:
        cli.main([*map(str, arguments)])
    return done.value.code


def test_names_in_a_pipe_stay_in_their_row_and_column(capsys):
    print_table(("name", "number"), [(name, "1") for name in STRANGE])
    lines = capsys.readouterr().out.split("\n")
    assert lines[1:-1] == [f"{name}\t1" for name in SHOWN]


def test_names_on_a_terminal_are_no_markup(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    print_table(("[/head]", "number"), [(name, "1") for name in STRANGE])
    out = capsys.readouterr().out
    assert "[/head]" in out
    for name in SHOWN:
        assert name in out
    assert "\x1b[31m" not in out


def test_predictions_of_images_with_strange_names_are_printed(images, model, capsys):
    assert not run("predict", model, "--", *images)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(images)
    assert lines[7].startswith(r"caf\udce9.png" + "\t")


@pytest.mark.parametrize("output", ["out.csv", "-"])
def test_a_table_of_predictions_holds_no_formula(images, model, capfdbinary, output):
    assert not run("predict", model, "-o", output, "--", *images)
    content = capfdbinary.readouterr().out if output == "-" else Path(output).read_bytes()
    Path("copy.csv").write_bytes(content)
    with Path("copy.csv").open(errors="surrogateescape", newline="") as file:
        table = list(csv.DictReader(file))
    paths = [row["path"] for row in table]
    assert [path.removeprefix("./") for path in paths] == images
    assert all(Path(path).exists() for path in paths)
    assert not any(path.startswith(("=", "-")) for path in paths)
    assert {row["label"] for row in table} <= {"'=1+1", "[/x]"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ant", "ant"),
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd", "'+cmd"),
        ("\tant", "'\tant"),
        ("-1", "-1"),
        ("-2.5e3", "-2.5e3"),
        (None, None),
        (-1, -1),
    ],
)
def test_a_quote_marks_names_that_a_spreadsheet_would_compute(name, expected):
    assert safe_name(name) == expected


@pytest.mark.parametrize(
    ("path", "expected"), [("=a.png", "./=a.png"), ("/=a.png", "/=a.png"), ("-1.png", "./-1.png")]
)
def test_a_path_that_is_a_formula_gets_another_form(path, expected):
    assert safe_path(path) == expected


def test_numbers_of_a_table_stay_as_they_are(tmp_path):
    write_csv(pd.DataFrame({"a": [-0.5, np.nan], "b": ["=x", None]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "a,b\n-0.5,'=x\n,\n"


def test_an_error_cannot_control_the_terminal():
    message = run("predict", "\x1b[31m[/x].safetensors", "a.png")
    assert r"\x1b[31m[/x].safetensors" in message
    assert "\x1b" not in message


@pytest.mark.parametrize(
    "arguments", [["[/x][red]a"], ["--[/x][red]a"], ["\x1b[31m[/x][red]a"]], ids=repr
)
def test_errors_of_the_command_line_show_names_as_they_are(capsys, arguments):
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert "[/x][red]a" in err
    assert "\x1b[31m" not in err


def test_problems_of_images_with_strange_names_are_listed(images, capsys):
    Path("photos").mkdir()
    for name in (b"caf\xe9", b"a\tb"):
        Path("photos", os.fsdecode(name)).with_suffix(".png").write_bytes(b"nothing")
    assert run("check", "photos") == 1
    listed = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {row[0] for row in listed[1:]} == {r"photos/caf\udce9.png", r"photos/a\tb.png"}
    assert {len(row) for row in listed} == {4}


def test_features_of_images_with_strange_names_are_written(tmp_path, rng, capsys):
    (tmp_path / "photos").mkdir()
    names = ["=1.png", "[x].png", "a\nb.png", "caf\udce9.png"]
    for name in names:
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(os.fsencode(tmp_path / "photos" / name))
    for suffix in ("parquet", "npz"):
        output = tmp_path / f"\x1b[31m.{suffix}"
        folder = tmp_path / "photos"
        assert not run("extract", folder, "-o", output, "--weights", "none", "--image-size", 32)
    assert "\x1b" not in capsys.readouterr().out
    paths = pd.read_parquet(tmp_path / "\x1b[31m.parquet")["path"]
    assert sorted(Path(path).name for path in paths) == [*names[:3], r"caf\udce9.png"]


@pytest.mark.parametrize(
    ("cell", "expected"), [("caf\udce9", r"caf\udce9"), ("café", "café"), (1.5, 1.5), (None, None)]
)
def test_text_of_a_parquet_file_is_utf8(cell, expected):
    assert written.as_utf8(cell) == expected


@pytest.mark.parametrize("suffix", ["", ".safetensors"])
def test_the_name_of_a_model_need_not_be_utf8(images, capsys, suffix):
    for name in ("ants", "bees"):
        Path("photos", name).mkdir(parents=True)
        shutil.copy(images[0], f"photos/{name}/1.png")
    model = os.fsdecode(b"caf\xe9") + suffix
    small = ("--weights", "none", "--image-size", 32, "--max-epochs", 1)
    assert not run("fit", "photos", "-o", model, *small)
    assert capsys.readouterr().out.endswith(f"model: caf\\udce9{suffix}\n")
    assert not run("predict", model, "photos/ants", "-o", f"{model}.csv")
    assert (
        Path(f"{model}.csv").read_text().startswith("path,label,p_ants,p_bees\nphotos/ants/1.png,")
    )
    message = run("predict", f"{model}x", "photos/ants")
    assert f"'caf\\udce9{suffix}x' does not exist" in message
