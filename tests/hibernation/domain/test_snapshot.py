"""Every step of a snapshot of a machine that goes on, and every way it can end."""

from __future__ import annotations

from typing import Any

import pytest

from hibernation.domain.effects import JobSeen, Ok, Quiesce, Release, RunFreeze, VerifySeen
from hibernation.domain.errors import BoxUnreachable, SnapshotUnproven
from hibernation.domain.facts import SnapshotFacts
from hibernation.domain.idle import IdleState, Policy
from hibernation.domain.lifecycle import CHAINS, conclude, plan
from hibernation.domain.outcomes import (
    BeginSnapshot,
    Finish,
    Go,
    HoldHibernation,
    Perform,
    SetMachine,
    SetStatus,
    SnapshotAbandoned,
    SnapshotFailed,
    SnapshotFrozen,
    SnapshotVerified,
    Wait,
)
from hibernation.domain.states import EventType, MachineState, OperationKind, SnapshotPurpose, SnapshotState
from tests.hibernation.domain.factories import NOON, a_machine, ago, events, saving

PRE_COPY, PERIODIC, ORDERED = SnapshotPurpose.PRE_COPY, SnapshotPurpose.PERIODIC, SnapshotPurpose.ORDERED
BUSY = IdleState(None, NOON)
DONE = JobSeen("done", result={"files": 3, "unreadable_total": 2})


def aborted(outcome: object) -> str:
    assert isinstance(outcome, Go)
    assert outcome.step == "release"
    assert outcome.memo is not None
    return outcome.memo.abort_code


def test_its_chain_ends_before_anything_that_ends_a_rental() -> None:
    assert CHAINS[OperationKind.SNAPSHOT] == ("quiesce", "freeze", "verify")
    assert plan(saving("quiesce")) == Perform(Quiesce())
    assert plan(saving("release")) == Perform(Release())


@pytest.mark.parametrize(
    ("purpose", "background", "yields"),
    [(PRE_COPY, True, True), (PERIODIC, True, False), (ORDERED, False, False)],
)
def test_only_what_was_ordered_competes_with_work(
    purpose: SnapshotPurpose, background: bool, yields: bool
) -> None:
    planned = plan(saving("freeze", purpose=purpose, snapshot=None))
    assert planned == Perform(RunFreeze(0, background=background, yields=yields), (BeginSnapshot(0),))


def test_files_that_could_not_be_read_do_not_end_it() -> None:
    outcome = conclude(saving("freeze"), DONE)
    assert isinstance(outcome, Go)
    assert (outcome.step, type(outcome.changes[0])) == ("verify", SnapshotFrozen)


def test_it_is_done_when_the_copy_is_proven_and_says_what_is_missing() -> None:
    frozen = SnapshotFacts("s1", SnapshotState.FROZEN, unreadable=2)
    outcome = conclude(saving("verify", snapshot=frozen), VerifySeen(3, 3))
    assert isinstance(outcome, Finish)
    assert outcome.changes[0] == SnapshotVerified(0)
    assert events(outcome.changes) == [EventType.SNAPSHOT_VERIFIED]
    assert outcome.result == {"success": True, "snapshot_id": "s1", "unreadable_files": 2}
    assert not [c for c in outcome.changes if isinstance(c, SetStatus | SetMachine)]


@pytest.mark.parametrize("step", ["quiesce", "freeze", "verify"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"idle": BUSY}, "activity_resumed"),
        ({"policy": Policy(enabled=False)}, "switched_off"),
        ({"cancel_reason": "activity_resumed"}, "activity_resumed"),
        ({"deadline_at": ago(seconds=1)}, "deadline"),
    ],
)
def test_a_precopy_gives_way_to_any_doubt(step: str, changes: dict[str, Any], code: str) -> None:
    facts = saving(step, purpose=PRE_COPY, **changes)
    assert aborted(plan(facts)) == code
    assert aborted(conclude(facts, Ok())) == code


@pytest.mark.parametrize("purpose", [PERIODIC, ORDERED])
def test_the_others_go_on_while_the_gpu_works(purpose: SnapshotPurpose) -> None:
    facts = saving("quiesce", purpose=purpose, idle=BUSY, policy=Policy(enabled=False))
    assert plan(facts) == Perform(Quiesce())


def test_a_window_that_began_anew_does_not_stop_a_precopy() -> None:
    facts = saving("quiesce", purpose=PRE_COPY, idle=IdleState(ago(seconds=1), NOON))
    assert plan(facts) == Perform(Quiesce())


def test_a_job_that_gave_way_ends_a_precopy_at_once_and_is_started_again_for_others() -> None:
    yielded = JobSeen("failed", error_code="activity_resumed")
    assert aborted(conclude(saving("freeze", purpose=PRE_COPY), yielded)) == "activity_resumed"
    again = conclude(saving("freeze", purpose=ORDERED), yielded)
    assert isinstance(again, Wait)
    assert again.memo is not None
    assert again.memo.restart


@pytest.mark.parametrize(
    ("purpose", "code", "event", "cancelled"),
    [
        (PRE_COPY, "activity_resumed", EventType.SNAPSHOT_ABANDONED, True),
        (PRE_COPY, "upload_failed", EventType.SNAPSHOT_ABANDONED, False),
        (PERIODIC, "upload_failed", EventType.FAILED, False),
        (ORDERED, "cancelled", EventType.SNAPSHOT_ABANDONED, True),
    ],
)
def test_a_failure_alarms_only_where_somebody_counts_on_the_copy(
    purpose: SnapshotPurpose, code: str, event: EventType, cancelled: bool
) -> None:
    facts = saving("release", purpose=purpose, abort_code=code, abort_reason="why")
    outcome = conclude(facts, Ok())
    assert isinstance(outcome, Finish)
    assert events(outcome.changes) == [event]
    assert (outcome.error_code, outcome.cancelled) == (code, cancelled)
    assert isinstance(outcome.changes[0], SnapshotAbandoned)
    assert not [c for c in outcome.changes if isinstance(c, SetStatus | HoldHibernation)]


def test_a_box_that_stays_silent_does_not_keep_it_for_ever() -> None:
    silent = BoxUnreachable("nobody answers")
    assert isinstance(conclude(saving("release", abort_code="cancelled"), silent), Wait)
    assert aborted(conclude(saving("quiesce", entered_at=ago(minutes=4)), silent)) == "box_unreachable"
    ended = conclude(saving("release", abort_code="cancelled", entered_at=ago(minutes=1)), silent)
    assert isinstance(ended, Finish)


def test_a_copy_that_proved_bad_is_never_built_upon() -> None:
    outcome = conclude(saving("verify"), SnapshotUnproven("damaged"))
    assert aborted(outcome) == "snapshot_unproven"
    assert isinstance(outcome, Go)
    assert isinstance(outcome.changes[0], SnapshotFailed)


@pytest.mark.parametrize("step", ["quiesce", "freeze", "verify", "release"])
def test_a_vanished_machine_ends_it_and_the_status_is_not_its_own(step: str) -> None:
    outcome = plan(saving(step, machine=a_machine(state=MachineState.LOST)))
    assert isinstance(outcome, Finish)
    assert outcome.error_code == "machine_lost"
    assert not [c for c in outcome.changes if isinstance(c, SetStatus)]
