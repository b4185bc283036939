"""Seeded bugs: one wrong idea each, put into the core or its edge. A simulation that misses one is worthless."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from hibernation.domain import (
    adopt,
    heartbeats,
    hibernate,
    idle,
    keeping_warm,
    lifecycle,
    occasions,
    pacing,
    parking,
    reconcile,
    saving,
    snapshot,
    states,
    wake,
)
from hibernation.domain.effects import Launch, Ok, Reply, Verify, VerifySeen
from hibernation.domain.errors import DumontError, ProviderRefused
from hibernation.domain.facts import Facts
from hibernation.domain.idle import Activity, Judgement
from hibernation.domain.keeping_warm import Parked
from hibernation.domain.outcomes import (
    DismissSpare,
    Finish,
    Go,
    Outcome,
    Perform,
    Plan,
    SetMachine,
    SetStatus,
)
from hibernation.domain.reconcile import Action, Listing, MachineRow
from hibernation.domain.states import LIVE_MACHINE_STATES, InstanceStatus, MachineState, OperationKind
from hibernation.domain.wake import ending, hedging, racing, renting, resuming, spares
from tests.simulator import simulation
from tests.simulator.edge import Edge
from tests.simulator.executor import Executor
from tests.simulator.invariants import (
    a_wake_that_is_over_has_no_spare,
    two_machines_only_while_a_wake_hedges,
)
from tests.simulator.reconciler import Looked, Reconciler
from tests.simulator.requests import Requests
from tests.simulator.rows import Database, EventRow
from tests.simulator.transitions import Writer

Change = tuple[Any, str, Any]
MUTANTS: dict[str, tuple[str, Callable[[], list[Change]]]] = {}
H, W = OperationKind.HIBERNATE, OperationKind.WAKE


def mutant(breaks: str) -> Callable[[Callable[[], list[Change]]], Callable[[], list[Change]]]:
    """Register a mutant under its function's name. ``breaks``: the invariants that may notice it."""

    def register(make: Callable[[], list[Change]]) -> Callable[[], list[Change]]:
        MUTANTS[make.__name__] = (breaks, make)
        return make

    return register


@contextmanager
def infected(name: str) -> Iterator[None]:
    """Within the block the mutant is alive."""
    patches = [patch.object(*change) for change in MUTANTS[name][1]()]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in reversed(patches):
            each.stop()


def step(kind: OperationKind, name: str, **parts: Any) -> Change:
    steps = lifecycle.STEPS[kind]
    changed = {**steps, name: replace(steps[name], **parts)}
    return lifecycle, "STEPS", {**lifecycle.STEPS, kind: changed}


@mutant("i1")
def destroys_without_proof() -> list[Change]:
    return [
        step(H, "freeze", conclude=_skip_to_destroy(lifecycle.STEPS[H]["freeze"].conclude)),
        _no_refusal(),
    ]


def _skip_to_destroy(conclude: Callable[[Facts, Reply], Outcome]) -> Callable[[Facts, Reply], Outcome]:
    def skip(facts: Facts, reply: Reply) -> Outcome:
        outcome = conclude(facts, reply)
        if isinstance(outcome, Go) and outcome.step == "verify":
            memo = replace(facts.operation.memo, fenced_round=facts.operation.memo.round)
            return replace(outcome, step="destroy", memo=memo)
        return outcome

    return skip


def _no_refusal() -> Change:
    return hibernate, "_refuse_destroy", lambda facts: None


@mutant("i1")
def believes_the_upload() -> list[Change]:
    real = Edge._perform

    def perform(self: Edge, operation: Any, effect: Any) -> Reply:
        return VerifySeen(1, 1) if isinstance(effect, Verify) else real(self, operation, effect)

    return [(Edge, "_perform", perform)]


@mutant("i1")
def skips_the_fence() -> list[Change]:
    def conclude(facts: Facts, reply: Reply) -> Outcome:
        if isinstance(reply, DumontError):
            return pacing.again(facts, reply)
        return Go("destroy", memo=replace(facts.operation.memo, fenced_round=facts.operation.memo.round))

    return [step(H, "fence", conclude=conclude)]


@mutant("i1")
def trusts_an_old_fence() -> list[Change]:
    real = hibernate._refuse_destroy

    def refuse(facts: Facts) -> Outcome | None:
        limits = replace(facts.limits, fence_holds=timedelta(days=1))
        return real(replace(facts, limits=limits))

    return [(hibernate, "_refuse_destroy", refuse)]


