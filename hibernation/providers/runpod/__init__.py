"""The ``runpod`` provider: pods of Runpod, through its REST interface v2."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings

from hibernation.providers.accounts import checked_key, namespace_of, redis_from_url
from hibernation.providers.limiter import Limiter
from hibernation.providers.runpod.client import LIMITS, RunpodClient
from hibernation.providers.runpod.provider import RunpodProvider
from hibernation.providers.shelf import Shelf

__all__ = ["RunpodProvider", "from_settings"]


@lru_cache(maxsize=1)
def from_settings() -> RunpodProvider:
    """The account of this installation, one for the process: its connections are kept.

    ``ProviderDenied`` if the key cannot be one.
    """
    key, url = (
        checked_key("DUMONT_RUNPOD_API_KEY", settings.DUMONT_RUNPOD_API_KEY),
        settings.DUMONT_RUNPOD_URL,
    )
    redis, namespace = redis_from_url(settings.DUMONT_BROKER_URL), namespace_of("runpod", url)
    return RunpodProvider(RunpodClient(url, key, Limiter(redis, namespace, LIMITS)), Shelf(redis, namespace))
