"""Logging in to the console: so many tries a minute from one address, so that nobody guesses passwords here."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from hibernation.api.addresses import network_of
from hibernation.services.forgettable import seconds_to_wait


class LoginForm(AdminAuthenticationForm):
    def clean(self) -> dict[str, Any]:
        """Counted before the password is looked at: who tried too often is not told whether it was right."""
        who = f"login:{network_of(self.request)}"  # type: ignore[arg-type]
        wait = seconds_to_wait(who, settings.DUMONT_LOGINS_PER_MINUTE)
        if wait is not None:
            raise ValidationError(f"Too many tries from your address: again in {wait} s.", code="throttled")
        return super().clean()
