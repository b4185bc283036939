"""Keys to providers' accounts: sealed, in the place of the environment's where that has none."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from hibernation.checks import check_provider_keys
from hibernation.domain.errors import InvalidRequest, NotFound, ProviderDenied
from hibernation.models import Event, ProviderCredential
from hibernation.providers import accounts, vast
from hibernation.services.credentials import forget_key, store_key, stored_key
from hibernation.services.keys import fingerprint, rewrap_all, wrapping_keys_in_use

pytestmark = pytest.mark.django_db
OTHER = bytes(32)


@pytest.fixture(autouse=True)
def _rents_from_vast(settings: Settings) -> None:
    settings.DUMONT_PROVIDERS = ["vast", "local"]
    settings.DUMONT_VAST_API_KEY = ""


def enter(key: str = "the-key") -> ProviderCredential:
    return store_key("vast", key, actor="user:ana")


def test_a_provider_takes_the_key_that_was_entered_from_the_next_call_on(settings: Settings) -> None:
    enter()
    assert accounts.api_key("vast", "") == "the-key"
    first = vast.from_settings()
    assert vast.from_settings() is first
    enter("another-key")
    assert vast.from_settings() is not first


def test_the_environments_key_goes_first() -> None:
    enter()
    assert accounts.api_key("vast", "from the environment") == "from the environment"


def test_without_any_key_the_provider_is_denied() -> None:
    with pytest.raises(ProviderDenied, match="DUMONT_VAST_API_KEY"):
        vast.from_settings()


def test_an_entry_is_told_without_the_key() -> None:
    enter()
    event = Event.objects.get()
    assert (event.event_type, event.actor, event.reason) == (
        "config_changed",
        "user:ana",
        "a key of vast was entered",
    )
    assert "the-key" not in str(event.data)


def test_a_key_whose_seal_cannot_be_opened_is_denied_by_the_wrapping_keys_name(settings: Settings) -> None:
    row = enter()
    settings.DUMONT_ENCRYPTION_KEYS = [OTHER]
    with pytest.raises(ProviderDenied, match=row.sealed_by):
        stored_key("vast")


def test_one_providers_seal_is_not_anothers() -> None:
    sealed = enter()
    ProviderCredential.objects.create(
        provider="runpod",
        sealed=sealed.sealed,
        sealed_by=sealed.sealed_by,
        changed_at=sealed.changed_at,
        changed_by="x",
    )
    with pytest.raises(ProviderDenied, match="damaged"):
        stored_key("runpod")


def test_a_rotation_seals_it_anew(settings: Settings) -> None:
    enter()
    settings.DUMONT_ENCRYPTION_KEYS = [OTHER, *settings.DUMONT_ENCRYPTION_KEYS]
    assert (rewrap_all(), rewrap_all()) == (1, 0)
    assert wrapping_keys_in_use() == {fingerprint(OTHER): 1}
    settings.DUMONT_ENCRYPTION_KEYS = [OTHER]
    assert stored_key("vast") == "the-key"


@pytest.mark.parametrize(
    ("provider", "key"), [("vast", " "), ("vast", "a\nb"), ("vast", "x" * 1025), ("local", "k"), ("gcp", "k")]
)
def test_what_cannot_be_a_key_is_not_kept(provider: str, key: str) -> None:
    with pytest.raises(InvalidRequest):
        store_key(provider, key, actor="user:ana")
    assert not ProviderCredential.objects.exists()


def test_a_key_is_forgotten() -> None:
    enter()
    forget_key("vast", actor="user:ana")
    assert stored_key("vast") == ""
    with pytest.raises(NotFound):
        forget_key("vast", actor="user:ana")


def test_a_provider_without_a_key_is_warned_of(settings: Settings) -> None:
    assert [one.id for one in check_provider_keys(["default"])] == ["hibernation.W001"]
    enter()
    assert check_provider_keys(["default"]) == []
    ProviderCredential.objects.all().delete()
    settings.DUMONT_VAST_API_KEY = "k"
    assert check_provider_keys(["default"]) == []
