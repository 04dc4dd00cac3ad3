"""Schedules are what the papers and torch say, point by point."""

import math
import pickle
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from sktransfer.schedules import (
    SCHEDULES,
    SGDR,
    Constant,
    Cosine,
    Custom,
    Cyclic,
    OneCycle,
    OneCycleMomentum,
    Schedule,
    SlantedTriangular,
    Warmup,
    resolve_schedule,
)

# torch asks that the optimiser steps before its schedules do; here nothing is optimised
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")

share = st.floats(0, 1)
inside = st.floats(0.01, 0.99)
plain = st.one_of(
    st.just(Constant()),
    st.builds(Cosine, share),
    st.builds(OneCycle, inside, st.floats(1, 100), st.floats(1, 1e5), st.none() | inside),
    st.builds(OneCycleMomentum, inside, inside),
    st.builds(SGDR, st.floats(0.1, 20), st.floats(1, 3), share),
    st.builds(Cyclic, st.integers(1, 20), share),
    st.builds(SlantedTriangular, inside, st.floats(1, 100)),
)
schedules = plain | st.builds(Warmup, plain, inside, share)


def sgd(lr=1.0, momentum=0.9):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=momentum)


def stepped(optimizer, scheduler, n_steps):
    """The learning rate and the momentum at each step."""
    values = []
    for _ in range(n_steps):
        values.append([optimizer.param_groups[0][key] for key in ("lr", "momentum")])
        optimizer.step()
        scheduler.step()
    return list(zip(*values, strict=True))


def factors(schedule, n_steps):
    return [schedule(step / (n_steps - 1)) for step in range(n_steps)]


@pytest.mark.parametrize(("warmup", "div", "final_div"), [(0.25, 25, 1e4), (0.5, 10, 2)])
def test_one_cycle_is_that_of_torch_momentum_included(warmup, div, final_div):
    n_steps, optimizer = 41, sgd()
    scheduler = lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.3,
        total_steps=n_steps,
        # torch has its peak at the step pct_start * total_steps - 1
        pct_start=(warmup * (n_steps - 1) + 1) / n_steps,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=div,
        final_div_factor=final_div,
    )
    lrs, momenta = stepped(optimizer, scheduler, n_steps)
    schedule = OneCycle(warmup, div, final_div, momentum_dip=0.85 / 0.95)
    assert [0.3 * factor for factor in factors(schedule, n_steps)] == pytest.approx(lrs)
    companion = factors(schedule.companions["momentum"], n_steps)
    assert [0.95 * factor for factor in companion] == pytest.approx(momenta)


def test_cosine_is_that_of_torch():
    optimizer = sgd()
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=0.1)
    lrs, _ = stepped(optimizer, scheduler, 31)
    assert factors(Cosine(final=0.1), 31) == pytest.approx(lrs)


