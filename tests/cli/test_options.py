"""Options of fit that are parameters of the classifier, and their completion in a shell."""

import os
import subprocess
import sys

import pytest
from helpers.command_line import SMALL, csv

from sktransfer import FineTuneClassifier, load_image_folder
from sktransfer.cli.options import class_weight_of
from sktransfer.persistence import load


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        (["--unfreeze", "1", "--augment", "none"], {"unfreeze": 1, "augment": None}),
        (["--unfreeze", "layer4", "--augment", "light"], {"unfreeze": "layer4"}),
        (["--backbone", "builtin/small_cnn", "--image-size", "48"], {"image_size": 48}),
        (["--precision", "bfloat16", "--device", "cpu"], {"precision": "bfloat16"}),
        (["--n-jobs", "1", "--decode-error", "warn"], {"n_jobs": 1, "decode_error": "warn"}),
        (["--validation", "0.25"], {"early_stopping": True, "validation_fraction": 0.25}),
        (["--lr", "0.01", "--fine-tune-lr", "3e-4"], {"lr": 0.01, "fine_tune_lr": 3e-4}),
        (["--lr", "auto", "--fine-tune-lr", "auto"], {"lr": "auto", "fine_tune_lr": "auto"}),
        ([], {name: FineTuneClassifier().get_params()[name] for name in ("lr", "fine_tune_lr")}),
        (["--class-weight", "balanced"], {"class_weight": "balanced"}),
        (["--class-weight", "none"], {"class_weight": None}),
        (
            ["--class-weight", "ants=2", "--class-weight", "bees=0.5"],
            {"class_weight": {"ants": 2.0, "bees": 0.5}},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_fit_are_those_of_the_classifier(run, coloured, tmp_path, arguments, parameters):
    output = tmp_path / "m"
    assert run("fit", coloured, "-o", output, *SMALL, *arguments)[0] == 0
    loaded = load(output).get_params()
    assert {name: loaded[name] for name in parameters} == parameters


def test_class_weights_of_a_table_have_its_labels_as_keys(run, coloured, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        FineTuneClassifier, "fit", lambda self, *_: seen.update(self.get_params()) or 1 / 0
    )
    frame = load_image_folder(coloured).frame.assign(label=[0] * 6 + [1] * 6)
    table = csv(tmp_path / "list.csv", frame)
    with pytest.raises(ZeroDivisionError):
        run("fit", table, "-o", tmp_path / "m", "--class-weight", "1=3")
    assert seen["class_weight"] == {1: 3.0}


def test_class_weights_change_the_range_test(run, coloured):
    small = ("--weights", "none", "--image-size", 32, "--random-state", 0)
    plain, weighted = (
        run("find-lr", coloured, *small, *more)[1] for more in ((), ("--class-weight", "ants=9"))
    )
    assert plain != weighted


@pytest.mark.parametrize("value", ["ants", "wasps=2", "ants=many", "=2", "balanced"])
def test_a_wrong_class_weight_is_an_error_that_lists_the_labels(value):
    with pytest.raises(ValueError, match=r"such as ants=2; got '.*'\. The labels are ants, a=b\."):
        class_weight_of([value, "ants=2"], ["ants", "a=b"])


def test_a_known_label_is_not_suggested_for_itself():
    with pytest.raises(ValueError, match=r"got 'ants=many'\. The labels are ants, bees\.$"):
        class_weight_of(["ants=many"], ["ants", "bees"])


def test_a_label_may_contain_an_equals_sign():
    assert class_weight_of(["a=b=2"], ["ants", "a=b"]) == {"a=b": 2.0}


def complete(words):
    """Return what bash offers to complete the last of some words."""
    environment = os.environ | {
        "_SKTRANSFER_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    code = "from sktransfer.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sktransfer fi", ["fit", "find-lr"]),
        ("sktransfer fit --fine", ["--fine-tune-lr"]),
        ("sktransfer fit --augment l", ["light"]),
        ("sktransfer extract --precision b", ["bfloat16"]),
        ("sktransfer cache p", ["prune"]),
    ],
)
def test_a_shell_completes_commands_options_and_their_values(words, expected):
    assert complete(words) == expected


def test_the_help_names_the_options_that_install_the_completion(run):
    _, out, _ = run("--help")
    assert "--install-completion" in out
    assert "--show-completion" in out


@pytest.mark.parametrize("command", ["fit", "predict", "evaluate", "extract", "find-lr", "fetch"])
def test_the_help_states_that_files_are_replaced(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "300")
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "replaced if" in out


def test_a_model_that_exists_is_replaced(run, coloured, tmp_path):
    output = tmp_path / "m"
    output.write_text("an older model")
    assert run("fit", coloured, "-o", output, *SMALL)[0] == 0
    assert load(output).classes_.tolist() == ["ants", "bees"]


def test_a_model_is_kept_if_the_fit_fails(run, coloured, tmp_path):
    output = tmp_path / "m"
    output.write_text("an older model")
    (coloured / "ants" / "broken.png").touch()
    assert run("fit", coloured, "-o", output, *SMALL)[0] == 1
    assert output.read_text() == "an older model"
