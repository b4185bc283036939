"""``POST`` and ``DELETE /api/instances/{id}/keep-alive``."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from hibernation.models import Instance
from tests.factories import idle_for, make_hibernated, make_instance

pytestmark = pytest.mark.django_db


def say(api: Client, body: Any, instance: Instance) -> Any:
    path = f"/api/instances/{instance.pk}/keep-alive"
    return api.post(path, body, content_type="application/json")


def test_the_status_tells_it_and_why_it_stays_awake(api: Client) -> None:
    instance = make_instance(**idle_for(4))
    reply = say(api, {"minutes": 60}, instance)
    told = reply.json()
    assert (reply.status_code, told["kept_alive_until"]) == (200, told["hibernate_due_at"])
    assert "; kept alive until " in told["explanation"]
    assert api.get(f"/api/instances/{instance.pk}/status").json() == told


def test_it_is_taken_back(api: Client) -> None:
    instance = make_instance(**idle_for(1))
    say(api, {"minutes": 60}, instance)
    for _ in range(2):
        reply = api.delete(f"/api/instances/{instance.pk}/keep-alive")
        assert (reply.status_code, reply.json()["kept_alive_until"]) == (200, None)
    assert "hibernates in" in reply.json()["explanation"]


@pytest.mark.parametrize("body", [{}, {"minutes": 0}, {"minutes": 1441}, {"minutes": "x"}, {"hours": 1}, []])
def test_a_time_that_makes_no_sense_is_refused(api: Client, body: Any) -> None:
    instance = make_instance()
    assert say(api, body, instance).status_code == 400
    instance.refresh_from_db()
    assert instance.kept_alive_until is None


def test_what_sleeps_is_not_kept_alive(api: Client) -> None:
    reply = say(api, {"minutes": 60}, make_hibernated())
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")
