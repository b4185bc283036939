"""The play itself, scene by scene: rent, work, fall idle, hibernate, wake, compare."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dumont.client import units

from .background import Background
from .compare import compare
from .copying import Extent, check_space, copy_tree, measure, move_into
from .errors import DemoFailed
from .follow import Follower, Readings
from .generator import make_workspace
from .host import INCOMING, INSTANCE, Host, Session
from .inventory import Inventory, take_inventory
from .markets import Rental
from .options import Options
from .report import SHOWN, Report
from .story import Story

_READINGS = 3
_BUSY = (91, 88, 94)
_PATIENCE = 180.0
_PAUSE = 0.3


class Play:
    """``run`` plays all of it. What was learnt so far is in ``report`` and ``story`` however it ends."""

    def __init__(self, options: Options, host: Host, story: Story, report: Report) -> None:
        self._options = options
        self._host = host
        self._story = story
        self._report = report
        self._extent = Extent(0, 0)
        self._session: Session
        self._follower: Follower
        self._placed: Background[Inventory] | None = None
        self._contract = ""

    @property
    def contract(self) -> str:
        """Of the machine rented last."""
        return self._contract

    @property
    def session(self) -> Session:
        return self._session

    def run(self) -> None:
        """Raises ``DemoFailed`` or another ``DumontError`` when a scene fails."""
        self._open()
        with self._scene("fall idle"):
            operation = self._fall_idle()
        with self._scene("hibernate"):
            self._hibernate(operation)
        with self._scene("wake"):
            self._wake()
        with self._scene("compare"):
            self._compare()

    def _open(self) -> None:
        """The scenes that every play begins with: a workspace comes to a machine, and work to its GPU."""
        source = Background(self._bring)
        with self._scene("start the services"):
            self._start()
        with self._scene("rent the first machine"):
            self._rent(source)
        with self._scene("work"):
            self._work()

    @contextlib.contextmanager
    def _scene(self, name: str) -> Iterator[None]:
        self._story.heading(name[0].upper() + name[1:])
        began = time.monotonic()
        yield
        self._report.seconds[name] = time.monotonic() - began

    @property
    def _limit(self) -> float:
        """Seconds for one operation: it passes over the workspace a few times."""
        return _PATIENCE + 3 * self._extent.patience

    def _bring(self) -> Path:
        """The workspace to be, beside the machines so that it can be moved onto one. Runs in the background."""
        target = self._host.state / INCOMING
        if self._options.workspace is None:
            make_workspace(target)
            self._extent = measure(target)
        else:
            self._extent = measure(self._options.workspace)
            check_space(self._extent, self._host.state)
            self._report.not_copied = copy_tree(self._options.workspace, target)
        return target

    def _start(self) -> None:
        wanted = self._options.workspace
        self._story.say(f"  meanwhile {wanted} is copied" if wanted else "  meanwhile a workspace is made")
        self._session = self._host.start()
        self._follower = Follower(self._session.client, self._story, INSTANCE)
        self._story.say(f"PostgreSQL, Valkey, web, beat and three workers run; {self._host.stack.base_url}")
        # Else caches that anyone can refill, such as __pycache__, would stay behind: here every byte is to come back.
        self._session.client.put(f"/api/instances/{INSTANCE}/config", {"default_ignore_rules": False})

    def _rent(self, source: Background[Path]) -> None:
        def watch() -> None:
            if self._placed is None and self._meet_machine():
                self._placed = Background(lambda: self._place(source))

        self._report.operations.append(self._follower.operation(self._ask_for_wake(), self._limit, watch))
        watch()

    def _ask_for_wake(self) -> int:
        """The first start is a wake without a snapshot. Returns the operation."""
        number: int = self._session.client.post(f"/api/instances/{INSTANCE}/wake", {})["id"]
        return number

    def _meet_machine(self) -> bool:
        """Notices a machine not met before, and gives its GPU work before it can count as idle."""
        machine = self._follower.status()["machine"]
        if machine is None or machine["contract_id"] in ("", None, self._contract):
            return False
        if not self._host.market.is_up(machine["contract_id"]):
            return False
        self._contract = machine["contract_id"]
        self._host.use_gpu(self._contract, _BUSY[0])
        names = ("contract_id", "gpu_type", "region", "price_per_hour")
        self._report.machines.append({name: machine[name] for name in names})
        self._story.say(
            f"  machine {self._contract}: {machine['gpu_count']} x {machine['gpu_type']} in {machine['region']}, "
            f"${float(machine['price_per_hour']):.2f}/h; its GPU gets work"
        )
        return True

    def _place(self, source: Background[Path]) -> Inventory:
        folder = source.result("Bringing the workspace", float("inf"))
        workspace = self._host.workspace(self._contract)
        move_into(folder, workspace)
        return take_inventory(str(workspace))

    def _work(self) -> None:
        """Busy until the workspace is in place and listed, and for three readings at least."""
        if self._placed is None:
            raise DemoFailed("The machine never showed up in the API.", "web", "provision")
        readings = Readings(self._follower, self._story, _READINGS)

        def look() -> None:
            if readings.look():
                self._host.use_gpu(self._contract, _BUSY[readings.count % len(_BUSY)])

        patience = 120 + 2 * self._extent.patience
        self._report.before = self._placed.result("Filling the machine's workspace", patience, look)
        self._tell_workspace(self._report.before)
        until(lambda: readings.count >= _READINGS, look, "Three readings of the busy GPU", 60)

    def _tell_workspace(self, inventory: Inventory) -> None:
        counts = inventory.counts()
        self._story.say(
            f"  workspace on the machine: {units.size(counts['bytes'])} in {units.files(counts['files'])}, "
            f"{counts['directories']:,} directories, {counts['symlinks']:,} symlinks; every one is listed with its hash"
        )
        for complaint in self._report.not_copied[:SHOWN]:
            self._story.bad(f"  not copied: {complaint}")

    def _fall_idle(self) -> int:
        """Returns the hibernation that nobody asked for."""
        self._host.use_gpu(self._contract, 0)
        self._story.say("  the work is done: the GPU falls to 0 %")
        number: int = self._wait_for_event("hibernate_started", "The idle machine's hibernation")[
            "operation_id"
        ]
        return number

    def _wait_for_event(self, event_type: str, what: str) -> dict[str, Any]:
        """Of a machine that idles: the first one of this type. What happens meanwhile is told."""
        found: list[dict[str, Any]] = []

        def look() -> None:
            events = self._follower.new_events()
            self._follower.tell(events)
            found.extend(event for event in events if event["event_type"] == event_type)
            if not found:
                self._story.live(f"  {self._follower.status()['explanation']}")

        until(lambda: bool(found), look, what, 60 + self._options.idle_seconds)
        return found[0]

    def _hibernate(self, number: int) -> None:
        operation = self._follower.operation(number, self._limit)
        self._report.operations.append(operation)
        self._report.bytes_stored = _stored(self._host.state / "store")
        if self._host.is_billing(self._contract):
            raise DemoFailed(f"Machine {self._contract} still bills, by the provider's books.", "control")
        rental = self._host.rental(self._contract)
        self._report.machines[-1].update(rental.to_json())
        self._story.good(f"  destroy confirmed: machine {self._contract} is gone, nothing bills")
        self._story.say(
            f"  {_bill(rental)}; asleep it saves ${rental.price_per_hour:.2f}/h; "
            f"{units.size(self._report.bytes_stored)} are stored, encrypted"
        )
        self._tell_snapshots()

    def _tell_snapshots(self) -> None:
        """What moved before the decision, and what after it."""
        found = self._session.client.get(f"/api/instances/{INSTANCE}/snapshots")["snapshots"]
        self._report.snapshots = list(reversed(found))
        for snapshot in self._report.snapshots:
            self._story.say(
                f"  snapshot {snapshot['name']}: {snapshot['state']}, {units.files(snapshot['files'])}, "
                f"{units.size(snapshot['bytes_logical'])}, {units.size(snapshot['bytes_stored_new'])} of them sent"
            )

    def _wake(self, number: int | None = None) -> None:
        """``number``: the operation, if it is not to be asked for."""
        before = self._contract

        def watch() -> None:
            # Working again before its agent reports, it cannot fall asleep under the comparison.
            if self._contract == before:
                self._meet_machine()

        number = self._ask_for_wake() if number is None else number
        self._report.operations.append(self._follower.operation(number, self._limit, watch))
        watch()
        if self._contract == before:
            raise DemoFailed("The wake rented no other machine.", "provision")
        self._story.good(f"  awake on machine {self._contract}, which is not {before}")
        self._tell_wake(self._report.operations[-1])

    def _tell_wake(self, operation: dict[str, Any]) -> None:
        """Where the time went, stage by stage, and what the machine has cost so far."""
        stages, order = operation["result"]["stages"], [step["step"] for step in operation["steps"]]
        told = ", ".join(f"{name} {stages[name]:.1f} s" for name in dict.fromkeys(order))
        rental = self._host.rental(self._contract)
        self._report.machines[-1].update(rental.to_json())
        self._story.say(f"  stages: {told}")
        self._story.say(f"  {_bill(rental)} until now")

    def _compare(self) -> None:
        restored = Background(lambda: take_inventory(str(self._host.workspace(self._contract))))
        after = restored.result("Reading the restored workspace", 120 + self._extent.patience)
        before = self._report.before or Inventory()
        for path, kind in sorted(before.skipped.items())[:SHOWN]:
            self._story.say(f"  skipped: {units.printable(path)} is a {kind}, which no snapshot holds")
        for path in before.unreadable[:SHOWN]:
            self._story.bad(
                f"  compared without its content, which you may not read: {units.printable(path)}"
            )
        self._report.differences = found = compare(before, after)
        self._report.result = "different" if found else "identical"
        for difference in found[:SHOWN]:
            self._story.bad(f"  {difference}")
        if found:
            self._story.bad(f"{len(found):,} differences in {len(before.entries):,} entries")
        else:
            self._story.good(
                f"IDENTICAL: {units.files(before.files)} and all else, {len(before.entries):,} entries, "
                f"{units.size(before.bytes)}: content, modes, dates, owners, links, attributes"
            )


def until(reached: Callable[[], bool], look: Callable[[], None], what: str, timeout: float) -> None:
    """``look`` every 0.3 s until ``reached``; ``DemoFailed`` if that takes longer than ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while not reached():
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what} did not come within {timeout:.0f} s.", "web", "beat", "control")
        look()
        time.sleep(_PAUSE)


def _bill(rental: Rental) -> str:
    parts = ", ".join(f"{kind} ${usd:.6f}" for kind, usd in rental.parts.items())
    return f"it cost ${rental.cost:.6f} for {rental.seconds:.1f} s of the market's time" + (
        f" ({parts})" if parts else ""
    )


def _stored(store: Path) -> int:
    return sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
