"""The names of the package, which are imported on first use: importing it loads no torch."""

import ast
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import sktransfer

MODULES = (
    "backbones",
    "callbacks",
    "data",
    "display",
    "estimators",
    "exceptions",
    "schedules",
    "testing",
    "training",
)
HEAVY = ("torch", "torchvision", "timm", "skorch", "sklearn", "pandas", "matplotlib")


def loaded(code):
    """List the heavy packages that a new process has imported after ``code``."""
    report = f"import sys\n{code}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()


def command(*arguments):
    """Return code that runs `sktransfer` like the installed script."""
    (script,) = entry_points(group="console_scripts", name="sktransfer")
    return (
        f"from {script.module} import {script.attr} as main\n"
        f"sys.argv = {['sktransfer', *arguments]}\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code"
    )


def test_importing_the_package_imports_no_heavy_package():
    assert loaded("import sktransfer; dir(sktransfer); sktransfer.__version__") == []


@pytest.mark.parametrize("arguments", [["--help"], ["extract", "--help"]], ids=" ".join)
def test_help_imports_no_heavy_package(arguments):
    assert loaded(command(*arguments)) == []


WRONG_PATHS = [
    "adapt none images -o new",
    "check none",
    "demo --images none",
    "evaluate none images",
    "evaluate model none",
    "export none -o a.onnx",
    "export model -o a.zip",
    "extract none -o a.npz",
    "find-lr none",
    "fit none -o new",
    "fit none.csv -o new",
    "fit images -o a.joblib",
    "fit images -o new --masks none",
    "fit images -o new --validation none",
    "predict none images",
    "predict model none.jpg",
    "predict model images -o a.txt",
    "rank none a b",
    "shift images none",
]


def test_a_wrong_path_is_an_error_before_a_heavy_package_is_imported(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "model").touch()
    code = (
        "import os\nfrom sktransfer.cli import main\n"
        f"os.chdir({str(tmp_path)!r})\n"
        f"for line in {WRONG_PATHS}:\n"
        "    try:\n        main(line.split())\n"
        "    except SystemExit as error:\n        wrong = str(error)\n"
        "    assert ' must ' in wrong, (line, wrong)\n"
    )
    assert loaded(code) == []


def test_a_heavy_package_that_is_imported_is_noticed():
    assert "torch" in loaded("from sktransfer import Backbone")


@pytest.mark.parametrize("name", sktransfer.__all__)
def test_every_public_name_resolves(name):
    assert getattr(sktransfer, name) is not None
    assert name in dir(sktransfer)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_module_is_an_attribute_of_the_package(name, monkeypatch):
    monkeypatch.delattr(sktransfer, name, raising=False)  # set by an import of the module
    assert getattr(sktransfer, name).__name__ == f"sktransfer.{name}"


def test_dir_lists_the_public_names_and_modules_and_nothing_else():
    assert set(dir(sktransfer)) == {*sktransfer.__all__, *MODULES}


def test_a_star_import_imports_the_public_names():
    scope = {}
    exec("from sktransfer import *", scope)
    assert scope.keys() - {"__builtins__"} == set(sktransfer.__all__)


def test_the_stub_lists_the_same_names_as_the_package():
    # Each line is an import such as `from .data import Views as Views`.
    stub = ast.parse(Path(sktransfer.__file__).with_suffix(".pyi").read_text())
    listed = {}
    for node in stub.body:
        (alias,) = node.names
        assert (node.level, alias.asname) == (1, alias.name)
        listed[alias.name] = node.module
    modules = dict.fromkeys(MODULES)
    assert listed == {"__version__": "_version", **sktransfer._HOMES, **modules}


@pytest.mark.parametrize("name", sktransfer._HOMES)
def test_the_package_that_a_name_comes_from_offers_it(name):
    home = import_module(f"sktransfer.{sktransfer._HOMES[name]}")
    assert name in home.__all__


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'sktransfer' has no attribute 'Bakbone'"):
        sktransfer.Bakbone  # noqa: B018 - the access itself raises
