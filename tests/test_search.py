"""A search computes each photo once for all candidates, folds, epochs and processes."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers.counted import STAGES, counts, logged, once, photos, write
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.utils.class_weight import compute_sample_weight
from skorch.callbacks import Callback, GradientNormClipping
from torch import nn

from sktransfer import ActivationCache, FineTuneClassifier, Views

GRID = {"unfreeze": [0, 1, 2], "fine_tune_lr": [1e-3, 1e-2]}
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def data():
    return photos()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def classifier(log, cache=None, **params):
    params = {"augment": None, "max_epochs": 2, "random_state": 0, "verbose": 0} | params
    return FineTuneClassifier(logged(log), cache=cache, **params)


def search(model, data, grid=GRID, **params):
    return GridSearchCV(model, grid, cv=FOLDS, error_score="raise", **params).fit(*data)


@pytest.fixture(scope="module")
def uncached(data, tmp_path_factory):
    return search(classifier(tmp_path_factory.mktemp("uncached") / "log"), data)


def test_each_photo_is_decoded_and_goes_through_each_stage_once(log, tmp_path, data, uncached):
    found = search(classifier(log, tmp_path / "cache"), data)
    assert counts(log) == once(["decode", *STAGES], data[0])
    for scores in ("split0_test_score", "split1_test_score", "split2_test_score"):
        np.testing.assert_array_equal(found.cv_results_[scores], uncached.cv_results_[scores])
    np.testing.assert_array_equal(found.predict_proba(data[0]), uncached.predict_proba(data[0]))


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0], [0, 2]])
def test_the_order_of_the_candidates_does_not_matter(log, tmp_path, data, order):
    search(classifier(log, tmp_path / "cache"), data, {"unfreeze": order})
    assert counts(log) == once(["decode", *STAGES], data[0])


def test_a_second_search_with_other_learning_rates_runs_no_stage(log, tmp_path, data):
    search(classifier(log, tmp_path / "cache"), data)
    search(classifier(log, tmp_path / "cache"), data, {"unfreeze": [1, 2], "layer_decay": [0.1]})
    assert counts(log) == once(["decode", *STAGES], data[0])


def test_two_processes_with_an_empty_cache_compute_each_photo_at_most_twice(
    log, tmp_path, data, uncached
):
    found = search(classifier(log, tmp_path / "cache"), data, n_jobs=2)
    assert set(counts(log)) == set(once(["decode", *STAGES], data[0]))
    assert set(counts(log).values()) <= {1, 2}
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], uncached.cv_results_["mean_test_score"]
    )


def test_without_a_cache_the_epochs_of_a_fit_share_one_pass(log, data):
    classifier(log, unfreeze=2, max_epochs=3).fit(*data)
    assert counts(log) == once(["decode", *STAGES], data[0])


def test_poolings_share_the_stages_before_the_last(log, tmp_path, data):
    grid = {"pooling": ["avg", "max"]}
    search(classifier(log, tmp_path / "cache", unfreeze=0), data, grid)
    assert counts(log) == once(["decode", *STAGES, "stage5"], data[0])


@pytest.mark.parametrize(
    ("cuts", "again"),
    [(1, ["decode", *STAGES[:4]]), (2, []), (4, [])],
)
def test_cuts_is_the_number_of_last_cuts_that_are_cached(log, tmp_path, data, cuts, again):
    cache = ActivationCache(tmp_path / "cache", cuts=cuts)
    classifier(log, cache, unfreeze=0).fit(*data)
    classifier(log, cache, unfreeze=1).fit(*data)
    assert counts(log) == once(["decode", *STAGES, *again], data[0])


def test_views_go_through_each_stage_once_too(log, tmp_path, data):
    model = classifier(log, tmp_path / "cache", augment=Views("light", n=3), head_init="prior")
    search(model, data, refit=False)
    lines = counts(log)
    of_stages = [n for line, n in lines.items() if line.startswith("stage")]
    # a photo and its three views, which have the red of the photo
    assert set(of_stages) == {4}


# The head phase


class LoggedHead(nn.Linear):
    """A head that writes a line for each training step."""

    log = None

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            write(self.log, "step")
        return super().forward(x)


@dataclass(frozen=True)
class LoggedLinear:
    log: str

    def __call__(self, n_features, n_outputs):
        head = LoggedHead(n_features, n_outputs)
        head.log = self.log
        return head


class LoggedRegression(LogisticRegression):
    """A regression that writes a line for each fit."""

    def __init__(self, log=""):
        super().__init__(C=0.01)
        self.log = log

    def fit(self, X, y, sample_weight=None):
        write(self.log, "solved")
        return super().fit(X, y, sample_weight)


def with_head_phase(log, cache=None, **params):
    head = LoggedLinear(str(log.with_name("steps")))
    return classifier(
        log,
        cache,
        **{"head": head, "head_init": "prior", "freeze_epochs": 3, "unfreeze": 1} | params,
    )


def n_lines(log, name):
    path = log.with_name(name)
    return len(path.read_text().splitlines()) if path.exists() else 0


def results(model, X):
    """Return the results of a fit except its duration, as texts: NaN does not equal itself."""
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in model.history_]
    report = list(model.report_[:-1])
    return model.predict_proba(X).tolist(), repr(history), model.best_epoch_, repr(report)


LATER = ({"fine_tune_lr": 1e-3, "layer_decay": 0.9}, {"fine_tune_lr": 1e-2, "layer_decay": 0.1})


@pytest.mark.parametrize("params", [{}, {"early_stopping": True, "validation_fraction": 0.3}])
def test_candidates_that_differ_later_share_the_head_phase_bit_for_bit(log, tmp_path, data, params):
    alone = [with_head_phase(log, **later, **params).fit(*data) for later in LATER]
    of_one_phase = n_lines(log, "steps")
    cache = tmp_path / "cache"
    both = [with_head_phase(log, cache, **later, **params).fit(*data) for later in LATER]
    n_first = n_lines(log, "steps") - of_one_phase
    for shared, model in zip(both, alone, strict=True):
        assert results(shared, data[0]) == results(model, data[0])
    assert of_one_phase - n_first == 3  # epochs of one batch, which the second fit has not trained


def test_the_progress_bar_counts_the_steps_that_another_fit_trained(
    log, tmp_path, data, monkeypatch
):
    bars = []

    @contextmanager
    def bar(total, *_):
        bars.append((total, steps := []))
        yield lambda n, **_: steps.append(n)

    monkeypatch.setattr("sktransfer.estimators._base.progress_bar", bar)
    for _ in range(2):
        with_head_phase(log, tmp_path / "cache").fit(*data)
    # epochs of one batch; the second fit takes the three epochs of the head from the first one
    assert bars == [(5, [0, 1, 1, 1, 1, 1]), (5, [0, 3, 1, 1])]


@pytest.mark.parametrize(
    "params",
    [
        {"random_state": None},
        {"random_state": np.random.RandomState(0)},
        {"skorch_callbacks": [GradientNormClipping(1.0)]},
    ],
    ids=["no seed", "a generator", "callbacks"],
)
def test_no_head_is_shared_without_a_seed_or_with_callbacks(log, tmp_path, data, params):
    for _ in range(2):
        with_head_phase(log, tmp_path / "cache", **params).fit(*data)
    assert n_lines(log, "steps") == 2 * (3 + 2)


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 1e-2},
        {"freeze_epochs": 2},
        {"dropout": 0.5},
        {"weight_decay": 0.5},
        {"label_smoothing": 0.0},
        {"optimizer": "sgd"},
        {"lr_schedule": "constant"},
        {"batch_size": 9},
        {"random_state": 1},
        {"class_weight": {0: 2.0, 1: 1.0}},
        {"pooling": "max"},
        {"head": "mlp"},
        {"head": "linear", "head_init": "logistic"},
        {"early_stopping": True, "validation_fraction": 0.3},
    ],
    ids=str,
)
def test_another_setting_of_the_head_phase_trains_another_head(log, tmp_path, data, change):
    with_head_phase(log, tmp_path / "cache").fit(*data)
    shared = with_head_phase(log, tmp_path / "cache", **change).fit(*data)
    alone = with_head_phase(log, **change).fit(*data)
    assert results(shared, data[0]) == results(alone, data[0])


def test_heads_on_features_that_were_standardised_otherwise_are_not_shared(log, tmp_path, data):
    X, y = data[0][:16], np.repeat([0, 1, 2, 3], [8, 4, 2, 2])  # weights that are exact in float32
    weights = {"class_weight": "balanced"}, {"sample_weight": compute_sample_weight("balanced", y)}
    cache = tmp_path / "cache"
    for folder in (None, cache):
        by_class = classifier(log, folder, unfreeze=0, **weights[0]).fit(X, y)
        by_item = classifier(log, folder, unfreeze=0).fit(X, y, **weights[1])
        found = by_class.predict_proba(X).tolist(), by_item.predict_proba(X).tolist()
        if folder is None:
            alone = found
    assert found == alone
    assert found[0] != found[1]


def test_numpy_integers_are_integers(log, tmp_path, data):
    params = {"batch_size": np.int64(9), "freeze_epochs": np.int64(1)}
    model = with_head_phase(log, tmp_path / "cache", **params).fit(*data)
    plain = {name: int(value) for name, value in params.items()}
    again = with_head_phase(log, tmp_path / "cache", **plain).fit(*data)
    assert results(again, data[0]) == results(model, data[0])


def test_the_exact_head_is_solved_once_a_fold(log, tmp_path, data):
    solver = LoggedRegression(str(log.with_name("solved")))
    model = classifier(log, tmp_path / "cache", head_init=solver)
    search(model, data, {"unfreeze": [0, 1], "fine_tune_lr": [1e-3, 1e-2]}, refit=False)
    assert n_lines(log, "solved") == 3


class WithArray(torch.optim.SGD):
    """An optimiser whose state holds an array, which a checkpoint cannot hold."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["array"] = np.zeros(2)


