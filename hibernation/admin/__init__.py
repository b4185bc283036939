"""The console: Django's admin of this installation. It shows rows in the API's words; orders are services'."""

from django.contrib import admin

from hibernation.admin import (
    accounts,
    events,
    instances,
    machines,
    operations,
    schedules,
    snapshots,
    teams,
    tokens,
)
from hibernation.admin.login import LoginForm

__all__ = [
    "accounts",
    "events",
    "instances",
    "machines",
    "operations",
    "schedules",
    "snapshots",
    "teams",
    "tokens",
]

admin.site.site_header = admin.site.site_title = "Dumont"
admin.site.index_title = "Console"
admin.site.login_form = LoginForm
