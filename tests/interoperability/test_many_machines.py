"""The code on the page about many machines runs, with two worker processes of dask and of ray."""

import pytest
from helpers.pages import PAGES, run_page

from sktransfer import load_textures

pytest.importorskip("distributed", reason="dask's distributed is not installed")
pytest.importorskip("ray", reason="ray is not installed")


@pytest.mark.usefixtures("importable")
def test_the_code_on_the_page_runs(tmp_path, monkeypatch, capsys):
    load_textures("train", folder=tmp_path / "textures" / "train")
    monkeypatch.chdir(tmp_path)
    names = run_page(PAGES["many_machines.md"], capsys)
    assert len(names["found"]) == 100
    assert len(names["search"].cv_results_["params"]) == 2
