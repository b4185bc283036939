"""Keys to providers' accounts: entered, tried, forgotten, and never shown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from hibernation.domain.errors import ProviderDenied
from hibernation.models import ProviderCredential
from hibernation.services import credentials
from hibernation.services.credentials import store_key, stored_key
from tests.hibernation.admin.pages import listed, text_of

pytestmark = pytest.mark.django_db
KEYS = listed("providercredential")
SECRET = "very-secret-key"


@pytest.fixture(autouse=True)
def _rents_from_vast(settings: Any) -> None:
    settings.DUMONT_PROVIDERS = ["vast"]


class Account:
    def __init__(self, left: Decimal | None) -> None:
        self._left = left

    def list_machines(self) -> list[object]:
        return [object(), object()]

    def credit(self) -> Decimal | None:
        return self._left


def act(client: Client, action: str, **more: str) -> Any:
    return client.post(KEYS, {"action": action, "_selected_action": ["vast"], **more}, follow=True)


def test_a_key_is_kept_sealed_and_shown_nowhere(root: Client) -> None:
    reply = root.post(f"{KEYS}add/", {"provider": "vast", "key": f" {SECRET} "}, follow=True)
    assert SECRET not in reply.content.decode()
    assert SECRET.encode() not in bytes(ProviderCredential.objects.get().sealed)
    assert stored_key("vast") == SECRET
    assert SECRET not in root.get(f"{KEYS}vast/change/").content.decode()


@pytest.mark.parametrize("wish", [{"provider": "vast", "key": "schlüssel"}, {"provider": "gcp", "key": "k"}])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(root: Client, wish: dict[str, str]) -> None:
    reply = root.post(f"{KEYS}add/", wish)
    assert reply.status_code == 200
    assert 'class="errorlist"' in reply.content.decode()
    assert f'value="{wish["key"]}"' not in reply.content.decode()
    assert not ProviderCredential.objects.exists()


@pytest.mark.parametrize(
    ("left", "told"), [(Decimal("12.5"), "$12.50 are left"), (None, "it tells no balance")]
)
def test_a_key_is_tried(
    root: Client, monkeypatch: pytest.MonkeyPatch, left: Decimal | None, told: str
) -> None:
    store_key("vast", SECRET, actor="user:ana")
    monkeypatch.setattr(credentials, "get_provider", lambda name: Account(left))
    assert f"Vast accepts the key: {told}, 2 machines are listed." in text_of(act(root, "try_keys"))


def test_a_key_that_is_denied_says_so(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(name: str) -> None:
        raise ProviderDenied("<b>no</b>")

    store_key("vast", SECRET, actor="user:ana")
    monkeypatch.setattr(credentials, "get_provider", denied)
    reply = act(root, "try_keys")
    assert "Vast: <b>no</b>" in text_of(reply)
    assert "<b>no</b>" not in reply.content.decode()


def test_a_key_is_forgotten_once_that_is_confirmed(root: Client) -> None:
    store_key("vast", SECRET, actor="user:ana")
    assert "go on billing unseen" in text_of(act(root, "forget_keys"))
    assert stored_key("vast") == SECRET
    act(root, "forget_keys", confirmed="yes")
    assert stored_key("vast") == ""


def test_the_environments_key_goes_first_and_that_is_told(root: Client, settings: Any) -> None:
    store_key("vast", SECRET, actor="user:ana")
    assert "yes" in text_of(root.get(KEYS))
    settings.DUMONT_VAST_API_KEY = "from the environment"
    assert "no: the environment has a key" in text_of(root.get(KEYS))


def test_who_may_only_look_enters_tries_and_forgets_nothing(
    guest: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_key("vast", SECRET, actor="user:ana")
    monkeypatch.setattr(credentials, "get_provider", lambda name: pytest.fail("it was asked"))
    assert guest.post(f"{KEYS}add/", {"provider": "vast", "key": "k"}).status_code == 403
    act(guest, "try_keys")
    act(guest, "forget_keys", confirmed="yes")
    assert stored_key("vast") == SECRET
