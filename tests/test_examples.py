"""Each example of the documentation runs as a script, and prints what its page describes."""

import re
import runpy

import matplotlib as mpl
import pytest
from helpers.pages import EXAMPLES

PRINTED = {
    "columns.py": r"numbers +R2 -?\d\.\d\d\n(.|\n)*images and numbers +R2 0\.[89]\d",
    "displays.py": r"",
    "embeddings.py": r"\(150, 1024\) float32\n.*same material: (0\.9|1)",
    "few_labels.py": r"linear probe +0\.\d{3}(.|\n)*12 epochs +0\.\d{3}",
    "fine_tune.py": r"(.|\n)*raw pixels +0\.[2-6]\d+\n.* +0\.9\d+\nfine-tuned network +0\.9\d+",
    "imbalance.py": r"(.|\n)*None +0\.\d{3}\nbalanced +0\.9\d+",
    "linear_probe.py": r"stem +0\.\d{3}(.|\n)*layer4 +(0\.9|1)",
    "photos.py": r"100 photos of brick(.|\n)*test/brick/0000\.png -> brick",
    "prune.py": r"(.|\n)*PRUNED +0\.\d\d(.|\n)*best learning rate 0\.\d{5}, score (0\.[89]|1)",
    "tutorial.py": r"1\. from scratch +0\.\d{3}\n(.|\n)*best depth: \d",
}


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """Figures without a screen, and an empty working folder."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)
    monkeypatch.chdir(tmp_path)
    yield
    plt.close("all")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(figures, capsys, name):
    runpy.run_path(str(EXAMPLES[name]), run_name="__main__")
    assert re.match(PRINTED[name], capsys.readouterr().out)