@mutant("i1")
def accepts_results_after_the_lease() -> list[Change]:
    def current(self: Executor, operation: Any, claimed: Any) -> bool:
        return bool(operation.state.value == "running" and operation.lease_token == claimed.token)

    return [(Executor, "is_current", current)]


@mutant("i1")
def ends_returned_machines() -> list[Change]:
    return [(Reconciler, "_holds_work", lambda self, machine: False)]


@mutant("i2")
def launches_again_without_looking() -> list[Change]:
    def plan(facts: Facts) -> Plan:
        machine, offer = facts.machine, facts.operation.memo.offer
        if machine is not None and machine.state is MachineState.INTENDED and offer is not None:
            return Perform(Launch("", offer))
        return renting.plan_launch(facts)

    return [step(W, "launch", plan=plan)]


@mutant("i2")
def forgets_that_a_launch_put_off_was_sent() -> list[Change]:
    def deferred(facts: Facts) -> Plan:
        offer = facts.operation.memo.offer
        if offer is None:
            raise AssertionError("no offer")
        return Perform(Launch("", offer))

    return [(renting, "_launch_deferred", deferred)]


@mutant("wakes_do_not_race_for_one_host")
def rents_what_others_are_renting() -> list[Change]:
    return [(Executor, "_offer_held", lambda self, operation: False)]


@mutant("i1 i6 i12")
def takes_a_wake_back_while_its_hook_runs() -> list[Change]:
    def without_hook(facts: Facts, *, late: bool) -> Outcome | None:
        reason = facts.operation.cancel_reason
        return ending.give_up(facts, reason, reason, cancelled=True) if reason else None

    return [(wake, "_without_hook", without_hook)]


@mutant("i2 i3")
def gives_up_a_launch_and_forgets_its_label() -> list[Change]:
    real = reconcile._unexpected

    def unexpected(listing: Listing, row: MachineRow, listed: bool, now: Any) -> Iterator[Action]:
        return iter(()) if row.state is MachineState.ABANDONED else real(listing, row, listed, now)

    return [(reconcile, "_unexpected", unexpected)]


@mutant("i3")
def takes_a_refused_list_for_a_refused_launch() -> list[Change]:
    def conclude(facts: Facts, reply: Reply) -> Outcome:
        if isinstance(reply, ProviderRefused):
            return ending.not_rented(facts, "refused")
        return renting.conclude_launch(facts, reply)

    quiet = reconcile._UNEXPECTED - {MachineState.VOID}
    return [step(W, "launch", conclude=conclude), (reconcile, "_UNEXPECTED", quiet)]


@mutant("i3")
def ignores_orphans() -> list[Change]:
    return [(reconcile, "_orphans", lambda listing, rows, prefix: iter(()))]


@mutant("i3")
def leaves_the_machine_of_a_failed_wake() -> list[Change]:
    real = ending.give_up

    def give_up(facts: Facts, code: str, reason: str, **more: Any) -> Finish:
        ended = real(facts, code, reason, **more)
        kept = tuple(change for change in ended.changes if not isinstance(change, SetMachine))
        return replace(ended, changes=kept)

    return [(ending, "give_up", give_up)]


@mutant("i3")
def never_destroys_again() -> list[Change]:
    real = reconcile._destroying

    def destroying(listing: Listing, row: MachineRow, listed: bool, now: Any) -> Iterator[Action]:
        if row.destroy_due_at is None or not listed:
            yield from real(listing, row, listed, now)

    return [(reconcile, "_destroying", destroying)]


@mutant("i3")
def forgets_machines_that_come_back() -> list[Change]:
    return [(reconcile, "_UNEXPECTED", frozenset({MachineState.ABANDONED, MachineState.LOST}))]


@mutant("i4")
def supersedes_without_a_word() -> list[Change]:
    def supersede(self: Requests, operation: Any) -> None:
        operation.state, operation.error_code = type(operation.state).CANCELLED, "superseded"

    return [(Requests, "supersede", supersede)]


@mutant("i5")
def stops_asking_for_the_end() -> list[Change]:
    real = hibernate._conclude_confirm

    def conclude(facts: Facts, reply: Reply) -> Outcome:
        outcome = real(facts, reply)
        return pacing.look_again(facts, "waiting") if isinstance(outcome, Go) else outcome

    return [step(H, "confirm", conclude=conclude)]


