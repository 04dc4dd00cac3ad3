"""The commands refuse models whose predictions are no columns."""

import pytest
from helpers.masks import masked_files

from sktransfer import FineTuneSegmenter, save


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_model_of_masks_is_an_error(run, tmp_path, command):
    images, masks = masked_files(tmp_path, 4)
    model = FineTuneSegmenter(image_size=32, max_epochs=0, verbose=0).fit(images, masks)
    save(model, tmp_path / "m.safetensors")
    code, _, err = run(command, tmp_path / "m.safetensors", images[0])
    assert code == 1
    assert "MODEL must be a classifier or a regressor; " in err
    assert "holds a FineTuneSegmenter." in err
