"""A fit ends between the weights before and after its second phase."""

import numpy as np
import pytest
import torch
from helpers.fine_tuning import classifier, equal, weights
from helpers.killed import assert_same_fit, killed_after
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import PretrainedFeatureExtractor
from sktransfer.callbacks import ModelEMA

HEAD_PHASE = {"head_init": "prior", "freeze_epochs": 2}


@pytest.mark.parametrize("parameters", [{}, HEAD_PHASE, {"freeze_bn": "frozen", "unfreeze": 2}])
def test_the_weights_are_on_the_line_between_both_ends_of_the_second_phase(photos, parameters):
    start, middle, end = (
        weights(classifier(weight_interpolation=at, **parameters).fit(*photos))
        for at in (0, 0.3, 1)
    )
    assert not equal(start, end)
    for name, value in middle.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.7 * start[name] + 0.3 * end[name])


@pytest.mark.parametrize(
    ("parameters", "values"),
    [({}, (0.5, 8, 10)), ({"augment": None}, (0.5, 8, 10)), (HEAD_PHASE, (1, 32, 6))],
)
def test_the_defaults_for_few_images_make_more_steps_and_go_half_the_way_from_an_exact_head(
    photos, parameters, values
):
    names = ["weight_interpolation", "batch_size", "max_epochs"]
    model = classifier(**parameters | dict.fromkeys(names, "auto")).fit(*photos)
    explicit = classifier(**parameters | dict(zip(names, values, strict=True))).fit(*photos)
    assert equal(weights(model), weights(explicit))


def test_a_weight_of_0_keeps_the_exact_head_on_frozen_features(photos):
    model = classifier(weight_interpolation=0).fit(*photos)
    extractor = PretrainedFeatureExtractor(model.backbone, verbose=0)
    exact = make_pipeline(extractor, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    expected = exact.fit(*photos).predict_proba(photos[0])
    np.testing.assert_allclose(model.predict_proba(photos[0]), expected, atol=1e-3)


def test_a_weight_of_0_keeps_the_head_of_the_first_phase(photos):
    kept = classifier(**HEAD_PHASE, weight_interpolation=0).fit(*photos)
    only_head = classifier(**HEAD_PHASE, max_epochs=0).fit(*photos)
    assert equal(weights(kept), weights(only_head))


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_fit_knows_the_head_at_the_start_of_its_phase(photos, tmp_path, epoch):
    parameters = HEAD_PHASE | {"weight_interpolation": 0.4}
    model = classifier(**parameters, checkpoint=tmp_path)
    with killed_after(epoch):
        model.fit(*photos)
    assert_same_fit(model.fit(*photos), classifier(**parameters).fit(*photos))


def test_the_best_weights_of_the_first_phase_stay_as_they_are(photos):
    X, y = photos
    data = {"X_val": X[24:], "y_val": y[24:]}
    harmful = HEAD_PHASE | {"lr": 0.03, "fine_tune_lr": 3.0, "lr_schedule": "constant"}
    model = classifier(**harmful, weight_interpolation=0.5).fit(X[:24], y[:24], **data)
    assert model.best_epoch_ in (1, 2)
    unchanged = classifier(**harmful, weight_interpolation=1).fit(X[:24], y[:24], **data)
    assert equal(weights(model), weights(unchanged))


def test_averaged_weights_are_interpolated(photos):
    start, end, middle = (
        weights(classifier(weight_interpolation=at, skorch_callbacks=[ModelEMA(0.8)]).fit(*photos))
        for at in (0, 1, 0.5)
    )
    for name in start:
        torch.testing.assert_close(middle[name], (start[name] + end[name]) / 2, check_dtype=False)


def test_the_report_describes_the_interpolated_weights(photos):
    half, whole = (
        classifier(weight_interpolation=at).fit(*photos).report_[0]["moved"] for at in (0.5, 1)
    )
    assert half == pytest.approx(whole / 2, rel=1e-4)
