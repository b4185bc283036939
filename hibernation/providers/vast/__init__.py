"""The ``vast`` provider: machines of vast.ai."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings

from hibernation.providers.accounts import api_key, namespace_of, redis_from_url
from hibernation.providers.limiter import Limiter
from hibernation.providers.shelf import Shelf
from hibernation.providers.vast.client import VastClient
from hibernation.providers.vast.limits import LIMITS
from hibernation.providers.vast.provider import SHARED_SECONDS, VastProvider

__all__ = ["VastProvider", "from_settings"]


def from_settings() -> VastProvider:
    """The account of this installation, one for the process and the key: its connections are kept.

    ``ProviderDenied`` if the key cannot be one.
    """
    key = api_key("vast", settings.DUMONT_VAST_API_KEY)
    return _account(
        key, settings.DUMONT_VAST_URL, settings.DUMONT_VAST_TIME_SCALE, settings.DUMONT_BROKER_URL
    )


@lru_cache(maxsize=1)
def _account(key: str, url: str, scale: float, broker: str) -> VastProvider:
    redis, namespace = redis_from_url(broker), namespace_of("vast", url)
    client = VastClient(url, key, Limiter(redis, namespace, LIMITS, scale=scale))
    return VastProvider(client, Shelf(redis, namespace), shared_seconds=SHARED_SECONDS * scale)
