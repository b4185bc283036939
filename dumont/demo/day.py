"""A day on the user's clock in about a minute: the guide's schedule, kept by the real stack on a faster clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from .errors import DemoFailed
from .host import INSTANCE, Host
from .options import Options
from .play import Play, until
from .report import Report
from .story import Story

SPEED = 1440
ZONE = "America/Sao_Paulo"
GUIDE = {"wake_time": "09:00", "sleep_time": "18:00", "timezone": ZONE}
_LATE = timedelta(hours=4)
"""Ten seconds by the real clock: beat ticks every second, and a worker takes the message."""
_TWO_DAYS = 2 * 86_400 / SPEED


class DayClock:
    """What schedules take for the time: it began early on a Monday, and runs ``SPEED`` times as fast."""

    def __init__(self) -> None:
        self._real = datetime.now(UTC)
        self._shown = datetime(2026, 3, 2, 6, tzinfo=ZoneInfo(ZONE))

    @property
    def env(self) -> dict[str, str]:
        return {
            "DUMONT_SCHEDULE_CLOCK": f"{self._real.isoformat()}/{self._shown.isoformat()}/{SPEED}",
            "DUMONT_SCHEDULE_SECONDS": "1",
            # Ten seconds of a busy computer are four hours here.
            "DUMONT_WAKE_GRACE_MINUTES": "240",
            "DUMONT_SLEEP_GRACE_MINUTES": "240",
        }

    def at(self, real: datetime) -> datetime:
        """The local time it shows at a real moment."""
        return self._shown + (real - self._real) * SPEED


class DayPlay(Play):
    """The same workspace and comparison; what puts it to sleep and wakes it is the schedule, and nobody else."""

    def __init__(self, options: Options, host: Host, story: Story, report: Report, clock: DayClock) -> None:
        super().__init__(options, host, story, report)
        self._clock = clock

    def run(self) -> None:
        """Raises ``DemoFailed`` also where an occurrence came before its time or much later."""
        self._open()
        with self._scene("keep the guide's schedule"):
            self._keep()
        with self._scene("sleep at 18:00"):
            self._hibernate(self._wait_for("hibernate_started", 18))
        with self._scene("wake at 09:00"):
            self._wake(self._wait_for("wake_started", 9))
        with self._scene("compare"):
            self._compare()

    def _keep(self) -> None:
        """Idleness alone is to end nothing here, so it is switched off. The schedule comes when the work is over."""
        client, path = self._session.client, f"/api/instances/{INSTANCE}"
        client.put(f"{path}/config", {"auto_hibernation_enabled": False})
        self._host.use_gpu(self._contract, 0)
        self._wait_for_event("idle_detected", "An idle reading")
        self._story.say(
            f"  schedules live {SPEED} times as fast from here on: a day takes {86_400 // SPEED} s"
        )
        client.put(f"{path}/schedule", GUIDE)
        told = client.get(f"{path}/schedule/preview?days=2")
        for one in told["occurrences"]:
            self._story.say(f"  to come: {one['leg']:<5} at {_shown(datetime.fromisoformat(one['local']))}")
        self._follower.tell(self._follower.new_events())

    def _wait_for(self, event_type: str, hour: int) -> int:
        """The operation that the schedule begins, in its hour and not before."""
        found: list[dict[str, Any]] = []

        def look() -> None:
            events = self._follower.new_events()
            for event in events:
                moment = self._clock.at(datetime.fromisoformat(event["timestamp"]))
                self._story.say(
                    f"  {_shown(moment)}  {event['event_type']}: {event['reason']}", event["timestamp"]
                )
            found.extend(event for event in events if event["event_type"] == event_type)
            if not found:
                self._story.live(f"  {_shown(self._clock.at(datetime.now(UTC)))} in {ZONE}")

        reached: Callable[[], bool] = lambda: bool(found)  # noqa: E731 - it is given away
        until(reached, look, f"The schedule's {event_type}", 60 + _TWO_DAYS)
        self._check(found[0], hour)
        number: int = found[0]["operation_id"]
        return number

    def _check(self, event: dict[str, Any], hour: int) -> None:
        moment = self._clock.at(datetime.fromisoformat(event["timestamp"]))
        late = moment - moment.replace(hour=hour, minute=0, second=0, microsecond=0)
        if event["actor"] != "schedule" or not timedelta(0) <= late <= _LATE:
            raise DemoFailed(
                f"{event['reason']} by {event['actor']} came at {_shown(moment)}.", "beat", "control"
            )
        self._story.good(
            f"  {hour:02}:00 in {ZONE}, and {late.total_seconds() / SPEED:.1f} real seconds later it began"
        )


def _shown(moment: datetime) -> str:
    return f"{moment:%a %H:%M}"
