"""What must hold after every boundary (``ALWAYS``) and when the world has been quiet for a while (``IN_THE_END``).

Each function is named for what it promises and returns what broke it, or ``None``. I16 (schedules) has a world of its
own: ``schedules.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from hibernation.domain.reconcile import MISSING_GRACE
from hibernation.domain.states import (
    EventType,
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
    SnapshotState,
)
from tests.simulator.adoptions import no_adoption_lasts, what_is_not_ours_is_left_alone
from tests.simulator.box import Box
from tests.simulator.keeping_warm import (
    a_hibernated_machine_is_gone_or_stands_still,
    a_machine_that_runs_is_noticed,
    a_parked_machine_is_saved_and_its_instance_sleeps,
    no_machine_is_parked_for_ever,
)
from tests.simulator.rows import Machine, OperationRow, SnapshotRow
from tests.simulator.transitions import BILLING, OUR_PREFIX

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

S, M = InstanceStatus, MachineState
Check = Callable[["Simulation"], str | None]
HOLDING = (M.INTENDED, M.LAUNCHED, M.ACTIVE, M.ADOPTING)
HEDGING = ("choose", "launch", "loading", "race")
KEPT = (*HOLDING, M.PARKED)
UP = (S.RUNNING, S.IDLE)
GAP = timedelta(seconds=25)
SHORTEST_BETWEEN_SAVES = timedelta(seconds=60)
LONGEST_WAIT_FOR_A_SAVE = timedelta(minutes=5)
"""In a world without faults, where a job takes half a minute and a box cut off answers again after two."""
OLDEST_FENCE = timedelta(seconds=75)
"""What ``fence_holds`` and one lease add up to in the simulation's limits."""
TERMINAL_EVENTS = {
    OperationKind.HIBERNATE: (
        EventType.HIBERNATED,
        EventType.HIBERNATE_VETOED,
        EventType.FAILED,
        EventType.OPERATION_CANCELLED,
    ),
    OperationKind.WAKE: (
        EventType.WOKE,
        EventType.REGISTERED,
        EventType.FAILED,
        EventType.OPERATION_CANCELLED,
    ),
    OperationKind.ADOPT: (EventType.ADOPTED, EventType.FAILED, EventType.OPERATION_CANCELLED),
    OperationKind.SNAPSHOT: (
        EventType.SNAPSHOT_VERIFIED,
        EventType.SNAPSHOT_ABANDONED,
        EventType.FAILED,
        EventType.OPERATION_CANCELLED,
    ),
}


def i1_nothing_unsaved_is_destroyed(sim: Simulation) -> str | None:
    """A machine we end holds nothing but what a stored copy, read back whole, holds as well."""
    for box in sim.witness.ended:
        saved = box.version == box.base or sim.world.store.proves(box.version)
        if not saved and box.contract not in sim.witness.forsaken:
            return f"{box.contract} was destroyed with version {box.version} unproven"
    return None


def i1_no_return_only_when_proven_and_freshly_fenced(sim: Simulation) -> str | None:
    for operation in _passed(sim):
        row = sim.db.snapshots.get(operation.snapshot_id or 0)
        if row is None or row.state is not SnapshotState.VERIFIED or row.unreadable:
            return f"operation {operation.id} passed with snapshot {row}"
        copy, box = sim.world.store.copies[row.name, row.round], _box(sim, operation.machine_id)
        if not copy.proven:
            return f"operation {operation.id} passed on a copy that was not read back whole"
        if box.alive and copy.version != box.version:
            return f"operation {operation.id} passed although the workspace was not held still"
        if box.fenced_at is None or sim.clock.now - box.fenced_at > OLDEST_FENCE:
            return f"operation {operation.id} passed on a fence from {box.fenced_at}"
    return None


def i1_a_wake_brings_back_what_was_hibernated(sim: Simulation) -> str | None:
    for operation_id in sim.witness.woke:
        operation = sim.db.operations[operation_id]
        expected = sim.witness.hibernated_version.get(operation.instance_id)
        box = _box(sim, operation.machine_id)
        if expected is not None and box.version != expected and not operation.memo.unsaved:
            return f"operation {operation_id} woke version {box.version}, hibernated was {expected}"
    return None


