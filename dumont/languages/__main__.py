"""``python -m dumont.languages``: what the code says goes into the .po files, and these become .mo files.

What lost its place in the code is dropped; what is new waits for its translation. Exit 1 while anything waits.
"""

from __future__ import annotations

import os
import sys

import polib

from .catalogues import CATALOGUES, LANGUAGES, Catalogue
from .plurals import plural_of

HEADER = {
    "Project-Id-Version": "Dumont",
    "Language": "",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain; charset=UTF-8",
    "Content-Transfer-Encoding": "8bit",
}
# The words of the console are Django's to tell, which wants settings; nothing is stored or asked.
_NO_INSTALLATION = {
    "DJANGO_SETTINGS_MODULE": "dumont.settings",
    "DUMONT_SECRET_KEY": "none",
    "DUMONT_ENCRYPTION_KEYS": "0" * 64,
}
_PLURAL_FORMS = {"pt_BR": "nplurals=2; plural=(n > 1);"}


def main() -> int:
    for name, value in _NO_INSTALLATION.items():
        os.environ.setdefault(name, value)
    waiting = 0
    for catalogue in CATALOGUES:
        for language in LANGUAGES:
            waiting += _refresh(catalogue, language)
    return 1 if waiting else 0


def _refresh(catalogue: Catalogue, language: str) -> int:
    path = catalogue.po(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    old = polib.pofile(str(path)) if path.exists() else polib.POFile()
    new = renewed(catalogue, language, old)
    new.save(str(path))
    new.save_as_mofile(str(path.with_suffix(".mo")))
    missing = new.untranslated_entries()
    for entry in missing:
        print(f"{path.name}: not translated: {entry.msgid}")
    return len(missing)


def renewed(catalogue: Catalogue, language: str, old: polib.POFile) -> polib.POFile:
    """Everything the code says, with the translations that were there."""
    new = polib.POFile(wrapwidth=110)
    new.metadata = {**HEADER, "Language": language, "Plural-Forms": _PLURAL_FORMS[language]}
    known = {entry.msgid: entry for entry in old}
    told = {one.text: one.where for one in catalogue.found()}
    plurals = {text: plural_of(text, told) for text in told}
    others = set(plurals.values())
    for text, where in told.items():
        if text not in others:
            new.append(_entry(text, where, known.get(text), plurals[text]))
    return new


def _entry(text: str, where: str, known: polib.POEntry | None, plural: str) -> polib.POEntry:
    file = where.rpartition(":")[0]
    entry = polib.POEntry(msgid=text, msgid_plural=plural, occurrences=[(file, "")] if file else [])
    if known is not None and known.msgid_plural == plural:
        entry.msgstr, entry.msgstr_plural = known.msgstr, known.msgstr_plural
    elif plural:
        entry.msgstr_plural = {0: "", 1: ""}
    return entry


if __name__ == "__main__":
    sys.exit(main())
