"""Health checks, and the published description of the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import DatabaseError
from django.test import Client, RequestFactory

from hibernation.api import health
from hibernation.api.errors import server_error

SCHEMA = Path(__file__).parents[3] / "docs" / "openapi.yaml"


def test_it_lives_without_a_database(client: Client) -> None:
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.post("/livez").status_code == 405


@pytest.mark.django_db
def test_it_is_ready_with_a_database(client: Client) -> None:
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok", "lists": {"local": None}})


def test_it_is_not_ready_without_one(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise DatabaseError

    monkeypatch.setattr(health, "facts_of_all", away)
    assert client.get("/readyz").status_code == 503


def test_the_published_schema_is_valid_and_current(tmp_path: Path) -> None:
    """If this fails: ``manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml``."""
    fresh = tmp_path / "openapi.yaml"
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(fresh))
    assert SCHEMA.read_text() == fresh.read_text()


@pytest.mark.django_db
def test_the_schema_is_served_to_people(api: Client) -> None:
    assert api.get("/api/schema").status_code == 200


@pytest.mark.parametrize("path", ["/api/instances/", "/api/nothing", "/api/instances/a%0Ab"])
def test_an_unknown_address_of_the_api_is_refused_in_its_words(path: str) -> None:
    reply = Client().get(path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_an_unknown_page_is_a_page() -> None:
    assert Client().get("/nothing").headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(("path", "kind"), [("/api/x", "application/json"), ("/x", "text/html")])
def test_an_unforeseen_failure_tells_nothing(path: str, kind: str) -> None:
    reply = server_error(RequestFactory().get(path))
    assert (reply.status_code, reply.headers["Content-Type"].partition(";")[0]) == (500, kind)
