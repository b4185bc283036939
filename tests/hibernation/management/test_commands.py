"""The commands that make a token and register an instance, and what they refuse."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from hibernation.models import ApiToken, Instance, Operation

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().strip()


def test_a_token_opens_the_api(client: Client) -> None:
    User.objects.create_user("ana")
    token = run("create_token", "--user", "ana")
    answer = client.get("/api/instances", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


def test_a_token_can_be_made_to_expire() -> None:
    User.objects.create_user("ana")
    run("create_token", "--user", "ana", "--days", "2", "--name", "laptop")
    token = ApiToken.objects.get()
    assert token.expires_at == token.created_at + timedelta(days=2)
    assert token.name == "laptop"


def test_a_token_for_nobody_is_refused() -> None:
    with pytest.raises(CommandError, match="no user 'bob'"):
        run("create_token", "--user", "bob")


def test_a_token_that_never_lives_is_refused() -> None:
    User.objects.create_user("ana")
    with pytest.raises(CommandError, match="more than 0"):
        run("create_token", "--user", "ana", "--days", "0")


def test_an_instance_is_registered_with_its_rules() -> None:
    run("register_instance", "box", "--gpu-type", "RTX 4090", "--max-price", "0.5", "--idle-minutes", "5")
    instance = Instance.objects.get(pk="box")
    assert (instance.provider, instance.gpu_type, str(instance.max_price)) == ("local", "RTX 4090", "0.5000")
    assert instance.pause_after == timedelta(minutes=5)
    assert instance.status == "provisioning"
    assert not Operation.objects.exists()


def test_a_started_instance_gets_its_first_machine() -> None:
    run("register_instance", "box", "--start")
    assert Operation.objects.get().kind == "wake"


def test_an_instance_is_registered_once() -> None:
    run("register_instance", "box")
    with pytest.raises(CommandError, match="already"):
        run("register_instance", "box")


@pytest.mark.parametrize(
    "arguments",
    [
        ("no spaces",),
        ("box", "--max-price", "cheap"),
        ("box", "--provider", "moon"),
        ("box", "--idle-minutes", "0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run("register_instance", *arguments)
    assert not Instance.objects.exists()
