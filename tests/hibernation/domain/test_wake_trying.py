"""The test of a machine before a workspace goes there, and the hook after it is back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hibernation.domain.effects import HookRan, RunHook, Trial, TryMachine
from hibernation.domain.errors import BoxError, BoxUnreachable
from hibernation.domain.facts import Equipment, Facts
from hibernation.domain.lifecycle import conclude, plan
from hibernation.domain.offers import OfferFilter, Verdict
from hibernation.domain.outcomes import (
    Emit,
    Finish,
    Go,
    JudgeHost,
    MeasuredHost,
    Perform,
    RecordEquipment,
    Wait,
)
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from hibernation.domain.wake.trying import gpu_fault
from tests.hibernation.domain.factories import NOON, a_machine, ago, an_offer, events, waking

GOOD = Trial(("NVIDIA GeForce RTX 4090",), (23.99,), "570.86", "12.8", download_mbps=700.0)
OFFER = an_offer(gpu_memory_gb=24.0, download_mbps=900.0)


def rented(step: str, **changes: Any) -> Facts:
    machine = a_machine(state=MachineState.LAUNCHED, first_beat_at=None)
    return waking(step, **{"machine": machine, "offer": OFFER, **changes})


def went_on(outcome: object) -> Go:
    assert isinstance(outcome, Go)
    assert outcome.step == "thaw"
    assert events(outcome.changes) == [EventType.MACHINE_TESTED]
    return outcome


def verdicts(outcome: object) -> list[Verdict]:
    assert isinstance(outcome, Go)
    assert outcome.step == "choose"
    return [change.verdict for change in outcome.changes if isinstance(change, JudgeHost)]


def test_a_good_machine_is_recorded_and_its_speed_remembered() -> None:
    assert plan(rented("test")) == Perform(TryMachine())
    outcome = went_on(conclude(rented("test"), GOOD))
    assert outcome.changes[0] == RecordEquipment(Equipment(GOOD.gpus, "570.86", "12.8"))
    assert MeasuredHost(OFFER, 700.0) in outcome.changes
    assert outcome.memo is not None
    assert outcome.memo.tested


def test_a_machine_is_tested_once() -> None:
    assert plan(rented("test", tested=True)) == Go("thaw")


def test_a_fresh_workspace_goes_on_without_a_restore() -> None:
    outcome = conclude(rented("test", snapshot=None), GOOD)
    assert isinstance(outcome, Go)
    assert outcome.step == "confirm"


@pytest.mark.parametrize(
    ("tested", "said"),
    [
        (Trial(()), "0 of 1 GPUs"),
        (Trial(("NVIDIA GeForce RTX 3060",)), "RTX 3060, not RTX_4090"),
        (Trial(("NVIDIA GeForce RTX 4090",), (11.9,)), "12 of 24 GB"),
        (Trial(("NVIDIA GeForce RTX 4090",), compute="cuInit: unknown error"), "does not compute: cuInit"),
    ],
)
def test_a_machine_that_is_not_what_was_rented_is_sent_away(tested: Trial, said: str) -> None:
    assert said in gpu_fault(OFFER, tested)
    assert verdicts(conclude(rented("test"), tested)) == [Verdict.FAILED]


@pytest.mark.parametrize(
    ("ordered", "name"),
    [
        ("RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("RTX 4080S", "NVIDIA GeForce RTX 4080 SUPER"),
        ("RTX 6000Ada", "NVIDIA RTX 6000 Ada Generation"),
        ("A100 SXM4", "NVIDIA A100-SXM4-80GB"),
        ("H100 NVL", "NVIDIA H100 NVL"),
        ("Tesla V100", "Tesla V100-SXM2-16GB"),
        ("RTX PRO 6000 WS", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"),
        ("L40S", "NVIDIA L40S"),
        ("TITAN RTX", "NVIDIA TITAN RTX"),
        ("RTX 3090 Ti", ""),
    ],
)
def test_the_names_of_drivers_and_marketplaces_mean_the_same(ordered: str, name: str) -> None:
    assert gpu_fault(an_offer(gpu_type=ordered), Trial((name,))) == ""


def test_gpus_that_cannot_be_read_are_tried_again_for_a_while() -> None:
    assert isinstance(conclude(rented("test"), BoxError("no GPU")), Wait)
    assert verdicts(conclude(rented("test", entered_at=ago(minutes=4)), BoxError("no GPU"))) == [
        Verdict.FAILED
    ]


@pytest.mark.parametrize(
    ("measured", "advertised", "wished", "slow"),
    [
        (None, 900, 0, False),
        (99, 400, 0, True),
        (101, 400, 0, False),
        (101, 10_000, 0, False),
        (20, 60, 0, False),
        (101, 900, 500, True),
        (501, 900, 500, False),
    ],
)
def test_a_slow_network_is_sent_away(
    measured: float | None, advertised: float, wished: float, slow: bool
) -> None:
    offer, want = an_offer(download_mbps=advertised), OfferFilter(min_download_mbps=wished)
    reply = Trial(("RTX 4090",), download_mbps=measured)
    outcome = conclude(rented("test", offer=offer, want=want), reply)
    if slow:
        assert verdicts(outcome) == [Verdict.TOO_SLOW]
        assert isinstance(outcome, Go)
        assert outcome.memo is not None
        assert outcome.memo.slow == 1
        assert outcome.changes[0] == MeasuredHost(offer, measured or 0)
    else:
        went_on(outcome)


def test_where_every_machine_is_slow_slow_will_do() -> None:
    outcome = went_on(conclude(rented("test", slow=2), Trial(("RTX 4090",), download_mbps=5.0)))
    told = next(change for change in outcome.changes if isinstance(change, Emit))
    assert "downloads 5 of 100 Mbit/s" in told.reason


def test_another_driver_than_before_is_told() -> None:
    before = Equipment(GOOD.gpus, "550.54", "12.8")
    outcome = went_on(conclude(rented("test", before=before), GOOD))
    told = next(change for change in outcome.changes if isinstance(change, Emit))
    assert "driver 570.86 instead of 550.54" in told.reason
    assert told.data["differs"] == ["driver"]


def test_what_was_not_told_before_does_not_differ() -> None:
    outcome = went_on(conclude(rented("test", before=Equipment(("RTX 4090",))), Trial(("RTX 4090",))))
    told = next(change for change in outcome.changes if isinstance(change, Emit))
    assert told.data["differs"] == []


def test_a_hook_runs_when_the_workspace_is_awake_already() -> None:
    outcome = plan(rented("confirm", machine=a_machine(state=MachineState.LAUNCHED), has_hook=True))
    assert isinstance(outcome, Go)
    assert outcome.step == "hook"
    assert events(outcome.changes) == [EventType.WOKE]
    assert plan(waking("hook", machine=a_machine(), has_hook=True)) == Perform(RunHook())


def ended(outcome: object, event: EventType | None) -> Finish:
    """A success that leaves the machine and the instance as they are."""
    assert isinstance(outcome, Finish)
    assert outcome.error_code == ""
    assert outcome.result["success"] is True
    assert [type(change) for change in outcome.changes] == ([Emit] if event else [])
    assert events(outcome.changes) == ([event] if event else [])
    return outcome


@pytest.mark.parametrize(("code", "event"), [(0, EventType.HOOK_RAN), (7, EventType.HOOK_FAILED)])
def test_however_the_hook_ends_the_wake_has_succeeded(code: int, event: EventType) -> None:
    outcome = ended(conclude(waking("hook", machine=a_machine(), has_hook=True), HookRan(code, "bye")), event)
    assert isinstance(outcome.changes[0], Emit)
    assert outcome.changes[0].data == {"exit_code": code, "output": "bye"}


def test_a_hook_on_a_machine_that_does_not_answer_is_tried_for_a_while() -> None:
    hook = {"machine": a_machine(), "has_hook": True}
    assert isinstance(conclude(waking("hook", **hook), BoxUnreachable()), Wait)
    ended(
        conclude(waking("hook", **hook, entered_at=ago(minutes=6)), BoxUnreachable()), EventType.HOOK_FAILED
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"cancel_reason": "cancelled"},
        {"deadline_at": NOON - timedelta(seconds=1)},
        {"machine": a_machine(state=MachineState.LOST)},
        {"machine": None},
    ],
)
def test_nothing_takes_a_wake_back_whose_hook_is_due(changes: dict[str, Any]) -> None:
    facts = waking("hook", **{"machine": a_machine(), "status": InstanceStatus.RUNNING, **changes})
    ended(plan(facts), EventType.HOOK_FAILED)


def test_a_hook_that_was_taken_away_meanwhile_is_not_missed() -> None:
    ended(plan(waking("hook", machine=a_machine())), None)
