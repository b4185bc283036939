"""Rows against one list: which repair follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hibernation.domain.reconcile import (
    IMPLAUSIBLE_GRACE,
    MAX_ORPHANS_DESTROYED_PER_LIST,
    MISSING_GRACE,
    ORPHAN_GRACE,
    Action,
    ConfirmDestroyed,
    DeclareLost,
    DestroyAgain,
    Listing,
    MachineRow,
    NoteMissing,
    NotePresent,
    Recover,
    ReportOrphan,
    SendAway,
    plan_reconcile,
    status_after_loss,
)
from hibernation.domain.states import InstanceStatus, MachineState
from tests.hibernation.domain.factories import NOON, ago

M = MachineState
SECOND = timedelta(seconds=1)


def row(state: MachineState, **changes: Any) -> MachineRow:
    return replace(MachineRow(1, "dumont-a", state, ago(hours=1), "c1"), **changes)


def planned(*rows: MachineRow, listed: dict[str, str] | None = None) -> list[Action]:
    """The actions for a list taken now. By default it lists nothing."""
    return list(plan_reconcile(Listing(NOON, listed or {}), rows, our_prefix="dumont-", now=NOON))


HERE = {"c1": "dumont-a"}
ASKED = {"destroy_due_at": ago(seconds=1)}


def test_a_spare_that_no_wake_holds_is_sent_away() -> None:
    assert planned(row(M.SPARE), listed=HERE) == [SendAway(1, "c1")]
    assert planned(row(M.SPARE, owned=True), listed=HERE) == []


@pytest.mark.parametrize("owned", [True, False])
def test_a_spare_that_vanished_is_lost_after_the_grace(owned: bool) -> None:
    assert planned(row(M.SPARE, owned=owned)) == [NoteMissing(1)]
    gone = row(M.SPARE, owned=owned, missing_since=NOON - MISSING_GRACE)
    assert planned(gone) == [DeclareLost(1)]


@pytest.mark.parametrize("state", [M.LAUNCHED, M.ACTIVE])
def test_a_live_machine_that_is_listed_needs_nothing(state: MachineState) -> None:
    assert planned(row(state), listed=HERE) == []


def test_a_machine_that_is_listed_again_is_noted_as_present() -> None:
    assert planned(row(M.ACTIVE, missing_since=ago(seconds=30)), listed=HERE) == [NotePresent(1)]


def test_the_first_list_without_a_machine_is_only_noted() -> None:
    assert planned(row(M.ACTIVE)) == [NoteMissing(1)]


def test_a_machine_younger_than_the_list_is_not_missing() -> None:
    assert planned(row(M.LAUNCHED, since=NOON)) == []


@pytest.mark.parametrize(("missing", "lost"), [(MISSING_GRACE - SECOND, False), (MISSING_GRACE, True)])
def test_a_machine_is_lost_after_the_grace(missing: timedelta, lost: bool) -> None:
    assert planned(row(M.ACTIVE, missing_since=NOON - missing)) == ([DeclareLost(1)] if lost else [])


@pytest.mark.parametrize(("silent", "lost"), [(MISSING_GRACE - SECOND, False), (MISSING_GRACE, True)])
def test_a_machine_that_still_reports_is_not_lost(silent: timedelta, lost: bool) -> None:
    missing = row(M.ACTIVE, missing_since=ago(hours=1), last_beat_at=NOON - silent)
    assert planned(missing) == ([DeclareLost(1)] if lost else [])


def test_a_list_that_was_long_under_way_does_not_prove_a_long_absence() -> None:
    missing = row(M.ACTIVE, missing_since=ago(seconds=30))
    late = NOON + timedelta(minutes=10)
    assert plan_reconcile(Listing(NOON, {}), [missing], our_prefix="dumont-", now=late) == ()


def test_half_the_fleet_missing_at_once_is_not_believed_for_long() -> None:
    fleet = [row(M.ACTIVE, id=n, contract_id=f"c{n}", missing_since=NOON - MISSING_GRACE) for n in range(3)]
    assert planned(*fleet) == []
    long = [replace(r, missing_since=NOON - IMPLAUSIBLE_GRACE) for r in fleet]
    assert planned(*long) == [DeclareLost(0), DeclareLost(1), DeclareLost(2)]


def test_two_missing_machines_are_believed() -> None:
    fleet = [row(M.ACTIVE, id=n, contract_id=f"c{n}", missing_since=NOON - MISSING_GRACE) for n in range(2)]
    assert planned(*fleet) == [DeclareLost(0), DeclareLost(1)]


def test_an_end_is_asked_for_before_any_list_is_believed() -> None:
    assert planned(row(M.DESTROYING)) == [DestroyAgain(1, "c1")]
    assert planned(row(M.DESTROYING), listed=HERE) == [DestroyAgain(1, "c1")]


def test_an_end_asked_for_is_confirmed_by_a_list_without_it() -> None:
    assert planned(row(M.DESTROYING, **ASKED)) == [ConfirmDestroyed(1)]


def test_a_list_older_than_the_row_confirms_nothing() -> None:
    assert planned(row(M.DESTROYING, since=NOON, **ASKED)) == []


def test_a_machine_still_listed_is_asked_to_end_again_when_due() -> None:
    assert planned(row(M.DESTROYING, **ASKED), listed=HERE) == [DestroyAgain(1, "c1")]
    assert planned(row(M.DESTROYING, destroy_due_at=NOON + SECOND), listed=HERE) == []


def test_a_machine_that_an_operation_is_ending_is_left_to_it() -> None:
    assert planned(row(M.DESTROYING, owned=True)) == []
    assert planned(row(M.DESTROYING, owned=True), listed=HERE) == []


@pytest.mark.parametrize("state", [M.ABANDONED, M.VOID])
def test_a_launch_given_up_that_shows_up_by_its_label_is_sent_away(state: MachineState) -> None:
    given_up = row(state, contract_id=None)
    assert planned(given_up, listed={"c9": "dumont-a"}) == [SendAway(1, "c9")]
    assert planned(given_up) == []


def test_a_lost_machine_that_held_nothing_is_sent_away_when_it_returns() -> None:
    assert planned(row(M.LOST), listed=HERE) == [SendAway(1, "c1")]


def test_a_lost_machine_with_unsaved_work_is_taken_back() -> None:
    assert planned(row(M.LOST, holds_work=True), listed=HERE) == [Recover(1, "c1")]


@pytest.mark.parametrize(("gone_for", "sent"), [(MISSING_GRACE - SECOND, False), (MISSING_GRACE, True)])
def test_a_destroyed_machine_listed_long_after_is_sent_away_again(gone_for: timedelta, sent: bool) -> None:
    actions = planned(row(M.DESTROYED, since=NOON - gone_for), listed=HERE)
    assert actions == ([SendAway(1, "c1")] if sent else [])


def test_our_label_without_a_row_is_reported() -> None:
    assert planned(listed={"c9": "dumont-z"}) == [ReportOrphan("c9", "dumont-z")]


def test_a_known_label_or_contract_is_no_orphan() -> None:
    assert planned(row(M.INTENDED, contract_id=None), listed={"c9": "dumont-a"}) == []
    assert planned(row(M.ACTIVE), listed={"c1": "dumont-renamed"}) == []


def test_strangers_are_never_named() -> None:
    assert planned(listed={"c9": "somebody-else", "c8": ""}) == []


def test_an_orphan_is_destroyed_after_its_grace() -> None:
    assert planned(row(M.ORPHAN, since=NOON - ORPHAN_GRACE + SECOND), listed=HERE) == []
    assert planned(row(M.ORPHAN, since=NOON - ORPHAN_GRACE), listed=HERE) == [SendAway(1, "c1")]


def test_an_orphan_that_ended_by_itself_is_confirmed() -> None:
    assert planned(row(M.ORPHAN)) == [ConfirmDestroyed(1)]


def test_only_a_few_orphans_are_destroyed_per_list() -> None:
    many = [row(M.ORPHAN, id=n, label=f"dumont-{n}", contract_id=f"c{n}") for n in range(9)]
    listed = {f"c{n}": f"dumont-{n}" for n in range(9)}
    assert len(planned(*many, listed=listed)) == MAX_ORPHANS_DESTROYED_PER_LIST


@pytest.mark.parametrize("state", [M.INTENDED, M.DESTROYED, M.VOID, M.ABANDONED, M.LOST])
def test_rows_without_a_machine_need_nothing(state: MachineState) -> None:
    assert planned(row(state, contract_id=None)) == []


@pytest.mark.parametrize(
    ("status", "has_proven_copy", "after"),
    [
        ("running", True, "hibernated"),
        ("idle", True, "hibernated"),
        ("running", False, "failed"),
        ("hibernating", True, "hibernating"),
        ("waking", False, "waking"),
    ],
)
def test_a_lost_machine_leaves_a_proven_copy_or_a_failure(
    status: str, has_proven_copy: bool, after: str
) -> None:
    found = status_after_loss(InstanceStatus(status), has_proven_copy=has_proven_copy)
    assert found.value == after


def test_a_second_machine_under_the_label_of_a_launch_is_an_orphan() -> None:
    here = {"c1": "dumont-a", "c2": "dumont-a"}
    assert planned(row(M.ACTIVE), listed=here) == [ReportOrphan("c2", "dumont-a")]


@pytest.mark.parametrize("state", [M.INTENDED, M.VOID])
def test_while_a_launch_may_still_find_its_machine_by_the_label_there_is_no_orphan(
    state: MachineState,
) -> None:
    actions = planned(row(state, contract_id=None), listed={"c1": "dumont-a", "c2": "dumont-a"})
    assert not any(isinstance(action, ReportOrphan) for action in actions)


def test_an_orphan_that_somebody_gave_another_label_is_theirs() -> None:
    orphan = row(M.ORPHAN, since=NOON - ORPHAN_GRACE)
    assert planned(orphan, listed=HERE) == [SendAway(1, "c1")]
    assert planned(orphan, listed={"c1": "training run"}) == []
