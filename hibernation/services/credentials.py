"""Keys to providers' accounts that people enter: sealed in the database, handed to the providers, never shown."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from hibernation.domain.errors import InvalidRequest, NotFound, ProviderDenied
from hibernation.domain.states import EventType
from hibernation.logs.redaction import hide
from hibernation.models import ProviderCredential
from hibernation.providers.accounts import KEY_SETTINGS
from hibernation.providers.registry import get_provider, provider_names
from hibernation.services.clock import db_now
from hibernation.services.keys import KeyUnavailable, seal_credential, unseal_credential
from hibernation.services.transitions import emit

LONGEST_KEY = 1024


def providers_with_keys() -> tuple[str, ...]:
    """Those that this installation rents from and that want a key."""
    return tuple(name for name in provider_names() if name in KEY_SETTINGS)


def is_from_environment(provider: str) -> bool:
    """Whether the environment has a key of it, which goes before the one that was entered."""
    return bool(getattr(settings, KEY_SETTINGS[provider], "")) if provider in KEY_SETTINGS else False


def stored_key(provider: str) -> str:
    """The key that was entered, or an empty text. ``ProviderDenied`` if what sealed it is gone."""
    row = ProviderCredential.objects.filter(pk=provider).first()
    try:
        key = unseal_credential(row) if row is not None else ""
    except KeyUnavailable as error:
        raise ProviderDenied(error.message) from None
    hide(key)
    return key


@transaction.atomic
def store_key(provider: str, key: str, *, actor: str) -> ProviderCredential:
    """Seal it in the place of any other; every process takes it from its next call on. ``InvalidRequest``."""
    key = key.strip()
    hide(key)
    if provider not in providers_with_keys():
        raise InvalidRequest(f"This installation rents from no {provider!r} that wants a key.")
    if not (key.isascii() and key.isprintable() and 0 < len(key) <= LONGEST_KEY):
        raise InvalidRequest(f"A key is one line of at most {LONGEST_KEY} plain characters.")
    row = ProviderCredential(provider=provider, changed_at=db_now(), changed_by=actor)
    seal_credential(row, key)
    row.save()
    emit(EventType.CONFIG_CHANGED, f"a key of {provider} was entered",
         instance=None, now=row.changed_at, actor=actor)  # fmt: skip
    return row


@transaction.atomic
def forget_key(provider: str, *, actor: str) -> None:
    """``NotFound`` where none was entered."""
    if not ProviderCredential.objects.filter(pk=provider).delete()[0]:
        raise NotFound(f"No key of {provider} was entered.")
    emit(EventType.CONFIG_CHANGED, f"the key of {provider} that was entered is forgotten",
         instance=None, now=db_now(), actor=actor)  # fmt: skip


def try_key(provider: str) -> str:
    """Ask the provider for the account and say what it told. Network; changes nothing. ``ProviderError`` says no."""
    account = get_provider(provider)
    machines, left = len(account.list_machines()), account.credit()
    told = "it tells no balance" if left is None else f"${left:.2f} are left"
    return f"{provider} accepts the key: {told}, {machines} machines are listed."
