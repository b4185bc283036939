"""``{{ text|said }}``: a sentence of ours in the reader's language."""

from __future__ import annotations

from django import template

from hibernation.said import in_language

register = template.Library()


@register.filter
def said(text: object) -> str:
    return in_language(str(text))
