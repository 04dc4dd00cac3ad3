"""Predictions of a model of several columns of labels."""

import numpy as np
import pandas as pd
import pytest

from sktransfer import FineTuneClassifier, load_image_folder
from sktransfer.persistence import save


@pytest.fixture
def several(coloured, tmp_path):
    """A model of two columns, and the file that holds it."""
    photos = load_image_folder(coloured)
    y = np.column_stack([photos.labels, np.arange(12) % 3 + 5]).astype(object)
    model = FineTuneClassifier(weights=None, unfreeze=0, image_size=32, max_epochs=0)
    save(model.fit(photos.data, y), tmp_path / "several.safetensors")
    return model, tmp_path / "several.safetensors"


def test_each_column_has_its_label_and_its_probabilities(run, coloured, several, tmp_path):
    model, file = several
    code, _, err = run("predict", file, coloured, "-o", tmp_path / "out.csv")
    assert (code, err) == (0, "")
    table = pd.read_csv(tmp_path / "out.csv")
    first = ["path", "label_0", "p_0_ants", "p_0_bees"]
    assert list(table) == [*first, "label_1", "p_1_5", "p_1_6", "p_1_7"]
    paths = table["path"].tolist()
    assert table[["label_0", "label_1"]].to_numpy().tolist() == model.predict(paths).tolist()
    np.testing.assert_allclose(table.iloc[:, 2:4], model.predict_proba(paths)[0])


def test_columns_are_not_evaluated(run, coloured, several):
    code, _, err = run("evaluate", several[1], coloured)
    assert code == 1
    assert "MODEL must predict one label for each item; " in err
