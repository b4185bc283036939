"""The stories that an installation lives, at DEBUG, with every secret in them known: none is in any line."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from agents.snapshot.cipher import Keys
from agents.snapshot.urls import Signed
from celery_app import app
from dumont.embedded.keys import Keys as StateKeys
from dumont.embedded.processes import Program
from hibernation import tasks
from hibernation.domain.errors import ProviderUnavailable
from hibernation.logs.redaction import hide
from hibernation.services.credentials import store_key, stored_key, try_key
from hibernation.services.instances import configure
from hibernation.services.steps import boxes
from hibernation.snapshots.s3 import S3Config
from hibernation.snapshots.store import SignedRequest
from tests.fakes.s3 import Bucket
from tests.hibernation.secrets import Secrets, watched
from tests.hibernation.services.test_s3_loop import attach, bucket  # noqa: F401 - fixtures
from tests.hibernation.services.world import World
from tests.market.conftest import market  # noqa: F401 - a fixture
from tests.market.harness import Market

pytestmark = [pytest.mark.django_db, pytest.mark.network]
PASSWORD = "correct horse battery"
HF_TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def seen(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secrets]:
    with watched(settings, monkeypatch) as seen:
        yield seen


def assert_nothing_leaked(seen: Secrets, *expected: str) -> None:
    """``expected``: what must have been logged, so that the story was listened to at all."""
    for text in expected:
        assert text in seen.text
    assert seen.leaked(seen.text) == []
    # Nothing relies on the redaction alone: what our code hands to a logger is clean.
    assert seen.leaked(seen.raw) == []


def test_what_is_hidden_would_be_found(seen: Secrets) -> None:
    """The net has no hole: what is logged in the clear is seen, and what is redacted is not."""
    secret = "0123456789abcdef"
    seen.add(secret)
    logging.getLogger("somebody.else").debug("x=%s", secret)
    assert seen.leaked(seen.text) == [secret]
    hide(secret)
    logging.getLogger("hibernation").debug("y=%s", secret)
    assert seen.leaked(seen.raw) == [secret]
    assert f"y={secret}" not in seen.text


@pytest.mark.django_db(transaction=True)
def test_a_life_on_a_bucket_over_the_api(
    world: World,
    bucket: Bucket,  # noqa: F811
    seen: Secrets,
    api: Client,
    settings: Settings,
) -> None:
    seen.found |= {
        bucket.account.secret_access_key,
        api.defaults["HTTP_AUTHORIZATION"].removeprefix("Bearer "),
    }
    instance = world.awake()
    path = f"/api/instances/{instance.pk}"
    assert send(api, "PUT", f"{path}/config", {"env": {"HF_TOKEN": HF_TOKEN}}) == 200
    seen.add(HF_TOKEN)
    bucket.faults.extend(["slow down", "drop", "lost"])
    assert send(api, "POST", f"{path}/hibernate") == 202
    saved = world.run(instance.operations.get())
    assert saved.state == "succeeded", saved.error
    assert send(api, "POST", f"{path}/wake", {"max_price": "9"}) == 202
    woken = world.run(instance.operations.get(kind="wake"))
    assert woken.state == "succeeded", woken.error
    assert send(api, "POST", f"{path}/hibernate") == 202
    last = world.run(instance.operations.get(state="running"), until="verify")
    bucket.denied.add("s3:GetObject")
    world.step(last)
    assert_nothing_leaked(seen, "/hibernate 202", "/agent/snapshots/", f'"operation_id": {last.pk}')


def test_a_life_at_the_market_with_its_faults(market: Market, seen: Secrets) -> None:  # noqa: F811
    seen.found.add(market.fake.key)
    for fault in ("server_error", "dropped", "rate_limited", "bad_gateway"):
        market.fake.faults.arm(fault, where={"call": "search"})
        market.fake.faults.arm(fault, where={"call": "list"})
    market.fake.faults.arm("create_response_lost")
    market.fake.faults.arm("list_500", times=6)
    instance = market.create()
    configure(instance.pk, {"env": {"HF_TOKEN": HF_TOKEN}}, actor="user:ana")
    seen.add(HF_TOKEN)
    market.wake(instance)
    market.run_until_idle()
    market.hibernate(instance)
    market.run_until_idle()
    instance.refresh_from_db()
    assert instance.status == "hibernated", instance.last_error
    assert_nothing_leaked(seen, "gave no complete list", f'"instance_id": "{instance.pk}"')


def test_strangers_and_people_with_wrong_keys(world: World, seen: Secrets, settings: Settings) -> None:
    instance = world.awake()
    User.objects.create_superuser("root", password=PASSWORD)
    client, wrong = Client(raise_request_exception=False), "dmt_" + "a" * 43
    seen.found |= {PASSWORD, wrong}
    for token in (wrong, world.box(instance).token + "0", "Basic " + "b" * 30):
        seen.add(token)
        headers = {"Authorization": f"Bearer {token}"}
        for method, address in (
            ("GET", "/api/instances"),
            ("POST", "/api/agent/status"),
            ("POST", "/api/agent/snapshots/s/uploads"),
            ("POST", "/api/enrolments/claim"),
            ("PUT", f"/api/store/a/b?signature={token}&expires=1"),
        ):
            assert (
                client.generic(method, address, b"{}", "application/json", headers=headers).status_code >= 400
            )
    client.post("/admin/login/", {"username": "root", "password": PASSWORD + "r"})
    client.post("/admin/login/", {"username": "root", "password": PASSWORD})
    for cookie in client.cookies.values():
        seen.add(cookie.value)
    asked = {"name": "laptop", "scope": "read", "user": User.objects.get().pk}
    page = client.post("/admin/hibernation/apitoken/add/", asked)
    assert "dmt_" in page.content.decode()
    assert send(client, "POST", "/api/tokens", {"name": "ci", "scope": "read"}) == 201
    enrolment = {"provider": "fake", "may_be_destroyed": True}
    assert send(client, "POST", "/api/enrolments", enrolment) == 201
    assert_nothing_leaked(seen, "POST /admin/login/ 302", "Unauthorized: /api/instances")


def test_keys_that_people_enter_and_providers_refuse(world: World, seen: Secrets, settings: Settings) -> None:
    key = "entered-0123456789abcdef"
    seen.add(key)
    settings.DUMONT_PROVIDERS = ("runpod",)
    settings.DUMONT_RUNPOD_URL = "http://127.0.0.1:9"
    settings.DUMONT_RUNPOD_API_KEY = ""
    row = store_key("runpod", key, actor="user:ana")
    assert (stored_key("runpod"), key in repr(row), key in str(vars(row))) == (key, False, False)
    with pytest.raises(ProviderUnavailable):
        try_key("runpod")
    logging.getLogger("somebody.else").error("refused: %s", {"key": key})
    assert_nothing_leaked(seen, "refused: {'key': '•••'}")


def test_a_bug_whose_words_hold_secrets(
    world: World, seen: Secrets, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.awake()
    operation = world.hibernate(instance)
    signed = "https://b.example/k?X-Amz-Signature=0a1b2c3d4e5f60718293"
    seen.add("0a1b2c3d4e5f60718293")

    def fail(*_: Any) -> None:
        raise RuntimeError(f"PUT {signed} with Bearer {world.box(instance).token}")

    monkeypatch.setattr(boxes, "quiesce", fail)
    world.step(operation)
    assert "RuntimeError: PUT https://b.example/k?X-Amz-Signature=•••" in seen.text
    assert seen.leaked(seen.text) == []
    monkeypatch.setattr("hibernation.api.views.facts_of_all", fail)
    api.raise_request_exception = False
    reply = api.get("/api/hibernation/stats")
    assert (reply.status_code, seen.leaked(reply.content.decode())) == (500, [])
    assert "Internal Server Error: /api/hibernation/stats" in seen.text
    assert seen.leaked(seen.text) == []
    shown = api.get(f"/api/operations/{operation.pk}").content.decode()
    assert seen.leaked(shown) == []


def test_what_is_sent_to_the_broker_is_numbers_and_names() -> None:
    """Tasks are told which row, and never what is in it: whoever reads the broker reads no secret."""
    ours = [task for name, task in app.tasks.items() if name.startswith("hibernation.")]
    taken = {task.name: [*inspect.signature(task.run).parameters] for task in ours}
    assert {name: words for name, words in taken.items() if words} == {
        tasks.step.name: ["operation_id", "step_name"],
        tasks.run_schedule_poke.name: ["instance_id"],
    }


def test_nothing_that_holds_a_secret_shows_it_when_it_is_printed(tmp_path: Path) -> None:
    secret, raw = "0123456789abcdef" * 4, b"0123456789abcdef" * 2
    for holder in (
        Keys(raw, raw),
        Program("web", ("true",), tmp_path, env={"DUMONT_SECRET_KEY": secret}),
        S3Config("b", "eu", "id", secret),
        Signed("k", secret, {"x": secret}),
        SignedRequest(secret, {}),
        StateKeys(secret, secret, tmp_path),
    ):
        assert secret not in repr(holder)
        assert raw.decode() not in repr(holder)


def send(client: Client, method: str, address: str, body: Any = None) -> int:
    data = json.dumps(body or {}).encode()
    return int(client.generic(method, address, data, "application/json").status_code)
