"""Watches an instance through the API and tells what is new: events, finished steps, progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dumont.client.operations import ENDED, Steps, standing, why_ended

from .client import Client
from .errors import DemoFailed
from .story import Story

Status = dict[str, Any]
Operation = dict[str, Any]

_PAUSE = 0.3
_LOGS = {
    "wake": ("provision", "transfer"),
    "hibernate": ("transfer", "control"),
    "snapshot": ("transfer", "control"),
}


class Follower:
    """Tells each event and each finished step once, in the order they happened."""

    def __init__(self, client: Client, story: Story, instance: str) -> None:
        self._client = client
        self._story = story
        self._path = f"/api/instances/{instance}"
        self._seen_event = 0
        self._steps = Steps()

    def status(self) -> Status:
        return self._client.get(f"{self._path}/status")

    def new_events(self) -> list[dict[str, Any]]:
        """Oldest first; not told yet."""
        found = self._client.get(f"{self._path}/events?limit=100")["events"]
        fresh = [event for event in reversed(found) if event["id"] > self._seen_event]
        if fresh:
            self._seen_event = fresh[-1]["id"]
        return fresh

    def tell(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self._story.say(f"  {event['event_type']}: {event['reason']}", event["timestamp"], "event")

    def operation(self, number: int, limit: float, watch: Callable[[], None] = lambda: None) -> Operation:
        """Follows it to success; ``watch`` is called at each look. ``DemoFailed`` if it fails or takes ``limit`` s."""
        deadline = time.monotonic() + limit
        while True:
            found = self._client.get(f"/api/operations/{number}")
            self._tell_news(found)
            if found["state"] in ENDED:
                return _succeeded(found)
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"The {found['kind']} took longer than {limit:.0f} s; it stands at {found['step']}: "
                    f"{found['waiting_for'] or 'no word why'}",
                    *_LOGS[found["kind"]],
                )
            self._story.live(f"  {standing(found)}")
            watch()
            time.sleep(_PAUSE)

    def _tell_news(self, operation: Operation) -> None:
        news = [
            (step["finished_at"], f"  {step['step']:<9}{step['seconds']:6.2f} s", "step")
            for step in self._steps.ended(operation)
        ]
        events = [(e["timestamp"], f"  {e['event_type']}: {e['reason']}", "event") for e in self.new_events()]
        # A step's own events carry the time of its end; the step goes first.
        for at, text, kind in sorted(news + events, key=lambda item: item[0]):
            self._story.say(text, at, kind)


class Readings:
    """The instance's readings while its GPU works: the first ``told`` ones are told, the rest shown live."""

    def __init__(self, follower: Follower, story: Story, told: int) -> None:
        self._follower = follower
        self._story = story
        self._told = told
        self._last: tuple[float, str] | None = None
        self.count = 0

    def look(self) -> bool:
        """Whether there is a new busy reading."""
        self._follower.tell(self._follower.new_events())
        status = self._follower.status()
        # A busy reading moves the last activity, even if it shows the same use again.
        reading = (status["gpu_utilization"], status["last_activity"])
        if reading == self._last or not status["gpu_utilization"]:
            return False
        self._last = reading
        self.count += 1
        tell = self._story.say if self.count <= self._told else self._story.live
        tell(f"  reading {self.count}: GPU {status['gpu_utilization']:.0f} %, {status['status']}")
        return True


def _succeeded(operation: Operation) -> Operation:
    if operation["state"] != "succeeded":
        said = f"The {operation['kind']} {operation['state']}: {why_ended(operation)}"
        raise DemoFailed(said, *_LOGS[operation["kind"]])
    return operation
