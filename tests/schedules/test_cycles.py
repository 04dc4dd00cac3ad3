"""Schedules with cycles: equality with torch, and the epochs at which cycles end."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from sktransfer.schedules import SGDR, Cosine, Custom, Cyclic, OneCycle, Warmup

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


@pytest.mark.parametrize(("warmup", "div", "final_div"), [(0.25, 25, 1e4), (0.5, 10, 2)])
def test_one_cycle_equals_torch_s_for_learning_rate_and_momentum(warmup, div, final_div):
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


@pytest.mark.parametrize(
    ("length", "multiplier", "n_epochs"), [(1, 2, 7), (1, 2, 9), (2, 1, 7), (3, 1, 9), (10, 2, 4)]
)
def test_warm_restarts_equal_those_of_torch(length, multiplier, n_epochs):
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


def test_warm_restarts_need_the_number_of_epochs():
    message = r"n_epochs must be set before SGDR .*; got None\. Call over\(n_epochs\) first\."
    with pytest.raises(ValueError, match=message):
        SGDR()(0.5)


def test_cyclic_equals_that_of_torch():
    optimizer = sgd()
    scheduler = lr_scheduler.CyclicLR(
        optimizer, base_lr=0.1, max_lr=1.0, step_size_up=8, cycle_momentum=False
    )
    lrs, _ = stepped(optimizer, scheduler, 49)
    assert factors(Cyclic(n_cycles=3, low=0.1), 49) == pytest.approx(lrs)


def test_one_cycle_without_a_dip_has_no_companion():
    assert OneCycle(momentum_dip=None).companions == Cosine().companions == {}
