"""What every provider needs of this installation: a key that can be one, and the Redis that all processes share."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hibernation.domain.errors import ProviderDenied

_REDIS_SECONDS = 2.0
KEY_SETTINGS = {"runpod": "DUMONT_RUNPOD_API_KEY", "vast": "DUMONT_VAST_API_KEY"}
"""Providers that want a key, and the settings that may hold it."""


def _none_stored(provider: str) -> str:
    return ""


_stored_key: Callable[[str], str] = _none_stored


def look_up_keys_with(stored: Callable[[str], str]) -> None:
    """Where to find the keys that people entered: ``stored`` answers the one of a provider, or an empty text."""
    global _stored_key
    _stored_key = stored


def api_key(provider: str, value: str) -> str:
    """``value``, the environment's key, or if it is empty the one that people entered. ``ProviderDenied`` as below."""
    return checked_key(KEY_SETTINGS[provider], value or _stored_key(provider))


def checked_key(setting: str, value: str) -> str:
    """The key without what surrounds it, or ``ProviderDenied`` that names the setting and never the value."""
    key = value.strip()
    if not (key and key.isascii() and key.isprintable()):
        raise ProviderDenied(
            f"{setting} is empty, and so is the key entered in the console; or it has characters that no key has."
        )
    return key


def namespace_of(provider: str, url: str) -> str:
    """Where an account's limits are kept: they are those of a key and an address, and who shares Redis shares both."""
    return f"dumont-{provider}:{urlsplit(url).netloc}"


def redis_address(url: str) -> str:
    """The broker's URL as Redis' own client reads it: ``redis+socket://`` with ``virtual_host`` only Celery knows."""
    if not url.startswith("redis+socket://"):
        return url
    parts = urlsplit(url)
    number = parse_qs(parts.query).get("virtual_host", ["0"])[0].strip("/") or "0"
    return f"unix://{parts.netloc}{parts.path}?db={number}"


def redis_from_url(url: str) -> Redis:
    """A client for the broker's URL."""
    return Redis.from_url(
        redis_address(url),
        socket_timeout=_REDIS_SECONDS,
        socket_connect_timeout=_REDIS_SECONDS,
        # Once more at once, for a connection that Redis has closed meanwhile.
        retry=Retry(NoBackoff(), 1),
    )
