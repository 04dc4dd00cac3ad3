"""Errors and warnings name arguments and options instead of parameters of Python."""

import warnings

import pytest
from helpers.command_line import SMALL

from sktransfer.cli.messages import with_options, with_rows
from sktransfer.estimators import FineTuneClassifier

SPELLED = {
    "source": "FOLDER_OR_CSV",
    "validation": "--validation",
    "weights": "--weights",
    "backbone": "--backbone",
    "image_size": "--image-size",
    "cache": "--cache",
    "output": "--output",
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("image_size must be at least 32; got 3.", "--image-size must be at least 32; got 3."),
        ("weights of builtin/mini must be it.", "--weights of builtin/mini must be it."),
        ("Pass weights=PATH; or copy it.", "Pass --weights PATH; or copy it."),
        ("They fit 'a/b': pass backbone='a/b'.", "They fit 'a/b': pass --backbone a/b."),
        ("Pass cache=, or set the limit.", "Pass --cache, or set the limit."),
        ("X must hold paths;\n  X[3]: 'a.png'", "FOLDER_OR_CSV must hold paths;\n  'a.png'"),
        ("y must have at least 2 classes.", "FOLDER_OR_CSV must have at least 2 classes."),
        ("list_backbones('timm') names 9.", "`sktransfer backbones --provider timm` names 9."),
        ("list_backbones(pattern='*b0*') names 9.", "`sktransfer backbones '*b0*'` names 9."),
        ("Pass X_val and y_val to it.", "Pass --validation FOLDER_OR_CSV to it."),
        (
            "Empty. To keep these, pass names as classes=. To load other files, pass extensions=.",
            "Empty.",
        ),
        (
            "Few steps. Increase max_epochs, lower batch_size, or use lr_schedule='constant'.",
            "Few steps. Increase --max-epochs, or lower --batch-size.",
        ),
        (
            "Few steps. Increase freeze_epochs, lower batch_size, or use lr_schedule='constant'.",
            "Few steps. Lower --batch-size.",
        ),
        (
            "[Errno 28] path must be a file that can be written; No space: 'm'",
            "[Errno 28] --output must be a file that can be written; No space: 'm'",
        ),
        ("Freeze stages, or cache=None.", "Freeze stages, or leave out --cache."),
        (
            "Free some space, or set a limit: cache=ActivationCache(dir, max_bytes=...).",
            "Free some space, or delete rows by `sktransfer cache prune`.",
        ),
        ("augment must be None for texts.", "augment must be none for texts."),
        ("image_size must be None for texts.", "--image-size must be left out for texts."),
        (
            "Unfreeze them, with unfreeze=1 or more.",
            "Unfreeze them, with --unfreeze 1 of `sktransfer fit`.",
        ),
        (
            "To predict numbers, use FineTuneRegressor.",
            "To predict numbers, use --task regression.",
        ),
        (
            "To predict labels, use FineTuneClassifier.",
            "To predict labels, use --task classification.",
        ),
        # Other uses of the same words stay.
        ("'x' holds weights that must go.", "'x' holds weights that must go."),
        ("The cache is full.", "The cache is full."),
        ("'/a/weights=1.png' is no image.", "'/a/weights=1.png' is no image."),
    ],
)
def test_names_of_parameters_become_those_of_options(message, expected):
    assert with_options(message, SPELLED, {name: [] for name in SPELLED}) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("y must be numbers;\n  y[1]: 'old'", "y must be numbers;\n  'b.png': 'old'"),
        ("column 'v' of y[0]: inf", "column 'v' of 'a.png': inf"),
        ("y[1, 'v']: nan", "'b.png', 'v': nan"),
        ("X[1]: " + repr("long " * 50)[:77] + "...", "X[1]: " + repr("long " * 50)[:77] + "..."),
        # The name is there already, there is no such row, or the words are part of a path.
        ("X[0]: 'c.png' is no image", "X[0]: 'c.png' is no image"),
        ("y[9] has none", "y[9] has none"),
        ("y_val[0] has none", "y_val[0] has none"),
        ("'photos/y[1].png' is no image", "'photos/y[1].png' is no image"),
    ],
)
def test_rows_are_named_by_their_items(message, expected):
    names = {"X": ["c.png", "long " * 50], "y": ["a.png", "b.png"]}
    assert with_rows(message, names) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("dir must be a folder; got 'a'.", "FOLDER_OR_CSV"),
        ("dir must be a folder; got 'a/val'.", "--validation"),
        ("dir must be a folder; 'a' holds such as 'a/val'.", "FOLDER_OR_CSV"),
        ("dir must be a folder; got none.", "FOLDER_OR_CSV"),
    ],
)
def test_a_path_in_the_message_shows_which_argument_is_meant(message, expected):
    paths = {name: [] for name in SPELLED} | {"source": ["a"], "validation": ["a/val"]}
    assert with_options(message, SPELLED, paths).startswith(f"{expected} must be a folder; ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--unfreeze", "9"], "--unfreeze must be 'auto', 'all', the number"),
        (["--device", "gpu"], "--device must be one of 'auto', "),
        (["--backbone", "mini"], "--backbone must be an address "),
        (["--image-size", "3"], "--image-size must be "),
        (["--lr", "fast"], "--lr must be a number in (0, inf), or 'auto'; got 'fast'"),
        (["--fine-tune-lr", "0"], "--fine-tune-lr must be a number in (0, inf), or 'auto'; got 0"),
        (["--class-weight", "ant=2"], "--class-weight must be balanced, none, or a label"),
        (["--validation", "nowhere"], "--validation must be a folder or a .csv file; got"),
        (["--validation", "1.5"], "--validation must be a number in (0, 1); got 1.5"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_of_fit_begin_with_the_option(run, coloured, tmp_path, arguments, expected):
    code, out, err = run("fit", coloured, "-o", tmp_path / "m", *SMALL, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(f"sktransfer: {expected}")


@pytest.mark.parametrize(("name", "state"), [("none", ""), ("none.csv", ", which does not exist")])
def test_a_source_must_exist(run, tmp_path, name, state):
    code, _, err = run("fit", tmp_path / name, "-o", tmp_path / "m")
    assert code == 1
    wanted = "FOLDER_OR_CSV must be a folder or a .csv file"
    assert err == f"sktransfer: {wanted}; got {str(tmp_path / name)!r}{state}.\n"


def test_a_missing_path_of_a_csv_file_is_told_where_relative_paths_start(run, tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.png,ants\nb.png,bees\n")
    _, _, err = run("fit", tmp_path / "list.csv", "-o", tmp_path / "m", *SMALL)
    assert f"\n  {str(tmp_path / 'b.png')!r}\nRelative paths in a CSV file start from its" in err


def test_files_that_do_not_exist_are_listed(run, tmp_path):
    (tmp_path / "model").touch()
    names = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    code, _, err = run("predict", tmp_path / "model", tmp_path / "model", *names)
    assert code == 1
    listed = "\n".join(f"  {name!r}" for name in names)
    assert err == f"sktransfer: FILES... must exist; 2 do not:\n{listed}\n"


def test_warnings_are_printed_in_one_line_with_the_option(run, coloured, tmp_path, monkeypatch):
    def warn(*_):
        warnings.warn("cache must be a folder", UserWarning, stacklevel=1)
        raise ValueError("stop")

    monkeypatch.setattr(FineTuneClassifier, "fit", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _, _, err = run("fit", coloured, "-o", tmp_path / "m")
    assert err == "warning: --cache must be a folder\nsktransfer: stop\n"


def test_the_cache_of_a_command_about_caches_is_its_argument(run, tmp_path):
    _, _, err = run("cache", "info", tmp_path / "nowhere")
    assert "DIR must be a folder that exists" in err
