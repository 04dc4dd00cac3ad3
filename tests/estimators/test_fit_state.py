"""A fit leaves the right state behind: on success, on errors, and on resumption."""

import gc
import sys
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from helpers.fine_tuning import classifier
from helpers.fresh import TESTS, run_fresh
from helpers.killed import assert_same_fit, killed_after
from helpers.tiny import coloured_photos, tiny_stages
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning, NotFittedError
from skorch.callbacks import Callback

from sktransfer import Backbone, FineTuneClassifier, ImagePreset, PretrainedFeatureExtractor
from sktransfer.backbones import registry
from sktransfer.estimators import _base, feature_extractor
from sktransfer.training.checkpoint import FILE


class Nameless:
    """A provider of random networks that does not record where its weights come from."""

    @staticmethod
    def names():
        return ["net"]

    @staticmethod
    def load(name, weights):
        return Backbone(tiny_stages(), ImagePreset(size=16, crop=1.0))


def test_a_resumed_fit_with_random_weights_begins_with_the_same_weights(
    photos, tmp_path, monkeypatch
):
    monkeypatch.setitem(registry._registered, "nameless", Nameless)
    how = {"weights": None, "unfreeze": 1, "max_epochs": 3, "augment": None, "batch_size": 8}
    model = FineTuneClassifier("nameless/net", **how, checkpoint=tmp_path)
    with killed_after(1):
        model.fit(*photos)
    model.fit(*photos)
    seed = model.net_.seed
    monkeypatch.setattr("sktransfer.training.plan.check_random_state", lambda _: Fixed(seed))
    whole = FineTuneClassifier("nameless/net", **how).fit(*photos)
    assert_same_fit(model, whole)


class Fixed:
    """A generator that always draws one seed."""

    def __init__(self, seed):
        self.seed = seed

    def randint(self, _):
        return self.seed


def test_a_fitted_classifier_does_not_keep_the_items(photos):
    X = photos[0].copy()
    model = classifier(unfreeze=1, augment=None).fit(X, photos[1], X_val=X[:6], y_val=photos[1][:6])
    reference = weakref.ref(X)
    del X
    gc.collect()
    assert reference() is None
    best = dict(model.net_.callbacks_)["best"]
    assert not best.weights_


def test_a_classifier_that_is_dropped_is_freed_without_the_collector(photos):
    model = classifier().fit(*photos)
    reference = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert reference() is None
    finally:
        gc.enable()


def drop_first_fit():
    """Drop the classifier of the first fit (in a program of its own)."""
    X, y = coloured_photos(n_each=6)
    model = FineTuneClassifier(
        image_size=32, max_epochs=1, lr_schedule="constant", augment=None, random_state=0
    )
    gc.disable()
    assert "torch._dynamo" not in sys.modules
    model.fit(X, y)
    assert "torch._dynamo" in sys.modules
    parts = [model, model.backbone_, model.net_]
    references = [weakref.ref(part) for part in parts]
    del model, parts
    assert [reference() for reference in references] == [None, None, None]


def test_the_first_fit_of_a_process_is_freed_without_the_collector():
    paths = [str(TESTS), str(TESTS / "estimators")]
    run_fresh(f"import sys; sys.path[:0] = {paths}; import test_fit_state as t; t.drop_first_fit()")


@pytest.mark.parametrize("value", ["foo", 0, -1, 2.5, None, True])
def test_a_wrong_batch_size_set_after_fit_is_named(extractor, images, value):
    extractor.fit(images).set_params(batch_size=value)
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1"):
        extractor.transform(images)


def test_the_augmentation_is_that_of_the_next_fit(photos):
    model = classifier().fit(*photos).set_params(image_size=32)
    assert model.get_augmentation(photos[0])[0].size == 32


def test_a_checkpoint_outlives_an_error_after_training(photos, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    model = classifier(checkpoint=tmp_path)
    monkeypatch.setattr(_base, "set_fitted", fail)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*photos)
    assert list(tmp_path.rglob(FILE))


def test_an_error_at_the_end_of_fit_leaves_the_last_fit_of_an_extractor(images, monkeypatch):
    @contextmanager
    def failing(*_):
        yield lambda: None
        raise RuntimeError

    model = PretrainedFeatureExtractor("builtin/mini", image_size=32, layer="stem").fit(images)
    fitted = model._fitted
    monkeypatch.setattr(feature_extractor, "report_fit", failing)
    with pytest.raises(RuntimeError):
        model.set_params(layer="layer1").fit(images)
    assert model._fitted is fitted


def test_a_callback_that_handles_ctrl_c_itself_does_not_end_the_fit(photos):
    class Handles(Callback):
        def on_batch_begin(self, net, training=False, **_):
            if training and net.step_ == 0:
                try:
                    import _thread
                    import time

                    _thread.interrupt_main()
                    time.sleep(0.1)
                except KeyboardInterrupt:
                    pass

    model = classifier(freeze_epochs=1, head_init="prior", skorch_callbacks=[Handles()])
    model.fit(*photos)
    assert model.n_iter_ == 3


def test_a_column_vector_of_labels_is_warned_about_once():
    X, y = load_digits(n_class=2, return_X_y=True)
    model = FineTuneClassifier(image_size=32, unfreeze=0, max_epochs=0)
    with pytest.warns(DataConversionWarning) as caught:
        model.fit(X[:20], y[:20, None])
    assert len(caught) == 1


def test_columns_of_another_name_are_refused(extractor, images):
    extractor.fit(images)
    parts, module = extractor._parts()
    with pytest.raises(TypeError, match="columns must be named n_features_in_, feature_names_in_"):
        extractor._set_parts(parts | {"columns": {"predict": 3}}, module)
    assert isinstance(extractor.transform(images), np.ndarray)
    assert torch.is_tensor(next(module.parameters()))


@pytest.mark.parametrize(
    "model", [classifier(), PretrainedFeatureExtractor()], ids=["fit", "extract"]
)
@pytest.mark.parametrize("name", ["backbone_", "weights_info_", "_fitted"])
def test_an_attribute_of_a_fit_is_missing_before_it(model, name):
    assert not hasattr(model, name)
    with pytest.raises(
        NotFittedError, match=f"has no attribute '{name}', because it is not fitted"
    ):
        getattr(model, name)


def test_an_unknown_attribute_is_not_one_of_a_fit():
    with pytest.raises(
        AttributeError, match="'FineTuneClassifier' object has no attribute 'repor_'"
    ):
        classifier().repor_  # noqa: B018 - it raises


def test_the_score_before_fit_is_an_error_that_names_fit(photos):
    with pytest.raises(NotFittedError, match="Call fit first"):
        classifier().score(*photos)