def test_a_head_phase_that_cannot_be_kept_is_trained_again(log, tmp_path, data):
    for _ in range(3):
        with_head_phase(log, tmp_path / "cache", optimizer=WithArray).fit(*data)
    assert n_lines(log, "steps") == 3 * (3 + 2)


class Remembers(Callback):
    """A callback whose state no checkpoint can hold."""

    def on_epoch_end(self, net, **kwargs):
        self.seen_ = np.zeros(2)


def test_a_fit_without_a_checkpoint_does_not_warn_about_what_one_cannot_keep(log, data):
    with_head_phase(log, skorch_callbacks=[Remembers()]).fit(*data)  # a warning is an error


@pytest.mark.parametrize("kept", ["n_iter_no_change", "tol"])
def test_another_patience_trains_another_head(log, tmp_path, data, kept):
    params = {"early_stopping": True, "validation_fraction": 0.3, "lr": 1e-6}
    value = {"n_iter_no_change": 1, "tol": 10.0}[kept]
    with_head_phase(log, tmp_path / "cache", **params).fit(*data)
    shared = with_head_phase(log, tmp_path / "cache", **params | {kept: value}).fit(*data)
    alone = with_head_phase(log, **params | {kept: value}).fit(*data)
    assert results(shared, data[0]) == results(alone, data[0])
