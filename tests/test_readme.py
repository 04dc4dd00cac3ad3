"""The examples of the README run, and the commands and files that it names exist."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import mobilenet_v2
from typer.main import get_command

import sktransfer
from sktransfer.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(text, language):
    """Return the code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(name):
    """Return the commands of all pages that begin with ``name``, without comments."""
    lines = "\n".join(block for path in PAGES.values() for block in blocks(path.read_text(), "sh"))
    return sorted(
        {line.split("#")[0].strip() for line in re.findall(rf"^{name} .*", lines, re.MULTILINE)}
    )


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    """A working folder with the photos and the weights that the README uses."""
    for split in ("train", "val"):
        for name in ("ants", "bees"):
            home = tmp_path / "hymenoptera" / split / name
            home.mkdir(parents=True)
            for index in range(4):
                pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(home / f"{index}.jpg")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(mobilenet_v2().state_dict(), tmp_path / "mobilenet_v2_imagenet.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def run_page(text, name, capsys):
    """Run the examples of a page in order, and compare what they print with the comments there.

    Scores may differ by 0.03, because another processor computes other last bits.
    """
    names = {}
    for example in blocks(text, "python"):
        capsys.readouterr()
        exec(compile(example, name, "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        stated = re.findall(r"^print\(.*\)  # (.*)$", example, re.MULTILINE)
        for line, claim in zip(printed, stated, strict=True):
            assert NUMBER.sub("#", line) == NUMBER.sub("#", claim)
            numbers = [[float(x) for x in NUMBER.findall(text)] for text in (line, claim)]
            assert numbers[0] == pytest.approx(numbers[1], abs=0.03)
    return names


def test_the_examples_of_the_readme_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(blocks(README, "python")) >= 4
    names = run_page(README, "README.md", capsys)
    assert names["photos"].data.shape == (100,)
    assert (tmp_path / "activations").is_dir()  # the cache of the last example


@pytest.mark.parametrize("page", ["inputs.md", "weights.md", "cache.md", "saving.md"])
def test_the_examples_of_a_page_run(folder, page):
    names = {}
    for example in blocks(PAGES[page].read_text(), "python"):
        exec(compile(example, page, "exec"), names)


@pytest.mark.parametrize(
    ("script", "arguments", "printed"),
    [
        (
            "photos.py",
            ["hymenoptera/train", "hymenoptera/val", "mobilenet_v2_imagenet.safetensors"],
            r"accuracy on 8 photos: [01]\.\d{3}",
        ),
        ("which_layer.py", [], r"stem +0\.\d{3}"),
        (
            "prune.py",
            [],
            r"(.|\n)*PRUNED +0\.\d\d(.|\n)*best learning rate 0\.\d{5}, score 0\.[89]",
        ),
        (
            "tutorial.py",
            ["hymenoptera/train", "hymenoptera/val", "--image-size", "64", "--epochs", "1"],
            r"8 photos of ants, bees(.|\n)*1\. from scratch +[01]\.\d{3}\n(.|\n)*best depth: \d",
        ),
    ],
)
def test_an_example_runs(folder, monkeypatch, capsys, script, arguments, printed):
    monkeypatch.setattr("sys.argv", [script, *arguments])
    runpy.run_path(ROOT / "examples" / script, run_name="__main__")
    assert re.match(printed, capsys.readouterr().out)


def test_the_pages_list_every_public_name():
    listed = PAGES["api.md"].read_text()
    assert [name for name in sktransfer.__all__[1:] if f"\n   {name}\n" not in listed] == []


@pytest.mark.parametrize("command", commands("make"))
def test_a_make_command_has_a_target(command):
    target = command.split()[1]
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("command", commands("sktransfer"))
def test_a_command_exists(command):
    known = get_command(app)
    for word in command.split()[1:]:
        if not hasattr(known, "commands"):
            break
        assert word in known.commands, f"{word!r} is not one of {sorted(known.commands)}"
        known = known.commands[word]
    options = {option for parameter in known.params for option in parameter.opts}
    assert set(re.findall(r" (--?[a-z][a-z-]*)", command)) <= options


def test_commands_are_shown():
    assert {"make demo", "make test"} <= set(commands("make"))
    assert len(commands("sktransfer")) >= 3


@pytest.mark.parametrize("page", PAGES)
def test_a_relative_link_leads_to_a_file(page):
    path = PAGES[page]
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    broken = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not broken
