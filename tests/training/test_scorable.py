"""Scorers see labels and probabilities, during a fit and after it."""

import pickle
from threading import Lock

import numpy as np
import pytest
import torch
from helpers.fine_tuning import classifier, equal, weights
from helpers.provider import TinyProvider
from helpers.tiny import tiny_backbone
from sklearn.base import is_classifier, is_regressor
from sklearn.metrics import (
    balanced_accuracy_score,
    check_scoring,
    get_scorer,
    make_scorer,
    top_k_accuracy_score,
)
from skorch.callbacks import BatchScoring, Callback, EpochScoring, PassthroughScoring

from sktransfer import SnapshotEnsemble, load, save
from sktransfer.backbones import registry

TUNED = {"head_init": "prior", "freeze_epochs": 0, "fine_tune_lr": 0.01, "lr_schedule": "constant"}


def count_wrong(net, X, y):
    """Count the wrong predictions, as a scorer with skorch's signature."""
    return int((net.predict(X) != y).sum())


def targets_of(y, kind):
    """Return the targets of one kind: three labels, two labels, or indicators."""
    if kind == "binary":
        return np.where(y == "red", "red", "other")
    if kind == "multi-label":
        return np.stack([y == "red", y != "blue"], 1).astype(int)
    return y


def oracle(scoring, model, X, y):
    """Return the score of a fitted model by scikit-learn."""
    if callable(scoring) and not hasattr(scoring, "_score_func") and scoring is not count_wrong:
        scoring = make_scorer(scoring)
    return check_scoring(model, scoring)(model, X, y)


SCORINGS = [
    *(("multi-class", scoring) for scoring in ("accuracy", "f1_macro", "neg_log_loss", None)),
    ("multi-class", "roc_auc_ovr"),
    ("multi-class", balanced_accuracy_score),
    ("multi-class", count_wrong),
    ("multi-class", make_scorer(top_k_accuracy_score, response_method="predict_proba", k=2)),
    *(("binary", scoring) for scoring in ("roc_auc", "neg_log_loss")),
    *(("multi-label", scoring) for scoring in ("accuracy", "f1_macro", "roc_auc")),
]
NAMES = [f"{kind}-{getattr(each, '__name__', None) or str(each)[:30]}" for kind, each in SCORINGS]


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize(("kind", "scoring"), SCORINGS, ids=NAMES)
def test_a_score_of_the_validation_data_is_that_of_scikit_learn(photos, kind, scoring, use_caching):
    X, y = photos[0], targets_of(photos[1], kind)
    callback = EpochScoring(scoring, name="mine", use_caching=use_caching)
    model = classifier(skorch_callbacks=[callback], max_epochs=3, **TUNED)
    model.fit(X[:20], y[:20], X_val=X[20:], y_val=y[20:])
    assert model.best_epoch_ > 0
    found = model.history_[model.best_epoch_ - 1]["mine"]
    assert found == pytest.approx(oracle(scoring, model, X[20:], y[20:]), rel=1e-4)


@pytest.mark.parametrize(("kind", "scoring"), SCORINGS, ids=NAMES)
def test_a_score_of_the_training_data_is_that_of_scikit_learn(photos, kind, scoring):
    X, y = photos[0], targets_of(photos[1], kind)
    callback = EpochScoring(scoring, name="mine", on_train=True, use_caching=False)
    model = classifier(skorch_callbacks=[callback], augment=None, **TUNED).fit(X, y)
    found = model.history_[-1]["mine"]
    assert found == pytest.approx(oracle(scoring, model, X, y), rel=1e-4)


