"""Logging in to the console: so many tries from one address, right or wrong."""

from __future__ import annotations

import math
import secrets
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from hibernation.services import forgettable
from tests.hibernation.admin.pages import text_of

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def bounds(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries, in a minute that is this test's own."""
    settings.DUMONT_LOGINS_PER_MINUTE = 2
    minute = secrets.randbelow(10**9)
    monkeypatch.setattr(forgettable, "time", lambda: minute * 60 + 30.5)
    monkeypatch.setattr(forgettable, "_failed_at", -math.inf)
    User.objects.create_superuser("root", password=PASSWORD)


def log_in(password: str, **more: str) -> Any:
    return Client().post("/admin/login/", {"username": "root", "password": password}, **more)


def test_who_knows_the_password_gets_in() -> None:
    assert log_in(PASSWORD).status_code == 302


def test_who_tried_too_often_is_refused_even_with_the_right_one() -> None:
    for _ in range(2):
        assert "Please enter the correct username" in text_of(log_in("wrong"))
    refused = text_of(log_in(PASSWORD))
    assert "Too many tries from your address: again in 30 s." in refused
    assert log_in(PASSWORD, REMOTE_ADDR="10.0.0.2").status_code == 302


def test_another_address_of_the_same_ipv6_network_is_no_new_start() -> None:
    for number in range(2):
        log_in("wrong", REMOTE_ADDR=f"2001:db8::{number}")
    assert "Too many tries" in text_of(log_in(PASSWORD, REMOTE_ADDR="2001:db8::9"))
    assert log_in(PASSWORD, REMOTE_ADDR="2001:db8:0:1::9").status_code == 302
