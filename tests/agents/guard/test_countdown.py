"""The countdown: what counts as silence, what counts as idleness, and that no clock can invent either."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.guard.countdown import (
    BLIND_WINDOWS,
    Countdown,
    Look,
    advance,
    contact,
    hold,
    is_blind,
    pace,
    seconds_left,
)
from agents.protocol import GuardTerms

HOUR = 3600.0
TERMS = GuardTerms(6 * HOUR, 5.0, "vast", "555")
IDLE = Look()
BUSY = Look("a GPU is at 90 %, more than 5 %")
BLIND = Look("the driver is gone", unknown=True)
TICK = pace(TERMS.after_seconds).tick


def after(hours: float, look: Look = IDLE, state: Countdown | None = None) -> Countdown:
    state = state or Countdown(TERMS)
    for _ in range(round(hours * HOUR / TICK)):
        state = advance(state, TICK, look)
    return state


def test_hours_of_silence_and_idleness_end_it() -> None:
    assert seconds_left(after(5.99), chance=0.0) == pytest.approx(0.01 * HOUR, abs=TICK)
    assert seconds_left(after(6), chance=0.0) == 0.0


def test_a_fleet_does_not_stop_in_step() -> None:
    assert seconds_left(after(6), chance=1.0) == pytest.approx(600.0)


@pytest.mark.parametrize("look", [BUSY, BLIND])
def test_work_and_what_cannot_be_seen_begin_the_window_anew(look: Look) -> None:
    state = after(1, IDLE, advance(after(5.9), TICK, look))
    assert state.silent == pytest.approx(6.9 * HOUR, abs=2 * TICK)
    assert seconds_left(state, 0.0) == pytest.approx(5 * HOUR)


def test_a_contact_ends_the_silence_and_brings_new_terms() -> None:
    shorter = GuardTerms(HOUR, 5.0, "vast", "555")
    state = contact(after(5.9), shorter)
    assert (state.silent, state.idle, state.window) == (0.0, 0.0, HOUR)


def test_a_contact_without_terms_keeps_the_known_ones() -> None:
    assert contact(after(1), None).terms == TERMS


@pytest.mark.parametrize("elapsed", [-1.0, -1e9, 121.0, 8 * HOUR, math.inf])
def test_a_leap_of_the_clock_is_no_time_and_a_doubt(elapsed: float) -> None:
    before = after(5.9)
    state = advance(before, elapsed, IDLE)
    assert (state.silent, state.idle) == (before.silent, 0.0)


def test_a_hold_is_as_good_as_work_and_the_window_begins_after_it() -> None:
    state = after(7.9, IDLE, hold(after(5.9), 8 * HOUR))
    assert seconds_left(state, 0.0) is None
    state = after(0.2, IDLE, state)
    assert seconds_left(state, 0.0) == pytest.approx(5.9 * HOUR, abs=3 * TICK)


def test_a_hold_that_is_taken_back_begins_the_window_anew() -> None:
    assert hold(hold(after(5), HOUR), 0.0) == Countdown(TERMS, silent=5 * HOUR)


@pytest.mark.parametrize("terms", [None, GuardTerms(0, 5.0, "vast", "555")])
def test_without_terms_it_never_ends(terms: GuardTerms | None) -> None:
    assert seconds_left(Countdown(terms, silent=1e9, idle=1e9), 0.0) is None


def test_blindness_is_told_after_four_windows() -> None:
    state = after(6 * BLIND_WINDOWS, BLIND)
    assert is_blind(state, BLIND)
    assert not is_blind(state, BUSY)
    assert not is_blind(after(6), BLIND)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.sampled_from([IDLE, BUSY, BLIND])), max_size=60))
def test_nothing_counts_for_longer_than_it_took(steps: list[tuple[float, Look]]) -> None:
    state, passed = Countdown(TERMS), 0.0
    for elapsed, look in steps:
        state, passed = advance(state, elapsed, look), passed + max(0.0, elapsed)
        assert 0.0 <= state.idle <= state.silent <= passed + 1e-6
        assert look == IDLE or state.idle == 0.0
