"""Helpers for tests of the command line."""

from contextlib import contextmanager
from functools import partial

import pytest

from sktransfer import FineTuneClassifier
from sktransfer.cli import demo

# A small network and small images, for fast tests.
SMALL = ("--weights", "none", "--image-size", 32, "--max-epochs", 1, "--random-state", 0)


def rows(out):
    return [line.split("\t") for line in out.splitlines()]


def csv(path, frame):
    frame.to_csv(path, index=False)
    return path


@contextmanager
def brief_demo():
    """Let the demo train each network for one epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SCRATCH_EPOCHS", 1)
        patch.setattr(demo, "TEXTURE_PARAMETERS", demo.TEXTURE_PARAMETERS | {"max_epochs": 1})
        patch.setattr(demo, "FineTuneClassifier", partial(FineTuneClassifier, max_epochs=1))
        yield
