"""The ``runpod`` provider: pods of Runpod, through its REST interface v2."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings

from hibernation.providers.accounts import api_key, namespace_of, redis_from_url
from hibernation.providers.limiter import Limiter
from hibernation.providers.runpod.client import LIMITS, RunpodClient
from hibernation.providers.runpod.provider import RunpodProvider
from hibernation.providers.shelf import Shelf

__all__ = ["RunpodProvider", "from_settings"]


def from_settings() -> RunpodProvider:
    """The account of this installation, one for the process and the key: its connections are kept.

    ``ProviderDenied`` if the key cannot be one.
    """
    key = api_key("runpod", settings.DUMONT_RUNPOD_API_KEY)
    return _account(key, settings.DUMONT_RUNPOD_URL, settings.DUMONT_BROKER_URL)


@lru_cache(maxsize=1)
def _account(key: str, url: str, broker: str) -> RunpodProvider:
    redis, namespace = redis_from_url(broker), namespace_of("runpod", url)
    return RunpodProvider(RunpodClient(url, key, Limiter(redis, namespace, LIMITS)), Shelf(redis, namespace))
