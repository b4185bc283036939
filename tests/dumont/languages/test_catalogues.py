"""Everything the code says has a translation, the places in it are right, and what is committed is up to date."""

from __future__ import annotations

import re
import string

import polib
import pytest

from dumont.client.sentences import Sentences
from dumont.languages.__main__ import renewed
from dumont.languages.catalogues import CATALOGUES, Catalogue

LEFT_OUT = {
    # The guide's own sentence; the event tells the value beside it.
    "GPU utilization {0} % < {1} %": {"{0}"},
}
catalogues = pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda one: one.domain)


def entries(catalogue: Catalogue) -> polib.POFile:
    return polib.pofile(str(catalogue.po("pt_BR")))


def told(entry: polib.POEntry) -> list[str]:
    return [*entry.msgstr_plural.values()] if entry.msgid_plural else [entry.msgstr]


def places(text: str) -> set[str]:
    return set(re.findall(r"\{[a-z0-9!]+\}", text))


def sound(catalogue: polib.POFile) -> list[tuple[str, list[str]]]:
    return [(entry.msgid, told(entry)) for entry in catalogue]


@catalogues
def test_everything_the_code_says_is_in_the_catalogue_and_nothing_else(catalogue: Catalogue) -> None:
    """After a change: ``python -m dumont.languages``, then translate what it names."""
    known = entries(catalogue)
    now = renewed(catalogue, "pt_BR", known)
    assert [one.msgid for one in now.untranslated_entries()] == []
    assert sorted(sound(now)) == sorted(sound(known))


@catalogues
def test_a_translation_has_the_places_of_its_sentence(catalogue: Catalogue) -> None:
    for entry in entries(catalogue):
        for text in told(entry):
            assert places(text) == places(entry.msgid) - LEFT_OUT.get(entry.msgid, set()), entry.msgid


@catalogues
def test_heads_and_tails_of_sentences_stay_what_they_are(catalogue: Catalogue) -> None:
    for entry in entries(catalogue):
        for text in told(entry):
            assert text[:1].isspace() == entry.msgid[:1].isspace(), entry.msgid
            assert text[-1:].isspace() == entry.msgid[-1:].isspace(), entry.msgid
            assert text[:1] not in ",;:" or text[0] == entry.msgid[0], entry.msgid


@catalogues
def test_the_compiled_catalogue_is_that_of_the_source(catalogue: Catalogue) -> None:
    path = catalogue.po("pt_BR")
    assert path.with_suffix(".mo").read_bytes() == polib.pofile(str(path)).to_binary()


@catalogues
def test_every_sentence_comes_back_from_what_it_made(catalogue: Catalogue) -> None:
    """With names in its places. Where two templates fit one text, their translations are the same text, too."""
    sentences = Sentences(catalogue.po("pt_BR").with_suffix(".mo").read_bytes())
    for entry in entries(catalogue):
        forms = [entry.msgid, entry.msgid_plural] if entry.msgid_plural else [entry.msgid]
        for number, form in enumerate(forms, 1):
            if not re.search(r"\{[0-9]\}", form) or not any(
                c in string.ascii_letters for c in places_out(form)
            ):
                continue
            names = [str(number), *(f"N{n}X" for n in range(1, 10))] if entry.msgid_plural else NAMES
            before = "N8X" if form[0] in " ,;:" else ""
            after = "N9X" if form.endswith(" ") else ""
            made, wanted = (f"{before}{filled(one, names)}{after}" for one in (form, told(entry)[number - 1]))
            assert sentences.read(made) == wanted, form


NAMES = [f"N{n}X" for n in range(10)]


def places_out(form: str) -> str:
    return re.sub(r"\{[0-9]\}", "", form)


def filled(form: str, names: list[str]) -> str:
    return re.sub(r"\{([0-9])\}", lambda place: names[int(place[1])], form)
