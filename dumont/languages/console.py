"""The words that people read in the console and that no sentence in the code holds: names of fields, states, days."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import django

JOINERS = ("{0}; {1}", "{0}: {1}", "{0}, {1}", "{0}. {1}", "{0} ({1})")
"""Where sentences are put together, each is read on its own."""
_OTHERS = (
    # What strftime writes.
    *(f"{day} {{0}}" for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")),
    *(
        f"{{0}} {month} at {{1}}"
        for month in ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    ),
    # Single words that stand in sentences, or alone in a cell.
    *(
        "busy",
        "damaged",
        "deleted",
        "expired",
        "failed",
        "folder",
        "directory",
        "file",
        "symlink",
        "hardlink",
    ),
    *("forgotten", "kept", "listed", "machine", "none", "nothing", "now", "pack", "manifest", "revoked"),
    *("sleeps", "unknown", "wakes", "yes", "never heard", "heard {0} ago", "agreed {0}", "{0} new"),
    *("orphan machine", "as it is", "it {0}", "Hibernate", "Wake", "Delete", "Forget", "Revoke", "More"),
)


def words_of_the_console() -> list[str]:
    """As they are written, whichever language is spoken now."""
    django.setup()
    from django.utils.translation import override

    with override("en"):
        return list(_words())


def _words() -> Iterator[str]:
    yield from JOINERS
    yield from _OTHERS
    for words in _states():
        yield from (word.value.replace("_", " ") for word in words)
    yield from _models()
    yield from _forms()


def _states() -> Iterator[type[StrEnum]]:
    from hibernation.domain import states
    from hibernation.domain.offers.fitting import Constraint
    from hibernation.domain.timetable import Leg, WhenBusy

    yield from (one for one in vars(states).values() if isinstance(one, type) and issubclass(one, StrEnum))
    yield from (Constraint, Leg, WhenBusy)


def _models() -> Iterator[str]:
    """Names and help texts of every field, and the headings of every list."""
    from django.apps import apps
    from django.contrib import admin
    from django.db.models import Field

    for model in apps.get_app_config("hibernation").get_models():
        yield from (str(model._meta.verbose_name), str(model._meta.verbose_name_plural))
        for field in model._meta.get_fields():
            if isinstance(field, Field):
                yield from filter(None, (str(field.verbose_name), str(field.help_text)))
                yield from (str(label) for _, label in field.flatchoices)
        if admin.site.is_registered(model):
            yield from _list(admin.site.get_model_admin(model))


def _list(page: object) -> Iterator[str]:
    for name in dir(type(page)):
        told = getattr(getattr(type(page), name, None), "short_description", None)
        if told:
            yield str(told)
    yield from (str(title) for title, _ in getattr(page, "fieldsets", None) or () if title)


def _forms() -> Iterator[str]:
    from hibernation.admin.accounts import KeyForm
    from hibernation.admin.instance_orders import BUTTONS, WakeForm
    from hibernation.admin.instance_settings import SettingsForm
    from hibernation.admin.tokens import TokenForm
    from hibernation.models import Instance

    yield from (button.label for button in BUTTONS)
    settings = SettingsForm(Instance(pk="x"))
    yield from (title for title, _ in settings.groups())
    fields = [
        *WakeForm.base_fields.items(),
        *KeyForm.base_fields.items(),
        *TokenForm.base_fields.items(),
        *settings.fields.items(),
    ]
    for name, field in fields:
        yield str(field.label or name.replace("_", " ").capitalize())
        yield from filter(None, (str(field.help_text),))
