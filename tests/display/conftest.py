"""Fixtures of the tests of plots, which open no window."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.plots import classifier
from sklearn.datasets import load_digits

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def digits():
    """60 rows of a table, and their labels."""
    X, y = load_digits(n_class=3, return_X_y=True)
    return X[:60] / 16, y[:60]


@pytest.fixture(scope="session")
def model(digits):
    return classifier(unfreeze=2, early_stopping=True).fit(*digits)


@pytest.fixture
def history():
    """One epoch of the head, then two in each of which one more stage is unfrozen."""
    rows = [
        ("head", 3, 2.0, 2.2, 0.3, (1e-5, 1e-4, 4e-4, 1e-3)),
        ("fine-tune", 2, 1.5, 1.4, 0.5, (2e-5, 2e-4, 8e-4, 2e-3)),
        ("fine-tune", 1, 1.0, 1.2, 0.7, (1e-5, 1e-4, 4e-4, 0.0)),
    ]
    names = ("stem", "layer1", "layer2", "head")
    return [
        {
            "phase": phase,
            "epoch": epoch,
            "cut": cut,
            "train_loss": train,
            "valid_loss": valid,
            "valid_score": score,
            "lr": dict(zip(names, rates, strict=True)),
        }
        for epoch, (phase, cut, train, valid, score, rates) in enumerate(rows, start=1)
    ]


@pytest.fixture
def photos():
    return np.random.default_rng(0).integers(0, 256, (5, 40, 60, 3), np.uint8)
