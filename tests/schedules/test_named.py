"""Schedules without cycles: their formulas, warm-up, and schedules by name."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from sktransfer.schedules import (
    SGDR,
    Cosine,
    Custom,
    OneCycle,
    SlantedTriangular,
    Warmup,
    resolve_schedule,
)
from sktransfer.schedules.named import SCHEDULES

# torch warns if a scheduler steps before its optimiser; these tests optimise nothing.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def sgd(lr=1.0, momentum=0.9):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=momentum)


def stepped(optimizer, scheduler, n_steps):
    """Return the learning rates and the momenta of all steps."""
    values = []
    for _ in range(n_steps):
        values.append([optimizer.param_groups[0][key] for key in ("lr", "momentum")])
        optimizer.step()
        scheduler.step()
    return list(zip(*values, strict=True))


def factors(schedule, n_steps):
    return [schedule(step / (n_steps - 1)) for step in range(n_steps)]


def test_cosine_equals_that_of_torch():
    optimizer = sgd()
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=0.1)
    lrs, _ = stepped(optimizer, scheduler, 31)
    assert factors(Cosine(final=0.1), 31) == pytest.approx(lrs)


@pytest.mark.parametrize(("cut_frac", "ratio"), [(0.1, 32), (0.25, 4)])
def test_slanted_triangular_follows_the_formula_of_the_paper(cut_frac, ratio):
    n_steps = 200
    cut = math.floor(n_steps * cut_frac)
    for t in range(n_steps + 1):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        expected = (1 + p * (ratio - 1)) / ratio
        assert SlantedTriangular(cut_frac, ratio)(t / n_steps) == pytest.approx(expected)


def test_a_warm_up_leads_to_the_first_factor_of_what_follows():
    inner = SlantedTriangular(ratio=4)
    schedule = Warmup(inner, share=0.2, start=0.5)
    assert [schedule(0), schedule(0.1), schedule(0.2)] == pytest.approx([0.125, 0.1875, 0.25])
    assert schedule(0.6) == pytest.approx(inner(0.5))
    assert schedule(1) == inner(1)


def test_a_warm_up_binds_the_inner_schedule_to_the_epochs_after_it():
    bound = Warmup(SGDR(1, 1), share=0.25).over(8)
    assert bound.schedule == SGDR(1, 1, n_epochs=6)
    assert bound(0.25 + 0.75 / 6 + 1e-6) == pytest.approx(1)  # restarts after one of six epochs


def test_momentum_is_constant_during_a_warm_up():
    momentum = Warmup(OneCycle(), share=0.2).companions["momentum"]
    assert [momentum(0), momentum(0.1)] == [1, 1]
    assert momentum(0.2 + 0.25 * 0.8) == pytest.approx(0.85 / 0.95)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_name_gives_a_schedule_at_its_defaults(name):
    assert resolve_schedule(name) == SCHEDULES[name]()
    assert 0 <= resolve_schedule(name).over(3)(0.5) <= 1


def test_a_schedule_resolves_to_itself_and_a_function_to_one():
    schedule = Cosine()
    assert resolve_schedule(schedule) is schedule
    assert resolve_schedule(math.sqrt) == Custom(math.sqrt)
    assert Custom(math.sqrt).over(3)(0.25) == 0.5


def test_a_misspelt_schedule_is_answered_with_the_nearest_one():
    message = r"lr_schedule must be one of 'constant', .*; got 'cosin'. Did you mean 'cosine'\?"
    with pytest.raises(ValueError, match=message):
        resolve_schedule("cosin")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"lr_schedule must be one of 'constant', .*, or a function .*; got 3\."),
        (
            Cosine,
            r"lr_schedule must be an instance .*; got the class Cosine\. Write Cosine\(\.\.\.\)\.",
        ),
    ],
)
def test_a_value_that_is_not_a_schedule_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        resolve_schedule(value)


def test_a_message_calls_the_parameter_by_its_name():
    with pytest.raises(TypeError, match=r"^schedule must be"):
        resolve_schedule(None, "schedule")


@pytest.mark.parametrize("factor", [None, (1,), "high", 1j])
def test_a_function_that_returns_no_number_is_an_error(factor):
    message = r"a schedule must return a number .*; got .* at 0\.25\. Check .* as lr_schedule\.$"
    with pytest.raises(TypeError, match=message):
        Custom(lambda progress: factor)(0.25)
