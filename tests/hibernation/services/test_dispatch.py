"""What is sent to the broker and what its tasks do: thin, and nothing depends on it."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import Ignore
from django.db import connections
from kombu.exceptions import OperationalError

from hibernation import tasks
from hibernation.domain.states import OperationKind
from hibernation.services import dispatch, operations


class Broker:
    """Takes what ``chain`` is given and when it is to start."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.sent: list[tuple[list[tuple[str, Any]], float]] = []

    def chain(self, *signatures: Any) -> Broker:
        self.signatures = [(s.args[1], s.options["queue"]) for s in signatures]
        return self

    def apply_async(self, countdown: float) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((self.signatures, countdown))


def send(monkeypatch: pytest.MonkeyPatch, broker: Broker, step: str, delay: float = 0) -> Broker:
    monkeypatch.setattr(dispatch, "chain", broker.chain)
    dispatch._send(7, OperationKind.HIBERNATE, step, delay)
    return broker


def test_the_rest_of_the_chain_is_sent_each_step_to_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    [(steps, delay)] = send(monkeypatch, Broker(), "verify", 2.5).sent
    assert steps == [
        ("verify", "transfer"),
        ("fence", "transfer"),
        ("destroy", "provision"),
        ("confirm", "provision"),
    ]
    assert delay == 2.5


def test_a_step_outside_the_chain_is_sent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    [(steps, _)] = send(monkeypatch, Broker(), "release").sent
    assert steps == [("release", "provision")]


@pytest.mark.parametrize("error", [OperationalError("away"), ConnectionRefusedError()])
def test_a_broker_that_is_away_loses_nothing_but_a_tick(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    assert send(monkeypatch, Broker(error), "quiesce").sent == []


def test_a_step_that_goes_on_lets_the_chain_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "run_step", lambda operation_id, step: True)
    tasks.step(7, "quiesce")


def test_a_step_that_does_not_go_on_ends_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "run_step", lambda operation_id, step: False)
    with pytest.raises(Ignore):
        tasks.step(7, "quiesce")


@pytest.mark.django_db
def test_every_tick_runs_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(tasks.sweep, "sweep", lambda: ran.append("sweep"))
    monkeypatch.setattr(tasks.reconcile, "reconcile", lambda: ran.append("reconcile"))
    monkeypatch.setattr(tasks.reconcile, "drive_due", lambda: ran.append("drive_due"))
    tasks.sweep_tick()
    tasks.reconcile_tick()
    tasks.drive_due_tick()
    assert ran == ["sweep", "reconcile", "drive_due"]


@pytest.mark.django_db
def test_a_tick_whose_twin_runs_elsewhere_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(tasks.sweep, "sweep", lambda: ran.append("sweep"))
    key = [tasks.zlib.crc32(b"dumont:sweep")]
    other = connections["default"].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", key)
            tasks.sweep_tick()
            assert ran == []
            cursor.execute("SELECT pg_advisory_unlock(%s)", key)
    finally:
        other.close()
    tasks.sweep_tick()
    assert ran == ["sweep"]