def i2_a_label_rents_one_machine_and_an_instance_holds_one(sim: Simulation) -> str | None:
    labels = [box.label for box in sim.world.provider.boxes.values() if box.label.startswith(OUR_PREFIX)]
    if len(labels) != len(set(labels)):
        return "two machines were rented under one label"
    holders = [row.instance_id for row in sim.db.machines.values() if row.state in KEPT]
    if len(holders) != len(set(holders)):
        return "an instance holds two machines"
    return None


def two_machines_only_while_a_wake_hedges(sim: Simulation) -> str | None:
    """At most two, on two hosts, and both in the hands of a wake whose machine does not answer yet."""
    for instance_id in sim.db.instances:
        rows = [row for row in sim.db.machines.values() if row.instance_id == instance_id]
        mine = [row for row in rows if row.state in (*HOLDING, M.SPARE)]
        spare = any(row.state is M.SPARE for row in mine)
        if not spare and len(mine) < 2:
            continue
        running = sim.db.running(instance_id)
        if running is None or running.kind is not OperationKind.WAKE or running.step not in HEDGING:
            return f"instance {instance_id} has {[row.id for row in mine]}, and its wake is {running}"
        held = {running.machine_id, running.spare_id} - {None}
        if len(mine) > 2 or {row.id for row in mine} != held & {row.id for row in mine}:
            return f"wake {running.id} holds {held} of {[row.id for row in mine]}"
        if len({row.host for row in mine}) < len(mine):
            return f"wake {running.id} has two machines of one host"
    return None


def a_wake_hedges_once(sim: Simulation) -> str | None:
    told = [e.operation_id for e in sim.db.events if e.type is EventType.HEDGE_STARTED]
    twice = {operation_id for operation_id in told if told.count(operation_id) > 1}
    return f"wakes {sorted(filter(None, twice))} hedged more than once" if twice else None


def a_wake_that_is_over_has_no_spare(sim: Simulation) -> str | None:
    for operation in sim.db.operations.values():
        if operation.over and operation.spare_id is not None:
            return f"operation {operation.id} is over and still has machine {operation.spare_id} aside"
    return None


def i6_running_means_a_machine(sim: Simulation) -> str | None:
    for instance in sim.db.instances.values():
        machine = sim.db.machines.get(instance.machine_id or 0)
        if instance.status in UP and (machine is None or machine.state is not M.ACTIVE):
            return f"instance {instance.id} is {instance.status} on {machine}"
    return None


def i7_hibernated_means_no_machine(sim: Simulation) -> str | None:
    """Its last machine was confirmed gone by a list, and none is held."""
    for instance in sim.db.instances.values():
        if instance.status in (S.HIBERNATED, S.DELETED):
            for row in sim.db.machines.values():
                if row.instance_id == instance.id and row.state in HOLDING:
                    return f"instance {instance.id} is {instance.status} and holds machine {row.id}"
    return _confirmed_without_list(sim)


def _confirmed_without_list(sim: Simulation) -> str | None:
    for row in sim.db.machines.values():
        if row.state is M.DESTROYED and row.since == sim.clock.now:
            lacked = sim.witness.lacked_at.get(row.contract_id or "")
            if lacked is None or lacked < sim.witness.destroying_at.get(row.id, lacked):
                return f"machine {row.id} was confirmed destroyed, and no list since has lacked it"
    return None


def i8_work_stops_a_hibernation(sim: Simulation) -> str | None:
    """A busy heartbeat, or a cancellation, before the point of no return: it is never passed."""
    for operation in _passed(sim):
        if operation.id in sim.witness.must_stop:
            return f"operation {operation.id} went on although the machine was busy"
        if operation.cancel_reason:
            return f"operation {operation.id} went on although it was cancelled"
    return None


def i9_void_heartbeats_change_nothing(sim: Simulation) -> str | None:
    for beat in sim.witness.void_beats:
        if beat.before != beat.after:
            return f"a heartbeat with {beat.why} changed {beat.before} to {beat.after}"
    return None


