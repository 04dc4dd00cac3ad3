"""The callbacks of skorch work in a fit, or are refused with the reason."""

import json
import re
from functools import partial

import pytest
import torch
from helpers.fine_tuning import classifier, equal, weights
from helpers.killed import assert_same_fit, killed_after
from skorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    MlflowLogger,
    NeptuneLogger,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
)
from torch import nn

from sktransfer import find_lr
from sktransfer.exceptions import FreezeError

VALIDATED = {"early_stopping": True, "validation_fraction": 0.3}
CONSTANT = {"lr_schedule": "constant"}


# Stop, schedule, initialise


@pytest.mark.parametrize("monitor", ["valid_loss", "valid_score", "mine"])
def test_a_fit_stops_early_by_any_recorded_value(photos, monitor):
    stop = EarlyStopping(monitor, patience=2, threshold=10.0, lower_is_better=False)
    callbacks = [EpochScoring("accuracy", name="mine"), stop]
    model = classifier(max_epochs=9, skorch_callbacks=callbacks, **VALIDATED).fit(*photos)
    assert model.n_iter_ == 3


def test_the_weights_of_the_best_epoch_are_loaded_without_validation_data(photos):
    stop = EarlyStopping("train_loss", lower_is_better=False, patience=9, load_best=True)
    extras = {"augment": None, "fine_tune_lr": 0.01, **CONSTANT}
    best = classifier(max_epochs=4, skorch_callbacks=[stop], **extras).fit(*photos)
    assert best.n_iter_ == 4
    first = classifier(max_epochs=1, **extras).fit(*photos)
    assert equal(weights(best), weights(first))  # the highest loss is that of the first epoch


POLICIES = {
    "StepLR": {"step_size": 2, "gamma": 0.5},
    "ExponentialLR": {"gamma": 0.5},
    "CosineAnnealingLR": {"T_max": 3},
    "LambdaLR": {"lr_lambda": lambda epoch: 1 / (1 + epoch)},
    "ReduceLROnPlateau": {"patience": 0, "threshold": 10.0},
    "WarmRestartLR": {"base_period": 2, "max_lr": 1e-3},
    "CyclicLR": {"base_lr": 1e-5, "max_lr": 1e-3, "step_size_up": 4, "step_every": "batch"},
    "OneCycleLR": {"max_lr": 1e-3, "total_steps": 25, "step_every": "batch"},
}


def scheduler(policy):
    kind = getattr(torch.optim.lr_scheduler, policy, policy)
    return LRScheduler(kind, **POLICIES[policy])


@pytest.mark.parametrize("policy", POLICIES)
def test_a_scheduler_of_skorch_sets_the_learning_rates(photos, policy):
    model = classifier(max_epochs=4, skorch_callbacks=[scheduler(policy)], **CONSTANT).fit(*photos)
    rates = [row["lr"]["head"] for row in model.history_]
    assert len(set(rates)) > 1


def test_a_scheduler_of_skorch_has_the_rates_of_its_policy(photos):
    callbacks = [LRScheduler("StepLR", step_size=2, gamma=0.5)]
    model = classifier(
        max_epochs=4, skorch_callbacks=callbacks, fine_tune_lr=0.1, layer_decay=0.5, **CONSTANT
    ).fit(*photos)
    heads = [row["lr"]["head"] for row in model.history_]
    assert heads == pytest.approx([0.1, 0.1, 0.05, 0.05])
    assert model.history_[-1]["lr"]["layer2"] == pytest.approx(0.025)
    assert model.report_[-1]["lr_max"] == pytest.approx(0.1)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", lambda progress: 1.0])
@pytest.mark.parametrize("callback", [LRScheduler(), LRScheduler, ("named", LRScheduler())])
def test_a_scheduler_of_skorch_needs_a_constant_schedule(photos, schedule, callback):
    model = classifier(lr_schedule=schedule, skorch_callbacks=[callback])
    with pytest.raises(
        ValueError, match=r"lr_schedule must be 'constant' if skorch_callbacks contains LRScheduler"
    ):
        model.fit(*photos)


def test_an_initializer_sets_parameters(photos):
    values = []

    def fill(parameter):
        values.append(parameter.shape)
        nn.init.zeros_(parameter)

    classifier(skorch_callbacks=[Initializer(["head.weight"], fn=fill)]).fit(*photos)
    assert values == [(3, 16)]