@pytest.mark.parametrize("unfreeze", [0, 1, "all"])
@pytest.mark.parametrize("augment", [None, "light"])
def test_cached_outputs_of_training_have_the_labels_of_their_rows(photos, unfreeze, augment):
    class Check(Callback):
        def on_batch_end(self, net, batch=None, training=False, y_pred=None, **kwargs):
            encoded = net.task.encode(batch[1], len(batch[1]))
            assert (encoded == batch[0]["target"].numpy()).all()

    callbacks = [
        EpochScoring("accuracy", name="train", on_train=True),
        EpochScoring("accuracy", name="valid"),
        Check(),
    ]
    model = classifier(
        unfreeze=unfreeze, augment=augment, early_stopping=True, validation_fraction=0.3,
        skorch_callbacks=callbacks,
    ).fit(*photos)  # fmt: skip
    for row in model.history_:
        assert row["train"] > 0.8
        assert row["valid"] == pytest.approx(row["valid_score"])


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("unfreeze", [0, 1, "all"])
def test_scores_of_batches_are_averaged(photos, unfreeze, use_caching):
    X, y = photos
    callbacks = [
        BatchScoring("accuracy", name="valid", use_caching=use_caching),
        BatchScoring("accuracy", name="train", on_train=True, use_caching=use_caching),
    ]
    model = classifier(skorch_callbacks=callbacks, unfreeze=unfreeze, batch_size=7)
    model.fit(X[:20], y[:20], X_val=X[20:], y_val=y[20:])
    for row in model.history_:
        assert row["valid"] == pytest.approx(row["valid_score"])
        assert 0.5 < row["train"] <= 1