def i10_only_the_idle_are_hibernated(sim: Simulation) -> str | None:
    """At the commit that starts it, and at the point of no return, by an observer's own reckoning."""
    for operation_id in sim.witness.started_unforced:
        operation = sim.db.operations[operation_id]
        pause = sim.db.instances[operation.instance_id].policy.pause_after
        if not _was_quiet(sim, operation, pause):
            return f"operation {operation_id} began on a machine not idle for {pause}"
    for operation in _passed(sim):
        began = operation.started_at or sim.clock.now
        if not operation.forced and not _was_quiet(sim, operation, sim.clock.now - began):
            return f"operation {operation.id} passed the point of no return on a machine not idle"
    return None


def _was_quiet(sim: Simulation, operation: OperationRow, needed: timedelta) -> bool:
    seen, now = sim.witness.quiet.get(operation.instance_id), sim.clock.now
    if seen is None or seen.since is None or seen.last_beat_at is None:
        return False
    since = max(seen.since, sim.witness.woke_at.get(operation.instance_id, seen.since))
    return now - since >= needed and now - seen.last_beat_at <= GAP


def i11_reconcile_touches_no_machine_in_use(sim: Simulation) -> str | None:
    for label in sim.witness.orphaned_labels:
        if sum(row.label == label for row in sim.db.machines.values()) > 1:
            return f"{label} was reported as an orphan although a row explains it"
    for machine_id in sim.witness.declared_lost:
        contract = sim.db.machines[machine_id].contract_id or ""
        since = sim.witness.unlisted_since.get(contract)
        if since is None or sim.witness.listed_at - since < MISSING_GRACE:
            return f"machine {machine_id} was declared lost although lists had it lately"
    return what_is_not_ours_is_left_alone(sim)


def i12_the_event_log_replays_to_the_present(sim: Simulation) -> str | None:
    for event in sim.new_events():
        if event.status_to and event.instance_id is not None:
            if sim.replayed[event.instance_id] != event.status_from:
                return f"event {event} does not follow {sim.replayed[event.instance_id]}"
            sim.replayed[event.instance_id] = event.status_to
    for instance in sim.db.instances.values():
        if sim.replayed[instance.id] != instance.status.value:
            return f"instance {instance.id} is {instance.status}, its log says {sim.replayed[instance.id]}"
    return None


def i13_usage_is_open_exactly_while_it_bills(sim: Simulation) -> str | None:
    open_ = [usage.machine_id for usage in sim.db.usage if usage.ended_at is None]
    billing = {row.id for row in sim.db.machines.values() if row.state in BILLING}
    if len(open_) != len(billing) or set(open_) != billing:
        return f"usage is open for {sorted(open_)}, billing are {sorted(billing)}"
    return None


def i14_every_costly_call_has_an_intent_and_a_lease(sim: Simulation) -> str | None:
    for call in sim.witness.calls:
        if not call.committed:
            return f"{call.what} without a committed intent"
        if not call.leased:
            return f"{call.what} without a valid lease"
    return None


def i4_each_operation_ends_with_one_event(sim: Simulation) -> str | None:
    """The workspace is awake before its hook runs."""
    for operation in sim.db.operations.values():
        ends = sim.ends.get(operation.id, 0)
        if ends != (operation.over or operation.step == "hook"):
            return f"operation {operation.id} is {operation.state} and has {ends} terminal events"
    return None


def a_snapshot_changes_nothing_else(sim: Simulation) -> str | None:
    """No status, no rental: whatever becomes of it, the instance is as it was."""
    for event in sim.new_events():
        operation = sim.db.operations.get(event.operation_id or 0)
        if operation is not None and operation.kind is OperationKind.SNAPSHOT and event.status_to:
            return f"snapshot {operation.id} made instance {event.instance_id} {event.status_to}"
    for operation in _passed(sim):
        if operation.kind is not OperationKind.HIBERNATE:
            return f"{operation.kind} {operation.id} passed the point of no return"
    return None


