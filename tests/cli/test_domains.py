"""The commands that rank backbones and compare two folders print their results as tables."""

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import rows
from helpers.text_nets import text_backbone
from PIL import Image

from sktransfer.backbones import registry
from sktransfer.persistence import load


@pytest.fixture
def folders(tmp_path, rng):
    """A folder of day photos by class, and one of night photos."""
    for name, factor in (("day", 1.0), ("night", 0.2)):
        for label, red in (("ants", 60), ("bees", 200)):
            (tmp_path / name / label).mkdir(parents=True)
            for at in range(6):
                pixels = rng.normal(red, 40, (24, 24, 3)).clip(0, 255) * factor
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name / label / f"{at}.png")
    return tmp_path


def test_backbones_are_ranked(run, folders):
    output = folders / "ranking.csv"
    code, out, _ = run(
        "rank", folders / "day", "builtin/mini", "builtin/mini@none", "nowhere/net",
        "--no-baseline", "--image-size", 32, "-o", output,
    )  # fmt: skip
    table = rows(out)
    assert code == 0
    assert table[0] == ["backbone", "weights", "image size", "score", "seconds", "error"]
    assert [row[1] for row in table[1:3]] == ["default", "random"]
    assert table[3][0] == "nowhere/net"
    assert table[3][5].startswith("ValueError")
    frame = pd.read_csv(output)
    assert frame["backbone"].tolist() == [row[0] for row in table[1:]]


def test_random_weights_are_a_baseline(run, folders):
    _, out, _ = run("rank", folders / "day", "builtin/mini", "builtin/mini", "--image-size", 32)
    assert len(rows(out)) == 4


def test_a_ranking_without_a_score_is_an_error(run, folders):
    code, _, err = run("rank", folders / "day", "builtin/minni", "builtin/nano", "--image-size", 32)
    assert code == 1
    assert "must hold a backbone that has a score" in err
    assert "Did you mean 'builtin/mini'?" in err


def test_items_without_labels_cannot_be_ranked(run, folders):
    code, _, err = run("rank", folders / "day" / "ants", "builtin/mini", "builtin/mini")
    assert code == 1
    assert "a label for each item" in err


def test_a_shift_between_folders_is_detected(run, folders):
    output = folders / "scores.csv"
    code, out, _ = run(
        "shift", folders / "day", folders / "night", "--image-size", 32, "--listed", 2, "-o", output
    )
    table = rows(out)
    assert code == 0
    assert table[0] == ["like the source", "path", "score"]
    assert [row[0] for row in table[1:5]] == ["most", "most", "least", "least"]
    assert table[5][0].startswith("AUC ")
    assert table[5][0].endswith("p = 0.005")
    scores = pd.read_csv(output)
    assert len(scores) == 12
    assert scores["score"].max() == pytest.approx(float(table[3][2]), abs=1e-4)


def test_no_items_are_listed_on_request(run, folders):
    _, out, _ = run("shift", folders / "day", folders / "day", "--image-size", 32, "--listed", 0)
    assert out.startswith("AUC ")


@pytest.mark.parametrize("command", ["rank", "shift"])
def test_the_output_is_a_csv_file(run, folders, command):
    others = ["builtin/mini"] * 2 if command == "rank" else [folders / "night"]
    code, _, err = run(command, folders / "day", *others, "-o", folders / "table.txt")
    assert code == 1
    assert "must be a .csv file in an existing folder" in err


class Words:
    """A provider of a network for texts."""

    def names(self):
        return ["net"]

    def load(self, name, weights):
        return text_backbone()


def test_texts_are_ranked_and_compared(run, tmp_path, monkeypatch):
    monkeypatch.setitem(registry._registered, "words", Words())
    frame = pd.DataFrame({"text": ["a good film", "one bad film"] * 6, "label": [1, 0] * 6})
    frame.to_csv(tmp_path / "films.csv", index=False)
    plays = frame.replace({"film": "play on stage"}, regex=True)
    plays.to_csv(tmp_path / "plays.csv", index=False)
    films, plays, how = tmp_path / "films.csv", tmp_path / "plays.csv", "--text-column=text"
    code, out, _ = run("rank", films, "words/net", "words/net", how, "--no-baseline")
    assert code == 0
    assert len(rows(out)) == 3
    code, out, _ = run("shift", films, plays, how, "--backbone=words/net", "--listed=1")
    assert code == 0
    assert rows(out)[0] == ["like the source", "text", "score"]
    assert rows(out)[3][0].startswith("AUC 1.000")


def test_a_network_of_images_takes_no_texts(run, tmp_path):
    frame = pd.DataFrame({"text": ["a good film", "a bad film"] * 6})
    frame.to_csv(tmp_path / "films.csv", index=False)
    films = tmp_path / "films.csv"
    code, _, err = run("shift", films, films, "--text-column=text")
    assert code == 1
    assert "pass a backbone for texts" in err


def test_a_model_is_adapted_to_other_images(run, folders):
    day, night = folders / "day", folders / "night"
    asked = ("fit", day, "-o", folders / "m", "--image-size", 32, "--max-epochs", 1)
    code, _, err = run(*asked, "--freeze-bn", "own", "--random-state", 0)
    assert (code, err) == (0, "")
    code, out, _ = run("adapt", folders / "m", night, "-o", folders / "n", "--stages", "all")
    assert (code, out) == (0, f"model: {folders / 'n'}\n")
    paths = sorted(map(str, night.rglob("*.png")))
    expected = load(folders / "m").adapt(paths, "all").predict_proba(paths)
    np.testing.assert_allclose(load(folders / "n").predict_proba(paths), expected)


def test_stages_without_batch_norm_are_not_adapted(run, folders):
    asked = ("fit", folders / "day", "-o", folders / "m", "--image-size", 32, "--unfreeze", 0)
    assert run(*asked, "--max-epochs", 0)[0] == 0
    code, _, err = run("adapt", folders / "m", folders / "night", "-o", folders / "n")
    assert code == 1
    assert "batch norm" in err
    assert not (folders / "n").exists()
