"""Waiting for an operation over HTTP: bounded in time and in number."""

from __future__ import annotations

import pytest

from hibernation.api import waiting
from hibernation.api.places import Places
from hibernation.domain.states import OperationState
from hibernation.models import Operation
from hibernation.services.clock import db_now
from tests.factories import make_instance, make_operation

pytestmark = pytest.mark.django_db


def test_it_returns_when_the_operation_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = make_operation(make_instance())

    def end(seconds: float) -> None:
        Operation.objects.update(state=OperationState.SUCCEEDED, finished_at=db_now())

    monkeypatch.setattr(waiting.time, "sleep", end)
    assert waiting.wait_for(operation.pk, 60).state == OperationState.SUCCEEDED


def test_it_returns_when_the_time_is_over() -> None:
    operation = make_operation(make_instance())
    assert waiting.wait_for(operation.pk, 0).state == OperationState.RUNNING


def test_with_too_many_waiting_it_answers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WAITS", Places(0))
    operation = make_operation(make_instance())
    assert waiting.wait_for(operation.pk, 300).state == OperationState.RUNNING
