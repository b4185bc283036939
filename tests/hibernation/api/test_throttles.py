"""How often one may ask: counted for each token, user and address, in the API's words, and never by an absent Redis."""

from __future__ import annotations

import math
import secrets
from typing import Any

import pytest
from django.test import Client
from django.test.utils import override_settings
from redis.exceptions import ConnectionError as NoRedis

from hibernation.services import forgettable
from hibernation.services.tokens import create_api_token
from tests.factories import make_user
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def minute(settings: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """Two requests in it for everybody. It is this test's own, and does not end while it runs."""
    settings.DUMONT_REQUESTS_PER_MINUTE = settings.DUMONT_STRANGERS_PER_MINUTE = 2
    minute = secrets.randbelow(10**9)
    monkeypatch.setattr(forgettable, "time", lambda: minute * 60 + 30.5)
    monkeypatch.setattr(forgettable, "_failed_at", -math.inf)
    return minute


def by_token(name: str = "ana") -> Client:
    return Client(headers={"Authorization": f"Bearer {create_api_token(make_user(name), 't')}"})


def statuses(client: Client, times: int = 3, path: str = "/api/me", **more: Any) -> list[int]:
    return [client.get(path, **more).status_code for _ in range(times)]


def test_one_more_is_refused_in_the_apis_words_and_told_when(db: None) -> None:
    client = by_token()
    assert statuses(client) == [200, 200, 429]
    reply = client.get("/api/me")
    assert (reply.json()["error"]["code"], reply.headers["Retry-After"]) == ("throttled", "30")


def test_what_is_refused_counts_too(db: None) -> None:
    assert statuses(by_token(), path="/api/instances/never") == [404, 404, 429]


def test_the_next_minute_counts_anew(minute: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client = by_token()
    assert statuses(client)[-1] == 429
    monkeypatch.setattr(forgettable, "time", lambda: minute * 60 + 60.0)
    assert statuses(client, 1) == [200]


def test_tokens_and_sessions_are_counted_each_for_itself(db: None) -> None:
    user = make_user()
    first, second = (Client(headers={"Authorization": f"Bearer {create_api_token(user, 't')}"}) for _ in "ab")
    session = Client()
    session.force_login(user)
    assert statuses(first) == statuses(second) == statuses(session) == [200, 200, 429]


@pytest.mark.parametrize("header", [None, "Bearer dmt_wrong", "Bearer dma1.1.1.00"])
def test_who_shows_no_good_token_is_counted_by_address(header: str | None) -> None:
    client = Client(headers={"Authorization": header} if header else {})
    assert statuses(client) == [401, 401, 429]
    assert statuses(client, 1, REMOTE_ADDR="10.0.0.2") == [401]
    assert client.get("/api/me").headers["Retry-After"] == "30"


def test_a_good_token_is_not_refused_for_its_addresss_failures(db: None) -> None:
    statuses(Client())
    assert statuses(by_token(), 1) == [200]


def test_a_stranger_names_no_other_address(db: None) -> None:
    spoofed = [
        Client().get("/api/me", headers={"X-Forwarded-For": f"10.9.9.{n}"}).status_code for n in range(3)
    ]
    assert spoofed == [401, 401, 429]


def test_behind_a_proxy_the_address_is_the_one_it_tells(settings: Any) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    told = [Client().get("/api/me", headers={"X-Forwarded-For": f"10.9.9.{n}"}).status_code for n in range(3)]
    assert told == [401, 401, 401]


def test_what_is_for_everybody_is_bounded_for_strangers(db: None) -> None:
    assert statuses(Client(), path="/api/schema") == [200, 200, 429]


def test_nought_means_any_number(settings: Any) -> None:
    settings.DUMONT_REQUESTS_PER_MINUTE = 0
    assert statuses(by_token()) == [200, 200, 200]


def test_heartbeats_are_not_counted(world: World) -> None:
    instance = world.awake()
    client = Client(headers={"Authorization": f"Bearer {world.box(instance).token}"})
    body = {"instance_id": instance.pk, "seq": 0, "timestamp": "2026-01-01T00:00:00Z"}
    told = [
        client.post("/api/agent/status", body | {"seq": n}, content_type="application/json").status_code
        for n in range(1001, 1006)
    ]
    assert told == [200] * 5


def test_the_store_is_not_counted(db: None) -> None:
    assert set(statuses(Client(), 4, "/api/store/packs/x")) == {403}


def test_without_redis_everybody_is_served_and_it_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def fails(key: str) -> int:
        asked.append(key)
        raise NoRedis

    monkeypatch.setattr(forgettable, "_count", fails)
    assert statuses(by_token(), 5) == [200] * 5
    assert len(asked) == 1


def test_a_broker_that_is_not_there_stops_nobody(db: None) -> None:
    away = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache",
                        "LOCATION": "unix:///nowhere/valkey.sock"}}  # fmt: skip
    with override_settings(CACHES=away):
        assert statuses(by_token(), 5) == [200] * 5


def test_many_at_once_are_counted_as_many(db: None) -> None:
    key = f"throttle:{secrets.token_hex(8)}"
    assert [forgettable._count(key) for _ in range(3)] == [1, 2, 3]


def test_what_redis_has_no_room_for_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgettable.cache, "add", lambda *args, **more: False)
    assert forgettable._count("nowhere") == 0
