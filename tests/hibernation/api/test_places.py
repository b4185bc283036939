"""Requests that may be slow: each kind has its places, and gives every one of them back."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpRequest
from django.http.request import UnreadablePostError
from django.test import Client

from agents.snapshot.checksum import crc32_of
from dumont.embedded.programs import Surroundings, project_table
from hibernation.api import bodies, boxes, heartbeat, places, store
from hibernation.api.places import Places
from hibernation.snapshots.registry import get_store
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
FORM = "application/x-www-form-urlencoded"


class Dribble(io.RawIOBase):
    """A body whose sender has left."""

    def read(self, size: int = -1) -> bytes:
        raise OSError("gone")


def send_broken(api: Client, path: str, **headers: Any) -> Any:
    return api.generic("POST", path, b"{}", "application/json", **{"wsgi.input": Dribble(), **headers})


def test_places_are_given_back_once() -> None:
    some = Places(2)
    first, second = some.take(), some.take()
    assert first is not None
    assert second is not None
    assert some.take() is None
    first()
    first()
    assert some.take() is not None
    assert some.take() is None


def test_one_key_cannot_take_them_all() -> None:
    some = Places(3, each=1)
    assert some.take("a") is not None
    assert some.take("a") is None
    assert some.take("b") is not None


def test_threads_are_left_for_heartbeats(tmp_path: Any) -> None:
    slow = (places.TRANSFERS, places.WAITS, places.BODIES, places.BOXES, places.FILES)
    assert places.THREADS - sum(one._total for one in slow) >= 8
    around = Surroundings({"DUMONT_STATE": str(tmp_path)}, tmp_path, 1, ())
    web = next(p for p in project_table(around).services if p.name == "web")
    assert web.argv[web.argv.index("--blocking-threads") + 1] == str(places.THREADS)


@pytest.mark.parametrize("path", ["/admin/login/", "/api/instances/x/wake", "/livez"])
def test_a_body_without_a_place_is_not_read(monkeypatch: pytest.MonkeyPatch, api: Client, path: str) -> None:
    monkeypatch.setattr(bodies, "BODIES", Places(0))
    reply = send_broken(api, path)
    assert reply.status_code == 503
    assert reply.headers["Retry-After"] == "1"
    assert reply.json()["error"]["code"] == "busy"


@pytest.mark.parametrize("path", ["/admin/login/", "/api/instances/x/wake"])
def test_a_body_that_breaks_off_is_refused_and_its_place_is_free(api: Client, path: str) -> None:
    for _ in range(places.BODIES._total + 1):
        assert send_broken(api, path).status_code == 400


@pytest.mark.parametrize("content_type", [FORM, "multipart/form-data; boundary=x"])
def test_a_stranger_cannot_send_a_large_form(content_type: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "a" * 32
    reply = client.generic("POST", "/admin/login/", b"a" * 70_000, content_type)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_a_body_without_a_length_is_refused_instead_of_ignored(api: Client) -> None:
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    reply = api.generic("PUT", "/api/instances/x/config", b"{}", "application/json", **chunked)
    assert (reply.status_code, reply.json()["error"]["code"]) == (411, "length_required")


def test_a_box_that_dribbles_takes_only_its_own_places(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    slow, other = world.awake(id="slow"), world.awake(id="other")
    mine = Places(10, each=1)
    monkeypatch.setattr(heartbeat, "HEARTBEATS", mine)
    monkeypatch.setattr(boxes, "BOXES", mine)
    assert mine.take(slow.machines.get().pk) is not None
    for path in ("/api/agent/status", "/api/agent/snapshots/s/uploads"):
        answers = [
            Client(headers={"Authorization": f"Bearer {world.box(one).token}"})
            .post(path, b"{}", content_type="application/json")
            .status_code
            for one in (slow, other)
        ]
        assert answers == [503, 400]


def test_the_place_of_a_small_body_is_free_after_any_end() -> None:
    request = HttpRequest()
    request._stream = Dribble()  # type: ignore[attr-defined]
    one = Places(1)
    assert bodies.read_body(request, 10, one, "box").status_code == 400  # type: ignore[union-attr]
    request = HttpRequest()
    request._stream = io.BytesIO(b"x" * 11)  # type: ignore[attr-defined]
    assert bodies.read_body(request, 10, one, "box").status_code == 413  # type: ignore[union-attr]
    assert one.take("box") is not None
    assert issubclass(UnreadablePostError, OSError)


def test_the_store_holds_a_place_until_the_last_byte_is_out(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    one = Places(1)
    monkeypatch.setattr(store, "TRANSFERS", one)
    data = b"pack"
    hour, client = timedelta(hours=1), Client()
    put = get_store().sign_put("x/packs/1", size=len(data), crc32=crc32_of([data]), expires_in=hour).url
    get = get_store().sign_get("x/packs/1", expires_in=hour).url
    assert client.put(put, data, content_type="application/octet-stream").status_code == 201
    assert client.head(get).status_code == 200
    assert client.get(get + "0").status_code == 403
    reply = client.get(get)
    refused = client.get(get)
    assert (refused.status_code, json.loads(refused.content)["error"]["code"]) == (503, "busy")
    assert reply.getvalue() == data
    reply.close()
    assert one.take() is not None