@mutant("i7")
def takes_the_answer_for_the_end() -> list[Change]:
    def conclude(facts: Facts, reply: Reply) -> Outcome:
        return hibernate._hibernated(facts, SetMachine(MachineState.DESTROYED))

    return [step(H, "destroy", conclude=conclude)]


@mutant("i7")
def takes_a_failed_list_for_an_empty_one() -> list[Change]:
    real = hibernate._conclude_confirm

    def conclude(facts: Facts, reply: Reply) -> Outcome:
        if isinstance(reply, DumontError):
            return hibernate._hibernated(facts, SetMachine(MachineState.DESTROYED))
        return real(facts, reply)

    return [step(H, "confirm", conclude=conclude)]


@mutant("i11")
def ends_what_could_not_be_adopted() -> list[Change]:
    real = adopt.give_up

    def give_up(*args: Any, **more: Any) -> Finish:
        ended = real(*args, **more)
        return replace(ended, changes=(SetMachine(MachineState.DESTROYING), *ended.changes[1:]))

    return [(adopt, "give_up", give_up), _may_be_ended(MachineState.ADOPTING)]


@mutant("i11")
def ends_what_was_released() -> list[Change]:
    unexpected = reconcile._UNEXPECTED | {MachineState.RELEASED}
    return [(reconcile, "_UNEXPECTED", unexpected), _may_be_ended(MachineState.RELEASED)]


def _may_be_ended(state: MachineState) -> Change:
    arrows = states.MACHINE_ARROWS
    return states, "MACHINE_ARROWS", {**arrows, state: arrows[state] | {MachineState.DESTROYING}}


@mutant("i8")
def ignores_vetoes() -> list[Change]:
    return [(hibernate, "doubt", lambda facts: None)]


@mutant("i9")
def ignores_the_sequence() -> list[Change]:
    real = heartbeats.refuse

    def refuse(beat: Any, *, last_seq: int, machine_state: MachineState) -> str | None:
        return real(beat, last_seq=-1, machine_state=machine_state)

    return [(heartbeats, "refuse", refuse)]


@mutant("i9")
def hears_machines_being_ended() -> list[Change]:
    live = LIVE_MACHINE_STATES | {MachineState.DESTROYING}
    return [(heartbeats, "LIVE_MACHINE_STATES", live)]


@mutant("i9")
def takes_spooled_beats_for_news() -> list[Change]:
    real = heartbeats.receive

    def receive(beat: Any, **rest: Any) -> Any:
        return real(replace(beat, spooled=False), **rest)

    return [(heartbeats, "receive", receive)]


@mutant("i10")
def takes_unknown_for_idle() -> list[Change]:
    real = idle.judge

    def judge(utilizations: Any, policy: Any) -> Judgement:
        found = real(utilizations, policy)
        return replace(found, activity=Activity.IDLE) if found.activity is Activity.UNKNOWN else found

    return [(idle, "judge", judge)]


@mutant("i10")
def takes_silence_for_idle() -> list[Change]:
    return [(idle, "is_fresh", lambda state, now: state.last_beat_at is not None)]


@mutant("i10")
def sweeps_on_the_status_alone() -> list[Change]:
    def still(self: Requests, instance: Any) -> bool:
        return instance.status.value in ("idle",) and self.db.running(instance.id) is None

    return [(Requests, "still_due", still)]


@mutant("i11")
def destroys_strangers() -> list[Change]:
    real = reconcile._orphans
    return [(reconcile, "_orphans", lambda listing, rows, prefix: real(listing, rows, ""))]


@mutant("i11")
def reads_rows_before_the_list() -> list[Change]:
    def look(self: Reconciler) -> Generator[str, None, Looked | None]:
        rows = self.rows()
        yield "rows"
        try:
            listing = self.edge.listing()
        except DumontError:
            return None
        return listing, rows

    return [(Reconciler, "look", look)]


@mutant("i11")
def declares_lost_at_the_first_miss() -> list[Change]:
    return [(reconcile, "MISSING_GRACE", timedelta(0))]


@mutant("i11")
def repairs_rows_that_changed_meanwhile() -> list[Change]:
    return [(Reconciler, "unchanged", lambda self, machine, seen: True)]


@mutant("i11")
def takes_an_old_list_for_news() -> list[Change]:
    real = reconcile._live

    def live(listing: Listing, row: MachineRow, listed: bool, grace: timedelta, now: Any) -> Iterator[Action]:
        late = listing if listed else replace(listing, taken_at=now)
        return real(late, row, listed, grace, now)

    return [(reconcile, "_live", live)]


