"""Every step of a hibernation: what it plans, and every way it can conclude."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hibernation.domain.effects import (
    Destroy,
    Fence,
    FenceSeen,
    JobSeen,
    ListMachines,
    MachinesSeen,
    Ok,
    Quiesce,
    Release,
    Reply,
    RunFreeze,
    Verify,
    VerifySeen,
)
from hibernation.domain.errors import (
    BoxUnreachable,
    DumontError,
    HostKeyChanged,
    ProviderRefused,
    ProviderUnavailable,
    SnapshotUnproven,
    StoreError,
)
from hibernation.domain.facts import Facts, SnapshotFacts
from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.lifecycle import conclude, plan
from hibernation.domain.outcomes import (
    BeginSnapshot,
    Change,
    Emit,
    Finish,
    Go,
    HoldHibernation,
    PassPointOfNoReturn,
    Perform,
    SetMachine,
    SetStatus,
    SnapshotAbandoned,
    SnapshotFailed,
    SnapshotFrozen,
    SnapshotVerified,
    Wait,
)
from hibernation.domain.states import EventType, InstanceStatus, MachineState, SnapshotState
from tests.hibernation.domain.factories import NOON, a_machine, ago, events, hibernating, proven

LONG_AGO = ago(hours=2)
DONE = JobSeen("done", result={"files": 3})
SILENT = IdleState(ago(minutes=5), ago(minutes=2))


def snapshot(state: SnapshotState, round_: int = 0) -> SnapshotFacts:
    return SnapshotFacts("s1", state, round_)


def aborted(outcome: object) -> str:
    """The code with which ``outcome`` gives the hibernation up."""
    assert isinstance(outcome, Go)
    assert outcome.step == "release"
    assert outcome.memo is not None
    return outcome.memo.abort_code


@pytest.mark.parametrize("step", ["quiesce", "freeze", "verify", "fence", "destroy"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cancel_reason": "activity_resumed"}, "activity_resumed"),
        ({"cancel_reason": "superseded", "forced": True}, "superseded"),
        ({"deadline_at": ago(seconds=1)}, "deadline"),
        ({"idle": IdleState(None, NOON)}, "activity_unknown"),
        ({"idle": IdleState(ago(seconds=19), NOON)}, "activity_unknown"),
        ({"policy": Policy(enabled=False)}, "switched_off"),
    ],
)
def test_any_doubt_before_the_point_of_no_return_leads_to_release(
    step: str, changes: dict[str, Any], code: str
) -> None:
    assert aborted(plan(proven(step, **changes))) == code
    assert aborted(conclude(proven(step, **changes), Ok())) == code


def test_no_doubt_is_heard_after_the_point_of_no_return() -> None:
    facts = proven("confirm", point_of_no_return_at=ago(seconds=1), cancel_reason="cancelled")
    assert plan(facts) == Perform(ListMachines())


def test_a_forced_hibernation_does_not_ask_for_idleness() -> None:
    facts = hibernating("quiesce", forced=True, idle=IdleState(), policy=Policy(enabled=False))
    assert plan(facts) == Perform(Quiesce())


def test_release_is_not_stopped_by_doubt() -> None:
    assert plan(hibernating("release", cancel_reason="cancelled")) == Perform(Release())


@pytest.mark.parametrize("step", ["quiesce", "freeze", "fence", "destroy", "release"])
def test_a_vanished_machine_without_a_proven_copy_is_a_failure(step: str) -> None:
    outcome = plan(hibernating(step, machine=a_machine(state=MachineState.LOST)))
    assert isinstance(outcome, Finish)
    assert outcome.error_code == "machine_lost"
    assert SetStatus(InstanceStatus.FAILED) in outcome.changes


def test_a_machine_that_vanished_before_saving_leaves_the_last_proven_copy() -> None:
    kept = SnapshotFacts("s0", SnapshotState.VERIFIED, frozen_at=ago(minutes=12))
    outcome = plan(
        hibernating(
            "freeze",
            machine=a_machine(state=MachineState.LOST),
            snapshot=snapshot(SnapshotState.WRITING),
            kept=kept,
        )
    )
    assert isinstance(outcome, Finish)
    assert outcome.error_code == "machine_lost"
    assert SetStatus(InstanceStatus.HIBERNATED) in outcome.changes
    assert isinstance(outcome.changes[0], SnapshotAbandoned)
    assert "12 min old" in outcome.error


def test_a_copy_that_lacks_files_ends_no_rental() -> None:
    partial = SnapshotFacts("s1", SnapshotState.VERIFIED, unreadable=1)
    assert aborted(plan(proven("destroy", snapshot=partial))) == "snapshot_unproven"
    lost = plan(proven("destroy", snapshot=partial, machine=a_machine(state=MachineState.LOST)))
    assert isinstance(lost, Finish)
    assert SetStatus(InstanceStatus.FAILED) in lost.changes


@pytest.mark.parametrize(
    ("reply", "change"),
    [(Ok(), SnapshotAbandoned), (BoxUnreachable(), SnapshotAbandoned), (DONE, SnapshotFrozen)],
    ids=["stopped", "unknown", "done after all"],
)
def test_release_settles_what_was_being_written(reply: Reply, change: type[Change]) -> None:
    facts = hibernating(
        "release",
        abort_code="cancelled",
        snapshot=snapshot(SnapshotState.WRITING),
        entered_at=LONG_AGO,
    )
    outcome = conclude(facts, reply)
    assert isinstance(outcome, Finish)
    assert isinstance(outcome.changes[0], change)


def test_release_leaves_alone_what_was_frozen() -> None:
    facts = hibernating("release", abort_code="cancelled", snapshot=snapshot(SnapshotState.FROZEN))
    outcome = conclude(facts, DONE)
    assert isinstance(outcome, Finish)
    assert not [c for c in outcome.changes if isinstance(c, SnapshotAbandoned | SnapshotFrozen)]


def test_a_machine_that_vanished_after_saving_leaves_its_copy_and_says_so() -> None:
    outcome = plan(proven("destroy", machine=a_machine(state=MachineState.LOST)))
    assert isinstance(outcome, Finish)
    assert SetStatus(InstanceStatus.HIBERNATED) in outcome.changes
    assert "vanished" in repr(outcome.changes)
    assert outcome.result["snapshot_id"] == "s1"


def test_a_hibernation_without_a_machine_is_a_programming_error() -> None:
    with pytest.raises(AssertionError):
        plan(proven("destroy", machine=None))


def test_quiesce_goes_on_to_freeze() -> None:
    assert plan(hibernating("quiesce")) == Perform(Quiesce())
    assert conclude(hibernating("quiesce"), Ok()) == Go("freeze")


@pytest.mark.parametrize("step", ["quiesce", "freeze", "fence"])
def test_an_unreachable_machine_is_tried_again_until_it_is_overdue(step: str) -> None:
    wait = conclude(hibernating(step), BoxUnreachable())
    assert isinstance(wait, Wait)
    assert wait.failed
    assert aborted(conclude(hibernating(step, entered_at=ago(minutes=11)), BoxUnreachable())) == (
        "box_unreachable"
    )


@pytest.mark.parametrize(
    ("step", "going_on", "error"),
    [
        ("freeze", JobSeen("running"), BoxUnreachable()),
        ("verify", VerifySeen(1, 2), StoreError()),
    ],
)
def test_one_missing_answer_does_not_end_a_step_that_went_on_for_long(
    step: str, going_on: Reply, error: DumontError
) -> None:
    wait = conclude(hibernating(step, entered_at=LONG_AGO), going_on)
    assert isinstance(wait, Wait)
    assert wait.memo is not None
    seen = hibernating(step, entered_at=LONG_AGO, answered_at=wait.memo.answered_at)
    assert isinstance(conclude(seen, error), Wait)
    later = replace(seen, now=NOON + timedelta(minutes=31))
    assert aborted(conclude(later, error)) == error.code


def test_another_host_key_ends_it_at_once() -> None:
    assert aborted(conclude(hibernating("quiesce"), HostKeyChanged())) == "host_key_changed"


@pytest.mark.parametrize(
    ("facts", "round_", "changes"),
    [
        (hibernating("freeze"), 0, (BeginSnapshot(0),)),
        (hibernating("freeze", snapshot=snapshot(SnapshotState.WRITING)), 0, ()),
        (hibernating("freeze", round=1, snapshot=snapshot(SnapshotState.VERIFIED)), 1, (BeginSnapshot(1),)),
    ],
)
def test_freeze_begins_a_snapshot_once_per_round(facts: Facts, round_: int, changes: object) -> None:
    planned = plan(facts)
    assert isinstance(planned, Perform)
    assert planned.effect == RunFreeze(round_)
    assert planned.changes == changes


def test_a_freeze_that_ended_badly_is_told_to_go_on_once() -> None:
    planned = plan(hibernating("freeze", restart=True))
    assert isinstance(planned, Perform)
    assert planned.effect == RunFreeze(0, again=True)
    assert planned.memo is not None
    assert not planned.memo.restart


def test_a_running_freeze_is_looked_at_again() -> None:
    wait = conclude(hibernating("freeze"), JobSeen("running", {"bytes_done": 7}))
    assert isinstance(wait, Wait)
    assert not wait.failed
    assert wait.progress == {"bytes_done": 7}


def test_a_finished_freeze_goes_on_to_verify() -> None:
    outcome = conclude(hibernating("freeze"), DONE)
    assert outcome == Go("verify", (SnapshotFrozen(0, {"files": 3}),))


def test_files_that_could_not_be_read_end_it() -> None:
    outcome = conclude(hibernating("freeze"), JobSeen("done", result={"unreadable_total": 2}))
    assert aborted(outcome) == "unreadable_files"
    assert isinstance(outcome, Go)
    assert isinstance(outcome.changes[0], SnapshotFrozen)


@pytest.mark.parametrize("state", ["failed", "died", "done"])
def test_a_freeze_that_failed_is_started_again(state: str) -> None:
    wait = conclude(hibernating("freeze"), JobSeen(state, error="no space"))
    assert isinstance(wait, Wait)
    assert wait.memo is not None
    assert (wait.memo.job_failures, wait.memo.restart) == (1, True)


@pytest.mark.parametrize(
    ("failures", "reply", "code", "change"),
    [
        (3, JobSeen("died"), "freeze_failed", SnapshotFailed),
        (3, JobSeen("failed", error_code="internal"), "internal", SnapshotFailed),
        (3, JobSeen("failed", error_code="upload_failed"), "upload_failed", SnapshotAbandoned),
        (0, JobSeen("failed", error_code="cancelled"), "cancelled", SnapshotAbandoned),
    ],
)
def test_a_freeze_that_keeps_failing_ends_it(
    failures: int, reply: JobSeen, code: str, change: type[Change]
) -> None:
    """What the box remembers is distrusted only where it may be the cause."""
    outcome = conclude(hibernating("freeze", job_failures=failures), reply)
    assert aborted(outcome) == code
    assert isinstance(outcome, Go)
    assert isinstance(outcome.changes[0], change)


def test_verify_reads_on_until_every_pack_was_right() -> None:
    assert plan(hibernating("verify")) == Perform(Verify())
    wait = conclude(hibernating("verify"), VerifySeen(3, 7, bytes_done=30, bytes_total=70, eta_seconds=4.0))
    assert isinstance(wait, Wait)
    told = {"phase": "verify", "packs_done": 3, "packs_total": 7, "bytes_done": 30, "eta_seconds": 4.0}
    assert wait.progress is not None
    assert told.items() <= wait.progress.items()
    outcome = conclude(hibernating("verify", round=1), VerifySeen(7, 7, packs_decoded=2))
    assert isinstance(outcome, Go)
    assert outcome.step == "fence"
    assert outcome.changes[0] == SnapshotVerified(1)
    assert events(outcome.changes) == [EventType.SNAPSHOT_VERIFIED]
    assert isinstance(outcome.changes[1], Emit)
    assert outcome.changes[1].reason.endswith("2 of them were decoded whole")


def test_an_unproven_copy_ends_it() -> None:
    outcome = conclude(hibernating("verify"), SnapshotUnproven("pack 3 is short"))
    assert aborted(outcome) == "snapshot_unproven"
    assert isinstance(outcome, Go)
    assert isinstance(outcome.changes[0], SnapshotFailed)


def test_a_store_that_is_away_is_tried_again_until_overdue() -> None:
    assert isinstance(conclude(hibernating("verify"), StoreError()), Wait)
    assert aborted(conclude(hibernating("verify", entered_at=LONG_AGO), StoreError())) == "store_error"


def test_the_fence_remembers_that_writers_may_be_paused() -> None:
    planned = plan(hibernating("fence"))
    assert isinstance(planned, Perform)
    assert planned.effect == Fence()
    assert planned.memo is not None
    assert planned.memo.paused


def test_an_unchanged_idle_machine_passes_the_fence() -> None:
    outcome = conclude(hibernating("fence", round=2), FenceSeen(0, False))
    assert isinstance(outcome, Go)
    assert outcome.step == "destroy"
    assert outcome.memo is not None
    assert outcome.memo.fenced_round == 2


@pytest.mark.parametrize(("busy", "code"), [(True, "activity_resumed"), (None, "activity_unknown")])
def test_a_gpu_that_is_busy_or_unreadable_at_the_fence_ends_it(busy: bool | None, code: str) -> None:
    assert aborted(conclude(hibernating("fence"), FenceSeen(0, busy))) == code


def test_a_forced_hibernation_passes_the_fence_with_a_busy_gpu() -> None:
    outcome = conclude(hibernating("fence", forced=True), FenceSeen(0, None))
    assert isinstance(outcome, Go)
    assert outcome.step == "destroy"


def test_a_changed_workspace_is_frozen_once_more() -> None:
    outcome = conclude(hibernating("fence", job_failures=2), FenceSeen(4, False, ("a",)))
    assert isinstance(outcome, Go)
    assert outcome.step == "freeze"
    assert outcome.memo is not None
    assert (outcome.memo.round, outcome.memo.job_failures) == (1, 0)


def test_a_workspace_that_keeps_changing_ends_it() -> None:
    outcome = conclude(hibernating("fence", round=3), FenceSeen(4, False, ("log.txt",)))
    assert aborted(outcome) == "workspace_busy"
    assert "log.txt" in repr(outcome)


def test_a_proven_fenced_idle_machine_passes_the_point_of_no_return() -> None:
    ending = SetMachine(MachineState.DESTROYING, reason="hibernated")
    assert plan(proven("destroy")) == Perform(Destroy("c1"), (PassPointOfNoReturn(), ending))


@pytest.mark.parametrize(
    "facts",
    [
        hibernating("destroy"),
        proven("destroy", snapshot=snapshot(SnapshotState.FROZEN)),
        proven("destroy", snapshot=snapshot(SnapshotState.FAILED)),
        proven("destroy", round=1, fenced_round=1),
    ],
)
def test_nothing_is_destroyed_without_a_verified_copy_of_this_round(facts: Facts) -> None:
    assert aborted(plan(facts)) == "snapshot_unproven"


@pytest.mark.parametrize("fenced", [None, 0])
def test_nothing_is_destroyed_without_a_fence_of_this_round(fenced: int | None) -> None:
    facts = proven("destroy", round=1, fenced_round=fenced, snapshot=snapshot(SnapshotState.VERIFIED, 1))
    assert plan(facts) == Go("fence")


@pytest.mark.parametrize("forced", [False, True])
def test_a_fence_that_is_too_old_is_repeated(forced: bool) -> None:
    assert isinstance(plan(proven("destroy", entered_at=ago(seconds=60), forced=forced)), Perform)
    assert plan(proven("destroy", entered_at=ago(seconds=61), forced=forced)) == Go("fence")


def test_a_silent_agent_is_waited_for_and_then_doubted() -> None:
    assert isinstance(plan(proven("destroy", idle=SILENT)), Wait)
    overdue = proven("destroy", idle=SILENT, entered_at=ago(minutes=6))
    assert aborted(plan(overdue)) == "activity_unknown"


def test_a_forced_hibernation_does_not_wait_for_the_agent() -> None:
    assert isinstance(plan(proven("destroy", idle=SILENT, forced=True)), Perform)


def test_a_machine_stopped_under_the_fence_needs_no_heartbeat_any_more() -> None:
    """Nobody can have written since: not before the stop, for the fence held, and not after it."""

    def stopped(seconds: float) -> Any:
        machine = a_machine(stopped_since=ago(minutes=4) + timedelta(seconds=seconds))
        quiet = replace(SILENT, last_beat_at=ago(minutes=4, seconds=5))
        return plan(proven("destroy", idle=quiet, entered_at=ago(minutes=4), machine=machine))

    assert isinstance(stopped(59), Perform)
    assert not isinstance(stopped(61), Perform)
    assert not isinstance(stopped(-1), Perform)


def test_a_machine_that_reports_after_it_was_listed_as_stopped_did_not_stop() -> None:
    machine = a_machine(stopped_since=ago(minutes=4))
    heard = replace(SILENT, last_beat_at=ago(minutes=3))
    facts = proven("destroy", idle=heard, entered_at=ago(minutes=4), machine=machine)
    assert not isinstance(plan(facts), Perform)


def test_a_machine_without_a_contract_cannot_be_ended() -> None:
    assert aborted(plan(proven("destroy", machine=a_machine(contract_id=None)))) == "no_contract"


@pytest.mark.parametrize("reply", [Ok(), ProviderRefused(), ProviderUnavailable()])
def test_no_answer_to_a_destroy_is_believed(reply: Any) -> None:
    assert conclude(proven("destroy", point_of_no_return_at=NOON), reply) == Go("confirm")


def test_a_second_visit_to_destroy_only_looks_unless_told_to_repeat() -> None:
    assert plan(proven("destroy", point_of_no_return_at=NOON)) == Go("confirm")
    again = plan(proven("destroy", point_of_no_return_at=NOON, redestroy=True))
    assert isinstance(again, Perform)
    assert again.effect == Destroy("c1")
    assert again.memo is not None
    assert not again.memo.redestroy


def confirming(**changes: Any) -> Facts:
    machine = a_machine(state=MachineState.DESTROYING)
    return proven("confirm", **{"point_of_no_return_at": ago(seconds=6), "machine": machine, **changes})


LISTED = MachinesSeen({"dumont-1-1-1": "c1"}, frozenset({"c1"}))
GONE = MachinesSeen({}, frozenset())


def test_a_list_without_the_machine_ends_the_hibernation() -> None:
    outcome = conclude(confirming(), GONE)
    assert isinstance(outcome, Finish)
    assert outcome.changes[:2] == (SetMachine(MachineState.DESTROYED), SetStatus(InstanceStatus.HIBERNATED))
    assert events(outcome.changes) == [EventType.HIBERNATED]
    assert outcome.result == {"success": True, "snapshot_id": "s1", "instance_destroyed": True}
    assert "GPU idle for 3 min" in repr(outcome.changes)


def test_a_forced_hibernation_says_it_was_ordered() -> None:
    assert "as ordered" in repr(conclude(confirming(forced=True), GONE))


def test_a_list_that_fails_proves_nothing() -> None:
    assert isinstance(conclude(confirming(), ProviderUnavailable()), Wait)
    assert isinstance(conclude(confirming(), ProviderRefused()), Wait)


def test_a_machine_still_listed_is_looked_for_again_and_then_destroyed_again() -> None:
    assert isinstance(conclude(confirming(), LISTED), Wait)
    outcome = conclude(confirming(entered_at=ago(seconds=6)), LISTED)
    assert isinstance(outcome, Go)
    assert outcome.step == "destroy"
    assert outcome.memo is not None
    assert (outcome.memo.redestroy, outcome.memo.attempt) == (True, 1)


@pytest.mark.parametrize(
    "code",
    ["activity_resumed", "activity_unknown", "workspace_busy", "cancelled", "superseded", "switched_off"],
)
def test_a_veto_leaves_the_machine_running_and_is_no_failure(code: str) -> None:
    outcome = conclude(hibernating("release", abort_code=code, abort_reason="why"), Ok())
    assert isinstance(outcome, Finish)
    assert (outcome.cancelled, outcome.error_code) == (True, code)
    assert outcome.changes[0] == SetStatus(InstanceStatus.RUNNING)
    assert events(outcome.changes) == [EventType.HIBERNATE_VETOED]


def test_a_failure_leaves_the_machine_running_and_holds_the_next_one_off() -> None:
    outcome = conclude(hibernating("release", abort_code="snapshot_unproven", abort_reason="why"), Ok())
    assert isinstance(outcome, Finish)
    assert (outcome.cancelled, outcome.error_code) == (False, "snapshot_unproven")
    assert HoldHibernation(600.0) in outcome.changes
    assert events(outcome.changes) == [EventType.FAILED]


def test_release_is_tried_again_for_a_while() -> None:
    assert isinstance(conclude(hibernating("release"), BoxUnreachable()), Wait)
    assert isinstance(conclude(hibernating("release", entered_at=ago(minutes=1)), BoxUnreachable()), Finish)


@pytest.mark.parametrize(("minutes", "ends"), [(29, Wait), (31, Finish)])
def test_paused_writers_are_not_given_up_so_soon(minutes: int, ends: type) -> None:
    facts = hibernating("release", paused=True, entered_at=NOON - timedelta(minutes=minutes))
    assert isinstance(conclude(facts, BoxUnreachable()), ends)


@pytest.mark.parametrize("step", ["freeze", "verify", "fence"])
def test_a_reply_of_another_kind_is_a_programming_error(step: str) -> None:
    with pytest.raises(TypeError):
        conclude(hibernating(step), Ok())
