"""The ``vast`` provider: machines of vast.ai."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hibernation.domain.errors import ProviderDenied
from hibernation.providers.vast.client import VastClient
from hibernation.providers.vast.limiter import Limiter
from hibernation.providers.vast.limits import LIMITS
from hibernation.providers.vast.provider import SHARED_SECONDS, VastProvider
from hibernation.providers.vast.shelf import Shelf

__all__ = ["VastProvider", "from_settings", "redis_from_url"]

_REDIS_SECONDS = 2.0


@lru_cache(maxsize=1)
def from_settings() -> VastProvider:
    """The account of this installation, one for the process: its connections are kept.

    ``ProviderDenied`` if the key cannot be one.
    """
    key = settings.DUMONT_VAST_API_KEY.strip()
    if not (key and key.isascii() and key.isprintable()):
        raise ProviderDenied("DUMONT_VAST_API_KEY is empty or has characters that no key has.")
    url, scale = settings.DUMONT_VAST_URL, settings.DUMONT_VAST_TIME_SCALE
    redis = redis_from_url(settings.DUMONT_BROKER_URL)
    # The limits are those of a key and an address: whoever shares this Redis shares most likely both.
    namespace = f"dumont-vast:{urlsplit(url).netloc}"
    client = VastClient(url, key, Limiter(redis, namespace, LIMITS, scale=scale))
    return VastProvider(client, Shelf(redis, namespace), shared_seconds=SHARED_SECONDS * scale)


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
