"""The examples of the README run, and the commands and files that all pages name exist."""

import re

import pytest
from helpers.pages import PAGES, README, ROOT, blocks, run_page
from typer.main import get_command

from sktransfer.cli.app import app

MAKEFILE = (ROOT / "Makefile").read_text()


def commands(name):
    """Return the commands of all pages that begin with ``name``, without comments."""
    lines = "\n".join(block for path in PAGES.values() for block in blocks(path.read_text(), "sh"))
    return sorted(
        {line.split("#")[0].strip() for line in re.findall(rf"^{name} .*", lines, re.MULTILINE)}
    )


def test_the_examples_of_the_readme_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(blocks(README.read_text(), "python")) >= 4
    names = run_page(README, capsys)
    assert names["photos"].data.shape == (100,)
    assert (tmp_path / "activations").is_dir()  # the cache of the last example


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
