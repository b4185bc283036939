"""Every step of a wake: what it plans, and every way it can conclude."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from hibernation.domain.effects import (
    InstallAgent,
    JobSeen,
    Launch,
    Launched,
    ListMachines,
    MachinesSeen,
    OffersSeen,
    Ok,
    Reach,
    RunThaw,
    SearchOffers,
)
from hibernation.domain.errors import (
    BadOrder,
    BoxUnreachable,
    DumontError,
    HostKeyChanged,
    LaunchDeferred,
    LaunchLeftover,
    OfferGone,
    OutOfCredit,
    ProviderDenied,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.facts import Facts, MachineFacts
from hibernation.domain.lifecycle import conclude, plan
from hibernation.domain.offers import HostFacts, Need, OfferFilter, Verdict
from hibernation.domain.outcomes import (
    Emit,
    Finish,
    ForgetMachine,
    Go,
    IntendMachine,
    JudgeHost,
    MeasuredHost,
    Perform,
    SetMachine,
    SetStatus,
    Wait,
)
from hibernation.domain.states import EventType, InstanceStatus, MachineState
from tests.hibernation.domain.factories import NOON, a_machine, ago, an_offer, events, waking

S, M = InstanceStatus, MachineState
NOTHING = MachinesSeen({}, frozenset())
LONG_AGO = ago(hours=1)


def intended(**changes: Any) -> MachineFacts:
    plain: dict[str, Any] = {
        "state": M.INTENDED,
        "intended_at": ago(seconds=5),
        "contract_id": None,
        "first_beat_at": None,
    }
    return a_machine(**{**plain, **changes})


def rented(step: str, **changes: Any) -> Facts:
    """A wake whose machine is rented and not yet heard."""
    machine = a_machine(state=M.LAUNCHED, first_beat_at=None)
    return waking(step, **{"machine": machine, **changes})


def finished(outcome: object, code: str) -> Finish:
    assert isinstance(outcome, Finish)
    assert outcome.error_code == code
    return outcome


def rejected(outcome: object) -> Go:
    assert isinstance(outcome, Go)
    assert outcome.step == "choose"
    assert ForgetMachine() in outcome.changes
    assert events(outcome.changes) == [EventType.MACHINE_REJECTED]
    return outcome


def test_choose_searches_for_what_is_wanted() -> None:
    want = OfferFilter(region="EU")
    assert plan(waking("choose", want=want)) == Perform(SearchOffers(want))


@pytest.mark.parametrize("state", [M.INTENDED, M.LAUNCHED])
def test_choose_does_not_look_further_when_a_machine_is_under_way(state: MachineState) -> None:
    assert plan(waking("choose", machine=intended(state=state))) == Go("launch")


def test_the_chosen_offer_is_launched() -> None:
    outcome = conclude(waking("choose", offer=None), OffersSeen((an_offer(),)))
    assert isinstance(outcome, Go)
    assert outcome.step == "launch"
    assert events(outcome.changes) == [EventType.OFFER_SELECTED]
    assert outcome.memo is not None
    assert outcome.memo.offer == an_offer()


def test_a_host_that_disappointed_is_not_chosen() -> None:
    assert isinstance(conclude(waking("choose", avoid_hosts=("host-1",)), OffersSeen((an_offer(),))), Wait)


@pytest.mark.parametrize("reply", [OffersSeen(()), ProviderUnavailable()])
def test_without_an_offer_it_waits(reply: Any) -> None:
    wait = conclude(waking("choose"), reply)
    assert isinstance(wait, Wait)
    assert wait.failed


@pytest.mark.parametrize(
    ("changes", "widely"), [({}, False), ({"failures": 1}, True), ({"entered_at": LONG_AGO}, True)]
)
def test_it_looks_widely_once_nothing_was_found_and_before_it_gives_up(
    changes: dict[str, Any], widely: bool
) -> None:
    assert plan(waking("choose", **changes)) == Perform(SearchOffers(OfferFilter(), widely))


def test_without_an_offer_it_says_what_to_relax_while_it_waits_and_when_it_gives_up() -> None:
    want = OfferFilter(max_price=Decimal("0.30"))
    seen = OffersSeen((an_offer(),), widely=True)
    wait = conclude(waking("choose", want=want), seen)
    assert isinstance(wait, Wait)
    assert "raise max_price from $0.3 to $0.4 an hour" in wait.why
    outcome = finished(conclude(waking("choose", entered_at=LONG_AGO, want=want), seen), "no_offer")
    assert outcome.error == wait.why
    assert SetStatus(S.FAILED) in outcome.changes
    data = next(change.data for change in outcome.changes if isinstance(change, Emit))
    assert [one["constraint"] for one in data["relax"]] == ["max_price"]


def test_it_does_not_give_up_before_it_has_looked_widely() -> None:
    assert isinstance(conclude(waking("choose", entered_at=LONG_AGO), OffersSeen(())), Wait)


def test_offers_that_cannot_be_listed_for_long_end_the_wake() -> None:
    outcome = finished(
        conclude(waking("choose", entered_at=LONG_AGO), ProviderUnavailable("down")), "no_offer"
    )
    assert "down" in outcome.error


def test_a_host_that_disappointed_another_wake_is_the_last_resort() -> None:
    known = HostFacts("host-1", reason="dead", avoid_until=NOON + timedelta(hours=1))
    seen = OffersSeen((an_offer(),), hosts={"host-1": known})
    assert isinstance(conclude(waking("choose"), seen), Wait)
    outcome = conclude(waking("choose", entered_at=ago(seconds=31)), seen)
    assert isinstance(outcome, Go)
    assert isinstance(outcome.changes[0], Emit)
    assert any("disappointed (dead)" in reason for reason in outcome.changes[0].data["reasons"])


def test_the_event_says_what_decided_and_what_came_next() -> None:
    near = an_offer(offer_id="near", host="h2", price_per_hour=Decimal("0.41"), download_mbps=1000)
    outcome = conclude(waking("choose", offer=None), OffersSeen((an_offer(), near), Need(restore_gb=100)))
    assert isinstance(outcome, Go)
    assert isinstance(outcome.changes[0], Emit)
    told = outcome.changes[0].data
    assert told["offer_id"] == "near"
    assert told["runner_up"]["offer_id"] == "offer-1"
    assert Decimal(told["expected_cost_usd"]) < Decimal(told["runner_up"]["expected_cost_usd"])
    assert "usable in about" in outcome.changes[0].reason


def test_a_launch_commits_its_intent_first() -> None:
    planned = plan(waking("launch", attempt=0, looking=True))
    assert isinstance(planned, Perform)
    assert planned.effect == Launch("", an_offer())
    assert planned.changes == (IntendMachine(an_offer()),)
    assert planned.memo is not None
    assert (planned.memo.attempt, planned.memo.looking) == (1, False)


def test_a_second_visit_looks_for_the_label_and_never_launches() -> None:
    planned = plan(waking("launch", machine=intended()))
    assert isinstance(planned, Perform)
    assert planned.effect == ListMachines()
    assert planned.memo is not None
    assert planned.memo.looking


def test_a_launched_machine_is_reached_and_a_lost_offer_chosen_again() -> None:
    assert plan(rented("launch")) == Go("loading")
    lost = plan(waking("launch", offer=None))
    assert isinstance(lost, Go)
    assert lost.step == "choose"


@pytest.mark.parametrize("reply", [Launched("c7"), MachinesSeen({"dumont-1-1-1": "c7"}, frozenset({"c7"}))])
def test_a_machine_answered_or_found_by_its_label_is_ours(reply: Any) -> None:
    outcome = conclude(waking("launch", machine=intended()), reply)
    assert isinstance(outcome, Go)
    assert outcome.step == "loading"
    assert outcome.changes[0] == SetMachine(M.LAUNCHED, "c7")
    assert events(outcome.changes) == [EventType.MACHINE_LAUNCHED]


def test_a_refused_launch_takes_the_next_offer() -> None:
    outcome = rejected(conclude(waking("launch", machine=intended()), OfferGone("taken")))
    assert outcome.changes[0] == SetMachine(M.VOID, reason="taken")
    assert outcome.memo is not None
    assert (outcome.memo.offer, outcome.memo.avoid_hosts) == (None, ("host-1",))
    assert JudgeHost(an_offer(), Verdict.NO_CAPACITY, "taken") in outcome.changes


@pytest.mark.parametrize("error", [BadOrder("no"), OutOfCredit("no"), ProviderDenied("no")])
@pytest.mark.parametrize("step", ["choose", "launch"])
def test_what_every_offer_would_be_refused_for_ends_the_wake_at_once(step: str, error: DumontError) -> None:
    machine = intended() if step == "launch" else None
    outcome = finished(conclude(waking(step, machine=machine), error), error.code)
    assert outcome.error == "no"
    assert not any(isinstance(change, JudgeHost) for change in outcome.changes)
    states = [change.state for change in outcome.changes if isinstance(change, SetMachine)]
    assert states == ([M.VOID] if machine else [])


def test_a_list_that_is_denied_leaves_a_launch_in_doubt() -> None:
    facts = waking("launch", machine=intended(), looking=True)
    assert isinstance(conclude(facts, ProviderDenied()), Wait)


def test_a_launch_that_was_put_off_is_sent_again_under_its_label_and_counts_once() -> None:
    wait = conclude(waking("launch", machine=intended()), LaunchDeferred("in line", 7.5))
    assert isinstance(wait, Wait)
    assert wait.memo is not None
    assert (wait.seconds, wait.failed, wait.memo.deferred, wait.memo.attempt) == (7.5, False, True, 1)
    planned = plan(waking("launch", machine=intended(), deferred=True))
    assert isinstance(planned, Perform)
    assert planned.effect == Launch("", an_offer())
    assert not planned.changes
    assert planned.memo is not None
    assert (planned.memo.deferred, planned.memo.attempt) == (False, 1)


def test_a_launch_that_is_put_off_for_too_long_takes_another_offer_and_judges_nobody() -> None:
    outcome = rejected(plan(waking("launch", machine=intended(intended_at=LONG_AGO), deferred=True)))
    assert outcome.changes[0] == SetMachine(M.VOID, reason="its turn to be rented did not come in time")
    assert not any(isinstance(change, JudgeHost) for change in outcome.changes)


def test_a_wake_whose_launch_was_put_off_can_be_cancelled() -> None:
    facts = waking("launch", machine=intended(), deferred=True, cancel_reason="cancelled")
    outcome = finished(plan(facts), "cancelled")
    assert outcome.changes[0] == SetMachine(M.VOID, reason="cancelled")


def test_what_a_failed_launch_left_behind_is_sent_away() -> None:
    outcome = rejected(
        conclude(waking("launch", machine=intended()), LaunchLeftover("it stands still", "c9"))
    )
    assert outcome.changes[:2] == (
        SetMachine(M.LAUNCHED, "c9"),
        SetMachine(M.DESTROYING, reason="it stands still"),
    )
    assert JudgeHost(an_offer(), Verdict.FAILED, "it stands still") in outcome.changes


def test_what_the_last_failed_launch_left_behind_is_sent_away_too() -> None:
    facts = waking("launch", machine=intended(), attempt=5)
    outcome = finished(conclude(facts, LaunchLeftover("it stands still", "c9")), "machines_exhausted")
    assert [c.state for c in outcome.changes if isinstance(c, SetMachine)] == [M.LAUNCHED, M.DESTROYING]


def test_an_offer_that_another_wake_is_renting_is_not_asked_for() -> None:
    again = plan(waking("launch", offer_held=True))
    assert isinstance(again, Go)
    assert (again.step, again.changes) == ("choose", ())
    taken = OffersSeen((an_offer(),), held=frozenset({"host-1"}))
    assert isinstance(conclude(waking("choose"), taken), Wait)


def test_a_provider_that_wants_fewer_requests_is_left_alone_for_so_long() -> None:
    facts = waking("launch", machine=intended(), looking=True)
    for wait in (conclude(waking("choose"), RateLimited("", 44)), conclude(facts, RateLimited("", 44))):
        assert isinstance(wait, Wait)
        assert wait.seconds == 44


def test_a_refused_list_is_not_a_refused_launch() -> None:
    facts = waking("launch", machine=intended(), looking=True)
    assert isinstance(conclude(facts, ProviderRefused()), Wait)


def test_an_unclear_launch_is_looked_for_and_then_abandoned() -> None:
    assert isinstance(conclude(waking("launch", machine=intended()), ProviderUnavailable()), Wait)
    assert isinstance(conclude(waking("launch", machine=intended()), NOTHING), Wait)
    late = waking("launch", machine=intended(intended_at=ago(seconds=31)))
    outcome = rejected(conclude(late, NOTHING))
    assert isinstance(outcome.changes[0], SetMachine)
    assert outcome.changes[0].state is M.ABANDONED


def test_an_unclear_launch_is_not_abandoned_without_a_list() -> None:
    late = waking("launch", machine=intended(intended_at=LONG_AGO))
    assert isinstance(conclude(late, ProviderUnavailable()), Wait)


def test_launches_are_bounded() -> None:
    outcome = finished(
        conclude(waking("launch", machine=intended(), attempt=5), OfferGone()), "machines_exhausted"
    )
    assert [c.state for c in outcome.changes if isinstance(c, SetMachine)] == [M.VOID]


def test_a_machine_is_reached_then_gets_its_agent_then_its_workspace() -> None:
    assert plan(rented("reach")) == Perform(Reach("c1"))
    reached = conclude(rented("reach"), Ok())
    assert isinstance(reached, Go)
    assert reached.step == "install"
    assert plan(rented("install")) == Perform(InstallAgent())
    assert conclude(rented("install"), Ok()) == Go("test")
    thaw = plan(rented("thaw"))
    assert isinstance(thaw, Perform)
    assert thaw.effect == RunThaw()


def test_a_thaw_that_ended_badly_is_told_to_go_on_once() -> None:
    planned = plan(rented("thaw", restart=True))
    assert isinstance(planned, Perform)
    assert planned.effect == RunThaw(again=True)
    assert planned.memo is not None
    assert not planned.memo.restart


def test_without_a_snapshot_there_is_nothing_to_thaw() -> None:
    assert plan(rented("test", snapshot=None, tested=True)) == Go("confirm")
    assert plan(rented("thaw", snapshot=None)) == Go("confirm")


@pytest.mark.parametrize("step", ["reach", "install", "test", "thaw"])
def test_a_machine_that_does_not_answer_is_tried_and_then_rejected(step: str) -> None:
    wait = conclude(rented(step), BoxUnreachable())
    assert isinstance(wait, Wait)
    assert wait.failed
    outcome = rejected(conclude(rented(step, entered_at=LONG_AGO), BoxUnreachable("dead")))
    assert outcome.changes[0] == SetMachine(M.DESTROYING, reason="dead")
    assert outcome.memo is not None
    assert outcome.memo.avoid_hosts == ("host-1",)
    assert JudgeHost(an_offer(), Verdict.FAILED, "dead") in outcome.changes


def test_a_changed_host_key_rejects_the_machine_at_once() -> None:
    rejected(conclude(rented("reach"), HostKeyChanged()))


def test_rejections_are_bounded_and_send_the_last_machine_away() -> None:
    outcome = finished(conclude(rented("reach", attempt=5), HostKeyChanged()), "machines_exhausted")
    assert [c.state for c in outcome.changes if isinstance(c, SetMachine)] == [M.DESTROYING]
    assert any(isinstance(change, JudgeHost) for change in outcome.changes)


def test_a_running_thaw_is_looked_at_again() -> None:
    wait = conclude(rented("thaw"), JobSeen("running", {"files_done": 2}))
    assert isinstance(wait, Wait)
    assert wait.progress == {"files_done": 2}


def test_one_missing_answer_does_not_cost_a_machine_that_has_been_restoring_for_long() -> None:
    wait = conclude(rented("thaw", entered_at=ago(hours=1)), JobSeen("running"))
    assert isinstance(wait, Wait)
    assert wait.memo is not None
    seen = rented("thaw", entered_at=ago(hours=1), answered_at=wait.memo.answered_at)
    assert isinstance(conclude(seen, BoxUnreachable()), Wait)


def test_a_finished_thaw_is_told() -> None:
    outcome = conclude(rented("thaw"), JobSeen("done", result={"files": 4}))
    assert isinstance(outcome, Go)
    assert outcome.step == "confirm"
    assert events(outcome.changes) == [EventType.RESTORED]


@pytest.mark.parametrize(
    ("moved", "seconds", "told"), [(15e9, 120, True), (15e9, 50, False), (1e8, 120, False)]
)
def test_a_long_restore_tells_what_the_host_really_downloads(
    moved: float, seconds: float, told: bool
) -> None:
    facts = rented("thaw", entered_at=ago(seconds=seconds))
    outcome = conclude(facts, JobSeen("done", {"bytes_moved": moved}, result={"files": 4}))
    assert isinstance(outcome, Go)
    speeds = [change for change in outcome.changes if isinstance(change, MeasuredHost)]
    assert speeds == ([MeasuredHost(an_offer(), 1000.0)] if told else [])


def test_a_full_disk_rejects_the_machine() -> None:
    rejected(conclude(rented("thaw"), JobSeen("failed", error_code="disk_full")))


def test_a_copy_that_is_wrong_is_wrong_everywhere() -> None:
    reply = JobSeen("failed", error_code="snapshot_unproven", error="pack 3")
    finished(conclude(rented("thaw"), reply), "snapshot_unproven")


@pytest.mark.parametrize("state", ["failed", "died", "done"])
def test_a_failed_thaw_is_started_again_and_then_the_machine_rejected(state: str) -> None:
    wait = conclude(rented("thaw"), JobSeen(state))
    assert isinstance(wait, Wait)
    assert wait.memo is not None
    assert (wait.memo.job_failures, wait.memo.restart) == (1, True)
    rejected(conclude(rented("thaw", job_failures=3), JobSeen(state)))


def test_the_first_heartbeat_ends_the_wake() -> None:
    outcome = finished(plan(rented("confirm", machine=a_machine(state=M.LAUNCHED))), "")
    assert outcome.changes[:2] == (SetMachine(M.ACTIVE), SetStatus(S.RUNNING))
    assert events(outcome.changes) == [EventType.WOKE]
    assert outcome.result == {"success": True, "snapshot_restored": True, "time_taken": 20.0}


def test_a_fresh_workspace_is_registered() -> None:
    facts = rented("confirm", machine=a_machine(state=M.LAUNCHED), snapshot=None)
    assert events(finished(plan(facts), "").changes) == [EventType.REGISTERED]


def test_a_silent_agent_is_waited_for_then_installed_again_then_the_machine_rejected() -> None:
    assert isinstance(plan(rented("confirm")), Wait)
    again = plan(rented("confirm", entered_at=LONG_AGO))
    assert isinstance(again, Go)
    assert again.step == "install"
    assert again.memo is not None
    assert again.memo.reinstalled
    rejected(plan(rented("confirm", entered_at=LONG_AGO, reinstalled=True)))


def test_confirm_has_no_effect_to_conclude() -> None:
    with pytest.raises(AssertionError):
        conclude(rented("confirm"), Ok())


@pytest.mark.parametrize("state", [M.LOST, M.DESTROYING, M.DESTROYED])
@pytest.mark.parametrize("step", ["launch", "loading", "reach", "install", "test", "thaw", "confirm"])
def test_a_machine_that_is_gone_is_replaced(step: str, state: MachineState) -> None:
    outcome = rejected(plan(rented(step, machine=a_machine(state=state))))
    assert not any(isinstance(change, SetMachine) for change in outcome.changes)


@pytest.mark.parametrize(
    ("before", "after"),
    [(S.HIBERNATED, S.HIBERNATED), (S.DELETED, S.DELETED), (S.FAILED, S.FAILED), (S.PROVISIONING, S.FAILED)],
)
def test_a_cancelled_wake_goes_back_and_sends_its_machine_away(
    before: InstanceStatus, after: InstanceStatus
) -> None:
    outcome = finished(plan(rented("thaw", cancel_reason="cancelled", status_before=before)), "cancelled")
    assert outcome.cancelled
    assert [c.state for c in outcome.changes if isinstance(c, SetMachine)] == [M.DESTROYING]
    assert SetStatus(after) in outcome.changes
    assert events(outcome.changes) == [EventType.OPERATION_CANCELLED]


def test_a_cancelled_wake_without_a_machine_just_ends() -> None:
    outcome = finished(plan(waking("choose", cancel_reason="cancelled")), "cancelled")
    assert outcome.changes[0] == SetStatus(S.HIBERNATED)


def test_a_wake_past_its_deadline_fails() -> None:
    outcome = finished(plan(rented("reach", deadline_at=ago(seconds=1))), "deadline")
    assert events(outcome.changes) == [EventType.FAILED]


@pytest.mark.parametrize("changes", [{"cancel_reason": "cancelled"}, {"deadline_at": ago(seconds=1)}])
def test_a_launch_in_doubt_is_cleared_up_before_anything_is_given_up(changes: dict[str, Any]) -> None:
    planned = plan(waking("launch", machine=intended(), **changes))
    assert isinstance(planned, Perform)
    assert planned.effect == ListMachines()


def test_a_machine_just_rented_is_recorded_even_if_the_wake_was_cancelled_meanwhile() -> None:
    outcome = conclude(waking("launch", machine=intended(), cancel_reason="cancelled"), Launched("c7"))
    assert SetMachine(M.LAUNCHED, "c7") in outcome.changes


def test_a_wake_does_not_look_for_a_launch_in_doubt_for_ever() -> None:
    outcome = finished(plan(waking("launch", machine=intended(), deadline_at=LONG_AGO)), "deadline")
    assert [c.state for c in outcome.changes if isinstance(c, SetMachine)] == [M.ABANDONED]


@pytest.mark.parametrize("step", ["choose", "test", "thaw"])
def test_a_reply_of_another_kind_is_a_programming_error(step: str) -> None:
    with pytest.raises(TypeError):
        conclude(rented(step), Ok())
