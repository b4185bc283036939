"""Every refusal has the one shape, whoever refuses: a view, the router, Django itself or the door for machines."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.factories import make_instance

pytestmark = pytest.mark.django_db
JSON = "application/json"


def refused(reply: Any) -> tuple[int, str]:
    """The status and the code of a refusal that has the shape, whole and alone."""
    assert reply.headers["Content-Type"] == JSON
    assert set(reply.json()) == {"error"}
    error = reply.json()["error"]
    assert set(error) <= {"code", "message", "fields"}
    assert error["message"]
    assert all(isinstance(text, str) and text for text in error.get("fields", {}).values())
    return reply.status_code, error["code"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/agent/status"),
        ("put", "/api/agent/snapshots/x/uploads"),
        ("get", "/api/agent/snapshots/x/downloads"),
        ("post", "/api/store/x"),
        ("delete", "/api/enrol.sh"),
        ("post", "/api/enrol.sh"),
        ("get", "/api/enrolments/claim"),
        ("get", "/api/enrolments"),
        ("post", "/api"),
        ("delete", "/api/operations"),
    ],
)
def test_a_method_that_makes_no_sense_is_refused_with_those_that_do(
    api: Client, method: str, path: str
) -> None:
    reply = getattr(api, method)(path)
    assert refused(reply) == (405, "method_not_allowed")
    assert method.upper() not in reply.headers["Allow"].split(", ")


@pytest.mark.parametrize("path", ["/api/instances/", "/api/x", "/api/instances/%0A", "/api/operations/x"])
def test_an_address_that_is_none_is_refused(api: Client, path: str) -> None:
    assert refused(api.get(path)) == (404, "not_found")


def test_a_format_that_there_is_not_is_not_found(api: Client) -> None:
    assert refused(api.get("/api/instances?format=xml")) == (404, "not_found")


@pytest.mark.parametrize(
    ("raw", "kind", "answer"),
    [
        (b"{", JSON, (400, "parse_error")),
        (b"[1]", JSON, (400, "parse_error")),
        (b'{"keep_last": 0}', JSON, (400, "invalid")),
        (b"keep_last=3", "application/x-www-form-urlencoded", (415, "unsupported_media_type")),
        (b"{}" + b" " * 70_000, JSON, (413, "too_large")),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(api: Client, raw: bytes, kind: str, answer: Any) -> None:
    path = f"/api/instances/{make_instance().pk}/config"
    assert refused(api.put(path, raw, content_type=kind)) == answer


def test_a_foreign_host_name_is_refused(api: Client) -> None:
    assert refused(api.get("/api/instances", headers={"Host": "evil.example"})) == (400, "bad_request")
    assert api.get("/x", headers={"Host": "evil.example"}).headers["Content-Type"].startswith("text/html")


def test_who_is_nobody_is_refused() -> None:
    assert refused(Client().get("/api/instances")) == (401, "not_authenticated")


def test_a_forged_cursor_names_itself(api: Client) -> None:
    reply = api.get("/api/operations", {"cursor": "x"})
    assert refused(reply) == (400, "invalid")
    assert set(reply.json()["error"]["fields"]) == {"cursor"}


@pytest.mark.parametrize("path", ["instances", "instances/{}/status", "instances/{}/config", "operations"])
def test_what_has_not_changed_is_not_sent_again(api: Client, path: str) -> None:
    address = f"/api/{path.format(make_instance().pk)}"
    first = api.get(address)
    again = api.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_has_changed_is_sent_again(api: Client) -> None:
    instance = make_instance(name="old")
    address = f"/api/instances/{instance.pk}"
    first = api.get(address)
    api.patch(address, {"name": "new"}, content_type=JSON)
    again = api.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.json()["name"]) == (200, "new")
