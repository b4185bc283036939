"""Following an instance: told once and in order, and no end without a reason."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from dumont.client.errors import Refused
from dumont.demo.__main__ import main
from dumont.demo.background import Background
from dumont.demo.client import Client
from dumont.demo.errors import DemoFailed
from dumont.demo.follow import Follower, Readings
from dumont.demo.host import Host
from dumont.demo.story import Story

T1, T2, T3 = "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z"


class FakeClient(Client):
    """Answers each path with what was put there."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {"/api/instances/demo/events?limit=100": {"events": []}}

    def get(self, path: str) -> dict[str, Any]:
        return self.answers[path]

    def operation(self, **fields: Any) -> None:
        usual = {"id": 1, "kind": "wake", "state": "running", "step": "reach", "steps": [], "progress": {}}
        self.answers["/api/operations/1"] = (
            usual | {"waiting_for": "", "error": "", "cancel_reason": ""} | fields
        )

    def events(self, *events: dict[str, Any]) -> None:
        self.answers["/api/instances/demo/events?limit=100"] = {"events": list(reversed(events))}


def event(number: int, at: str) -> dict[str, Any]:
    return {
        "id": number,
        "event_type": f"event_{number}",
        "reason": "why",
        "timestamp": at,
        "operation_id": 1,
    }


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def story() -> Story:
    return Story(io.StringIO())


@pytest.fixture
def follower(client: FakeClient, story: Story) -> Follower:
    return Follower(client, story, "demo")


def told(story: Story) -> list[str]:
    return [line["text"].split()[0] for line in story.timeline]


def test_steps_and_events_are_told_once_and_in_the_order_they_happened(
    client: FakeClient, follower: Follower, story: Story
) -> None:
    step = {"step": "launch", "entered_at": T1, "finished_at": T2, "seconds": 1.0}
    client.operation(state="succeeded", steps=[step])
    client.events(event(1, T1), event(2, T2), event(3, T3))
    follower.operation(1, 5)
    follower.operation(1, 5)
    assert told(story) == ["event_1:", "launch", "event_2:", "event_3:"]


def test_an_operation_that_failed_says_why_and_names_its_logs(client: FakeClient, follower: Follower) -> None:
    client.operation(state="failed", error="no offer fits")
    with pytest.raises(DemoFailed, match="The wake failed: no offer fits") as failed:
        follower.operation(1, 5)
    assert failed.value.logs == ("provision", "transfer")


def test_an_operation_that_takes_too_long_says_where_it_stands(
    client: FakeClient, follower: Follower
) -> None:
    client.operation(waiting_for="SSH does not answer")
    with pytest.raises(DemoFailed, match="stands at reach: SSH does not answer"):
        follower.operation(1, -1)


def test_each_busy_reading_counts_once(client: FakeClient, follower: Follower, story: Story) -> None:
    readings, path = Readings(follower, story, 1), "/api/instances/demo/status"
    looked = []
    for used, at in ((None, None), (0.0, None), (90.0, T1), (90.0, T1), (90.0, T2)):
        client.answers[path] = {"gpu_utilization": used, "last_activity": at, "status": "running"}
        looked.append(readings.look())
    assert looked == [False, False, True, False, True]
    assert told(story) == ["reading"]


def test_a_refusal_is_told_in_the_apis_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise Refused(409, "conflict", "awake already")

    monkeypatch.setattr("dumont.client.http.Client.call", refuse)
    client = Client("http://127.0.0.1:9", "token")
    for ask in (client.get, lambda path: client.post(path, {}), lambda path: client.put(path, {})):
        with pytest.raises(DemoFailed, match="answered 409: awake already"):
            ask("/api/x")


def test_a_change_is_sent_once_and_a_silent_server_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dumont.demo.client._PATIENCE", 0.0)
    client = Client("http://127.0.0.1:9", "token")
    with pytest.raises(DemoFailed, match="POST /api/x"):
        client.post("/api/x", {})
    with pytest.raises(DemoFailed, match="does not answer"):
        client.get("/api/x")


def test_what_the_background_raised_is_raised_in_front() -> None:
    with pytest.raises(ZeroDivisionError):
        Background(lambda: 1 // 0).result("Dividing", 5)
    assert Background(lambda: 7).result("Counting", 5) == 7


def test_a_demo_whose_services_fail_says_so_shows_the_log_and_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(host: Host) -> None:
        (host.state / "logs").mkdir()
        (host.state / "logs" / "web.log").write_text("address in use\n")
        raise DemoFailed("The web did not come up.", "web")

    monkeypatch.setattr(Host, "start", fail)
    assert main(["--state", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "FAILED: The web did not come up." in shown
    assert "address in use" in shown
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["result"], report["error"]) == ("failed", "The web did not come up.")