@pytest.mark.parametrize(
    ("length", "multiplier", "n_epochs"), [(1, 2, 7), (1, 2, 9), (2, 1, 7), (3, 1, 9), (10, 2, 4)]
)
def test_warm_restarts_are_those_of_torch(length, multiplier, n_epochs):
    optimizer, n_steps = sgd(), 12 * n_epochs
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, length, multiplier, 0.05)
    schedule = SGDR(length, multiplier, final=0.05).over(n_epochs)
    for step in range(n_steps - 1):  # at the end, torch may start another cycle
        scheduler.step(step / (n_steps - 1) * n_epochs)
        expected = optimizer.param_groups[0]["lr"]
        assert schedule(step / (n_steps - 1)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("steps_an_epoch", [2, 3, 10, 97])
@pytest.mark.parametrize(("length", "multiplier"), [(1, 2), (2, 1), (1, 1)])
def test_a_cycle_restarts_at_the_first_step_of_an_epoch(length, multiplier, steps_an_epoch):
    n_epochs = 7
    schedule = SGDR(length, multiplier).over(n_epochs)
    values = factors(schedule, n_epochs * steps_an_epoch)
    rises = [step for step in range(1, len(values)) if values[step] > values[step - 1]]
    ends = schedule.ends(n_epochs)
    assert rises == [epoch * steps_an_epoch for epoch in ends if epoch < n_epochs]


@pytest.mark.parametrize(
    ("schedule", "n_epochs", "ends"),
    [
        (SGDR(1, 2), 7, [1, 3, 7]),
        (SGDR(1, 2), 9, [1, 3, 7, 9]),  # the last one is cut short
        (SGDR(3, 1), 9, [3, 6, 9]),
        (SGDR(20), 9, [9]),
        (SGDR(0.3, 1), 2, [1, 2]),  # several cycles an epoch
        (SGDR(1.5, 1), 6, [2, 3, 5, 6]),
        (Cyclic(3), 10, [3, 7, 10]),
        (Cyclic(5), 2, [1, 2]),
        (Cosine(), 4, [4]),
        (Warmup(SGDR(2, 1), share=0.2), 10, [4, 6, 8, 10]),
        (Custom(math.exp), 3, [3]),
    ],
)
def test_cycles_end_at_epochs(schedule, n_epochs, ends):
    assert schedule.ends(n_epochs) == ends


@pytest.mark.parametrize(
    ("length", "n_epochs"), [(0.1, 1), (0.1, 3), (0.1, 10), (0.7, 7), (1, 7), (3, 3)]
)
def test_the_end_of_a_phase_is_the_end_of_a_cycle(length, n_epochs):
    schedule = SGDR(length, multiplier=1, final=0.25).over(n_epochs)
    assert schedule(1) == pytest.approx(0.25)


def test_restarts_wait_for_the_epochs_of_their_phase():
    with pytest.raises(ValueError, match=r"SGDR counts its cycles in epochs; call over"):
        SGDR()(0.5)


def test_cyclic_is_that_of_torch():
    optimizer = sgd()
    scheduler = lr_scheduler.CyclicLR(
        optimizer, base_lr=0.1, max_lr=1.0, step_size_up=8, cycle_momentum=False
    )
    lrs, _ = stepped(optimizer, scheduler, 49)
    assert factors(Cyclic(n_cycles=3, low=0.1), 49) == pytest.approx(lrs)


@pytest.mark.parametrize(("cut_frac", "ratio"), [(0.1, 32), (0.25, 4)])
def test_slanted_triangular_is_the_formula_of_the_paper(cut_frac, ratio):
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


def test_a_warm_up_passes_on_the_epochs_that_follow_it():
    bound = Warmup(SGDR(1, 1), share=0.25).over(8)
    assert bound.schedule == SGDR(1, 1, n_epochs=6)
    assert bound(0.25 + 0.75 / 6 + 1e-6) == pytest.approx(1)  # restarts after one of six epochs


def test_momentum_waits_during_a_warm_up():
    momentum = Warmup(OneCycle(), share=0.2).companions["momentum"]
    assert [momentum(0), momentum(0.1)] == [1, 1]
    assert momentum(0.2 + 0.25 * 0.8) == pytest.approx(0.85 / 0.95)


def test_momentum_stays_where_no_dip_is_asked_for():
    assert OneCycle(momentum_dip=None).companions == Cosine().companions == {}


@settings(deadline=None)
@given(schedules, share, st.integers(1, 50))
def test_factors_lie_between_0_and_1(schedule, progress, n_epochs):
    factor = schedule.over(n_epochs)(progress)
    assert -1e-12 <= factor <= 1 + 1e-12


@given(schedules)
def test_a_schedule_survives_pickling_and_copying(schedule):
    copy = pickle.loads(pickle.dumps(schedule))
    assert copy == deepcopy(schedule) == schedule
    assert hash(copy) == hash(schedule)


@given(schedules, st.integers(1, 50))
def test_binding_to_a_phase_leaves_the_schedule_as_it_was(schedule, n_epochs):
    before = pickle.dumps(schedule)
    bound = schedule.over(n_epochs)
    assert bound.over(n_epochs) == bound
    assert pickle.dumps(schedule) == before


@settings(deadline=None)
@given(schedules, st.integers(1, 50))
def test_ends_are_epochs_in_order_and_the_last_is_the_phase_s(schedule, n_epochs):
    ends = schedule.ends(n_epochs)
    assert ends == sorted(set(ends))
    assert ends[0] >= 1
    assert ends[-1] == n_epochs


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
        (3, r"lr_schedule must be a name, a schedule or a function .*; got 3\."),
        (Cosine, r"lr_schedule must be a schedule, not its class: Cosine\(\.\.\.\)\."),
    ],
)
def test_what_is_no_schedule_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        resolve_schedule(value)


def test_a_message_calls_the_parameter_by_its_name():
    with pytest.raises(TypeError, match=r"^schedule must be"):
        resolve_schedule(None, "schedule")


def test_a_schedule_without_a_formula_says_so():
    with pytest.raises(NotImplementedError, match="Schedule must define __call__"):
        Schedule()(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cosine(final=1.5), r"final must be a number in \[0, 1\]; got 1\.5\."),
        (lambda: OneCycle(warmup=2), r"warmup must be a number in \(0, 1\); got 2\."),
        (lambda: OneCycle(div=0.5), r"div must be a number in \[1, inf\); got 0\.5\."),
        (lambda: OneCycle(final_div=0), r"final_div must be a number in \[1, inf\); got 0\."),
        (lambda: OneCycle(momentum_dip=0), r"momentum_dip must be a number in \(0, 1\]; got 0\."),
        (lambda: OneCycleMomentum(warmup=0), r"warmup must be a number in \(0, 1\); got 0\."),
        (lambda: OneCycleMomentum(dip=2), r"dip must be a number in \(0, 1\]; got 2\."),
        (lambda: SGDR(cycle_length=0), r"cycle_length must be a number in \[0\.01, inf\); got 0\."),
        (lambda: SGDR(multiplier=0.5), r"multiplier must be a number in \[1, inf\); got 0\.5\."),
        (lambda: SGDR(final=-1), r"final must be a number in \[0, 1\]; got -1\."),
        (lambda: SGDR().over(0), r"n_epochs must be a number in \(0, inf\); got 0\."),
        (lambda: Cyclic(n_cycles=0), r"n_cycles must be an integer of at least 1; got 0\."),
        (lambda: Cyclic(low=2), r"low must be a number in \[0, 1\]; got 2\."),
        (lambda: SlantedTriangular(cut=1), r"cut must be a number in \(0, 1\); got 1\."),
        (lambda: SlantedTriangular(ratio=0), r"ratio must be a number in \[1, inf\); got 0\."),
        (lambda: Warmup(Cosine(), share=1), r"share must be a number in \(0, 1\); got 1\."),
        (lambda: Warmup(Cosine(), start=2), r"start must be a number in \[0, 1\]; got 2\."),
    ],
)
def test_a_parameter_out_of_range_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Warmup("cosine"), r"schedule must be a Schedule; got 'cosine'\."),
        (lambda: Custom(3), r"function must be callable; got 3\."),
    ],
)
def test_a_part_of_the_wrong_type_is_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("value", ["0.5", None, True, math.nan, math.inf])
def test_what_is_no_number_is_out_of_range(value):
    with pytest.raises(ValueError, match=r"ratio must be a number in \[1, inf\); got"):
        SlantedTriangular(ratio=value)
