"""A fit shows its progress, and warns if its schedule or its cache cannot work."""

import re
import sys
from contextlib import contextmanager

import pytest
from helpers.fine_tuning import classifier
from helpers.tiny import coloured_photos
from sklearn.exceptions import ConvergenceWarning

from sktransfer import Views
from sktransfer.schedules import SGDR
from sktransfer.training.phase import _Steering


@pytest.fixture(scope="module")
def photos():
    return coloured_photos()


@pytest.fixture
def bars(monkeypatch):
    """The total of each bar of a fit, and the calls that advanced it."""
    bars = []

    @contextmanager
    def bar(total, *_):
        bars.append((total, calls := []))
        yield lambda n, **values: calls.append((n, values))

    monkeypatch.setattr("sktransfer.estimators._base.progress_bar", bar)
    return bars


def test_the_bar_of_a_fit_counts_the_steps_of_both_phases(photos, bars):
    classifier(head_init="prior", freeze_epochs=1, batch_size=4).fit(*photos)
    [(total, calls)] = bars
    assert total == 3 * -(-len(photos[0]) // 4)
    assert sum(n for n, _ in calls) == total
    assert [values["epoch"] for n, values in calls if n][-1] == "3"


def test_the_bar_shows_the_mean_loss_of_the_epoch_and_the_learning_rate_of_the_head(photos, bars):
    model = classifier(batch_size=len(photos[0]), lr_schedule="constant").fit(*photos)
    shown = [values for n, values in bars[0][1] if n]
    assert [values["loss"] for values in shown] == [
        f"{row['train_loss']:.3g}" for row in model.history_
    ]
    assert {values["lr"] for values in shown} == {f"{model.fine_tune_lr:.3g}"}


def test_the_bar_of_a_resumed_fit_counts_the_steps_of_the_fit_that_was_killed(
    photos, bars, tmp_path
):
    def fit(**parameters):
        model = classifier(
            head_init="prior",
            freeze_epochs=1,
            checkpoint=tmp_path,
            batch_size=len(photos[0]),
            **parameters,
        )
        model.fit(*photos)

    class KilledError(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "sktransfer.training.phase._Steering.on_epoch_end", _killed_after(2, KilledError)
        )
        with pytest.raises(KilledError):
            fit()
    bars.clear()
    fit()
    [(total, calls)] = bars
    assert total == sum(n for n, _ in calls) == 3
    assert len([n for n, values in calls if values]) == 1


def _killed_after(n_epochs, error):
    on_epoch_end, calls = _Steering.on_epoch_end, []

    def counted(self, net, **kwargs):
        on_epoch_end(self, net, **kwargs)
        calls.append(0)
        if len(calls) == n_epochs:
            raise error

    return counted


@pytest.mark.parametrize("verbose", [0, 1])
def test_verbose_below_2_prints_nothing(photos, capsys, verbose):
    classifier(verbose=verbose).fit(*photos)
    assert capsys.readouterr() == ("", "")


def test_verbose_2_prints_a_line_for_each_epoch(photos, capsys):
    model = classifier(verbose=2, head_init="prior", freeze_epochs=1, early_stopping=True)
    history = model.fit(*photos).history_
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["epoch", "cut", "lr", "train_loss"]
    assert header.split()[4:] == ["valid_loss", "valid_score", "dur"]
    rows = [line.split() for line in lines if re.match(r" +\d", line)]
    assert [int(row[0]) for row in rows] == [1, 2, 3]
    assert [float(row[2]) for row in rows] == [
        pytest.approx(row["lr"]["head"], rel=1e-3) for row in history
    ]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_colours_are_for_terminals(photos, capsys, monkeypatch, is_terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    classifier(verbose=2).fit(*photos)
    assert ("\x1b[" in capsys.readouterr().out) == is_terminal


def test_the_range_test_prints_no_epochs(photos, capsys):
    classifier(verbose=2, fine_tune_lr="auto").fit(*photos)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2  # the header, and two epochs


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"max_epochs": 1}, "fine-tune"),
        ({"head_init": "prior", "freeze_epochs": 1, "lr_schedule": "slanted_triangular"}, "head"),
    ],
    ids=["fine-tune", "head"],
)
def test_a_phase_with_too_few_steps_for_its_schedule_is_reported(photos, parameters, name):
    model = classifier(batch_size=len(photos[0]), **parameters)
    with pytest.warns(ConvergenceWarning, match=f"The {name} phase has only 1 steps?: .* [0-9]%"):
        model.fit(*photos)
    assert "learning rate reaches" in model.report_[-1]["note"]


@pytest.mark.parametrize("schedule", ["constant", "cosine", SGDR(), lambda progress: 1.0])
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_one_step_is_enough_for_a_schedule_that_starts_at_its_peak(photos, schedule):
    model = classifier(batch_size=len(photos[0]), max_epochs=1, lr_schedule=schedule).fit(*photos)
    assert not model.report_[-1]["note"]


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_enough_steps_are_no_remark(photos):
    assert not classifier(batch_size=2).fit(*photos).report_[-1]["note"]


IDLE = "cache saves the first pass over the items only, and cannot make the epochs"


@pytest.mark.parametrize(
    ("parameters", "remedy"),
    [
        ({"augment": None}, "all stages train. Freeze stages, for example with unfreeze=1,"),
        ({}, "all stages train. Freeze stages"),
        ({"unfreeze": 1, "augment": "light"}, "augment changes .* Use augment=None, or fixed"),
    ],
    ids=["all stages train", "the default", "random augmentation"],
)
def test_a_cache_that_cannot_make_epochs_faster_is_a_warning(photos, tmp_path, parameters, remedy):
    model = classifier(cache=tmp_path, **parameters)
    with pytest.warns(UserWarning, match=f"{IDLE} of this fit faster: {remedy}"):
        model.fit(*photos)


@pytest.mark.parametrize(
    "parameters",
    [
        {"unfreeze": 1, "augment": None},
        {"unfreeze": 1, "augment": Views("light", n=2)},
        {"unfreeze": 0},
        {"max_epochs": 0},
    ],
    ids=["no augmentation", "views", "nothing trains but the head", "no epoch"],
)
def test_a_cache_that_saves_work_is_no_warning(photos, tmp_path, parameters):
    classifier(cache=tmp_path, **parameters).fit(*photos)
