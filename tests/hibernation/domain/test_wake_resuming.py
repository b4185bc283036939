"""resume: what a wake does with a machine that was kept warm, and every way in which it is not to be had."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from hibernation.domain.effects import (
    InstallAgent,
    Look,
    MachineSeen,
    Ok,
    StartMachine,
    Trial,
    TryMachine,
)
from hibernation.domain.errors import NoCapacity, NotFound, ProviderRefused, ProviderUnavailable
from hibernation.domain.facts import Facts, Memo
from hibernation.domain.lifecycle import CHAINS, conclude, first_step, plan, remaining_steps
from hibernation.domain.offers import OfferFilter
from hibernation.domain.outcomes import Finish, ForgetMachine, Go, Perform, SetMachine, SetStatus, Wait
from hibernation.domain.states import EventType, InstanceStatus, MachineState, OperationKind, Phase
from hibernation.domain.wake.resuming import misfit
from tests.hibernation.domain.factories import NOON, a_machine, adapt, ago, events, waking

FRESH_LOOK = {"start_wanted": True, "phase_at": NOON.timestamp() - 5}


def resuming(step: str = "resume", **changes: Any) -> Facts:
    """A wake whose machine stands still; ``machine``: fields of it."""
    facts = {
        "state": MachineState.PARKED,
        "gpu_type": "RTX 4090",
        "region": "EU",
        "country": "SE",
        "price": Decimal("0.4"),
        **changes.pop("machine", {}),
    }
    memo = changes.pop("memo", Memo())
    return adapt(waking(step, memo=memo, machine=a_machine(**facts)), **changes)


def started(step: str = "resume", **changes: Any) -> Facts:
    machine = {"state": MachineState.LAUNCHED, "first_beat_at": None, **changes.pop("machine", {})}
    return resuming(step, **{"memo": Memo(resumed=True), "machine": machine, **changes})


def states(outcome: Any) -> list[MachineState]:
    return [change.state for change in outcome.changes if isinstance(change, SetMachine)]


def test_a_wake_begins_there_only_with_a_parked_machine() -> None:
    assert first_step(OperationKind.WAKE, parked=True) == "resume"
    assert first_step(OperationKind.WAKE, parked=False) == CHAINS[OperationKind.WAKE][0] == "choose"
    assert first_step(OperationKind.HIBERNATE, parked=True) == "quiesce"
    assert remaining_steps(OperationKind.WAKE, "resume") == ("resume",)


def test_it_is_looked_at_before_it_is_started() -> None:
    assert plan(resuming()) == Perform(Look("c1"))
    outcome = conclude(resuming(), MachineSeen(Phase.STOPPED))
    assert isinstance(outcome, Wait)
    assert outcome.memo is not None
    assert (outcome.memo.start_wanted, outcome.memo.phase_at) == (True, NOON.timestamp())


def test_the_start_is_written_down_before_it_is_sent() -> None:
    planned = plan(resuming(**FRESH_LOOK))
    assert isinstance(planned, Perform)
    assert planned.effect == StartMachine("c1")
    assert states(planned) == [MachineState.LAUNCHED]
    assert planned.memo is not None
    assert planned.memo.resumed


def test_a_look_of_long_ago_is_not_acted_on() -> None:
    assert plan(resuming(start_wanted=True, phase_at=ago(minutes=2).timestamp())) == Perform(Look("c1"))


def test_a_worker_that_comes_again_starts_it_again() -> None:
    assert plan(started()) == Perform(StartMachine("c1"))


def test_a_started_one_comes_up_like_any_other() -> None:
    outcome = conclude(started(), Ok())
    assert isinstance(outcome, Go)
    assert outcome.step == "loading"
    assert events(outcome.changes) == [EventType.MACHINE_RESUMED]


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.LOADING])
def test_one_that_runs_already_is_taken_and_may_hold_work(phase: Phase) -> None:
    outcome = conclude(resuming(want=OfferFilter(max_price=Decimal("0.1"))), MachineSeen(phase))
    assert isinstance(outcome, Go)
    assert (outcome.step, states(outcome)) == ("loading", [MachineState.LAUNCHED])
    assert outcome.memo is not None
    assert outcome.memo.unsaved


@pytest.mark.parametrize(
    ("facts", "reply"),
    [
        (resuming(), MachineSeen(Phase.FAILED)),
        (resuming(want=OfferFilter(max_price=Decimal("0.39"))), MachineSeen(Phase.STOPPED)),
        (started(), NoCapacity()),
        (started(), ProviderRefused("no")),
        (started(), NotFound("gone")),
        (started(entered_at=ago(minutes=4)), ProviderUnavailable("away")),
    ],
)
def test_what_cannot_be_resumed_is_ended_and_another_chosen(facts: Facts, reply: Any) -> None:
    outcome = conclude(facts, reply)
    assert isinstance(outcome, Go)
    assert (outcome.step, states(outcome)) == ("choose", [MachineState.DESTROYING])
    assert ForgetMachine() in outcome.changes
    assert outcome.memo is not None
    assert not outcome.memo.resumed


@pytest.mark.parametrize("phase", [Phase.OFFLINE, None])
def test_one_that_cannot_be_seen_is_waited_for_and_then_lost_and_not_ended(phase: Phase | None) -> None:
    """It may run for somebody: it counts again if it comes back before a wake has succeeded elsewhere."""
    assert isinstance(conclude(resuming(), MachineSeen(phase)), Wait)
    outcome = conclude(resuming(entered_at=ago(minutes=4)), MachineSeen(phase))
    assert isinstance(outcome, Go)
    assert (outcome.step, states(outcome)) == ("choose", [MachineState.LOST])


def test_one_taken_for_running_by_an_old_list_is_started_when_it_stands_still() -> None:
    facts = started("loading", memo=Memo(resumed=True, unsaved=True, key_attached=True))
    outcome = conclude(facts, MachineSeen(Phase.STOPPED))
    assert isinstance(outcome, Wait)
    assert outcome.memo is not None
    assert outcome.memo.start_wanted


@pytest.mark.parametrize(
    ("facts", "reply"),
    [
        (resuming(machine={"is_saved": False}, entered_at=ago(minutes=1)), MachineSeen(None)),
        (resuming(machine={"is_saved": False}, entered_at=ago(minutes=4)), MachineSeen(Phase.OFFLINE)),
        (started(machine={"is_saved": False}), NoCapacity()),
        (started("loading", machine={"is_saved": False}), MachineSeen(Phase.FAILED)),
        (started("test", machine={"is_saved": False}), Trial(())),
    ],
)
def test_the_only_right_copy_is_parked_again_whatever_happens(facts: Facts, reply: Any) -> None:
    outcome = conclude(facts, reply)
    assert isinstance(outcome, Finish)
    assert outcome.error_code == "machine_needed"
    assert set(states(outcome)) <= {MachineState.PARKED}
    assert SetStatus(InstanceStatus.FAILED) in outcome.changes


@pytest.mark.parametrize("cancel_reason", ["", "cancelled"])
def test_one_that_may_hold_work_goes_on_when_its_wake_fails(cancel_reason: str) -> None:
    facts = started("test", memo=Memo(resumed=True, unsaved=True), cancel_reason=cancel_reason)
    outcome = plan(facts) if cancel_reason else conclude(facts, Trial(()))
    assert isinstance(outcome, Finish)
    assert states(outcome) == [MachineState.ACTIVE]
    assert SetStatus(InstanceStatus.RUNNING) in outcome.changes
    assert outcome.cancelled == bool(cancel_reason)


@pytest.mark.parametrize(
    ("facts", "reply"),
    [
        (resuming(), MachineSeen(None)),
        (resuming(), ProviderUnavailable("away")),
        (resuming(entered_at=ago(minutes=5)), ProviderUnavailable("away")),
        (started(), ProviderUnavailable("away")),
    ],
)
def test_it_is_asked_again_while_nothing_is_known(facts: Facts, reply: Any) -> None:
    assert isinstance(conclude(facts, reply), Wait)


def test_a_machine_that_nobody_can_see_is_neither_started_nor_ended() -> None:
    outcome = conclude(resuming(entered_at=ago(minutes=11)), ProviderUnavailable("away"))
    assert isinstance(outcome, Finish)
    assert states(outcome) == []


@pytest.mark.parametrize("state", [MachineState.DESTROYING, MachineState.DESTROYED, MachineState.LOST])
def test_one_that_is_gone_meanwhile_is_forgotten(state: MachineState) -> None:
    outcome = plan(resuming(machine={"state": state}))
    assert isinstance(outcome, Go)
    assert (outcome.step, outcome.changes) == ("choose", (ForgetMachine(),))


@pytest.mark.parametrize("doubt", [{"cancel_reason": "cancelled"}, {"deadline_at": ago(minutes=1)}])
def test_a_wake_that_ends_before_the_start_leaves_it_parked(doubt: dict[str, Any]) -> None:
    outcome = plan(resuming(**doubt))
    assert isinstance(outcome, Finish)
    assert states(outcome) == []


def test_a_wake_that_is_called_off_after_the_start_ends_it() -> None:
    outcome = plan(started("reach", cancel_reason="cancelled"))
    assert isinstance(outcome, Finish)
    assert states(outcome) == [MachineState.DESTROYING]


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.LOADING, None])
def test_it_has_a_time_of_its_own_to_run_again(phase: Phase | None) -> None:
    loading = {"memo": Memo(resumed=True, key_attached=True)}
    soon = conclude(started("loading", entered_at=ago(seconds=170), **loading), MachineSeen(phase))
    assert isinstance(soon, Wait)
    late = conclude(started("loading", entered_at=ago(seconds=190), **loading), MachineSeen(phase))
    assert isinstance(late, Go)
    assert late.step == "choose"


def test_an_image_that_is_gone_ends_no_wake_that_has_a_copy() -> None:
    outcome = conclude(started("loading"), MachineSeen(Phase.FAILED, "manifest unknown", our_fault=True))
    assert isinstance(outcome, Go)
    assert outcome.step == "choose"


def test_nothing_is_restored_or_measured() -> None:
    assert plan(started("install")) == Perform(InstallAgent(resumed=True))
    assert plan(started("test")) == Perform(TryMachine(measures=False))
    tested = conclude(started("test"), Trial(("NVIDIA RTX 4090",)))
    assert isinstance(tested, Go)
    assert tested.step == "confirm"
    assert plan(started("thaw")) == Go("confirm")


@pytest.mark.parametrize("trial", [Trial(()), Trial(("RTX 4090",), compute="it gave back other bytes")])
def test_a_gpu_that_works_no_more_is_found_out(trial: Trial) -> None:
    outcome = conclude(started("test"), trial)
    assert isinstance(outcome, Go)
    assert outcome.step == "choose"


def test_it_is_awake_with_its_first_heartbeat() -> None:
    outcome = plan(started("confirm", machine={"first_beat_at": ago(seconds=1)}))
    assert isinstance(outcome, Finish)
    assert outcome.result["resumed"] is True
    assert outcome.result["snapshot_restored"] is False
    assert states(outcome) == [MachineState.ACTIVE]


@pytest.mark.parametrize(
    ("want", "wrong"),
    [
        (OfferFilter(), ""),
        (OfferFilter(gpu_type="RTX_4090", region="SE", max_price=Decimal("0.4")), ""),
        (OfferFilter(gpu_type="RTX 3090", allow_equivalents=True, max_price=Decimal("0.4")), ""),
        (OfferFilter(gpu_type="RTX 3090", allow_equivalents=False, max_price=Decimal("0.4")), "its GPU"),
        (OfferFilter(gpu_type="A100"), "its GPU"),
        (OfferFilter(gpu_count=2), "the number of its GPUs"),
        (OfferFilter(region="US"), "its region"),
        (OfferFilter(region="US", max_price=Decimal("0.3")), "its region, its price"),
        (OfferFilter(min_disk_gb=500, min_cuda=13.0, min_hours_left=28.0), ""),
    ],
)
def test_only_what_it_is_and_costs_counts(want: OfferFilter, wrong: str) -> None:
    machine = resuming().machine
    assert machine is not None
    assert misfit(want, machine) == wrong


def test_limits_are_those_of_the_docs() -> None:
    limits = resuming().limits
    assert (limits.park, limits.resume) == (timedelta(minutes=3), timedelta(minutes=3))
