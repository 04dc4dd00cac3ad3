"""The backport of importlib.metadata may be imported first."""

import pytest
from helpers.forked import run_program

pytest.importorskip("importlib_metadata", reason="importlib_metadata is not installed")

PROGRAM = """
import importlib_metadata
import sktransfer
assert sktransfer.get_backbone("builtin/mini").names
assert "torchvision/resnet18" in sktransfer.list_backbones()
"""


def test_addresses_are_found_after_the_backport_is_imported():
    run_program(PROGRAM)