def test_gradients_are_clipped(photos):
    extras = {"optimizer": partial(torch.optim.SGD, momentum=0.0), "head_init": "prior", **CONSTANT}
    extras |= {"freeze_epochs": 0, "max_epochs": 1, "batch_size": 36, "weight_decay": 0.0}
    before, free, clipped = (
        weights(classifier(**(extras | more)).fit(*photos))["head.weight"]
        for more in (
            {"max_epochs": 0, "freeze_epochs": 1, "lr": 1e-12},
            {},
            {"skorch_callbacks": [GradientNormClipping(1e-3)]},
        )
    )
    assert (clipped - before).norm() < 0.1 * (free - before).norm()


# Files, logs, progress


def test_a_checkpoint_of_skorch_writes_its_files(photos, tmp_path):
    callback = Checkpoint(dirname=str(tmp_path), f_pickle="net.pkl", monitor="train_loss_best")
    how = {"augment": None, "weight_interpolation": 1}
    model = classifier(skorch_callbacks=[callback], **how).fit(*photos)
    names = {"params.pt", "optimizer.pt", "criterion.pt", "history.json", "net.pkl"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(row["event_cp"] for row in model.history_)
    assert len(json.loads((tmp_path / "history.json").read_text())) == 2
    assert equal(torch.load(tmp_path / "params.pt", weights_only=True), weights(model))


def test_a_checkpoint_of_skorch_loads_its_best_weights_without_validation_data(photos, tmp_path):
    callback = Checkpoint(
        monitor=lambda net: len(net.history) == 1, dirname=str(tmp_path), load_best=True
    )
    extras = {"augment": None, "fine_tune_lr": 0.01, **CONSTANT}
    model = classifier(max_epochs=3, skorch_callbacks=[callback], **extras).fit(*photos)
    first = classifier(max_epochs=1, **extras).fit(*photos)
    assert equal(weights(model), weights(first))
    assert model.n_iter_ == 1  # the history is loaded, too


def test_a_checkpoint_at_the_end_of_training_holds_the_last_weights(photos, tmp_path):
    callback = TrainEndCheckpoint(dirname=str(tmp_path))
    model = classifier(skorch_callbacks=[callback], weight_interpolation=1).fit(*photos)
    saved = torch.load(tmp_path / "train_end_params.pt", weights_only=True)
    assert equal(saved, weights(model))


@pytest.mark.parametrize(("verbose", "n_lines"), [(0, 0), (1, 4)])
def test_a_table_of_the_history_is_printed_if_the_fit_is_verbose(photos, capsys, verbose, n_lines):
    classifier(skorch_callbacks=[PrintLog()], verbose=verbose, **VALIDATED).fit(*photos)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == n_lines
    if lines:
        names = ["epoch", "cut", "lr", "train_loss", "valid_loss", "valid_score", "dur"]
        assert lines[0].split() == names


def test_a_progress_bar_of_skorch_counts_the_batches(photos, capsys):
    classifier(skorch_callbacks=[ProgressBar(detect_notebook=False)], max_epochs=1).fit(*photos)
    assert re.search(r"\d/5 ", capsys.readouterr().err)


def test_durations_are_recorded(photos):
    model = classifier(skorch_callbacks=[EpochTimer()]).fit(*photos)
    assert all(row["seconds"] > 0 for row in model.history_)


class Sink:
    """Records calls, and stands for the clients of all loggers; its keys are sinks, too."""

    def __init__(self):
        self.values = []

    def __getitem__(self, name):
        return self

    def __setitem__(self, name, value):
        pass

    def __reduce__(self):
        raise TypeError("cannot pickle a client")

    def append(self, value):
        self.values.append(value)

    def add_scalar(self, tag, scalar_value, global_step):
        self.values.append(scalar_value)

    def log_scalar(self, name, value, step=None):
        self.values.append(value)

    def log_metric(self, run, name, value, step):
        self.values.append(value)

    def log(self, values):
        self.values += values.values()

    def watch(self, module):
        pass

    def close(self):
        pass

    stop = close

    @property
    def info(self):
        return self

    run_id = "1"

    def set_terminated(self, run):
        pass


class Neptune(NeptuneLogger):
    """A logger that needs no package for its summary of the model."""

    @staticmethod
    def _model_summary_file(model):
        return str(model)


@pytest.mark.parametrize(
    "make",
    [
        TensorBoard,
        SacredLogger,
        lambda sink: MlflowLogger(sink, sink, create_artifact=False),
        lambda sink: WandbLogger(sink, save_model=False),
        lambda sink: Neptune(sink, close_after_train=False),
    ],
    ids=["TensorBoard", "Sacred", "MLflow", "Wandb", "Neptune"],
)
def test_a_logger_gets_numbers_only(photos, tmp_path, make):
    sink = Sink()
    model = classifier(
        freeze_epochs=1, skorch_callbacks=[make(sink)], checkpoint=tmp_path, **VALIDATED
    ).fit(*photos)
    assert all(isinstance(value, (int, float)) for value in sink.values)
    for row in model.history_:
        assert {row["train_loss"], row["valid_score"], row["lr"]["head"]} <= set(sink.values)


# Refused


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (Freezer("head.*"), "Freezer: unfreeze and unfreeze_every choose what trains"),
        (Unfreezer, "Unfreezer: unfreeze and unfreeze_every choose what trains"),
        (("shape", InputShapeSetter()), "InputShapeSetter: the network is built for its input"),
        (LoadInitState(Checkpoint()), "LoadInitState: a fit begins with pretrained weights"),
    ],
)
def test_a_callback_that_cannot_work_is_refused(photos, callback, message):
    model = classifier(skorch_callbacks=[callback])
    with pytest.raises(ValueError, match=f"skorch_callbacks must not contain {message}"):
        model.fit(*photos)