def test_a_value_of_the_batches_is_passed_through(photos):
    class Norm(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            net.history.record_batch("norm", 2.0)

    callbacks = [Norm(), PassthroughScoring("norm", on_train=True)]
    model = classifier(skorch_callbacks=callbacks).fit(*photos)
    assert [row["norm"] for row in model.history_] == [2.0, 2.0]


def test_a_scorer_may_iterate_over_the_samples(photos):
    def score(net, samples, y=None):
        labels = np.array([label for _, label in samples])
        assert (labels == y).all()
        return float((net.predict(samples) == labels).mean())

    callback = EpochScoring(score, name="mine", on_train=True, use_caching=False)
    model = classifier(skorch_callbacks=[callback], augment=None).fit(*photos)
    assert model.history_[-1]["mine"] == model.score(*photos)


def test_scoring_changes_no_weight(photos):
    scoring = [
        EpochScoring(
            "neg_log_loss", on_train=on_train, use_caching=cached, name=f"{on_train}{cached}"
        )
        for on_train in (False, True)
        for cached in (False, True)
    ]
    extras = {"early_stopping": True, "dropout": 0.5, "freeze_bn": "frozen", "max_epochs": 3}
    plain = classifier(**extras).fit(*photos)
    scored = classifier(skorch_callbacks=scoring, **extras).fit(*photos)
    assert equal(weights(plain), weights(scored))


# The history


def test_the_history_lists_everything_that_a_callback_records(photos):
    class Recorder(Callback):
        def on_epoch_end(self, net, **kwargs):
            record = net.history.record
            record("number", np.float64(0.5))
            record("tensor", torch.tensor(2, dtype=torch.int32))
            record("half", torch.ones(2, dtype=torch.bfloat16, requires_grad=True))
            record("array", np.eye(2))
            record("text", "a")
            record("object", Recorder)

    model = classifier(skorch_callbacks=[Recorder(), EpochScoring("accuracy", on_train=True)])
    row = model.fit(*photos).history_[0]
    usual = ["phase", "epoch", "cut", "train_loss"]
    recorded = ["number", "tensor", "half", "array", "text", "object", "accuracy", "accuracy_best"]
    assert list(row) == [*usual, *recorded, "lr", "seconds"]
    assert type(row["number"]) is float
    assert type(row["tensor"]) is int
    np.testing.assert_array_equal(row["half"], np.ones(2, np.float32), strict=True)
    np.testing.assert_array_equal(row["array"], np.eye(2), strict=True)
    assert row["text"] == "a"
    assert row["object"] is Recorder
    assert {"number", "lr/head"} <= set(model.history_.to_frame().columns)


def test_the_history_of_skorch_has_numbers_only(photos):
    model = classifier(freeze_epochs=1, early_stopping=True).fit(*photos)
    for row in model.net_.history:
        assert all(isinstance(row[name], (int, float)) for name in row if name != "batches")
    assert [row["epoch"] for row in model.net_.history] == [2, 3]
    assert model.net_.history[-1, "lr"] == model.history_[-1]["lr"]["head"]


def test_snapshots_of_a_fit_keep_objects_of_its_history(photos):
    lock = Lock()

    class Recorder(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("lock", lock)

    ensemble = SnapshotEnsemble(classifier(skorch_callbacks=[Recorder()]), every=1).fit(*photos)
    assert [member.history_[0]["lock"] for member in ensemble.estimators_] == [lock, lock]


# The net of a fitted model


@pytest.fixture
def batch_of():
    """A function that returns the inputs of the network for items."""

    def collate(model, X):
        preset = model.backbone_.preset
        return preset.collate([preset(item) for item in X], len(X))

    return collate


@pytest.fixture(params=["fitted", "pickled", "saved", "net pickled"])
def net_of(request, tmp_path, monkeypatch):
    """A function that returns the net of a model, also after it was stored."""
    monkeypatch.setitem(registry._registered, "tiny", TinyProvider())

    def get(model):
        if request.param == "saved":
            save(model, tmp_path / "model.safetensors")
            return load(tmp_path / "model.safetensors").net_
        if request.param == "net pickled":
            return pickle.loads(pickle.dumps(model.net_))
        return model.net_ if request.param == "fitted" else pickle.loads(pickle.dumps(model)).net_

    return get


@pytest.mark.parametrize("kind", ["multi-class", "binary", "multi-label"])
@pytest.mark.parametrize("unfreeze", [0, 2])
def test_the_net_predicts_from_inputs_of_the_network(photos, net_of, batch_of, kind, unfreeze):
    X, y = photos[0], targets_of(photos[1], kind)
    model = classifier(unfreeze=unfreeze).set_params(backbone="tiny/net").fit(X, y)
    net, batch = net_of(model), batch_of(model, X)
    for rows in (batch, batch.numpy(), batch.double()):
        np.testing.assert_array_equal(net.predict(rows), model.predict(X))
        for name in ("predict_proba", "decision_function"):
            found, expected = (getattr(each, name)(x) for each, x in ((net, rows), (model, X)))
            np.testing.assert_allclose(found, expected, atol=1e-5)
    assert net.forward(batch).shape == (36, model.task_.n_outputs)
    assert torch.equal(net.infer(batch[:8]), net.forward(batch[:8]))
    assert net.score(batch, y) == model.score(X, y)
    np.testing.assert_array_equal(net.classes_, model.classes_)
    assert is_classifier(net)
    assert get_scorer("accuracy")(net, batch, y) == model.score(X, y)


def test_the_net_of_a_float64_table_predicts(batch_of):
    X = np.random.default_rng(0).random((20, 48))
    y = np.arange(20) % 2
    model = classifier().fit(X, y)
    rows = batch_of(model, [row.reshape(4, 4, 3) for row in X])
    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(model.net_.predict(rows), model.predict(X))


@pytest.mark.parametrize("X", ["photo.jpg", ["photo.jpg"], np.zeros((2, 8, 8, 3), np.uint8)])
def test_the_net_takes_no_images(photos, X):
    net = classifier(max_epochs=1).fit(*photos).net_
    with pytest.raises(
        TypeError, match=r"X must be an array or tensor of inputs .* to the estimator"
    ):
        net.predict(X)


def test_a_pickle_in_training_predicts_like_the_net(photos, batch_of):
    pickles = []

    class Pickle(Callback):
        def on_epoch_end(self, net, **kwargs):
            pickles.append(pickle.dumps(net))

    how = {"precision": "bfloat16", "weight_interpolation": 1}
    model = classifier(skorch_callbacks=[Pickle()], **how).fit(*photos)
    net, batch = pickle.loads(pickles[-1]), batch_of(model, photos[0])
    np.testing.assert_allclose(net.predict_proba(batch), model.net_.predict_proba(batch), atol=1e-2)


def test_the_net_of_a_backbone_that_was_not_trained_is_none(photos):
    assert classifier(max_epochs=0).fit(*photos).net_ is None


def test_a_regression_is_scored_without_probabilities():
    from tasks.test_third_task import CountRegressor

    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (24, 16, 16, 3), dtype=np.uint8), np.arange(24) % 4
    callbacks = [EpochScoring(scoring) for scoring in ("r2", "neg_mean_absolute_error")]
    model = CountRegressor(tiny_backbone, max_epochs=1, random_state=0, skorch_callbacks=callbacks)
    model.fit(X, y, X_val=X, y_val=y)
    assert {"r2", "neg_mean_absolute_error"} <= model.history_[0].keys()
    assert is_regressor(model.net_)
    assert not hasattr(model.net_, "predict_proba")
    assert not hasattr(model.net_, "decision_function")
    assert not hasattr(model.net_, "classes_")
