"""A loaded classifier of several columns gives the same bits, and its file is checked."""

import numpy as np
import pandas as pd
import pytest
from helpers.saved import parts, replaced, write

from sktransfer.persistence import load, save

COLUMNS = pd.DataFrame({"letter": list("abc") * 4, "number": [3, 5] * 6})
TASK = ["parts", "task"]


def test_a_loaded_classifier_of_columns_predicts_the_same_bits(make, images, path):
    model = make(COLUMNS.to_numpy(), unfreeze=1)
    save(model, path)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.predict(images), model.predict(images))
    for one, other in zip(loaded.predict_proba(images), model.predict_proba(images), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [each.tolist() for each in loaded.classes_] == [["a", "b", "c"], [3, 5]]
    assert loaded.task_.names == (0, 1)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("tasks", {"!": "tuple", "of": []}),
        ("names", {"!": "tuple", "of": ["a", "b", "c"]}),
        ("names", {"!": "tuple", "of": [-1, 0.5]}),
        ("tasks", {"!": "tuple", "of": [{"!": "MultiLabel", "of": {"n_outputs": 2}}] * 2}),
    ],
    ids=str,
)
def test_columns_that_no_fit_gives_are_not_loaded(make, path, where, value):
    save(make(COLUMNS.to_numpy()), path)
    description, tensors = parts(path)
    write(path, replaced(description, [*TASK, where], value), tensors)
    with pytest.raises(ValueError, match="must be a complete file written by"):
        load(path)