@mutant("i12")
def writes_state_and_event_apart() -> list[Change]:
    late: list[EventRow] = []

    def emit(
        self: Writer,
        event: Any,
        reason: str,
        instance_id: int | None,
        operation_id: int | None = None,
        status: tuple[str, str] = ("", ""),
    ) -> None:
        self.db.events.extend(late)
        late[:] = [EventRow(self.clock.now, event, instance_id, operation_id, *status, reason)]

    return [(Writer, "emit", emit)]


@mutant("i13")
def leaves_usage_open() -> list[Change]:
    real = Writer.count_usage

    def count(self: Writer, machine: Any) -> None:
        if machine.state is not MachineState.LOST:
            real(self, machine)

    return [(Writer, "count_usage", count)]


@mutant("i14")
def acts_after_its_lease() -> list[Change]:
    return [(Executor, "holds_lease", lambda self, claimed: True)]


@mutant("i14")
def launches_before_the_intent() -> list[Change]:
    real = Executor.claim

    def claim(self: Executor, operation_id: int, name: str) -> Any:
        claimed = real(self, operation_id, name)
        if claimed is not None and isinstance(claimed.effect, Launch):
            self.db.machines[self.db.operations[operation_id].machine_id or 0].state = MachineState.VOID
        return claimed

    return [(Executor, "claim", claim)]


@mutant("i15")
def forgets_who_waits() -> list[Change]:
    return [(Requests, "finished", lambda self, operation: None)]


@mutant("nobody_stays_paused")
def gives_up_letting_go() -> list[Change]:
    return [step(H, "release", plan=lambda facts: hibernate._conclude_release(facts, Ok()))]


@mutant("a_snapshot_changes_nothing_else")
def fails_the_instance_with_the_snapshot() -> list[Change]:
    real = snapshot._ended

    def ended(facts: Facts, code: str, reason: str, changes: Any) -> Finish:
        return real(facts, code, reason, (*changes, SetStatus(InstanceStatus.FAILED)))

    return [(snapshot, "_ended", ended)]


@mutant("i6")
def ends_the_rental_after_a_snapshot() -> list[Change]:
    real = snapshot._saved

    def saved(facts: Facts, changes: Any) -> Finish:
        return real(facts, (*changes, SetMachine(MachineState.DESTROYING, reason="saved")))

    return [(snapshot, "_saved", saved)]


@mutant("work_stops_a_precopy")
def copies_on_while_the_gpu_works() -> list[Change]:
    return [(snapshot, "doubt", lambda facts: None)]


@mutant("snapshots_keep_their_distance")
def starts_a_snapshot_with_every_flap() -> list[Change]:
    return [(occasions, "_allowed_from", lambda attempts: None)]


@mutant("a_box_does_one_job_at_a_time")
def leaves_jobs_behind() -> list[Change]:
    return [(Edge, "left_behind", lambda self, operation: None)]


@mutant("a_wake_would_restore_the_newest_whole_copy")
def keeps_the_first_copy() -> list[Change]:
    return [(Writer, "may_replace", lambda self, proven, kept: kept is None)]


@mutant("a_wake_would_restore_the_newest_whole_copy")
def takes_a_copy_that_lacks_files() -> list[Change]:
    return [(Writer, "may_replace", lambda self, proven, kept: True)]


@mutant("i1")
def ends_a_rental_on_a_copy_that_lacks_files() -> list[Change]:
    def frozen(facts: Facts, reply: Any) -> Outcome:
        return Go("verify", (saving.accepted(facts, reply),))

    return [(hibernate, "_frozen", frozen), _no_refusal()]


@mutant("a_lost_machine_leaves_what_was_proven")
def gives_up_what_was_proven() -> list[Change]:
    def after_loss(status: InstanceStatus, *, has_proven_copy: bool) -> InstanceStatus:
        return InstanceStatus.FAILED if status in (InstanceStatus.RUNNING, InstanceStatus.IDLE) else status

    return [(reconcile, "status_after_loss", after_loss)]


@mutant("a_snapshot_keeps_no_hibernation_waiting")
def copies_for_ever() -> list[Change]:
    """A pre-copy starts its job anew whenever it was done."""

    def frozen(facts: Facts, reply: Any) -> Outcome:
        return Go("quiesce", (saving.accepted(facts, reply),))

    return [(snapshot, "_frozen", frozen)]


