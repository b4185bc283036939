"""What must hold after every disaster: of the rows, of the event log, and of the provider's own ledger.

The ledger is the witness: the local provider writes it, not the control plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from tests.chaos.arena import Arena, Row

AWAKE = ("running", "idle")
AT_REST = (*AWAKE, "hibernated", "deleted")
ENDED_MACHINES = ("active", "destroyed", "void", "abandoned", "lost")


@dataclass(frozen=True, slots=True)
class Rules:
    """``destroy_calls``: how often a machine may be told to end. More than once only where a fault asks for it."""

    destroy_calls: int = 1


@dataclass(frozen=True, slots=True)
class Rental:
    """One machine of an instance, as the ledger and the rows tell it. Times are None for what did not happen."""

    contract: str
    launched_at: datetime
    ended_at: datetime | None
    destroy_calls: tuple[datetime, ...]
    held_data: bool
    proven_at: datetime | None


def violations(arena: Arena, instance: str, rules: Rules) -> list[str]:
    """Of an instance whose operations have ended; empty when all is well."""
    return [
        *_of_rows(arena, instance),
        *live_violations(arena, instance, rules),
        *_of_the_end(arena, instance),
    ]


def live_violations(arena: Arena, instance: str, rules: Rules) -> list[str]:
    """What must hold at every moment, also in the middle of an operation."""
    rentals = rentals_of(arena, instance)
    return [*_of_destroys(rentals, rules), *_of_doubles(rentals)]


def rentals_of(arena: Arena, instance: str) -> list[Rental]:
    """Every machine that ever billed for the instance, oldest first."""
    machines = arena.rows(
        "SELECT m.*, (SELECT s.verified_at FROM hibernation_operation o JOIN hibernation_snapshot s"
        " ON s.id = o.snapshot_id WHERE o.machine_id = m.id AND o.kind = 'hibernate' AND s.state = 'verified'"
        " AND o.point_of_no_return_at IS NOT NULL) AS proven_at,"
        " EXISTS (SELECT 1 FROM hibernation_operation o WHERE o.machine_id = m.id AND o.kind = 'wake'"
        " AND o.state = 'succeeded') AS held_data FROM hibernation_machine m WHERE instance_id = %s",
        instance,
    )
    ledger = arena.ledger()
    by_label = {machine["label"]: machine for machine in machines}
    launches = [line for line in ledger if line["event"] == "launched" and line["label"] in by_label]
    return [_rental(by_label[line["label"]], line, ledger) for line in launches]


def _rental(machine: Row, launched: Row, ledger: list[Row]) -> Rental:
    mine = [line for line in ledger if line["contract"] == launched["contract"]]
    ends = [line for line in mine if line["event"] in ("destroyed", "vanished")]
    return Rental(
        contract=launched["contract"],
        launched_at=_moment(launched),
        ended_at=_moment(ends[0]) if ends else None,
        destroy_calls=tuple(_moment(line) for line in mine if line["event"] == "destroy_called"),
        held_data=machine["held_data"],
        proven_at=machine["proven_at"],
    )


def _of_destroys(rentals: list[Rental], rules: Rules) -> Iterator[str]:
    """A machine that held a workspace ends only after the proof, and is told so once."""
    for rental in rentals:
        calls = rental.destroy_calls
        if not (rental.held_data and calls):
            continue
        if rental.proven_at is None or calls[0] < rental.proven_at:
            yield f"{rental.contract} was destroyed before its copy was proven"
        if len(calls) > rules.destroy_calls:
            yield f"{rental.contract} was destroyed {len(calls)} times"


def _of_doubles(rentals: list[Rental]) -> Iterator[str]:
    """Two machines with the workspace never bill together: the next is not launched before the last has ended."""
    holders = [rental for rental in rentals if rental.held_data]
    for before, after in pairwise(holders):
        if before.ended_at is None or before.ended_at > after.launched_at:
            yield f"{before.contract} and {after.contract} held the workspace at the same time"


def _of_rows(arena: Arena, instance: str) -> Iterator[str]:
    open_operations = (
        "SELECT kind, step, state FROM hibernation_operation WHERE state IN ('running', 'queued')"
    )
    for row in arena.rows(f"{open_operations} AND instance_id = %s", instance):
        yield f"still {row['state']}: {row['kind']} at {row['step']}"
    status = arena.row("SELECT status FROM instance_status WHERE id = %s", instance)["status"]
    if status not in AT_REST:
        yield f"the instance is {status}"
    for row in arena.rows("SELECT state FROM hibernation_machine WHERE instance_id = %s", instance):
        if row["state"] not in ENDED_MACHINES:
            yield f"a machine is still {row['state']}"
    yield from _of_events(arena, instance, status)
    open_visits = (
        "SELECT s.step FROM hibernation_operationstep s JOIN hibernation_operation o ON o.id = s.operation_id"
        " WHERE o.instance_id = %s AND s.finished_at IS NULL"
    )
    for row in arena.rows(open_visits, instance):
        yield f"the visit to {row['step']} was never closed"


def _of_events(arena: Arena, instance: str, status: str) -> Iterator[str]:
    """The log replays to the present status, each arrow from where the last one led."""
    now = ""
    log = "SELECT status_from, status_to FROM hibernation_events WHERE instance_id = %s ORDER BY id"
    for event in arena.rows(log, instance):
        if not event["status_to"]:
            continue
        if event["status_from"] != now:
            yield f"the log goes on from {event['status_from']} where it was {now}"
        now = event["status_to"]
    if now != status:
        yield f"the log ends in {now}, the instance is {status}"


def _of_the_end(arena: Arena, instance: str) -> Iterator[str]:
    """One machine bills if the instance is awake, none if not, and our bill says the same as the provider's."""
    status = arena.row("SELECT status FROM instance_status WHERE id = %s", instance)["status"]
    billing = [rental.contract for rental in rentals_of(arena, instance) if rental.ended_at is None]
    if len(billing) != (status in AWAKE):
        yield f"{status}, and {len(billing)} machines bill"
    counted = arena.rows(
        "SELECT m.contract_id FROM hibernation_usageinterval u JOIN hibernation_machine m ON m.id = u.machine_id"
        " WHERE m.instance_id = %s AND u.ended_at IS NULL",
        instance,
    )
    if sorted(row["contract_id"] for row in counted) != sorted(billing):
        yield f"we count {counted}, the provider bills {billing}"


def _moment(line: Row) -> datetime:
    return datetime.fromisoformat(line["at"])
