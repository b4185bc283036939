"""The language of a command, chosen once before anything is said. What scripts read is the same in all of them."""

from __future__ import annotations

import gettext
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dumont.client.sentences import Sentences

ENGLISH = "en"
LOCALES = {ENGLISH: "en", "pt-br": "pt_BR"}
_DOMAIN = "dumont"
_FOLDER = Path(__file__).with_name("locale")
_FROM_THE_SYSTEM = ("LC_ALL", "LC_MESSAGES", "LANG")


class _Chosen:
    """Of this process, which runs one command."""

    language: str = ENGLISH
    sentences: Sentences | None = None


def choose(language: str) -> None:
    """``language``: one of ``LOCALES``. The library's own words, such as the headings of help, follow."""
    _Chosen.language = language
    catalogue = _FOLDER / LOCALES[language] / "LC_MESSAGES" / f"{_DOMAIN}.mo"
    _Chosen.sentences = Sentences(catalogue.read_bytes()) if catalogue.is_file() else None
    os.environ["LANGUAGE"] = LOCALES[language]
    gettext.bindtextdomain(_DOMAIN, str(_FOLDER))
    gettext.textdomain(_DOMAIN)


def wanted(arguments: Sequence[str], env: Mapping[str, str]) -> str:
    """``--lang``, else ``DUMONT_LANG``, else the system's; what we do not speak is English."""
    named = _option(arguments) or env.get("DUMONT_LANG") or ""
    system = next((env[name] for name in _FROM_THE_SYSTEM if env.get(name)), "")
    return known(named or system) or ENGLISH


def known(name: str) -> str | None:
    """``pt_BR.UTF-8``, ``pt`` and ``pt-br`` are all Brazilian Portuguese: there is no other."""
    base = name.split(".")[0].split("@")[0].replace("_", "-").lower()
    return next((one for one in LOCALES if base == one or base.split("-")[0] == one.split("-")[0]), None)


def current() -> str:
    """As HTTP names it."""
    return _Chosen.language


def in_language(text: str) -> str:
    """What is said to people. What is not known is said in English."""
    return text if _Chosen.sentences is None else _Chosen.sentences.read(text)


def _option(arguments: Sequence[str]) -> str:
    """Looked for before anything is parsed: help and errors of parsing are told in it, too."""
    for number, word in enumerate(arguments):
        if word == "--":
            break
        if word.startswith("--lang="):
            return word.removeprefix("--lang=")
        if word == "--lang":
            return next(iter(arguments[number + 1 :]), "")
    return ""
