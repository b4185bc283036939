"""The API in a browser: pages for whoever asks for them, forms that work as they stand, nothing that runs by itself."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from hibernation.models import Instance, Operation, Schedule
from hibernation.services.clock import db_now
from hibernation.services.transitions import emit
from tests.factories import make_instance, make_schedule, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HOSTILE = "</textarea><script>alert(1)</script>"


@pytest.fixture
def browser(db: None) -> Client:
    """A person's, logged in, whose requests are checked as those of real browsers are."""
    client = Client(headers=BROWSER, enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("ana"))
    return client


def page(client: Client, path: str, status: int = 200) -> str:
    reply = client.get(path)
    assert reply.status_code == status
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    return reply.content.decode()


def form(text: str) -> Any:
    """What the page's form would send."""
    (content,) = re.findall(r'<textarea name="_content"[^>]*>(.*?)</textarea>', text, re.DOTALL)
    return json.loads(html.unescape(content))


def send(client: Client, method: str, path: str, body: Any) -> Any:
    """As the page's script does, with the token that the page holds; but the answer is wanted as JSON."""
    (token,) = set(re.findall(r'"csrfToken": "([^"]+)"', client.get(path).content.decode()))
    headers = {"X-CSRFToken": token, "Accept": "application/json"}
    return client.generic(method, path, json.dumps(body), content_type="application/json", headers=headers)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "application/*"])
def test_whoever_does_not_ask_for_pages_gets_json(api: Client, accept: str) -> None:
    for path in ("/api", "/api/instances"):
        assert api.get(path, headers={"Accept": accept}).headers["Content-Type"] == "application/json"


def test_whoever_takes_neither_is_told_so(api: Client) -> None:
    reply = api.get("/api/instances", headers={"Accept": "application/xml"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("path", ["/api", "/api/"])
def test_the_root_names_addresses_that_answer(api: Client, path: str) -> None:
    found = api.get(path, follow=True).json()
    assert {"instances", "operations", "stats", "docs", "schema"} <= set(found)
    for address in found.values():
        assert api.get(address.removeprefix("http://testserver")).status_code in (200, 302, 405)


def test_who_is_not_logged_in_is_shown_the_door_and_comes_back(client: Client) -> None:
    text = client.get("/api", headers=BROWSER).content.decode()
    assert 'href="/admin/login/?next=%2Fapi"' in text
    reply = client.get("/api/instances?status=idle", headers=BROWSER)
    assert reply.status_code == 401
    assert 'href="/admin/login/?next=%2Fapi%2Finstances%3Fstatus%3Didle"' in reply.content.decode()


def test_who_is_logged_in_can_log_out(browser: Client) -> None:
    text = page(browser, "/api/instances")
    assert re.search(r'<form method="post" action="/admin/logout/"><input type="hidden" name="csrf', text)
    assert "Log in" not in text


def test_the_list_can_be_filtered_by_hand(browser: Client) -> None:
    text = page(browser, "/api/instances?search=train")
    assert re.search(r'<input type="text" name="search" value="train"', text)
    assert 'name="status"' in text


def test_the_root_leads_everywhere(browser: Client) -> None:
    instance = make_instance()
    for path in ("/api/instances", "/api/docs", "/admin/"):
        assert path in page(browser, "/api")
    text = page(browser, f"/api/instances/{instance.pk}")
    for what in ("config", "wake", "hibernate", "events", "schedule", "snapshots"):
        assert f"/api/instances/{instance.pk}/{what}" in text


def test_the_settings_form_holds_what_is_set_and_changes_what_is_changed(browser: Client) -> None:
    instance = make_instance(keep_last=4)
    path = f"/api/instances/{instance.pk}/config"
    present = form(page(browser, path))
    assert (present["keep_last"], present["pause_after_minutes"]) == (4, 3)
    assert send(browser, "PUT", path, present).json() == browser.get(path, headers={"Accept": "*/*"}).json()
    assert send(browser, "PUT", path, {**present, "keep_last": 9}).status_code == 200
    assert Instance.objects.get().keep_last == 9


def test_the_schedule_form_holds_the_schedule_and_takes_it_away(browser: Client) -> None:
    instance = make_instance()
    make_schedule(instance)
    path = f"/api/instances/{instance.pk}/schedule"
    text = page(browser, path)
    assert send(browser, "PUT", path, {**form(text), "wake_time": "08:30"}).json()["wake_time"] == "08:30"
    assert 'data-method="DELETE"' in text
    assert send(browser, "DELETE", path, {}).json() == {"enabled": False}
    assert not Schedule.objects.exists()


def test_the_name_can_be_changed(browser: Client) -> None:
    instance = make_instance(name="old")
    path = f"/api/instances/{instance.pk}"
    assert form(page(browser, path)) == {"name": "old"}
    assert send(browser, "PATCH", path, {"name": "new"}).json()["name"] == "new"


@pytest.mark.parametrize("order", ["hibernate", "wake", "snapshots"])
def test_orders_are_given_by_their_forms_as_they_stand(browser: Client, world: World, order: str) -> None:
    instance = world.asleep() if order == "wake" else world.awake()
    path = f"/api/instances/{instance.pk}/{order}"
    text = page(browser, path, 200 if order == "snapshots" else 405)
    reply = send(browser, "POST", path, form(text))
    assert reply.status_code == 202
    assert Operation.objects.get(pk=reply.json()["id"]).actor == "user:ana"


def test_the_wake_form_says_what_can_be_wished(browser: Client) -> None:
    text = page(browser, f"/api/instances/{make_instance().pk}/wake", 405)
    assert "Known here: gpu_type, region, max_price." in text


def test_a_session_orders_nothing_without_the_pages_token(browser: Client, world: World) -> None:
    instance = world.awake()
    reply = browser.post(f"/api/instances/{instance.pk}/hibernate", headers={"Accept": "*/*"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "permission_denied")
    assert not Operation.objects.exists()


def test_nothing_that_a_machine_or_a_person_says_runs_in_a_page(browser: Client) -> None:
    instance = make_instance(name=HOSTILE, gpu_type=HOSTILE, last_error=HOSTILE, post_wake_hook=HOSTILE)
    make_snapshot(instance, state_reason=HOSTILE)
    emit("failed", HOSTILE, instance=instance, now=db_now(), data={HOSTILE: HOSTILE})  # type: ignore[arg-type]
    of_it = f"/api/instances/{instance.pk}"
    for path in ("/api/instances", of_it, f"{of_it}/config", f"{of_it}/events", f"{of_it}/snapshots"):
        text = page(browser, path)
        assert "alert(1)" in text
        assert "<script>alert" not in text
    assert "<script>alert" not in page(browser, "/api/instances?search=<script>alert(1)</script>")
    assert "<script>alert" not in page(browser, "/api/instances?<script>alert(1)</script>=1", 400)


def test_a_page_loads_nothing_from_anybody_else(browser: Client) -> None:
    loaded = re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', page(browser, "/api/instances"))
    assert loaded
    assert all(address.startswith("/static/") for address in loaded)
