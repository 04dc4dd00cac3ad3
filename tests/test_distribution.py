"""The installed distribution: its metadata, dependencies and files, and the file of citations."""

import ast
import re
import sys
from importlib.metadata import (
    PackageNotFoundError,
    distribution,
    packages_distributions,
    version,
)
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import sktransfer

ROOT = Path(sktransfer.__file__).parent
CITATION = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text())
METADATA = distribution("sktransfer").metadata
REQUIREMENTS = [Requirement(text) for text in distribution("sktransfer").requires]
# Extras of users; the other ones are for developers.
EXTRAS = {"timm", "text", "onnx", "openvino", "onnxruntime", "plot", "cli", "demo"}


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def belongs_to(requirement, extras):
    """Return True if a requirement belongs to the library or to one of ``extras``."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


USED = [each for each in REQUIREMENTS if belongs_to(each, EXTRAS) and each.name != "sktransfer"]


def imported():
    """Return the names of the libraries that the package imports or requires."""
    names = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                names |= {getattr(node.args[0], "value", "sktransfer")}  # of an engine
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"sktransfer"}


def test_the_metadata_describe_the_package():
    assert METADATA["Version"] == sktransfer.__version__
    assert METADATA["License-Expression"] == "BSD-3-Clause"
    assert METADATA["License-File"] == "LICENSE"
    assert METADATA["Description-Content-Type"] == "text/markdown"
    assert METADATA["Summary"]
    assert METADATA["Keywords"]
    assert METADATA["Author"] == "sktransfer developers"


def test_the_classifiers_list_the_supported_versions_of_python():
    classifiers = METADATA.get_all("Classifier")
    listed = re.findall(r"Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)
    assert listed == ["3.11", "3.12", "3.13"]
    supported = SpecifierSet(METADATA["Requires-Python"])
    assert all(each in supported for each in listed)
    assert "3.10" not in supported
    assert "Typing :: Typed" in classifiers


def test_each_library_that_is_imported_is_a_requirement():
    required, distributions = {normalised(each.name) for each in USED}, packages_distributions()
    missing = [
        name
        for name in imported()
        if find_spec(name) and not required & set(map(normalised, distributions[name]))
    ]
    assert missing == []


@pytest.mark.parametrize("requirement", USED, ids=lambda each: each.name)
def test_a_requirement_has_a_lower_bound_that_is_installed(requirement):
    assert [each.operator for each in requirement.specifier] == [">="]
    try:
        assert version(requirement.name) in requirement.specifier
    except PackageNotFoundError:  # it belongs to an extra
        pytest.skip(f"{requirement.name} is not installed")


@pytest.mark.parametrize(
    "name", ["py.typed", "__init__.pyi", "backbones/providers/mini.safetensors"]
)
def test_files_that_are_no_modules_are_installed(name):
    assert (ROOT / name).is_file()


def test_the_citation_agrees_with_the_metadata():
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["version"] == sktransfer.__version__
    assert CITATION["license"] == METADATA["License-Expression"]
    assert CITATION["authors"] == [{"name": METADATA["Author"]}]
    assert CITATION["keywords"] == METADATA["Keywords"].split(",")
    assert {"message", "title", "type", "abstract"} <= CITATION.keys()