@pytest.mark.parametrize("callback", [EarlyStopping(), Checkpoint(), EarlyStopping("valid_score")])
def test_a_callback_that_needs_validation_data_is_refused_without_them(photos, callback):
    model = classifier(skorch_callbacks=[callback])
    with pytest.raises(ValueError, match=r"without validation data\. Pass X_val and y_val to fit"):
        model.fit(*photos)
    assert len(find_lr(model, *photos, n_steps=5).losses) > 0  # which leaves callbacks out


@pytest.mark.parametrize("callback", [EarlyStopping(load_best=True), Checkpoint(load_best=True)])
def test_a_callback_that_loads_other_weights_is_refused_with_validation_data(photos, callback):
    X, y = photos
    model = classifier(skorch_callbacks=[callback])
    with pytest.raises(ValueError, match=r"\(load_best=True\) with validation data: the fit keeps"):
        model.fit(X, y, X_val=X, y_val=y)


def test_a_frozen_stage_that_a_callback_initializes_is_an_error(photos):
    callback = Initializer("backbone.stages.stem.*", fn=nn.init.zeros_)
    with pytest.raises(FreezeError, match="Stage 'stem' is frozen and must not change"):
        classifier(unfreeze=1, skorch_callbacks=[callback]).fit(*photos)


# A fit that is resumed


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_scheduler_of_skorch_continues_after_a_kill(photos, tmp_path, policy, epoch):
    extras = {"max_epochs": 4, "skorch_callbacks": [scheduler(policy)], **CONSTANT}
    whole = classifier(**extras).fit(*photos)
    model = classifier(**extras, checkpoint=tmp_path)
    with killed_after(epoch):
        model.fit(*photos)
    assert_same_fit(model.fit(*photos), whole)


@pytest.mark.parametrize("epoch", [1, 3])
def test_recorded_values_are_kept_after_a_kill(photos, tmp_path, capsys, epoch):
    callbacks = [
        EpochScoring("accuracy", lower_is_better=False),
        EpochScoring("neg_log_loss", lower_is_better=False, on_train=True),
        EpochScoring("f1_macro", use_caching=False),
        TensorBoard(Sink()),
        ProgressBar(),
        PrintLog(sink=lambda text: None),
        EarlyStopping("accuracy", lower_is_better=False, patience=9),
        TrainEndCheckpoint(dirname=str(tmp_path / "end")),
    ]
    extras = {"max_epochs": 3, "freeze_epochs": 1, "skorch_callbacks": callbacks, **VALIDATED}
    whole = classifier(**extras).fit(*photos)
    model = classifier(**extras, checkpoint=tmp_path / "kept")
    with killed_after(epoch):
        model.fit(*photos)
    model.fit(*photos)
    assert_same_fit(model, whole)
    assert all(
        {"accuracy", "accuracy_best", "neg_log_loss", "f1_macro"} <= row.keys()
        for row in model.history_
    )
