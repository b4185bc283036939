"""What the control plane says, in the language of whoever reads it. What is stored and logged stays English."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from django.db.models import Field, Model
from django.utils.functional import lazy
from django.utils.translation import get_language, to_locale

from dumont.client.sentences import Sentences

_LOCALE = Path(__file__).with_name("locale")


def in_language(text: str) -> str:
    """A sentence of ours in the language of this request. Never fails: what is not known is said in English."""
    known = _sentences(get_language() or "")
    return text if known is None else known.read(text)


in_language_lazily = lazy(in_language, str)
"""For what is written down once, when the program starts, and read in many languages."""


def speak_of(models: Iterable[type[Model]]) -> None:
    """The names, help texts and choices of models: spelled once, in English, where the fields are."""
    for model in models:
        meta = model._meta
        meta.verbose_name = in_language_lazily(str(meta.verbose_name))
        meta.verbose_name_plural = in_language_lazily(str(meta.verbose_name_plural))
        for field in meta.get_fields():
            if isinstance(field, Field):
                _speak_of_field(field)


def _speak_of_field(field: Field[object, object]) -> None:
    field.verbose_name = in_language_lazily(str(field.verbose_name))
    if field.help_text:
        field.help_text = in_language_lazily(str(field.help_text))
    if field.choices:
        field.choices = [(value, in_language_lazily(str(label))) for value, label in field.flatchoices]


@cache
def _sentences(language: str) -> Sentences | None:
    path = _LOCALE / to_locale(language) / "LC_MESSAGES" / "django.mo"
    return Sentences(path.read_bytes()) if language and path.is_file() else None
