"""One instance under test: what it was given to keep, its orders, and where its operation is made to stop."""

from __future__ import annotations

from pathlib import Path

from hibernation.domain.states import OperationKind
from tests.chaos.arena import Arena, Row
from tests.chaos.checker import Rules, live_violations, violations
from tests.chaos.places import Place, places_of
from tests.chaos.waiting import eventually
from tests.chaos.workspace import Fingerprint, differences, fill, fingerprint

ENDED = ("succeeded", "failed", "cancelled")
AWAKE = ("running", "idle")


class Subject:
    """Started with a workspace of its own. ``rules``: what counts as a violation for it."""

    def __init__(self, arena: Arena, name: str, rules: Rules | None = None) -> None:
        self.arena, self.name = arena, name
        self.rules = rules or Rules()
        self.original: Fingerprint = {}

    def start(self) -> None:
        self.order(OperationKind.WAKE)

    def fill(self) -> None:
        """Once awake: the workspace that must never change from here on."""
        self.wait_until_awake()
        fill(self.workspace, self.name)
        self.original = fingerprint(self.workspace)

    @property
    def status(self) -> str:
        return str(self.arena.row("SELECT status FROM instance_status WHERE id = %s", self.name)["status"])

    @property
    def machine(self) -> Row:
        """The machine that it has now, or had last."""
        return self.arena.rows(
            "SELECT * FROM hibernation_machine WHERE instance_id = %s ORDER BY id DESC LIMIT 1", self.name
        )[0]

    @property
    def contract(self) -> str:
        return str(self.machine["contract_id"])

    @property
    def workspace(self) -> Path:
        return self.arena.provider.machine_folder(self.contract) / "workspace"

    @property
    def gpu_file(self) -> Path:
        return self.arena.provider.gpu_file(self.contract)

    @property
    def operation(self) -> Row:
        """Its latest."""
        return self.arena.rows(
            "SELECT * FROM hibernation_operation WHERE instance_id = %s ORDER BY id DESC LIMIT 1", self.name
        )[0]

    def events(self) -> list[str]:
        rows = self.arena.rows(
            "SELECT event_type FROM hibernation_events WHERE instance_id = %s ORDER BY id", self.name
        )
        return [row["event_type"] for row in rows]

    def order(self, kind: OperationKind) -> Row:
        path = "snapshots" if kind is OperationKind.SNAPSHOT else kind
        return self.arena.post(f"instances/{self.name}/{path}")

    def wait_until_ended(self, within: float = 60.0) -> Row:
        """The latest operation, when it has ended."""

        def ended() -> Row | None:
            operation = self.operation
            return operation if operation["state"] in ENDED else None

        return eventually(ended, f"{self.name}: its operation ends", within)

    def wait_until_awake(self) -> None:
        eventually(lambda: self.status in AWAKE, f"{self.name} is awake")

    # -- boundaries ------------------------------------------------------------------------------

    def arm(self, *places: Place) -> None:
        """From now on the operation stops when it gets there, and stays until released."""
        for place in places:
            self._file(place).unlink(missing_ok=True)
            self._pause(place).touch()

    def is_at(self, place: Place) -> bool:
        return self._file(place).exists() and self._pause(place).exists()

    def release(self, place: Place) -> None:
        self._pause(place).unlink(missing_ok=True)

    def wait_at(self, place: Place) -> None:
        eventually(lambda: self.is_at(place), f"{self.name} is at {place}")

    def bring_to(self, place: Place) -> int:
        """Stands at the boundary when it returns: the operation. From wherever the instance was before."""

        def arrived() -> bool:
            if self.is_at(place):
                return True
            if self.operation["state"] in ENDED:
                self._set_out(place)
            for other in self._stops():
                if other != place.file_of(self.name):
                    (self.arena.boundaries / f"{other}.pause").unlink(missing_ok=True)
            return False

        try:
            eventually(arrived, f"{self.name} gets to {place}", 90)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._story()}") from None
        return int(self.operation["id"])

    def went_on(self, operation: int, behind: Place) -> None:
        """The operation that stood at ``behind`` was released: it gets further, or has ended well."""

        def further() -> bool:
            row = self.arena.row("SELECT * FROM hibernation_operation WHERE id = %s", operation)
            if row["state"] in ENDED:
                assert row["state"] == "succeeded", (
                    f"{self.name}, {behind}: {row['error_code']} {row['error']}"
                )
                return True
            return bool(self._stops())

        try:
            eventually(further, f"{self.name} goes on from {behind}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._story()}") from None
        assert not live_violations(self.arena, self.name, self.rules)

    # -- the verdict -----------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing is in flight any more and all is as it must be; else ``AssertionError`` with what is not."""
        found: list[str] = []

        def settled() -> bool:
            found[:] = self.violations()
            return not found

        try:
            eventually(settled, f"{self.name} is whole", 30)
        except AssertionError as error:
            raise AssertionError(f"{error}: {found}; {self._story()}") from None

    def violations(self) -> list[str]:
        found = violations(self.arena, self.name, self.rules)
        if not found and self.status in AWAKE:
            found = differences(self.original, fingerprint(self.workspace))
        return found

    def finish(self) -> None:
        """Whatever it is in the middle of: let it end, wake it, check it."""
        for stop in self._pauses():
            stop.unlink(missing_ok=True)
        self.wait_until_ended()
        if self.status not in AWAKE:
            self.order(OperationKind.WAKE)
            self.wait_until_ended()
        self.check()

    def _set_out(self, place: Place) -> None:
        """Order what leads to the boundary, or first what makes that possible."""
        awake = self.status in AWAKE
        if awake is not (place.kind is OperationKind.WAKE):
            self.arm(*places_of(place.where, place.kind))
            self.order(place.kind)
        else:
            self.order(OperationKind.HIBERNATE if awake else OperationKind.WAKE)

    def _pauses(self) -> list[Path]:
        return list(self.arena.boundaries.glob(f"{self.name}.*.pause"))

    def _stops(self) -> list[str]:
        """Where it stands now: a step that was sent again may stand at its next boundary as well."""
        return [p.stem for p in self._pauses() if p.with_suffix("").exists()]

    def _file(self, place: Place) -> Path:
        return self.arena.boundaries / place.file_of(self.name)

    def _pause(self, place: Place) -> Path:
        return self.arena.boundaries / f"{place.file_of(self.name)}.pause"

    def _story(self) -> list[str]:
        rows = self.arena.rows(
            "SELECT event_type, reason FROM hibernation_events WHERE instance_id = %s ORDER BY id DESC LIMIT 12",
            self.name,
        )
        told = [f"{row['event_type']}: {row['reason']}" for row in reversed(rows)]
        shown = (
            "id",
            "kind",
            "state",
            "step",
            "waits",
            "failures",
            "waiting_for",
            "error",
            "lease_until",
            "next_attempt_at",
        )
        operation = self.operation
        return [*told, *(f"{name} {operation[name]}" for name in shown), *self._stops()]
