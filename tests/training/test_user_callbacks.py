"""Callbacks are copied, but what they hold is shared."""

import io
import logging
import threading

import pytest
from helpers.callbacks import Recorder
from helpers.fine_tuning import classifier
from helpers.killed import assert_same_fit, killed_after
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping, TensorBoard

from sktransfer import SnapshotEnsemble, find_lr
from sktransfer.callbacks import MixUp
from sktransfer.training import TailNet, copy_callbacks


class Holder(Callback):
    """A callback that holds an object, and appends to a list if it is one."""

    def __init__(self, held):
        self.held = held

    def on_epoch_end(self, net, **kwargs):
        if isinstance(self.held, list):
            self.held.append(net.phase)


class Writer:
    """A writer of TensorBoard's form that cannot be copied."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tags, self.closed = [], 0

    def add_scalar(self, tag, scalar_value, global_step):
        self.tags.append(tag)

    def close(self):
        self.closed += 1


@pytest.fixture(params=["lock", "held lock", "file", "logger", "generator", "text"])
def held(request, tmp_path):
    """An object that cannot be copied, or must not be."""
    if request.param == "held lock":
        with (lock := threading.Lock()):
            yield lock
    elif request.param == "file":
        with (tmp_path / "log").open("w") as file:
            yield file
    else:
        yield {
            "lock": threading.Lock(),
            "logger": logging.getLogger("test"),
            "generator": (number for number in range(3)),
            "text": io.StringIO(),
        }[request.param]


def kept(model):
    """Return the callbacks of the user in the net of a fitted model."""
    return [callback for _, callback in model.net_.callbacks_ if isinstance(callback, Holder)]


def test_a_copy_shares_what_the_callback_holds(held):
    callback = Holder(held)
    (copied,) = copy_callbacks([callback])
    assert copied is not callback
    assert copied.held is held


def test_a_copy_keeps_what_a_pickle_leaves_out(held):
    class Pickled(Holder):
        def __getstate__(self):
            return {}

    assert copy_callbacks([Pickled(held)])[0].held is held


def test_a_copy_of_a_named_callback_keeps_its_name():
    callback = Holder([])
    ((name, copied),) = copy_callbacks([("mine", callback)])
    assert name == "mine"
    assert copied is not callback
    assert copied.held is callback.held


def test_a_class_is_not_copied():
    assert copy_callbacks([EarlyStopping]) == [EarlyStopping]
    assert copy_callbacks(None) == []


def test_a_callback_defines_its_own_copy():
    class Own(Holder):
        def __copy__(self):
            return Own("copied")

    assert copy_callbacks([Own("given")])[0].held == "copied"


def test_a_callback_that_is_a_list_is_copied():
    class Items(list, Callback):
        pass

    callback = Items([1, 2])
    (copied,) = copy_callbacks([callback])
    assert copied == callback
    assert copied is not callback


@pytest.mark.filterwarnings("ignore:cache saves the first pass")
@pytest.mark.parametrize("where", ["nowhere", "cache", "checkpoint"])
def test_a_callback_may_hold_an_object_that_cannot_be_copied(photos, held, tmp_path, where):
    folder = {} if where == "nowhere" else {where: tmp_path / "folder"}
    model = classifier(skorch_callbacks=[Holder(held)], **folder).fit(*photos)
    assert [callback.held is held for callback in kept(model)] == [True]


def test_a_list_of_the_user_is_filled_in_all_phases(photos):
    phases = []
    classifier(freeze_epochs=1, skorch_callbacks=[Holder(phases)]).fit(*photos)
    assert phases == ["head", "fine-tune", "fine-tune"]


def test_a_logger_of_skorch_writes_to_the_writer_of_the_user(photos):
    writer = Writer()
    classifier(skorch_callbacks=[TensorBoard(writer)]).fit(*photos)
    assert writer.tags.count("Loss/train_loss") == 2
    assert writer.closed == 1


def test_fits_do_not_disturb_each_other_through_the_callbacks_they_share(photos):
    stop = EarlyStopping("train_loss", patience=1, threshold=10.0)
    before = dict(vars(stop))
    model = classifier(max_epochs=5, skorch_callbacks=[stop])
    lengths = [clone(model).fit(*photos).n_iter_ for _ in range(2)] + [model.fit(*photos).n_iter_]
    assert lengths == [lengths[0]] * 3
    assert lengths[0] < 5
    assert vars(stop) == before


def test_a_study_in_memory_prunes_the_candidates_of_a_search(photos):
    optuna = pytest.importorskip("optuna")
    integration = pytest.importorskip("optuna_integration")
    model = classifier(max_epochs=3, early_stopping=True, validation_fraction=0.3)

    def score(trial):
        callback = integration.SkorchPruningCallback(trial, monitor="valid_loss")
        lr = trial.suggest_categorical("fine_tune_lr", [1e-3, 0.3])
        fitted = clone(model).set_params(fine_tune_lr=lr, skorch_callbacks=[callback]).fit(*photos)
        return fitted.history_[-1]["valid_loss"]

    pruner = optuna.pruners.ThresholdPruner(upper=1.0)
    study = optuna.create_study(
        sampler=optuna.samplers.GridSampler({"fine_tune_lr": [1e-3, 0.3]}, seed=0), pruner=pruner
    )
    study.optimize(score, n_trials=2)
    states = {trial.params["fine_tune_lr"]: trial.state.name for trial in study.trials}
    assert states == {1e-3: "COMPLETE", 0.3: "PRUNED"}
    assert len(study.best_trial.intermediate_values) == 3


# scikit-learn's clones


def test_a_clone_shares_what_the_callbacks_hold(held):
    model = classifier(skorch_callbacks=[Holder(held), ("named", Holder(held)), MixUp])
    first, named, last = clone(model).skorch_callbacks
    assert first is not model.skorch_callbacks[0]
    assert first.held is named[1].held is held
    assert last is MixUp


def test_a_clone_keeps_the_other_parameters_and_is_unfitted(photos):
    model = classifier(skorch_callbacks=[Holder([])]).set_output(transform="pandas")
    model.fit(*photos)
    again = clone(model)
    given, copied = model.get_params(), again.get_params()
    assert given.pop("skorch_callbacks") is not copied.pop("skorch_callbacks")
    assert given == copied
    assert again._sklearn_output_config == {"transform": "pandas"}
    assert not hasattr(again, "backbone_")
    assert model.skorch_callbacks is not None


def test_a_search_reaches_the_list_of_a_callback(photos):
    phases = []
    model = classifier(skorch_callbacks=[Holder(phases)], max_epochs=1)
    search = GridSearchCV(
        make_pipeline(model), {"finetuneclassifier__unfreeze": [0, 1]}, cv=2, error_score="raise"
    )
    search.fit(*photos)
    assert len(phases) == 2 * 2 + 1


def test_callbacks_may_hold_a_lock_in_cross_validation_ensembles_and_the_range_test(photos):
    model = classifier(skorch_callbacks=[Holder(threading.Lock())])
    assert len(cross_val_score(model, *photos, cv=2, error_score="raise")) == 2
    ensemble = SnapshotEnsemble(model, every=1).fit(*photos)
    assert len(ensemble.estimators_) == 2
    assert len(clone(ensemble).estimator.skorch_callbacks) == 1
    assert len(find_lr(model, *photos, n_steps=5).losses) > 0


def test_a_callback_of_scikit_learn_sees_a_model_whose_callback_holds_a_lock(photos):
    pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 has callbacks")
    seen = []

    class Scores(Recorder):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "epoch":
                seen.append(fitted_estimator.score(*photos))

    model = classifier(skorch_callbacks=[Holder(threading.Lock())]).set_callbacks(Scores())
    model.fit(*photos)
    assert len(seen) == 2


# The key of a checkpoint


def checkpointed(folder, *callbacks, **parameters):
    defaults = {"max_epochs": 3, "checkpoint": folder, "skorch_callbacks": list(callbacks)}
    return classifier(**(defaults | parameters))


def test_a_killed_fit_continues_if_its_callback_holds_another_object_of_the_same_class(
    photos, tmp_path, monkeypatch
):
    whole = classifier(max_epochs=3).fit(*photos)
    with killed_after(2):
        checkpointed(tmp_path, Holder(threading.Lock())).fit(*photos)
    epochs, train_step = [], TailNet.train_step_single

    def counted(net, *args, **kwargs):
        epochs.append(net.epoch_)
        return train_step(net, *args, **kwargs)

    monkeypatch.setattr(TailNet, "train_step_single", counted)
    again = checkpointed(tmp_path, Holder(threading.Lock())).fit(*photos)
    assert set(epochs) == {2}
    assert_same_fit(again, whole)


def test_the_parameters_of_a_callback_are_part_of_the_key(photos, tmp_path):
    with killed_after(2):
        checkpointed(tmp_path, MixUp(0.2)).fit(*photos)
    other = checkpointed(tmp_path, MixUp(0.4)).fit(*photos)
    assert_same_fit(other, classifier(max_epochs=3, skorch_callbacks=[MixUp(0.4)]).fit(*photos))
    assert len(list(tmp_path.iterdir())) == 1


class Locked:
    """A head that holds a lock."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, n_features, n_outputs):
        raise AssertionError


def test_a_parameter_that_cannot_be_described_is_an_error_that_names_it(photos, tmp_path):
    model = checkpointed(tmp_path, head=Locked(), head_init="prior")
    with pytest.raises(
        TypeError, match=r"checkpoint must be None if head holds .* lock cannot be taken apart"
    ):
        model.fit(*photos)
