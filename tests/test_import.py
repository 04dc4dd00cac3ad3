"""Importing the package, and asking a command for help, loads no torch."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import sktransfer

HEAVY = ("torch", "torchvision", "timm", "skorch", "sklearn", "pandas", "matplotlib")


def loaded(code):
    """Which heavy packages a new process has loaded after ``code``."""
    report = f"import sys\n{code}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()


def command(*arguments):
    """Code that runs `sktransfer` as the installed script does."""
    (script,) = entry_points(group="console_scripts", name="sktransfer")
    return (
        f"from {script.module} import {script.attr} as main\n"
        f"sys.argv = {['sktransfer', *arguments]}\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code"
    )


def test_importing_the_package_loads_nothing_heavy():
    assert loaded("import sktransfer; dir(sktransfer); sktransfer.__version__") == []


@pytest.mark.parametrize("arguments", [["--help"], ["extract", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    assert loaded(command(*arguments)) == []


def test_what_is_heavy_is_seen():
    assert "torch" in loaded("from sktransfer import Backbone")


@pytest.mark.parametrize("name", sktransfer.__all__)
def test_every_public_name_resolves(name):
    assert getattr(sktransfer, name) is not None
    assert name in dir(sktransfer)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'sktransfer' has no attribute 'Bakbone'"):
        sktransfer.Bakbone  # noqa: B018 - the access itself raises
