"""Which providers this installation rents from. A provider's code is loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from django.conf import settings

from hibernation.domain.errors import NotFound
from hibernation.providers.base import Provider

FACTORIES = {
    "local": "hibernation.providers.local:from_settings",
    "runpod": "hibernation.providers.runpod:from_settings",
    "vast": "hibernation.providers.vast:from_settings",
}


def provider_names() -> tuple[str, ...]:
    """The names in ``settings.DUMONT_PROVIDERS``, in their order."""
    return tuple(settings.DUMONT_PROVIDERS)


def get_provider(name: str) -> Provider:
    """The provider of this name. ``NotFound`` if it is not configured here, or no code for it exists."""
    if name not in provider_names():
        raise NotFound(
            f"No provider named {name!r} is configured; DUMONT_PROVIDERS has: {', '.join(provider_names()) or 'none'}."
        )
    if name not in FACTORIES:
        raise NotFound(f"DUMONT_PROVIDERS names {name!r}, but only these exist: {', '.join(FACTORIES)}.")
    module, factory = FACTORIES[name].split(":")
    return cast(Callable[[], Provider], getattr(import_module(module), factory))()
