"""What every provider needs of this installation: a key that can be one, and the Redis that all processes share."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hibernation.domain.errors import ProviderDenied

_REDIS_SECONDS = 2.0


def checked_key(setting: str, value: str) -> str:
    """The key without what surrounds it, or ``ProviderDenied`` that names the setting and never the value."""
    key = value.strip()
    if not (key and key.isascii() and key.isprintable()):
        raise ProviderDenied(f"{setting} is empty or has characters that no key has.")
    return key


def namespace_of(provider: str, url: str) -> str:
    """Where an account's limits are kept: they are those of a key and an address, and who shares Redis shares both."""
    return f"dumont-{provider}:{urlsplit(url).netloc}"


def redis_from_url(url: str) -> Redis:
    """A client for the broker's URL, also for ``redis+socket://`` with ``virtual_host``, which only Celery knows."""
    if url.startswith("redis+socket://"):
        parts = urlsplit(url)
        number = parse_qs(parts.query).get("virtual_host", ["0"])[0].strip("/") or "0"
        url = f"unix://{parts.netloc}{parts.path}?db={number}"
    return Redis.from_url(
        url,
        socket_timeout=_REDIS_SECONDS,
        socket_connect_timeout=_REDIS_SECONDS,
        # Once more at once, for a connection that Redis has closed meanwhile.
        retry=Retry(NoBackoff(), 1),
    )
