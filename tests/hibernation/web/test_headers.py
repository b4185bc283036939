"""What browsers are told, whoever asks for whatever; what other sites may do, which is nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from hibernation.web.headers import API_PAGES, DATA, PAGES
from tests.factories import make_hibernated

PROJECT = Path(__file__).resolve().parents[3]
POLICY = "Content-Security-Policy"
ADDRESSES = [
    "/",
    "/livez",
    "/readyz",
    "/none",
    "/admin/",
    "/admin/login/",
    "/api/agent/status",
    "/api/enrol.sh",
    "/api/instances",
    "/api/instances/x/wake",
    "/api/me",
    "/api/none",
    "/api/schema",
    "/api/store/x",
]
# Answers of an installation over https, each request in a line: address, and what of the request is special.
SCRIPT = """
import json, sys
import django
django.setup()
from django.test import Client
for address, more in json.loads(sys.argv[1]):
    reply = Client().get(address, **more)
    cookies = {name: {k: v for k, v in morsel.items() if v} for name, morsel in reply.cookies.items()}
    print(json.dumps([reply.status_code, dict(reply.headers), cookies]))
"""


def deployed(
    *asked: tuple[str, dict[str, Any]], **given: str
) -> list[tuple[int, dict[str, str], dict[str, Any]]]:
    """Status, headers and cookies that a real installation's settings answer, without its database."""
    env = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "dumont.settings",
        "DUMONT_SECRET_KEY": "k1-" + "0123456789abcdefghijklmnopqrstuvwxyz" * 2,
        "DUMONT_ENCRYPTION_KEYS": "0" * 64,
        "DUMONT_BASE_URL": "https://dumont.example",
        "DUMONT_ALLOWED_HOSTS": "dumont.example",
        "DUMONT_LOG_LEVEL": "CRITICAL",
    }
    hosted = [(address, {"headers": {"Host": "dumont.example"}} | more) for address, more in asked]
    command = [sys.executable, "-c", SCRIPT, json.dumps(hosted)]
    done = subprocess.run(command, cwd=PROJECT, env=env | given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_over_https_browsers_are_told_to_stay_there_and_to_keep_everything_to_themselves() -> None:
    ((status, headers, _),) = deployed(("/livez", {"secure": True}))
    assert status == 200
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers[POLICY] == DATA


def test_cookies_are_for_this_site_over_https_and_not_for_scripts() -> None:
    ((_, _, cookies),) = deployed(("/admin/login/", {"secure": True}))
    flags = cookies["csrftoken"]
    assert (flags["secure"], flags["httponly"], flags["samesite"]) == (True, True, "Lax")


@pytest.mark.django_db
def test_the_sessions_cookie_is_as_the_other(settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True
    User.objects.create_superuser("root", password="correct horse battery")
    client = Client()
    client.post("/admin/login/", {"username": "root", "password": "correct horse battery"})
    cookie = client.cookies["sessionid"]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")


def test_plain_http_is_led_to_https_and_nobodys_word_is_taken_for_it() -> None:
    told = {"headers": {"Host": "dumont.example", "X-Forwarded-Proto": "https"}}
    answers = deployed(("/livez", {}), ("/livez", told))
    assert [(status, headers["Location"]) for status, headers, _ in answers] == [
        (301, "https://dumont.example/livez")
    ] * 2
    assert all(POLICY in headers for _, headers, _ in answers)


def test_the_word_of_a_proxy_is_taken_where_one_is_said_to_be_there() -> None:
    told = {"headers": {"Host": "dumont.example", "X-Forwarded-Proto": "https"}}
    answers = deployed(("/livez", {}), ("/livez", told), DUMONT_PROXIES="1")
    assert [status for status, *_ in answers] == [301, 200]


@pytest.mark.parametrize("more", [{}, {"X-Forwarded-Host": "dumont.example"}])
def test_a_host_that_is_not_ours_is_refused(more: dict[str, str]) -> None:
    asked = {"secure": True, "headers": {"Host": "evil.example", **more}}
    answers = deployed(("/livez", asked), ("/admin/login/", asked), ("/api/me", asked))
    assert [status for status, *_ in answers] == [400, 400, 400]


@pytest.mark.django_db
def test_a_host_that_is_not_ours_is_told_so_in_the_apis_words(client: Client) -> None:
    reply = client.get("/api/me", headers={"Host": "evil.example"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_request")


@pytest.mark.django_db
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_no_answer_lets_another_site_read_it(api: Client, address: str, method: str) -> None:
    asked = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    reply = api.generic(method, address, b"{}", "application/json", headers=asked)
    assert not [name for name in reply.headers if name.lower().startswith("access-control-")]
    assert POLICY in reply.headers
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["X-Frame-Options"] == "DENY"


@pytest.mark.django_db
def test_pages_may_run_our_scripts_and_nothing_else(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    assert client.get("/admin/").headers[POLICY] == PAGES
    assert client.get("/none").headers[POLICY] == PAGES
    assert client.get("/api/instances", headers={"Accept": "text/html"}).headers[POLICY] == API_PAGES
    assert client.get("/api/instances").headers[POLICY] == DATA
    for policy in (PAGES, API_PAGES, DATA):
        scripts = policy.split("script-src")[1].split(";")[0] if "script-src" in policy else ""
        assert "unsafe" not in scripts
        assert "*" not in policy


@pytest.mark.django_db
def test_an_order_by_session_needs_the_token_of_a_page_of_ours() -> None:
    instance = make_hibernated()
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    path = f"/api/instances/{instance.pk}/wake"
    reply = client.post(path, b"{}", content_type="application/json")
    assert (reply.status_code, "CSRF" in reply.json()["error"]["message"]) == (403, True)
    assert not instance.operations.exists()
    page = client.get(f"/api/instances/{instance.pk}", headers={"Accept": "text/html"})
    token = json.loads(page.content.decode().split('id="drf_csrf">')[1].split("</script>")[0])["csrfToken"]
    sent = {"X-CSRFToken": token}
    assert client.post(path, b"{}", content_type="application/json", headers=sent).status_code == 202


@pytest.mark.django_db
def test_an_order_by_token_needs_none(api: Client) -> None:
    instance = make_hibernated()
    client = Client(enforce_csrf_checks=True, **api.defaults)
    path = f"/api/instances/{instance.pk}/wake"
    assert client.post(path, b"{}", content_type="application/json").status_code == 202
