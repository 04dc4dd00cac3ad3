"""All schedules: ranges of factors, pickling, the ends of cycles, wrong parameters."""

import math
import pickle
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sktransfer.schedules import (
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
)

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


def test_a_schedule_without_a_formula_raises_an_error():
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
        (lambda: SlantedTriangular(peak=1), r"peak must be a number in \(0, 1\); got 1\."),
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
def test_a_parameter_of_the_wrong_type_is_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("value", ["0.5", None, True, math.nan, math.inf])
def test_a_value_that_is_not_a_finite_number_is_out_of_range(value):
    with pytest.raises(ValueError, match=r"ratio must be a number in \[1, inf\); got"):
        SlantedTriangular(ratio=value)
