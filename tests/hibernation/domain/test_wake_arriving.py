"""A machine on its way up: every stage has its time, and every way not to come up its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hibernation.domain.effects import AttachKey, Look, MachineSeen, Ok, StartMachine
from hibernation.domain.errors import (
    BoxSilent,
    BoxUnreachable,
    KeyRefused,
    MachineFailed,
    NoCapacity,
    NotFound,
    NotSupported,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.facts import Facts
from hibernation.domain.lifecycle import conclude, plan
from hibernation.domain.offers import Verdict
from hibernation.domain.outcomes import Finish, Go, JudgeHost, Perform, SetMachine, Wait
from hibernation.domain.states import EventType, MachineState, Phase
from hibernation.domain.wake.arriving import loading_allowed
from tests.hibernation.domain.factories import NOON, a_machine, ago, an_offer, events, waking

NOW = NOON.timestamp()


def rented(step: str, **changes: Any) -> Facts:
    machine = a_machine(state=MachineState.LAUNCHED, first_beat_at=None)
    return waking(step, **{"machine": machine, "key_attached": True, **changes})


def judged(outcome: object) -> list[Verdict]:
    """The verdicts of a machine that was sent away."""
    assert isinstance(outcome, Go)
    assert outcome.step == "choose"
    assert [c.state for c in outcome.changes if isinstance(c, SetMachine)] == [MachineState.DESTROYING]
    assert events(outcome.changes) == [EventType.MACHINE_REJECTED]
    return [change.verdict for change in outcome.changes if isinstance(change, JudgeHost)]


def waits(outcome: object) -> Wait:
    assert isinstance(outcome, Wait)
    return outcome


def test_the_key_is_attached_first_and_then_the_list_is_looked_at() -> None:
    assert plan(rented("loading", key_attached=False)) == Perform(AttachKey("c1"))
    memo = waits(conclude(rented("loading", key_attached=False), Ok())).memo
    assert memo is not None
    assert memo.key_attached
    assert plan(rented("loading")) == Perform(Look("c1"))


@pytest.mark.parametrize("error", [RateLimited("", 9), NotFound(), ProviderUnavailable()])
def test_a_key_that_was_not_attached_is_sent_again_for_a_while(error: Any) -> None:
    wait = waits(conclude(rented("loading", key_attached=False), error))
    assert wait.memo is None
    assert wait.seconds >= getattr(error, "retry_after", 0)
    late = waits(conclude(rented("loading", key_attached=False, entered_at=ago(minutes=3)), error))
    assert late.memo is not None
    assert late.memo.key_attached


def test_a_provider_that_attaches_no_keys_is_not_asked_again() -> None:
    memo = waits(conclude(rented("loading", key_attached=False), NotSupported())).memo
    assert memo is not None
    assert memo.key_attached


def test_a_machine_that_runs_is_reached() -> None:
    outcome = conclude(rented("loading"), MachineSeen(Phase.RUNNING))
    assert isinstance(outcome, Go)
    assert outcome.step == "reach"


@pytest.mark.parametrize("phase", [None, *sorted(set(Phase) - {Phase.RUNNING, Phase.FAILED})])
def test_any_other_phase_is_waited_for_at_first(phase: Phase | None) -> None:
    memo = waits(conclude(rented("loading"), MachineSeen(phase))).memo
    assert memo is not None
    assert (memo.phase, memo.phase_at) == (phase or "", NOW)


@pytest.mark.parametrize(
    ("phase", "minutes"),
    [(None, 2), (Phase.LOADING, 10), (Phase.OFFLINE, 5), (Phase.STOPPING, 5), (Phase.STOPPED, 0.25)],
)
def test_each_stage_has_its_time(phase: Phase | None, minutes: float) -> None:
    def after(passed: float) -> object:
        since = ago(minutes=passed)
        facts = rented("loading", entered_at=since, phase=phase or "", phase_at=since.timestamp())
        return conclude(facts, MachineSeen(phase))

    waits(after(minutes - 0.05))
    assert judged(after(minutes + 0.05)) == [Verdict.FAILED]


def test_a_phase_that_comes_and_goes_starts_its_time_anew() -> None:
    long_ago = ago(minutes=9)
    facts = rented("loading", entered_at=long_ago, phase="loading", phase_at=long_ago.timestamp())
    waits(conclude(facts, MachineSeen(Phase.STOPPED, "outbid")))


@pytest.mark.parametrize(("mbps", "minutes"), [(0, 10), (1000, 12), (100, 30), (1, 40)])
def test_a_big_image_on_a_slow_network_may_load_for_longer_but_not_for_ever(
    mbps: float, minutes: float
) -> None:
    facts = rented("loading", offer=an_offer(download_mbps=mbps), image_gb=5.0)
    assert loading_allowed(facts).total_seconds() == minutes * 60


def test_a_host_that_says_it_failed_is_believed_at_once() -> None:
    assert judged(conclude(rented("loading"), MachineSeen(Phase.FAILED, "no space left"))) == [Verdict.FAILED]


@pytest.mark.parametrize("step", ["loading", "reach"])
def test_an_image_that_cannot_be_had_ends_the_wake_and_burns_no_host(step: str) -> None:
    seen = MachineSeen(Phase.FAILED, "manifest unknown", our_fault=True)
    reply = seen if step == "loading" else MachineFailed("manifest unknown", our_fault=True)
    outcome = conclude(rented(step), reply)
    assert isinstance(outcome, Finish)
    assert outcome.error_code == "image_failed"
    assert "manifest unknown" in outcome.error
    assert outcome.changes[0] == SetMachine(MachineState.DESTROYING, reason=outcome.error)
    assert not any(isinstance(change, JudgeHost) for change in outcome.changes)


LOST = MachineSeen(Phase.LOADING, "its start got lost", needs_start=True)


def test_a_start_that_got_lost_is_sent_once_more() -> None:
    memo = waits(conclude(rented("loading"), LOST)).memo
    assert memo is not None
    assert memo.start_wanted
    assert plan(rented("loading", start_wanted=True)) == Perform(StartMachine("c1"))
    memo = waits(conclude(rented("loading", start_wanted=True), Ok())).memo
    assert memo is not None
    assert (memo.start_wanted, memo.started) == (False, True)
    memo = waits(conclude(rented("loading", started=True), LOST)).memo
    assert memo is not None
    assert not memo.start_wanted


def test_a_start_that_was_not_heard_is_repeated() -> None:
    assert waits(conclude(rented("loading", start_wanted=True), ProviderUnavailable())).memo is None


def test_a_start_whose_gpu_is_gone_takes_the_next_offer() -> None:
    assert judged(conclude(rented("loading", start_wanted=True), NoCapacity())) == [Verdict.NO_CAPACITY]


def test_a_list_that_fails_is_no_verdict() -> None:
    waits(conclude(rented("loading", entered_at=ago(minutes=39)), ProviderUnavailable()))
    assert judged(conclude(rented("loading", entered_at=ago(minutes=41)), ProviderUnavailable())) == []


def test_a_machine_that_stopped_while_it_was_reached_is_sent_away() -> None:
    assert judged(conclude(rented("reach"), MachineFailed("outbid"))) == [Verdict.FAILED]


def test_a_machine_that_refuses_is_waited_for_and_one_that_says_nothing_is_not() -> None:
    a_while_ago = ago(seconds=61)
    facts = rented("reach", entered_at=a_while_ago, silent_at=a_while_ago.timestamp())
    refusing = waits(conclude(facts, BoxUnreachable("refused")))
    assert refusing.memo is not None
    assert refusing.memo.silent_at == 0
    assert judged(conclude(facts, BoxSilent("nothing"))) == [Verdict.FAILED]


def test_silence_counts_from_its_beginning() -> None:
    memo = waits(conclude(rented("reach", entered_at=ago(minutes=3)), BoxSilent())).memo
    assert memo is not None
    assert memo.silent_at == NOW


def test_a_key_that_is_not_taken_is_tried_until_the_time_is_up() -> None:
    waits(conclude(rented("reach", entered_at=ago(seconds=200)), KeyRefused()))
    assert judged(conclude(rented("reach", entered_at=ago(seconds=241)), KeyRefused())) == [Verdict.FAILED]


def test_the_next_machine_begins_with_a_clean_memory() -> None:
    facts = rented("reach", silent_at=1.0, started=True, phase="running", phase_at=1.0, slow=1, tested=True)
    outcome = conclude(facts, MachineFailed("dead"))
    assert isinstance(outcome, Go)
    assert outcome.memo is not None
    assert replace(outcome.memo, avoid_hosts=(), slow=0, attempt=0) == type(outcome.memo)()
    assert (outcome.memo.avoid_hosts, outcome.memo.slow, outcome.memo.attempt) == (("host-1",), 1, 1)
