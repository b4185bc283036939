"""Each request is known by an id and leaves one line, which says who asked and never with what."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from hibernation.api import me
from hibernation.logs.context import known
from hibernation.models import ApiToken
from tests.factories import make_instance
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.facts for record in caplog.records if record.name == "dumont.access"]  # type: ignore[attr-defined]


def note(record: logging.LogRecord) -> bool:
    record.about = dict(known())
    return True


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO, "dumont.access")
    logging.getLogger("dumont.access").addFilter(note)
    yield
    logging.getLogger("dumont.access").removeFilter(note)


@pytest.mark.parametrize("given", ["0af7651916cd43dd", "edge-1:42.a_b", "x" * 64])
def test_the_id_of_a_proxy_is_taken_and_returned(client: Client, given: str) -> None:
    assert client.get("/livez", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "a\tb", "<b>", "-rf"])
def test_anything_else_is_not_and_another_is_made(client: Client, given: str) -> None:
    ids = {client.get("/livez", headers={"X-Request-Id": given}).headers["X-Request-Id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(len(one) == 32 and one.isalnum() for one in ids)


def test_a_refusal_has_an_id_too(client: Client) -> None:
    for path, status in (("/api/none", 404), ("/api/instances", 401), ("/admin/none", 302)):
        reply = client.get(path)
        assert (reply.status_code, "X-Request-Id" in reply.headers) == (status, True)
    assert "X-Request-Id" in client.get("/livez", headers={"Host": "evil.example"}).headers


def test_an_error_of_ours_tells_the_id_that_its_trace_is_logged_with(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(me.MeView, "get", fail)
    api.raise_request_exception = False
    reply = api.get("/api/me", headers={"X-Request-Id": "the-id"})
    assert reply.status_code == 500
    assert reply.json()["error"] == {
        "code": "internal",
        "message": "Something failed here; the log says what.",
        "request_id": "the-id",
    }


def test_a_line_says_method_path_status_time_and_never_the_query(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/api/instances/x%0Ay/status?token=secret")
    (line,) = lines(caplog)
    assert line.pop("ms") >= 0
    assert line == {"method": "GET", "path": "/api/instances/x%0Ay/status", "status": 404}
    assert "secret" not in caplog.text


def test_a_line_says_whose_token_it_was_by_its_beginning(
    api: Client, caplog: pytest.LogCaptureFixture
) -> None:
    api.get("/api/me")
    assert told(caplog) == {"user": "ana", "token_prefix": ApiToken.objects.get().prefix}


def test_a_line_says_which_machine_reported(world: World, caplog: pytest.LogCaptureFixture) -> None:
    instance = world.awake()
    client = Client(headers={"Authorization": f"Bearer {world.box(instance).token}"})
    assert client.post("/api/agent/status", b"{}", content_type="application/json").status_code == 400
    assert told(caplog) == {"agent_of": instance.machines.get().pk}


def test_a_line_says_who_is_at_the_console(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.force_login(User.objects.create_superuser("root"))
    client.get("/admin/")
    assert told(caplog) == {"user": "root"}


def test_a_session_that_nobody_asked_for_is_not_looked_up_for_the_line(
    client: Client, caplog: pytest.LogCaptureFixture, django_assert_num_queries: Any
) -> None:
    client.force_login(User.objects.create_user("ana"))
    with django_assert_num_queries(0):
        client.get("/livez")
    assert told(caplog) == {}


def test_a_token_that_is_none_is_nobody(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    make_instance()
    client.get("/api/instances", headers={"Authorization": "Bearer dmt_abcdefghijklmnop"})
    assert (told(caplog), lines(caplog)[0]["status"]) == ({}, 401)


def told(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """What was known of who asks when the line was written."""
    (record,) = [record for record in caplog.records if record.name == "dumont.access"]
    found = dict(record.about)  # type: ignore[attr-defined]
    assert found.pop("request_id")
    return found