def work_stops_a_precopy(sim: Simulation) -> str | None:
    for operation_id in sim.witness.must_stop:
        operation = sim.db.operations[operation_id]
        went_on = operation.state is OperationState.SUCCEEDED and not operation.forced
        if went_on and operation.kind is OperationKind.SNAPSHOT:
            return f"pre-copy {operation_id} went on although the machine was busy"
    return None


def snapshots_keep_their_distance(sim: Simulation) -> str | None:
    """However a GPU flaps."""
    last, now = sim.witness.saved_last, sim.clock.now
    for operation_id in sim.witness.saves_started:
        instance_id = sim.db.operations[operation_id].instance_id
        if instance_id in last and now - last[instance_id] < SHORTEST_BETWEEN_SAVES:
            return f"snapshot {operation_id} came {now - last[instance_id]} after the one before it"
        last[instance_id] = now
    return None


def a_box_does_one_job_at_a_time(sim: Simulation) -> str | None:
    for box in sim.world.provider.boxes.values():
        if box.alive and box.running_jobs(sim.clock.now) > 1:
            return f"{box.contract} runs two jobs on one state"
    return None


def a_wake_would_restore_the_newest_whole_copy(sim: Simulation) -> str | None:
    """What a lost machine leaves behind. One that lacks files counts only where there is no whole one."""
    best: dict[int, SnapshotRow] = {}
    for row in sim.db.snapshots.values():
        if row.state is SnapshotState.VERIFIED:
            before = best.get(row.instance_id)
            if before is None or _goodness(row) <= _goodness(before):
                best[row.instance_id] = row
    for instance in sim.db.instances.values():
        found = best.get(instance.id)
        if instance.snapshot_id != (None if found is None else found.id):
            return f"instance {instance.id} keeps snapshot {instance.snapshot_id}, the best is {found}"
        copy = None if found is None else sim.world.store.copies[found.name, found.round]
        if found is not None and copy is not None and not copy.proven and not found.damaged:
            return f"{found.name} was called proven and was not read back whole"
    return None


def _goodness(row: SnapshotRow) -> tuple[bool, bool]:
    """The less, the better."""
    return row.damaged, row.unreadable > 0


def a_lost_machine_leaves_what_was_proven(sim: Simulation) -> str | None:
    for machine_id in sim.witness.declared_lost:
        instance = sim.db.instances[sim.db.machines[machine_id].instance_id or 0]
        if instance.status is S.FAILED and instance.snapshot_id is not None:
            return f"instance {instance.id} was given up although snapshot {instance.snapshot_id} is proven"
    return None


def a_snapshot_keeps_no_hibernation_waiting(sim: Simulation) -> str | None:
    calm_at, now = sim.witness.calm_at, sim.clock.now
    if calm_at is None:
        return None
    for instance_id, since in sim.witness.due_since.items():
        if now - max(since, calm_at) > LONGEST_WAIT_FOR_A_SAVE:
            return f"instance {instance_id} is due since {since} and was not hibernated"
    return None


def wakes_do_not_race_for_one_host(sim: Simulation) -> str | None:
    intended = [row.host for row in sim.db.machines.values() if row.state is M.INTENDED]
    twice = {host for host in intended if intended.count(host) > 1}
    return f"{sorted(twice)} are being rented by two wakes at once" if twice else None


def one_operation_runs_and_one_waits(sim: Simulation) -> str | None:
    for instance_id in sim.db.instances:
        mine = [o for o in sim.db.operations.values() if o.instance_id == instance_id and not o.over]
        states = [o.state for o in mine]
        if len(states) != len(set(states)):
            return f"instance {instance_id} has {states}"
    return None


def i3_nothing_of_ours_bills_unnoticed(sim: Simulation) -> str | None:
    """In the end every living machine that we have to pay is the one its instance runs on, or the only right copy."""
    needed = {row.contract_id for row in sim.db.machines.values() if row.state is M.PARKED}
    held = needed | {row.contract_id for row in sim.db.machines.values() if row.state is M.ACTIVE}
    for box in sim.world.provider.boxes.values():
        if box.alive and box.contract not in sim.witness.strangers | held:
            return f"{box.contract} ({box.label}) still bills"
    return None


