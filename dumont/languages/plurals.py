"""Sentences that the code says in two forms: after one, and after any other number, which stands first."""

from __future__ import annotations

import re
from collections.abc import Collection


def plural_of(text: str, told: Collection[str]) -> str:
    """The other form, which differs by one ``s``; empty where there is none."""
    if "{0}" not in text:
        return ""
    forms = (text[: word.end()] + "s" + text[word.end() :] for word in re.finditer(r"[a-z]+", text))
    return next((form for form in forms if form in told), "")