@mutant("two_machines_only_while_a_wake_hedges")
def keeps_the_machine_that_lost_the_race() -> list[Change]:
    real = racing._won

    def won(facts: Facts, outcome: Go) -> Go:
        after = real(facts, outcome)
        kept = tuple(change for change in after.changes if not isinstance(change, DismissSpare))
        return replace(after, changes=kept)

    return [(racing, "_won", won)]


@mutant("two_machines_only_while_a_wake_hedges a_wake_that_is_over_has_no_spare")
def forgets_the_spare_of_a_wake_that_ended() -> list[Change]:
    return [(ending, "_part_with_spare", lambda facts, reason: ())]


@mutant("i3 i5")
def leaves_spares_that_nobody_holds() -> list[Change]:
    """Both nets torn, and nobody looks before the end."""
    noticed_at_once = (two_machines_only_while_a_wake_hedges, a_wake_that_is_over_has_no_spare)
    return [
        (ending, "_part_with_spare", lambda facts, reason: ()),
        (simulation, "ALWAYS", tuple(check for check in simulation.ALWAYS if check not in noticed_at_once)),
        (reconcile, "_is_nobodys_spare", lambda row: False),
    ]


@mutant("a_wake_hedges_once")
def hedges_again_and_again() -> list[Change]:
    real = hedging._is_due

    def due(facts: Facts) -> bool:
        memo = replace(facts.operation.memo, hedged=False)
        return real(replace(facts, operation=replace(facts.operation, memo=memo)))

    return [(hedging, "_is_due", due)]


@mutant("two_machines_only_while_a_wake_hedges")
def hedges_on_the_same_host() -> list[Change]:
    return [(hedging, "_may_stand_beside", lambda facts, offer, need: True)]


@mutant("i2 two_machines_only_while_a_wake_hedges")
def goes_back_before_a_lost_launch_is_found() -> list[Change]:
    real = hedging.conclude_launch

    def conclude(facts: Facts, reply: Reply) -> Outcome:
        outcome = real(facts, reply)
        if facts.spare is None or isinstance(outcome, Go):
            return outcome
        return spares.back(ending.without_machine(facts.operation.memo, ""))

    return [step(W, "launch", conclude=conclude)]


@mutant("a_hibernated_machine_is_gone_or_stands_still")
def takes_the_answer_for_the_stop() -> list[Change]:
    def conclude(facts: Facts, reply: Reply) -> Outcome:
        return parking._parked(facts, "stopped")

    return [(parking, "conclude_stop", conclude)]


@mutant("i1")
def ends_what_runs_when_its_time_is_over() -> list[Change]:
    return [(keeping_warm, "plan_parked", _by_the_time_alone)]


def _by_the_time_alone(seen: Parked, now: Any) -> Any:
    reason = "its time is over" if now >= seen.until and not seen.occupied and seen.is_saved else ""
    return keeping_warm.EndParked(seen.machine_id, seen.contract_id, reason) if reason else None


@mutant("no_machine_is_parked_for_ever")
def forgets_what_is_kept_warm() -> list[Change]:
    return [(keeping_warm, "_why_ended", lambda seen, now: "")]


@mutant("i1")
def relies_on_a_damaged_copy() -> list[Change]:
    return [(Database, "is_saved", lambda self, machine: True)]


@mutant("i1")
def wakes_elsewhere_than_on_the_only_right_copy() -> list[Change]:
    return [(ending, "is_needed", lambda facts: facts.operation.memo.unsaved)]


@mutant("i1")
def gives_what_runs_for_another_wish() -> list[Change]:
    return [(resuming, "_UP", ())]


@mutant("i14")
def starts_before_it_is_written_down() -> list[Change]:
    real = resuming.plan_resume

    def plan(facts: Facts) -> Plan:
        planned = real(facts)
        return replace(planned, changes=()) if isinstance(planned, Perform) else planned

    return [step(W, "resume", plan=plan)]


@mutant("i2 i6")
def rents_another_beside_a_parked_one() -> list[Change]:
    return [(lifecycle, "first_step", lambda kind, *, parked: lifecycle.CHAINS[kind][0])]


@mutant("a_parked_machine_is_saved_and_its_instance_sleeps")
def parks_without_a_word_of_the_copy() -> list[Change]:
    def park(self: Writer, operation: Any, until: Any) -> None:
        self._set_operation_machine(operation, MachineState.PARKED, None)

    return [(Writer, "_park", park)]
