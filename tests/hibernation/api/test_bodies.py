"""Every call that takes a body has a bound for it, also those that nobody has written yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from agents.protocol import MAX_BODY_BYTES as HEARTBEAT
from hibernation.api.boxes import MAX_BODY_BYTES as WISHES
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
SMALL = 64 * 1024
WITH_BODIES = ("post", "put", "patch", "delete")


def calls() -> Iterator[tuple[str, str]]:
    """Of the published description, for people and scripts; what is named in braces is filled in."""
    for address, described in SchemaGenerator().get_schema(public=True)["paths"].items():  # type: ignore[no-untyped-call]
        if not address.startswith(("/api/agent/", "/api/store/")):
            yield from (
                (method, address.replace("{id}", "1").replace("{", "").replace("}", ""))
                for method in WITH_BODIES
                if method in described
            )


def test_no_call_of_people_takes_more_than_the_small_bound(api: Client) -> None:
    taken = {}
    for method, address in calls():
        reply = api.generic(method.upper(), address, b" " * (SMALL + 1), "application/json")
        if reply.status_code != 413:
            taken[f"{method} {address}"] = reply.status_code
    assert taken == {}
    assert len(list(calls())) >= 10


@pytest.mark.parametrize(
    ("address", "bound"),
    [
        ("/api/agent/status", HEARTBEAT),
        ("/api/agent/snapshots/s/uploads", WISHES),
        ("/api/agent/snapshots/s/downloads", WISHES),
    ],
)
def test_a_machines_calls_have_bounds_of_their_own(world: World, address: str, bound: int) -> None:
    instance = world.awake()
    client = Client(headers={"Authorization": f"Bearer {world.box(instance).token}"})
    replies = [
        client.post(address, b" " * size, content_type="application/json") for size in (bound, bound + 1)
    ]
    assert [reply.status_code for reply in replies] == [400, 413]


@pytest.mark.parametrize("address", ["/admin/login/", "/", "/livez", "/none"])
def test_nor_does_any_page(client: Client, address: str) -> None:
    form = b"a=" + b"b" * SMALL
    assert client.generic("POST", address, form, "application/x-www-form-urlencoded").status_code == 413