def i5_nothing_stays_in_between(sim: Simulation) -> str | None:
    for instance in sim.db.instances.values():
        if instance.status in (S.HIBERNATING, S.WAKING):
            return f"instance {instance.id} stays {instance.status}"
    for row in sim.db.machines.values():
        if row.state in (M.INTENDED, M.LAUNCHED, M.SPARE, M.DESTROYING, M.ORPHAN):
            return f"machine {row.id} stays {row.state}"
    return None


def i15_every_accepted_command_has_ended(sim: Simulation) -> str | None:
    for operation in sim.db.operations.values():
        if not operation.over:
            return f"operation {operation.id} ({operation.kind}) stays {operation.state} in {operation.step}"
        newest = max(o.id for o in sim.db.operations.values() if o.instance_id == operation.instance_id)
        dropped = operation.kind is OperationKind.WAKE and operation.error_code == "superseded"
        if dropped and operation.id == newest:
            return f"wake {operation.id} waited for a hibernation and was dropped for nothing"
    return None


def i6_running_means_a_living_machine(sim: Simulation) -> str | None:
    for instance in sim.db.instances.values():
        if instance.status in UP and not _box(sim, instance.machine_id).alive:
            return f"instance {instance.id} is {instance.status} on a machine that is gone"
    return None


def nobody_stays_paused(sim: Simulation) -> str | None:
    for box in sim.world.provider.boxes.values():
        if box.alive and box.paused and not _doomed(sim, box):
            return f"{box.contract} has paused writers and no operation to let them go"
    return None


def _doomed(sim: Simulation, box: Box) -> bool:
    return any(r.contract_id == box.contract and r.state is M.DESTROYING for r in sim.db.machines.values())


def _passed(sim: Simulation) -> Iterator[OperationRow]:
    return (sim.db.operations[operation_id] for operation_id in sim.witness.passed)


def _box(sim: Simulation, machine_id: int | None) -> Box:
    row: Machine = sim.db.machines[machine_id or 0]
    return sim.world.provider.boxes[row.contract_id or ""]


ALWAYS: tuple[Check, ...] = (
    i1_nothing_unsaved_is_destroyed,
    i1_no_return_only_when_proven_and_freshly_fenced,
    i1_a_wake_brings_back_what_was_hibernated,
    i2_a_label_rents_one_machine_and_an_instance_holds_one,
    i4_each_operation_ends_with_one_event,
    two_machines_only_while_a_wake_hedges,
    a_wake_hedges_once,
    a_wake_that_is_over_has_no_spare,
    i6_running_means_a_machine,
    i7_hibernated_means_no_machine,
    i8_work_stops_a_hibernation,
    i9_void_heartbeats_change_nothing,
    i10_only_the_idle_are_hibernated,
    i11_reconcile_touches_no_machine_in_use,
    i12_the_event_log_replays_to_the_present,
    i13_usage_is_open_exactly_while_it_bills,
    i14_every_costly_call_has_an_intent_and_a_lease,
    wakes_do_not_race_for_one_host,
    one_operation_runs_and_one_waits,
    a_snapshot_changes_nothing_else,
    work_stops_a_precopy,
    snapshots_keep_their_distance,
    a_box_does_one_job_at_a_time,
    a_wake_would_restore_the_newest_whole_copy,
    a_lost_machine_leaves_what_was_proven,
    a_snapshot_keeps_no_hibernation_waiting,
    a_parked_machine_is_saved_and_its_instance_sleeps,
    a_hibernated_machine_is_gone_or_stands_still,
    a_machine_that_runs_is_noticed,
)
IN_THE_END: tuple[Check, ...] = (
    i3_nothing_of_ours_bills_unnoticed,
    i5_nothing_stays_in_between,
    i6_running_means_a_living_machine,
    i15_every_accepted_command_has_ended,
    nobody_stays_paused,
    no_adoption_lasts,
    no_machine_is_parked_for_ever,
)
