"""skops cannot write networks; `sktransfer.save` is the format without code."""

import pytest
from helpers.tiny import coloured_photos
from numpy.testing import assert_array_equal

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor, load, save

skops_io = pytest.importorskip("skops.io", reason="skops is not installed")


@pytest.mark.parametrize("kind", ["classifier", "extractor"])
def test_a_fitted_estimator_is_refused(kind, tmp_path):
    X, y = coloured_photos(n_each=3)
    model = (
        FineTuneClassifier(image_size=32, unfreeze=0, max_epochs=0, random_state=0)
        if kind == "classifier"
        else PretrainedFeatureExtractor(image_size=32)
    ).fit(X, y)
    with pytest.raises(Exception, match=r"TensorBase|[Uu]nsupported|[Cc]annot"):
        skops_io.dump(model, tmp_path / "model.skops")
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert_array_equal(again.transform(X), model.transform(X))


def test_an_estimator_that_is_not_fitted_is_written():
    model = FineTuneClassifier(image_size=32, unfreeze=0)
    data = skops_io.dumps(model)
    again = skops_io.loads(data, trusted=skops_io.get_untrusted_types(data=data))
    assert again.get_params() == model.get_params()
